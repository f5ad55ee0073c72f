//! Who has changed what is on record, and what a helper gets to see of a daemon is no secret.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::{Talk, json_of, outcomes, recorded, refused, says};
use rustix::process::Signal;
use serde_json::json;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{ApiKey, Authority, Daemon, Files, Issuer, Place, event, eventually, leaks, post_as};

#[test]
fn what_is_changed_is_on_record_with_who_and_what_came_of_it_and_stays_over_starts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[limits]\nbatch_events_max = 3\n").unwrap();
    let daemon = Place::with(&[("INGESTD_CONFIG", config.to_str().unwrap())]).start();
    let start = &recorded(&daemon, "start")[0];
    assert_eq!((&start["actor"]["via"], &start["actor"]["pid"]), (&"start".into(), &daemon.pid().into()));

    says(&daemon, &["pause", "parquet"]);
    let pause = recorded(&daemon, "pause");
    assert_eq!(outcomes(&pause), ["begun", "done"]);
    assert_eq!((&pause[1]["of"], &pause[1]["target"]), (&pause[0]["seq"], &"parquet".into()));
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let actor = &pause[0]["actor"];
    assert_eq!((&actor["via"], &actor["uid"], &actor["gid"]), (&"socket".into(), &uid.into(), &gid.into()));
    assert!(actor["pid"].as_u64().unwrap() > 0);
    says(&daemon, &["resume", "parquet"]);
    refused(&daemon.admin(&["skip", "parquet", "--until", "7"]));
    let skip = recorded(&daemon, "skip");
    assert_eq!(outcomes(&skip), ["begun", "failed"]);
    assert_eq!(skip[0]["details"], json!({"sink": "parquet", "until": 7}));
    assert!(skip[1]["details"]["error"].as_str().unwrap().contains("skip nothing"), "{skip:?}");

    std::fs::write(&config, "[limits]\nbatch_events_max = 4\n").unwrap();
    says(&daemon, &["config", "reload"]);
    let reload = recorded(&daemon, "config_reload");
    let change = &reload[1]["details"]["changed"][0];
    assert_eq!(
        (&change["key"], &change["from"], &change["to"]),
        (&"limits.batch_events_max".into(), &3.into(), &4.into())
    );
    std::fs::write(&config, "[limits]\nbatch_events_max = 0\n").unwrap();
    daemon.signal(Signal::HUP);
    eventually("the signal is on record", || recorded(&daemon, "config_reload").len() == 4);
    let reload = &recorded(&daemon, "config_reload")[2..];
    assert_eq!((outcomes(reload), &reload[0]["actor"]["via"]), (vec!["begun", "failed"], &"signal".into()));

    std::fs::write(&config, "").unwrap();
    let daemon = daemon.stop().start();
    let stop = &recorded(&daemon, "stop")[0];
    assert_eq!(stop["details"]["cause"], "SIGTERM");
    assert_eq!(recorded(&daemon, "start").len(), 2);
    assert_eq!(json_of(&daemon, &["audit-log", "--limit", "1"]).as_array().unwrap().len(), 1);
    assert!(json_of(&daemon, &["audit-log", "--since", "2100-01-01T00:00:00Z"]).as_array().unwrap().is_empty());
    assert!(json_of(&daemon, &["audit-log", "--since", "1h"]).as_array().unwrap().len() > 10);
    let table = says(&daemon, &["audit-log"]);
    assert!(table.lines().any(|line| line.contains("socket uid") && line.contains("pause parquet")), "{table}");
    // Nothing of that was changed by asking.
    let verdict = json_of(&daemon, &["audit-log", "--verify"]);
    assert_eq!((&verdict["intact"], &verdict["first"]), (&true.into(), &1.into()), "{verdict}");
    let before = verdict["entries"].clone();
    says(&daemon, &["status"]);
    assert_eq!(json_of(&daemon, &["audit-log", "--verify"])["entries"], before);
    daemon.stop();
}

