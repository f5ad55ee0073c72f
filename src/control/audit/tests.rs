//! Entries stay, in order, over starts, crashes and rotations; what somebody does to the files shows.

use super::*;
use event::UnixMicros;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const LIMITS: Limits = Limits { file_bytes_max: 1 << 20, files_max: 3 };

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn log(&self) -> AuditLog {
        AuditLog::new(self.path(), LIMITS)
    }

    fn current(&self) -> PathBuf {
        self.path().join("audit.log")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.current()).unwrap()
    }

    /// Has a text in the file replaced by another one.
    fn edit(&self, from: &str, to: &str) {
        let text = self.text();
        assert!(text.contains(from), "{text}");
        fs::write(self.current(), text.replacen(from, to, 1)).unwrap();
    }
}

fn entry(action: &str) -> Entry {
    let actor = Actor { via: Via::Socket, uid: Some(1), gid: Some(2), pid: Some(3) };
    Entry::new(actor, action).on(Some("kafka")).with(json!({"until": 7}))
}

fn record(log: &AuditLog, count: usize) {
    for number in 0..count {
        log.record(entry(&format!("action-{number}"))).unwrap();
    }
}

fn all(log: &AuditLog) -> Vec<Value> {
    log.query(&Query { limit: usize::MAX, ..Query::default() }).unwrap()
}

fn seqs(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
}

#[track_caller]
fn assert_wrong(log: &AuditLog, text: &str) {
    let wrong = log.verify().unwrap().wrong;
    assert!(wrong.iter().any(|line| line.contains(text)), "{text}: {wrong:?}");
}

#[track_caller]
fn assert_intact(log: &AuditLog, entries: u64) {
    let verdict = log.verify().unwrap();
    assert_eq!((verdict.wrong.as_slice(), verdict.entries), ([].as_slice(), entries));
}

