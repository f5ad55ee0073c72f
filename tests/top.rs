//! `ingestd admin top` as somebody sees it: on a terminal, which it gives back.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::{Daemon, PROGRAM, event, eventually};

/// A terminal with a shell in it; ended when dropped.
struct Terminal {
    dir: tempfile::TempDir,
}

impl Terminal {
    fn open(width: u16, height: u16) -> Self {
        let terminal = Terminal { dir: tempfile::tempdir().unwrap() };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "env -i TERM=screen PS1='$ ' sh",
        ]);
        eventually("there is a shell", || terminal.shown().contains('$'));
        terminal
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let socket: PathBuf = self.dir.path().join("tmux");
        let run = Command::new("tmux").arg("-S").arg(socket).args(arguments).output();
        run.unwrap_or_else(|error| panic!("tmux: {error}; scripts/deps.sh test installs it"))
    }

    /// What stands on the screen.
    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        eventually(text, || self.shown().contains(text));
    }

    /// Types a line.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn top(&self, daemon: &Daemon) {
        self.line(&format!("{PROGRAM} admin top --interval 0.1 --data-dir {}; echo ended $?", daemon.data().display()));
        self.shows("Events/s");
    }

    /// Sees that the shell has its terminal back as it was.
    #[track_caller]
    fn is_given_back(&self, code: u8) {
        self.shows(&format!("ended {code}"));
        assert_eq!(self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]), "0 1\n");
        self.line("clear; stty -a");
        self.shows("echok");
        let modes = self.shown();
        let is_on = |mode: &str| modes.split_whitespace().any(|word| word == mode);
        assert!(is_on("icanon") && is_on("echo") && is_on("isig"), "{modes}");
    }

    /// What the shell has started.
    fn child(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn a_small_terminal_holds_all_of_it_a_large_one_more_and_q_gives_it_back() {
    let daemon = Daemon::start();
    let terminal = Terminal::open(80, 24);
    terminal.top(&daemon);
    for number in 0..5 {
        daemon.post("/events", event(&format!("e-{number}")).to_string()).with_status(202);
    }
    terminal.shows("accepted 5");
    let shown = terminal.shown();
    for part in [
        "ingestd ",
        "healthy",
        "up 00:",
        "10 s",
        "60 s",
        "refused 0",
        "Connections",
        "commit",
        "p99.9",
        "On the way",
        "ring 0",
        "disk free",
        "reserve",
        "Sink",
        "parquet",
        "running",
        "lag events",
        "q quit",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 24 && lines[23].contains("q quit"), "{shown}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{shown}");

    terminal.tmux(&["resize-window", "-x", "140", "-y", "50"]);
    terminal.shows("Events/s at each look");
    eventually("it uses the room", || terminal.shown().lines().nth(49).is_some_and(|line| line.contains("q quit")));
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    eventually("it fits again", || terminal.shown().lines().nth(23).is_some_and(|line| line.contains("q quit")));

    terminal.key("p");
    terminal.shows("PAUSED");
    daemon.post("/events", event("unseen").to_string()).with_status(202);
    terminal.key("p");
    terminal.shows("accepted 6");
    terminal.key("q");
    terminal.is_given_back(0);
}

#[test]
fn a_daemon_that_dies_and_comes_back_is_told() {
    let daemon = Daemon::start();
    let terminal = Terminal::open(80, 24);
    terminal.top(&daemon);
    let place = daemon.kill();
    terminal.shows("the daemon does not answer");
    terminal.shows("trying again");
    assert!(terminal.shown().contains("Events/s"), "the last figures stay");
    let daemon = place.start();
    terminal.shows(&format!("the daemon was started again, as process {}", daemon.pid()));
    // One that hangs is no better than one that is gone.
    daemon.signal(Signal::STOP);
    terminal.shows("it does not answer in time");
    daemon.signal(Signal::CONT);
    terminal.shows("the daemon answers again");
    terminal.key("Escape");
    terminal.is_given_back(0);
    daemon.stop();
}

#[test]
fn objects_go_on_behind_a_restart() {
    let daemon = Daemon::start();
    let mut command = Command::new(PROGRAM);
    command.args(["admin", "top", "--json", "--interval", "0.1", "--data-dir"]).arg(daemon.data());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut looks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut pid = || serde_json::from_str::<Value>(&looks.next().unwrap().unwrap()).unwrap()["pid"].as_u64().unwrap();
    assert_eq!(pid(), u64::from(daemon.pid()));
    let daemon = daemon.kill().start();
    eventually("the other one is seen", || pid() == u64::from(daemon.pid()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_signal_gives_the_terminal_back_too() {
    let daemon = Daemon::start();
    let terminal = Terminal::open(80, 24);
    terminal.top(&daemon);
    kill_process(terminal.child(), Signal::TERM).unwrap();
    terminal.is_given_back(143);
    terminal.line("clear");
    terminal.top(&daemon);
    terminal.key("C-c");
    terminal.is_given_back(0);
}

#[test]
fn without_a_daemon_there_is_no_screen_but_a_reason() {
    let terminal = Terminal::open(80, 24);
    terminal.line(&format!("clear; {PROGRAM} admin top --data-dir /nowhere; echo ended $?"));
    terminal.shows("ended 69");
    assert!(terminal.shown().contains("cannot reach the daemon at"), "{}", terminal.shown());
}
