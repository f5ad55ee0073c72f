//! The preloaded library makes exactly the chosen call fail, seen through programs that every system has.

use std::path::Path;
use std::process::{Command, Output};

use rig::daemon::Target;
use rig::shim::{Fault, compile};

struct Bench {
    dir: tempfile::TempDir,
    library: std::path::PathBuf,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let library = compile(dir.path()).expect("cc");
        Self { dir, library }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn fault(&self, calls: &str) -> Fault {
        Fault {
            calls: calls.to_owned(),
            path: self.path("data").to_string_lossy().into_owned(),
            nth: 1,
            sticky: false,
            errno: "EIO",
            short: false,
            trigger: None,
            log: self.path("faults"),
        }
    }

    fn run(&self, fault: &Fault, program: &str, arguments: &[&str]) -> Output {
        let target = fault.on(&Target::new(program), &self.library);
        Command::new(program).args(arguments).envs(target.env).env("LC_ALL", "C").output().expect("run")
    }

    fn dd(&self, fault: &Fault, file: &Path, count: u32) -> Output {
        let (of, count) = (format!("of={}", file.display()), format!("count={count}"));
        self.run(fault, "dd", &["if=/dev/zero", &of, "bs=100", &count])
    }
}

fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn the_nth_write_fails_and_the_others_do_not() {
    let bench = Bench::new();
    let fault = Fault { nth: 3, ..bench.fault("write") };
    let output = bench.dd(&fault, &bench.path("data"), 5);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Input/output error"));
    assert_eq!(bytes(&bench.path("data")), 200);
    assert_eq!(fault.struck(), [format!("3 write {}", bench.path("data").display())]);
}

#[test]
fn another_path_is_left_alone_and_a_glob_is_understood() {
    let bench = Bench::new();
    assert!(bench.dd(&bench.fault("write"), &bench.path("other"), 2).status.success());
    let fault =
        Fault { path: format!("{}/*.log", bench.dir.path().display()), errno: "ENOSPC", ..bench.fault("write") };
    assert!(bench.dd(&fault, &bench.path("data"), 2).status.success());
    let output = bench.dd(&fault, &bench.path("000007.log"), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left on device"));
}

#[test]
fn a_fault_is_armed_only_while_its_trigger_exists() {
    let bench = Bench::new();
    let fault = Fault { trigger: Some(bench.path("trigger")), ..bench.fault("write") };
    assert!(bench.dd(&fault, &bench.path("data"), 2).status.success());
    std::fs::write(bench.path("trigger"), "").expect("write");
    assert!(!bench.dd(&fault, &bench.path("data"), 2).status.success());
}

#[test]
fn a_short_write_is_short_and_a_program_that_writes_on_loses_nothing() {
    let bench = Bench::new();
    let fault = Fault { short: true, sticky: true, ..bench.fault("write") };
    assert!(bench.dd(&fault, &bench.path("data"), 1).status.success());
    assert_eq!(bytes(&bench.path("data")), 100);
    assert!(fault.struck().len() > 2, "100 bytes were written in halves: {:?}", fault.struck());
}

#[test]
fn syncs_opens_and_renames_fail_by_name() {
    let bench = Bench::new();
    let data = bench.path("data");
    std::fs::write(&data, "x").expect("write");
    let name = data.to_string_lossy().into_owned();
    let moved = bench.path("moved").to_string_lossy().into_owned();
    let cases: [(&str, &str, Vec<&str>); 4] = [
        ("fdatasync", "sync", vec!["-d", &name]),
        ("fsync", "sync", vec![&name]),
        ("open", "cat", vec![&name]),
        // mv makes its system call by number, past libc; perl does not.
        ("rename", "perl", vec!["-e", "rename($ARGV[0], $ARGV[1]) or exit 1", &moved, &name]),
    ];
    std::fs::write(&moved, "y").expect("write");
    for (call, program, arguments) in cases {
        let output = bench.run(&bench.fault(call), program, &arguments);
        assert!(!output.status.success(), "{call} did not fail");
        assert_eq!(std::fs::read(&data).expect("read"), b"x", "{call}");
    }
    assert_eq!(bench.fault("").struck().len(), 4);
}