#[test]
fn an_entry_says_who_what_when_and_what_came_of_it() {
    let folder = Folder::new();
    let log = folder.log();
    assert_intact(&log, 0);
    assert_eq!((log.verify().unwrap().first, log.verify().unwrap().dropped_until), (None, None));
    let before = UnixMicros::now();
    let of = log.append(&entry("pause").outcome(Outcome::Begun)).unwrap();
    log.record(Entry { of: Some(of), ..entry("pause").outcome(Outcome::Failed) }).unwrap();
    let entries = all(&log);
    let (first, second) = (&entries[0], &entries[1]);
    assert_eq!(first["actor"], json!({"via": "socket", "uid": 1, "gid": 2, "pid": 3}));
    assert_eq!(
        (&first["action"], &first["target"], &first["details"]["until"]),
        (&"pause".into(), &"kafka".into(), &7.into())
    );
    assert_eq!((&first["outcome"], &first["of"]), (&"begun".into(), &Value::Null));
    assert_eq!((&second["outcome"], &second["of"], &second["seq"]), (&"failed".into(), &1.into(), &2.into()));
    assert!(first["time"].as_str().unwrap() >= before.to_string().as_str());
    assert_intact(&log, 2);
    assert_eq!(log.verify().unwrap().dropped_until, None, "nothing was before the first");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(folder.current()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn entries_are_found_by_time_action_and_number() {
    let folder = Folder::new();
    let log = folder.log();
    record(&log, 5);
    let found = |query: Query| seqs(&log.query(&query).unwrap());
    assert_eq!(found(Query { limit: 2, ..Query::default() }), [4, 5]);
    assert_eq!(found(Query { action: Some("action-2".into()), limit: 9, ..Query::default() }), [3]);
    let time: String = all(&log)[3]["time"].as_str().unwrap().into();
    let since = UnixMicros::new(time.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    assert_eq!(found(Query { since: Some(since), limit: 9, ..Query::default() }), [4, 5]);
    let later = UnixMicros::now().plus(std::time::Duration::from_secs(60));
    assert!(found(Query { since: Some(later), limit: 9, ..Query::default() }).is_empty());
}

#[test]
fn the_chain_goes_on_over_starts_and_a_line_that_a_crash_has_cut() {
    let folder = Folder::new();
    record(&folder.log(), 2);
    // The line was synced, its head was not.
    let head = fs::read(folder.path().join("audit.head")).unwrap();
    record(&folder.log(), 1);
    fs::write(folder.path().join("audit.head"), head).unwrap();
    record(&folder.log(), 1);
    assert_intact(&folder.log(), 4);
    // It was not synced.
    fs::write(folder.current(), folder.text() + "{\"seq\":5,\"ti").unwrap();
    assert_wrong(&folder.log(), "its last line is not whole");
    let log = folder.log();
    record(&log, 1);
    assert_intact(&log, 6);
    let recovered = &all(&log)[4];
    assert_eq!(recovered["action"], "recover");
    assert!(recovered["details"]["found"][0].as_str().unwrap().contains("12 bytes"), "{recovered}");
}

#[test]
fn an_edit_a_hole_and_a_cut_end_show_also_behind_a_start() {
    let edited = Folder::new();
    record(&edited.log(), 4);
    edited.edit("action-1", "nothing!");
    assert_wrong(&edited.log(), "entry 3 does not follow on entry 2");
    record(&edited.log(), 1);
    assert_wrong(&edited.log(), "entry 3 does not follow on entry 2");

    let newest = Folder::new();
    record(&newest.log(), 4);
    newest.edit("action-3", "nothing!");
    assert_wrong(&newest.log(), "entry 4, the newest one, was edited");
    record(&newest.log(), 1);
    assert_wrong(&newest.log(), "entry 5 does not follow on entry 4");

    let hole = Folder::new();
    record(&hole.log(), 4);
    let kept: String =
        hole.text().lines().filter(|line| !line.contains("action-2")).map(|line| format!("{line}\n")).collect();
    fs::write(hole.current(), kept).unwrap();
    assert_wrong(&hole.log(), "entries 3 to 3 are missing");

    let cut = Folder::new();
    record(&cut.log(), 4);
    let kept: String = cut.text().lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(cut.current(), kept).unwrap();
    assert_wrong(&cut.log(), "entry 4 was written last, but it ends with entry 2");
    let log = cut.log();
    record(&log, 1);
    assert_eq!(seqs(&all(&log)), [1, 2, 5, 6]);
    assert_wrong(&log, "entries 3 to 4 are missing");
    let found = all(&log)[2]["details"]["found"][0].as_str().unwrap().to_owned();
    assert!(found.contains("cut or edited: its newest entry was 4"), "{found}");

    let gone = Folder::new();
    record(&gone.log(), 3);
    fs::remove_file(gone.current()).unwrap();
    assert_wrong(&gone.log(), "entry 3 was written last, but there is none");
    fs::remove_file(gone.path().join("audit.head")).unwrap();
    fs::write(gone.current(), "no entry\n").unwrap();
    assert_wrong(&gone.log(), "audit.log:1: this line is no entry");
}

#[test]
fn what_is_done_to_the_files_of_a_running_log_shows() {
    let folder = Folder::new();
    let log = folder.log();
    record(&log, 3);
    fs::rename(folder.current(), folder.path().join("elsewhere")).unwrap();
    assert_wrong(&log, "entry 3 was written last, but there is none");
    record(&log, 1);
    assert_eq!(seqs(&all(&log)), [4, 5], "it goes on, in a file that is there");
    assert_wrong(&log, "entries 1 to 3 are missing, and no rotation has removed them");
    // Somebody may rewrite the files and the head; the running log knows better.
    let other = Folder::new();
    record(&other.log(), 5);
    for name in ["audit.log", "audit.head"] {
        fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    }
    assert_wrong(&log, "entry 5, the newest one, was edited");
}

#[test]
fn full_files_are_closed_and_only_so_many_are_kept() {
    let folder = Folder::new();
    let log = AuditLog::new(folder.path(), Limits { file_bytes_max: 1500, files_max: 3 });
    record(&log, 40);
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
    files.retain(|file| file.file_name() != "audit.head");
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1500));
    let entries = all(&log);
    assert_eq!(entries.last().unwrap()["action"], "action-39");
    let (first, last) = (entries[0]["seq"].as_u64().unwrap(), entries.last().unwrap()["seq"].as_u64().unwrap());
    assert_eq!(seqs(&entries), (first..=last).collect::<Vec<_>>());
    assert!(first > 1, "the oldest are gone");
    let verdict = log.verify().unwrap();
    assert_eq!((verdict.first, verdict.dropped_until), (Some(first), Some(first - 1)));
    assert_eq!(verdict.first_time.as_deref(), entries[0]["time"].as_str());
    assert_intact(&log, entries.len() as u64);
    assert_intact(&folder.log(), entries.len() as u64);
    // One more is taken away by somebody else.
    files.sort_by_key(std::fs::DirEntry::file_name);
    fs::remove_file(files[0].path()).unwrap();
    assert_wrong(&log, "are missing, and no rotation has removed them");
    assert_eq!(log.verify().unwrap().dropped_until, Some(first - 1), "somebody else is not the bound");
}

#[test]
fn fewer_files_are_kept_after_the_limit_has_become_smaller() {
    let folder = Folder::new();
    let log = AuditLog::new(folder.path(), Limits { file_bytes_max: 1500, files_max: 8 });
    record(&log, 40);
    log.set_limits(Limits { file_bytes_max: 1500, files_max: 2 });
    record(&log, 10);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "two and the head");
    assert!(log.verify().unwrap().wrong.is_empty());
}

