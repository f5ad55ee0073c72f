use super::*;
use send::Exit;
use std::fs;
use std::io::Write;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_are_sent_as_what_they_hold() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let first = desk.file("a.ndjson.gz", gzip(&events("a", 120)));
    let second = desk.file("b.ndjson.zst", zstd::encode_all(events("b", 130).as_bytes(), 3).unwrap());
    let summary = send(&daemon, &first, &[second.to_str().unwrap()]);
    assert_eq!((summary.accepted, summary.exit()), (250, Exit::Complete));
}

#[test]
fn a_file_that_is_cut_off_is_sent_as_far_as_it_goes_and_reported() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let whole = gzip(&events("a", 2000));
    let cut_off = desk.file("a.ndjson.gz", &whole[..whole.len() / 2]);
    let after = desk.file("b.ndjson", events("b", 10));
    let summary = send(&daemon, &cut_off, &[after.to_str().unwrap()]);
    assert!(summary.accepted > 10 && summary.accepted < 2010, "{}", summary.accepted);
    assert_eq!((summary.rejected, daemon.stored() as u64), (0, summary.accepted));
    assert!(summary.io_errors[0].contains("a.ndjson.gz"), "{:?}", summary.io_errors);
    assert_eq!(summary.exit(), Exit::Unsent);
}

#[test]
fn what_cannot_work_is_said_before_anything_is_sent() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 3));
    let missing = desk.path("missing.ndjson");
    let error = try_send(&daemon, &file, &[missing.to_str().unwrap()]).unwrap_err();
    assert!(error.to_string().contains("missing.ndjson"), "{error}");
    for more in [
        &["--url", "ftp://localhost"][..],
        &["--url", "https://localhost", "--ca-file", "/nonexistent"],
        &["--token-file", "/nonexistent"],
        &["--rejects", "/nonexistent/x"],
    ] {
        let args: Vec<_> = ["send", file.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
        let options = Cli::try_parse_from(args).unwrap().options;
        assert!(send::send(&options, quick(), Arc::new(Silent), Stop::default()).is_err(), "{more:?}");
    }
    assert!(try_send(&daemon, desk.path("").as_path(), &[]).is_err(), "a directory");
    assert!(daemon.seen().is_empty());
}

#[test]
fn an_input_is_never_overwritten_with_its_rejects() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", "{}\n");
    let link = desk.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        let error = try_send(&daemon, &file, &["--rejects", path.to_str().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("is an input"), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "{}\n");
}