#[test]
fn an_edited_record_is_told_by_its_verification() {
    let daemon = Daemon::start();
    for level in ["warn", "error", "info"] {
        says(&daemon, &["log-level", level]);
    }
    assert!(says(&daemon, &["audit-log", "--verify"]).ends_with("intact\n"));
    let path = daemon.data().join("audit.log");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"level\":\"error\"", "\"level\":\"trace\"", 1)).unwrap();
    let output = daemon.admin(&["audit-log", "--verify"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("was edited") && said.ends_with("NOT intact\n"), "{said}");
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let daemon = Daemon::start();
    let path = daemon.data().join("audit.log");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (code, text) = refused(&daemon.admin(&["pause", "parquet"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("audit log cannot be written, so nothing was done") && text.contains("audit.log"), "{text}");
    assert_eq!(json_of(&daemon, &["sinks"])[0]["state"], "running");
    daemon.signal(Signal::HUP);
    eventually("the reload is refused", || daemon.log().contains("so nothing is reloaded"));
    // Looking is no change, and events have nothing to do with it.
    says(&daemon, &["status"]);
    daemon.post("/events", event("e").to_string()).with_status(202);
    std::fs::remove_dir(&path).unwrap();
    says(&daemon, &["pause", "parquet"]);
    eventually("it is paused", || json_of(&daemon, &["sinks"])[0]["state"] == "paused");
    daemon.stop();
}

#[test]
fn a_key_is_revoked_by_its_text_too_which_is_on_no_record() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_LOG_LEVEL", "trace")]);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let secret = key.text.rsplit('_').next().unwrap();
    // One digit is missing: no key, but nearly.
    let cut = &key.text[..key.text.len() - 1];
    let (code, said) = refused(&daemon.admin(&["tokens", "revoke", cut]));
    assert!(code == Some(64) && said.contains("neither a key") && !said.contains(&secret[..8]), "{said}");
    post_as(&daemon, &key.bearer(), &event("e")).with_status(202);
    assert_eq!(says(&daemon, &["tokens", "revoke", &key.text]), format!("{} is refused from now on\n", key.id));
    post_as(&daemon, &key.bearer(), &event("e")).problem(401);
    let entries = recorded(&daemon, "tokens_revoke");
    assert_eq!(outcomes(&entries), ["begun", "done"]);
    assert_eq!((&entries[0]["target"], &entries[0]["details"]), (&key.id.as_str().into(), &json!({"id": key.id})));
    let mut found = Vec::new();
    leaks(&daemon.data(), &secret[..8], &mut found);
    assert!(found.is_empty() && !daemon.log().contains(&secret[..8]), "{found:?}");
    daemon.stop();
}

#[test]
fn a_key_is_revoked_also_where_that_cannot_be_recorded() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key")]);
    let (leaked, other) = (ApiKey::add(&daemon, "shop", "intake"), ApiKey::add(&daemon, "shop", "intake"));
    let path = daemon.data().join("audit.log");
    std::fs::rename(&path, daemon.data().join("aside")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (code, said) = refused(&daemon.admin(&["tokens", "revoke", &leaked.id]));
    let wanted = format!("{} is refused from now on, but that is not on record", leaked.id);
    assert!(code == Some(1) && said.contains(&wanted) && said.contains("audit.log"), "{said}");
    let asked = json!({"command": "tokens_revoke", "id": leaked.id}).to_string();
    assert_eq!(Talk::with(&daemon).say(&asked)["code"], "not_recorded");
    post_as(&daemon, &leaked.bearer(), &event("e")).problem(401);
    post_as(&daemon, &other.bearer(), &event("e")).with_status(202);
    let (code, said) = refused(&daemon.admin(&["tokens", "add", "--tenant", "shop", "--scope", "intake"]));
    assert!(code == Some(1) && said.contains("so nothing was done"), "{said}");
    // It stays so, and once more it is on record.
    let daemon = daemon.kill().start();
    post_as(&daemon, &leaked.bearer(), &event("e")).problem(401);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(daemon.data().join("aside"), &path).unwrap();
    says(&daemon, &["tokens", "revoke", &leaked.id]);
    assert_eq!(outcomes(&recorded(&daemon, "tokens_revoke")), ["begun", "done"]);
    daemon.stop();
}

#[test]
fn the_record_is_bounded_by_configuration() {
    let env = [("INGESTD_AUDIT_FILE_BYTES_MAX", "65536"), ("INGESTD_AUDIT_FILES_MAX", "2")];
    let daemon = Daemon::with(&env);
    let mut talk = Talk::with(&daemon);
    // Some 800 bytes each.
    for _ in 0..300 {
        assert_eq!(talk.say(r#"{"command": "log_level", "level": "info"}"#)["ok"], true);
    }
    let files = daemon.data().read_dir().unwrap().map(|entry| entry.unwrap());
    let sizes: Vec<u64> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("audit") && file.file_name() != "audit.head")
        .map(|file| file.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 65_536), "{sizes:?}");
    let verdict = json_of(&daemon, &["audit-log", "--verify"]);
    let first = verdict["first"].as_u64().unwrap();
    assert!(verdict["intact"] == true && first > 1, "{verdict}");
    assert_eq!(verdict["droppedUntil"], first - 1);
    let oldest = &json_of(&daemon, &["audit-log", "--limit", "10000"])[0];
    assert_eq!((&oldest["seq"], &oldest["time"]), (&verdict["first"], &verdict["firstTime"]));
    let said = says(&daemon, &["audit-log", "--verify"]);
    let wanted = format!("begins with entry {first} of {}; entries 1 to {} were dropped", oldest["time"], first - 1);
    assert!(said.contains(&wanted.replace('"', "")), "{said}");
}

#[test]
fn keys_and_certificates_that_are_taken_over_by_themselves_are_on_record() {
    let (issuer, authority) = (Issuer::new(), Authority::new("test authority"));
    let files = Files::new(&authority.server(30));
    let daemon = Place::with(&[]).and_all(issuer.env()).and_all(files.env()).start();
    let both = |count: usize, outcome: &str| {
        ["take_over_keys", "take_over_certificate"].map(|action| {
            eventually("it is on record", || recorded(&daemon, action).len() == count);
            let entry = recorded(&daemon, action).pop().unwrap();
            assert_eq!((&entry["outcome"], &entry["actor"]["via"]), (&outcome.into(), &"daemon".into()), "{entry}");
            entry["details"].clone()
        })
    };
    issuer.replace("jwks.json", "rotated.json");
    files.renew(&authority.server(60));
    let [keys, certificate] = both(1, "done");
    assert!(keys["files"].to_string().contains("jwks.json"), "{keys}");
    assert!(certificate["ends"].as_str().unwrap().ends_with('Z'), "{certificate}");
    // What is not taken over is, too.
    issuer.replace("jwks.json", "twice.json");
    std::fs::remove_file(files.path("cert.pem")).unwrap();
    let [keys, certificate] = both(2, "failed");
    assert!(keys["error"].as_str().unwrap().contains("stands twice"), "{keys}");
    assert!(certificate["error"].as_str().unwrap().contains("cert.pem"), "{certificate}");
}

/// Unpacks an archive: every file's text.
fn unpacked(archive: &Path) -> Vec<(String, String)> {
    let file = std::fs::File::open(archive).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let texts = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    texts.collect()
}

#[test]
fn an_archive_for_support_has_everything_but_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let (config, password) = (dir.path().join("config.toml"), dir.path().join("password"));
    std::fs::write(&password, "planted-in-a-file").unwrap();
    let options = "\"sasl.password\" = \"planted-1\"\n\"ssl.key.password\" = \"planted-2\"\n\
        \"sasl.oauthbearer.token.endpoint.url\" = \"https://me:planted-3@idp/token\"\n\
        \"client.id\" = \"http://me:planted-4@proxy:1\"\n\"client.rack\" = \"x?password=planted-5&y=1\"\n\
        \"linger.ms\" = \"5\"\n";
    let file = password.display();
    let text = format!(
        "[clickhouse]\npassword_file = \"{file}\"\n[kafka.options]\n{options}[kafka.option_files]\n\
         \"sasl.username\" = \"{file}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Place::with(&[("INGESTD_CONFIG", config.to_str().unwrap())]).start();
    let mut shopper = event("e");
    shopper["data"]["card"] = "planted-6".into();
    daemon.post("/events", shopper.to_string()).with_status(202);
    // What is logged goes along.
    let (code, _) = refused(&daemon.admin(&["pause", "https://me:planted-7@nowhere"]));
    assert_eq!(code, Some(1));
    let key = format!("ing_0123456789abcdef_{}", "5ec7e7".repeat(11));
    refused(&daemon.admin(&["pause", &key[..85]]));
    // What letters are looked for may be a shopper's, as a text or a number.
    let id = 4_711_081_516_u64;
    daemon.post("/dead-letters/purge", json!({"code": "planted-8", "tenant": id}).to_string()).with_status(200);
    says(&daemon, &["dead-letters", "purge", "--code", "planted-9", "--sink", "planted-10"]);
    says(&daemon, &["dead-letters", "list", "--sink", "planted-11"]);

    let output = dir.path().join("support.tar.gz");
    let path = output.to_str().unwrap();
    let said = json_of(&daemon, &["support", "--output", path]);
    assert_eq!(output.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&output);
    let wanted = [
        "README",
        "audit-log.json",
        "audit-log.jsonl",
        "config.json",
        "data.txt",
        "figures.json",
        "ledger.json",
        "log.txt",
        "metrics.txt",
        "process.txt",
        "status.json",
        "system.txt",
        "version.json",
        "wal.json",
    ];
    let mut names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, wanted);
    assert_eq!(said["files"].as_array().unwrap().len(), wanted.len());
    for (name, text) in &files {
        assert!(!text.contains("planted") && !text.contains("5ec7e7"), "{name}: {text}");
        assert!(!text.contains(&id.to_string()), "{name}: {text}");
        assert!(!text.is_empty(), "{name}");
    }
    let text = |name: &str| files.iter().find(|(found, _)| found == name).unwrap().1.as_str();
    assert!(text("config.json").contains("linger.ms") && text("config.json").contains("(secret)"));
    assert!(text("log.txt").contains("admin command") && text("log.txt").contains("https://(secret)@nowhere"));
    assert!(text("metrics.txt").contains("ingestd_events_accepted_total 1"), "{}", text("metrics.txt"));
    assert!(text("process.txt").contains("Max open files") && text("process.txt").contains("bytes free"));
    for fact in ["MemTotal", "Linux version"] {
        assert!(text("system.txt").contains(fact), "{fact}");
    }
    assert!(text("audit-log.jsonl").contains("\"action\":\"pause\""));
    for name in wanted.iter().filter(|name| **name != "README") {
        assert!(text("README").contains(name), "README says nothing of {name}");
    }

    // What is there stays, unless somebody says so.
    let (code, complaint) = refused(&daemon.admin(&["support", "--output", path]));
    assert!(code == Some(1) && complaint.contains("--force"), "{complaint}");
    std::fs::set_permissions(&output, std::fs::Permissions::from_mode(0o644)).unwrap();
    says(&daemon, &["support", "--output", path, "--force"]);
    assert_eq!(output.metadata().unwrap().permissions().mode() & 0o777, 0o600, "the old mode is not taken over");
    let (code, complaint) = refused(&daemon.admin(&["support", "--output", "/nowhere/x.tar.gz"]));
    assert!(code == Some(1) && complaint.contains("cannot write /nowhere/x.tar.gz"), "{complaint}");
    assert_eq!(recorded(&daemon, "support").len(), 6);
    // Under its unit the daemon does not see the machine: it is not who tells of it.
    let told = Talk::with(&daemon).say(r#"{"command": "support"}"#)["result"]["files"].clone();
    assert!(told["process.txt"].is_string() && told.get("system.txt").is_none());
}
