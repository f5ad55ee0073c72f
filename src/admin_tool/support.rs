//! `ingestd admin support`: everything somebody who helps wants to see, in one archive.

use super::exit::FAILED;
use super::render::json_line;
use super::{failed, print};
use event::UnixMicros;
use flate2::Compression;
use flate2::write::GzEncoder;
use ingestd::control::admin::ask;
use ingestd::control::complain;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const SYSTEM_FILES: [&str; 9] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/sys/net/core/somaxconn",
];

/// Asks for it and packs it.
pub(super) fn run(socket: &Path, output: Option<&Path>, force: bool, json: bool) -> ExitCode {
    let made = UnixMicros::now().to_string();
    // As a name: 20261129T010000Z.
    let stamp: String = made.split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z";
    let output = output.map_or_else(|| PathBuf::from(format!("ingestd-support-{stamp}.tar.gz")), Path::to_owned);
    // Before the daemon is asked: what is asked for is on record.
    if !force && output.symlink_metadata().is_ok() {
        complain(format_args!("{} is there already: name another --output, or say --force", output.display()));
        return FAILED.into();
    }
    let mut answer = match ask(socket, &json!({"command": "support"})) {
        Ok(answer) => answer,
        Err(error) => return failed(&error),
    };
    if let Some(files) = answer.get_mut("files").and_then(Value::as_object_mut) {
        files.insert("system.txt".into(), system().into());
    }
    let files: Vec<(&String, &str)> = answer["files"].as_object().into_iter().flatten().map(named).collect();
    match write(&output, force, &format!("ingestd-support-{stamp}"), &files) {
        Ok(bytes) => {
            let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
            print(&match json {
                true => json_line(&json!({"file": output, "bytes": bytes, "files": names})),
                false => format!("{} ({bytes} bytes): {} files\n", output.display(), names.len()),
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("cannot write {}: {error}", output.display()));
            FAILED.into()
        }
    }
}

/// What the system says of the machine. The daemon is not asked: the sandbox of its unit hides that from it.
fn system() -> String {
    let told = SYSTEM_FILES.map(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        format!("--- {path}\n{text}\n")
    });
    told.concat()
}

fn named<'a>((name, text): (&'a String, &'a Value)) -> (&'a String, &'a str) {
    (name, text.as_str().unwrap_or_default())
}

/// Packs the files into one that only its owner may read; its size, bytes. What is not finished does not stay.
fn write(output: &Path, force: bool, folder: &str, files: &[(&String, &str)]) -> io::Result<u64> {
    if force && output.symlink_metadata().is_ok() {
        // Another one is made in its place: who could read the old one must not read this.
        std::fs::remove_file(output)?;
    }
    let file = File::options().write(true).create_new(true).mode(0o600).open(output)?;
    let packed = pack(file, folder, files);
    if packed.is_err() {
        std::fs::remove_file(output).ok();
    }
    packed
}

fn pack(file: File, folder: &str, files: &[(&String, &str)]) -> io::Result<u64> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, Path::new(folder).join(name), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