#[test]
fn what_cannot_be_written_is_told_and_goes_on_once_it_can() {
    let folder = Folder::new();
    let place = folder.path().join("data");
    let log = AuditLog::new(&place, LIMITS);
    let refused = log.record(entry("pause")).unwrap_err().to_string();
    assert!(refused.contains("data/audit.log"), "{refused}");
    fs::create_dir(&place).unwrap();
    log.record(entry("pause")).unwrap();
    assert_intact(&log, 1);
    // Somebody puts a folder in its place.
    fs::remove_file(place.join("audit.log")).unwrap();
    fs::create_dir(place.join("audit.log")).unwrap();
    log.record(entry("resume")).unwrap_err();
    fs::remove_dir(place.join("audit.log")).unwrap();
    log.record(entry("resume")).unwrap();
    assert_wrong(&log, "entries 1 to 1 are missing");
}

#[test]
fn details_are_bounded() {
    let folder = Folder::new();
    let log = folder.log();
    let long = "x".repeat(100_000);
    for details in [json!({"text": &long}), json!(&long), json!([&long])] {
        log.record(entry("x").with(details)).unwrap();
    }
    for entry in all(&log) {
        let (details, omitted) = (&entry["details"], entry["details"]["omittedBytes"].as_u64().unwrap());
        assert!(omitted > 100_000 && details.as_object().unwrap().len() == 1, "{details}");
    }
    // Who it was is not lost with the rest.
    let who = json!({"key": "k-1", "tenant": "one", "filter": {"code": &long}, "result": "y".repeat(20_000)});
    log.record(entry("x").with(who)).unwrap();
    let details = &all(&log)[3]["details"];
    assert_eq!((&details["key"], &details["tenant"], &details["filter"]), (&"k-1".into(), &"one".into(), &Value::Null));
    assert!(details["omittedBytes"].as_u64().unwrap() > 100_000 && details["result"] != Value::Null, "{details}");
}

#[test]
fn threads_may_write_at_once() {
    let folder = Folder::new();
    let log = folder.log();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| record(&log, 25));
        }
    });
    assert_intact(&log, 100);
}
