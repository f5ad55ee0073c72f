//! The layers and what is said about mistakes in them.

use super::*;
use std::path::Path;

fn read_with(text: &str, environment: &[(&str, &str)]) -> (Loaded, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (loaded, mistakes) = Sources::new(Some(&path), environment).read();
    let folder = format!("{}/", dir.path().display());
    (loaded, mistakes.iter().map(|mistake| mistake.to_string().replace(&folder, "")).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    read_with(text, &[]).1
}

#[track_caller]
fn assert_mistakes(found: &[String], wanted: &[&str]) {
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "{found:?} does not begin with {wanted:?}");
    }
}

#[test]
fn every_mistake_is_told_with_line_column_and_what_may_have_been_meant() {
    let text = "\
data_dri = \"x\"
log_level = 3
listen = \"127.0.0.1:1\"

[server]
listne = \"127.0.0.1:1\"
  head_timeout_s = 0
body_timeout_s = -5
acceptors = \"two\"

[lgo]
hold_s = 5

[log]
durability = \"fsnyc\"
budget_bytes = 1

[limits]
event_bytes_max = 100
body_bytes_max = 10
";
    assert_mistakes(
        &mistakes(text),
        &[
            "config.toml:1:1: unknown key `data_dri`; did you mean `data_dir`?",
            "config.toml:2:1: `log_level` must be a text in quotes, is a whole number",
            "config.toml:3:1: unknown key `listen`; did you mean `server.listen`?",
            "config.toml:6:1: unknown key `server.listne`; did you mean `server.listen`?",
            "config.toml:7:3: `server.head_timeout_s` must be from 1 to 31622400 (seconds), is 0",
            "config.toml:8:1: `server.body_timeout_s` must be from 1 to 31622400 (seconds), is -5",
            "config.toml:9:1: `server.acceptors` must be a whole number, is a text in quotes",
            "config.toml:11:2: unknown section [lgo]; did you mean `log`?",
            "config.toml:15:1: `log.durability` must be one of \"fsync\", \"interval\", \"os\", is \"fsnyc\"; \
             did you mean `fsync`?",
            "config.toml:16:1: `log.budget_bytes` = 1 must be 0 (no limit) or at least 268435456",
            "config.toml:20:1: `limits.body_bytes_max` = 10 must not be smaller than limits.event_bytes_max = 100",
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_place_and_the_rest_is_read_all_the_same() {
    let found = mistakes("data_dir = \"x\"\nlog_level = info\n[server]\nlistne = \"x\"\nhead_timeout_s = 0\n");
    assert_mistakes(
        &found,
        &["config.toml:2:", "config.toml:4:1: unknown key `server.listne`", "config.toml:5:1: `server.head_timeout_s`"],
    );
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_and_not_the_defaults() {
    let (_, mistakes) = Sources::new(Some(Path::new("/nowhere/config.toml")), std::iter::empty()).read();
    let text = mistakes.first().unwrap().to_string();
    assert!(text.starts_with("/nowhere/config.toml: cannot be read: "), "{text}");
}

#[test]
fn each_layer_goes_before_the_one_below_and_says_so() {
    let (loaded, wrong) = read_with(
        "log_level = \"warn\"\n[log]\nhold_s = 5\ngroup_events_max = 6\n",
        &[("INGESTD_LOG_HOLD_S", "7"), ("LOG_LEVEL", "debug"), ("HOME", "/")],
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    let config = loaded.config();
    assert_eq!((config.log.hold_s, config.log.group_events_max, config.log_level.as_str()), (7, 6, "debug"));
    assert_eq!(loaded.origin("log.hold_s"), Origin::Variable("INGESTD_LOG_HOLD_S".into()));
    assert!(loaded.origin("log.group_events_max").to_string().ends_with("config.toml:4:1"));
    assert_eq!(loaded.origin("log_level"), Origin::Variable("LOG_LEVEL".into()));
    assert_eq!(loaded.origin("dedup.window_s"), Origin::Default);
    let flagged = Sources::new(None, [("INGESTD_DATA_DIR".to_owned(), "variable".to_owned())].into_iter());
    let loaded = flagged.flag("--data-dir", "data_dir", "flag").load().unwrap();
    assert_eq!(loaded.config().data_dir, Path::new("flag"));
    assert_eq!(loaded.origin("data_dir"), Origin::Flag("--data-dir"));
}

#[test]
fn aliases_give_way_to_our_own_variables() {
    let (loaded, wrong) = read_with("", &[("INGESTD_LOG_LEVEL", "warn"), ("LOG_LEVEL", "debug"), ("PORT", "8080")]);
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(loaded.config().log_level, "warn");
    assert_eq!(loaded.config().server.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn wrong_variables_are_all_told_with_the_nearest() {
    let (_, found) = read_with(
        "",
        &[
            ("INGESTD_LOG_HOLDS", "7"),
            ("INGESTD_LOG_GROUP_EVENTS_MAX", "many"),
            ("INGESTD_KAFKA_OPTIONS", "x"),
            ("INGESTD_SERVICE_HOST", "10.0.0.1"),
            ("INGESTD_PORT", "tcp://10.0.0.1:3001"),
            ("INGESTD_BIN", "/bin/true"),
            ("INGESTD_BOOT_ID", "x"),
            ("PORT", "none"),
        ],
    );
    assert_mistakes(
        &found,
        &[
            "environment variable PORT: `none` is no port",
            "environment variable INGESTD_LOG_HOLDS: unknown variable; did you mean `INGESTD_LOG_HOLD_S`?",
            "environment variable INGESTD_LOG_GROUP_EVENTS_MAX: `many` is no whole number",
            "environment variable INGESTD_KAFKA_OPTIONS: kafka.options can only be set in the file",
        ],
    );
}

#[test]
fn what_could_not_work_is_refused() {
    for (text, wanted) in [
        ("data_dir = \"\"", "`data_dir` is empty"),
        ("log_level = \"verbose\"", "`log_level` = \"verbose\": `verbose` is none of"),
        ("log_level = \"bogus=[\"", "`log_level`"),
        ("server = 3", "`server` is a section: write [server]"),
        ("[server]\nlisten = \"localhost\"", "`server.listen` = \"localhost\": invalid socket address"),
        ("[server]\nlisten = \"0.0.0.0:3001\"", "`server.listen` = \"0.0.0.0:3001\" is reachable from outside"),
        ("[server]\nhead_timeout_s = 9223372036854775807", "`server.head_timeout_s`"),
        (
            "[auth]\nintake = \"keys\"",
            "`auth.intake` must be one of \"none\", \"key\", \"jwt\", \"any\", is \"keys\"; did you mean",
        ),
        ("[auth]\nread = \"jwt\"\nissuer = \"i\"\naudience = \"a\"", "`auth.jwks_files` is empty, and so is"),
        (
            "[auth]\nread = \"any\"\njwks_files = [\"f\"]\naudience = \"a\"",
            "`auth.issuer` is empty, and JWTs are taken",
        ),
        ("[auth]\nintake = \"jwt\"\njwks_files = [\"f\"]\nissuer = \"i\"", "`auth.audience` is empty"),
        ("[auth]\nleeway_s = 3601", "`auth.leeway_s` must be from 0 to 3600"),
        ("[limits]\ndepth_max = 1001", "`limits.depth_max` must be from 1 to 1000"),
        ("[limits]\nid_bytes_max = 8193", "`limits.id_bytes_max` must be from 1 to 8192"),
        ("[limits]\ninflight_bytes_max = 9000000", "`limits.inflight_bytes_max` = 9000000 must be at least twice"),
        ("[server]\ntrusted_proxies = [\"10.0.0.0/33\"]", "`server.trusted_proxies`: \"10.0.0.0/33\" is neither"),
        ("[server]\ntrusted_proxies = [1]", "`server.trusted_proxies`"),
        ("[server]\nproxy_protocol = true", "`server.proxy_protocol` = true closes every connection"),
        ("[server]\nipv6_prefix_bits = 129", "`server.ipv6_prefix_bits` must be from 1 to 128"),
        ("[limits]\naddress_share_percent = 0", "`limits.address_share_percent` must be from 1 to 100"),
        ("[rate_limits]\nburst_s = 0", "`rate_limits.burst_s` must be from 1"),
        ("[rate_limits]\naddresses_max = 10", "`rate_limits.addresses_max` must be from 1024"),
        ("[cors]\nallowed_origins = [\"shop.example\"]", "`cors.allowed_origins`: \"shop.example\" is no origin"),
        ("[cors]\nallow_credentials = true", "`cors.allow_credentials` = true for every origin"),
        ("[log]\nsync_interval_ms = 0", "`log.sync_interval_ms`"),
        ("[dedup]\nwindow_s = 0", "`dedup.window_s`"),
        ("[parquet]\nroll_s = 0", "`parquet.roll_s`"),
        ("[parquet]\nkeep_days = 36601", "`parquet.keep_days` must be from 0 to 36600"),
        ("[parquet]\nkeep_bytes = 1000", "`parquet.keep_bytes` = 1000 must be 0 (files are kept) or at least"),
        ("[clickhouse]\nurls = [1]", "`clickhouse.urls`"),
        ("[clickhouse]\nenabled = true\nurls = []", "`clickhouse.urls`: urls: name at least one"),
        ("[clickhouse]\nenabled = true\ndatabase = \"a-b\"", "`clickhouse.database`"),
        ("[clickhouse]\ndistributed_suffix = \"_all\"", "`clickhouse.distributed_suffix` is set, and without"),
        (
            "[clickhouse]\nenabled = true\ncluster = \"c\"\ndistributed_suffix = \"-all\"",
            "`clickhouse.distributed_suffix`: distributed_suffix: \"-all\" is not a name",
        ),
        ("[kafka]\nreplication = 0", "`kafka.replication`"),
        ("[kafka]\nbatch_age_ms = 60000", "`kafka.transaction_timeout_ms` = 60000 must be more"),
        ("[kafka]\nenabled = true\nbootstrap_servers = \"\"", "`kafka.bootstrap_servers`"),
        ("[kafka]\nenabled = true\ntopic_prefix = \"a b\"", "`kafka.topic_prefix`"),
        ("[kafka]\nenabled = true\n[kafka.options]\nacks = \"1\"", "`kafka.options`: option acks is set by the sink"),
        (
            "[kafka]\nenabled = true\n[kafka.options]\n\"plugin.library.paths\" = \"/nowhere/plugin.so\"",
            "`kafka.options`: option plugin.library.paths would load foreign code",
        ),
        (
            "[kafka]\nenabled = true\n[kafka.option_files]\n\"plugin.library.paths\" = \"f\"",
            "`kafka.option_files`: option plugin.library.paths would load foreign code",
        ),
        (
            "[kafka]\nenabled = true\n[kafka.options]\n\"sasl.pasword\" = \"hunter2\"",
            "`kafka.options`: option sasl.pasword is none of librdkafka's",
        ),
        (
            "[kafka]\nenabled = true\n[kafka.options]\n\"security.protocol\" = \"hunter2\"",
            "`kafka.options`: option security.protocol: Invalid value (not shown)",
        ),
        (
            "[kafka]\nenabled = true\n[kafka.option_files]\n\"sasl.pasword\" = \"f\"\n\"security.protocol\" = \"f\"",
            "`kafka.option_files`: option sasl.pasword is none of librdkafka's",
        ),
        ("log_format = \"jason\"", "`log_format` must be one of \"auto\", \"text\", \"json\", \"journald\""),
        ("[traces]\nendpoint = \"127.0.0.1:4318\"", "`traces.endpoint` "),
        ("[traces]\nendpoint = \"https://collector\"", "`traces.endpoint` has https"),
        ("[traces]\nendpoint = \"https://me:hunter2@collector\"", "`traces.endpoint` has a user or a password"),
        ("[alerts]\nwebhook_url = \"http://me:hunter2@hook\"", "`alerts.webhook_url` has a user or a password"),
        ("[traces]\nsample_ratio = 1.5", "`traces.sample_ratio` must be from 0.0 to 1.0, is 1.5"),
        ("[alerts]\nwebhook_url = \"hook\"", "`alerts.webhook_url` must begin with http://"),
        ("[alerts]\nsink_lag_s = 0", "`alerts.sink_lag_s` must be from 1"),
        ("[kafka.options]\nsecurity.protocol = \"ssl\"", "`kafka.options.security` is a table: a name with dots"),
        ("[kafka.options]\n\"linger.ms\" = 5", "`kafka.options.linger.ms` must be a text in quotes"),
    ] {
        let found = mistakes(text);
        let place = found.first().unwrap_or_else(|| panic!("{text} is taken"));
        let (_, what) = place.split_once(": ").unwrap();
        assert!(found.len() == 1 && what.starts_with(wanted), "{text}: {found:?}");
    }
    for level in ["off", "WARN", "debug", "info,hyper=warn", "ingestd::commit=trace"] {
        assert!(mistakes(&format!("log_level = \"{level}\"")).is_empty(), "{level}");
    }
    assert!(mistakes("[server]\nlisten = \"0.0.0.0:3001\"\n[auth]\nintake = \"key\"\n").is_empty());
    assert!(mistakes("[server]\nlisten = \"0.0.0.0:3001\"\nallow_unauthenticated = true\n").is_empty());
}

#[test]
fn every_option_of_kafka_that_is_not_taken_is_told() {
    let options = "\"aa.bb\" = \"x\"\nacks = \"1\"\n\"linger.ms\" = \"5\"\n\"security.protocol\" = \"zz\"";
    let found = mistakes(&format!("[kafka]\nenabled = true\n[kafka.options]\n{options}"));
    let wanted = ["aa.bb is none of", "acks is set by", "security.protocol: Invalid value"];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.contains(&format!("`kafka.options`: option {wanted}")), "{found:?}");
    }
}

#[test]
fn what_is_said_of_a_cluster_reaches_the_client_of_clickhouse() {
    let cluster = |text: &str| {
        let (loaded, found) = read_with(&format!("[clickhouse]\nenabled = true\n{text}"), &[]);
        assert!(found.is_empty(), "{found:?}");
        loaded.config().clickhouse.client().unwrap().cluster.map(|cluster| (cluster.name, cluster.distributed_suffix))
    };
    assert_eq!(cluster(""), None);
    assert_eq!(cluster("cluster = \"{cluster}\"\n"), Some(("{cluster}".into(), None)));
    assert_eq!(
        cluster("cluster = \"shards\"\ndistributed_suffix = \"_all\"\n"),
        Some(("shards".into(), Some("_all".into())))
    );
}

#[test]
fn secrets_are_neither_shown_nor_repeated_in_complaints() {
    let text = "[clickhouse]\nenabled = true\nurls = [\"http://me:hunter2@db:8123\"]\n[kafka.options]\n\
                \"sasl.password\" = \"hunter2\"\n\"ssl.key.pem\" = \"hunter2\"\n\"linger.ms\" = \"5\"\n\
                [alerts]\nwebhook_url = \"http://hooks:80/services/hunter2?key=hunter2\"\n";
    let (loaded, found) = read_with(text, &[]);
    assert_mistakes(&found, &["config.toml:3:1: `clickhouse.urls`: user and password have keys of their own"]);
    let settings = loaded.settings();
    let told = settings_text(&settings) + &settings_json(&settings).to_string() + &found.join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("kafka.options.\"linger.ms\" = \"5\""), "{told}");
    assert!(told.contains("alerts.webhook_url = \"http://hooks:80/(secret)\""), "{told}");
}

#[test]
fn what_others_have_said_does_not_steer_the_terminal_of_who_reads_it() {
    let text = "refused: \u{1b}[2J\u{9b}\u{202e}\r\nfine".to_owned();
    let finding = Finding { about: "clickhouse", level: Level::Error, text: text.clone() };
    let mistake = Mistake { origin: Origin::Default, key: None, what: text, nearest: None };
    for said in [finding.to_string(), mistake.to_string()] {
        assert!(said.contains("refused: ") && !said.contains(crate::control::steers), "{said:?}");
    }
}

#[test]
fn passwords_in_addresses_are_not_repeated_in_complaints() {
    for (text, key) in [
        ("[traces]\nendpoint = \"https://me:hunter2@collector:4318\"", "traces.endpoint"),
        ("[traces]\nendpoint = \"me:hunter2@collector:4318\"", "traces.endpoint"),
        ("[alerts]\nwebhook_url = \"http://me:hunter2@hooks/x\"", "alerts.webhook_url"),
        ("[server]\nlisten = \"http://me:hunter2@127.0.0.1:3001\"", "server.listen"),
        ("[server]\nadmin_listen = \"me:hunter2@127.0.0.1:3001\"", "server.admin_listen"),
        ("[server]\nlisten = \"me:hun\\u0007hunter2@127.0.0.1:3001\"", "server.listen"),
        ("[server]\ntrusted_proxies = [\"http://me:hunter2@10.0.0.1\"]", "server.trusted_proxies"),
        ("[cors]\nallowed_origins = [\"https://me:hunter2@shop\"]", "cors.allowed_origins"),
        ("log_level = \"me:hunter2@x=loud\"", "log_level"),
        ("log_format = \"me:hunter2@text\"", "log_format"),
        ("[clickhouse]\nenabled = true\nurls = [\"http://db:8123/?user=me&password=hunter2\"]", "clickhouse.urls"),
        ("[clickhouse]\nurls = [\"http://db?hunter2\"]", "clickhouse.urls"),
        ("[clickhouse]\nenabled = true\ndatabase = \"me:hunter2@db\"", "clickhouse.database"),
        ("[kafka]\nenabled = true\nbootstrap_servers = \"me:hunter2@k:9092\"", "kafka.bootstrap_servers"),
        ("[kafka]\nbootstrap_servers = \"SASL://me:hunter2@k:9092\"", "kafka.bootstrap_servers"),
        ("[kafka]\nenabled = true\ntopic_prefix = \"me:hunter2@k\"", "kafka.topic_prefix"),
    ] {
        let found = mistakes(text);
        assert!(found.len() == 1 && found[0].contains(key) && !found[0].contains("hunter2"), "{text}: {found:?}");
    }
    for variable in ["PORT", "INGESTD_SERVER_CONNECTIONS_MAX", "INGESTD_TRACES_SAMPLE_RATIO", "INGESTD_KAFKA_ENABLED"] {
        let (_, found) = read_with("", &[(variable, "me:hunter2@x")]);
        assert!(found.len() == 1 && found[0].contains(variable) && !found[0].contains("hunter2"), "{found:?}");
    }
    // Where there is none, it is shown which value was meant.
    assert!(mistakes("[server]\nlisten = \"localhost\"")[0].contains("\"localhost\""));
}

#[test]
fn a_reload_takes_what_is_hot_names_what_is_not_and_changes_nothing_for_a_bad_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("[log]\nhold_s = 5\ngroup_events_max = 6\n");
    let running = Sources::new(Some(&path), std::iter::empty()).load().unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    let reloader = Reloader::new(running, move |config| {
        if config.log.hold_s == 7 {
            return Err(Unusable { key: "log.hold_s", what: "seven cannot be used".into() });
        }
        let (told, config) = (told.clone(), config.clone());
        Ok(Box::new(move || told.send(config).unwrap()))
    });
    let names = |changes: &[Change]| changes.iter().map(|change| change.key.name).collect::<Vec<_>>();

    write("[log]\nhold_s = 50\ngroup_events_max = 60\n");
    assert_eq!(names(&reloader.look().unwrap().changed), ["log.hold_s"]);
    assert!(hears.try_recv().is_err(), "to look changes nothing");
    let reloaded = reloader.reload().unwrap();
    assert_eq!(
        (names(&reloaded.changed), names(&reloaded.restart)),
        (vec!["log.hold_s"], vec!["log.group_events_max"])
    );
    let taken = hears.try_recv().unwrap();
    assert_eq!((taken.log.hold_s, taken.log.group_events_max), (50, 6));

    write("[log]\nhold_s = 500\n[server]\nlistne = 1\n");
    let mistakes = reloader.reload().err().unwrap().to_string();
    assert!(mistakes.contains("config.toml:4:1: unknown key `server.listne`"), "{mistakes}");
    assert!(hears.try_recv().is_err());
    let settings = reloader.settings();
    let hold = settings.as_array().unwrap().iter().find(|setting| setting["key"] == "log.hold_s").unwrap();
    assert_eq!((&hold["value"], &hold["line"]), (&50.into(), &2.into()));

    // What is named but cannot be used is a mistake, too, with its place.
    write("[log]\nhold_s = 7\n");
    for mistakes in [reloader.look().err().unwrap(), reloader.reload().err().unwrap()] {
        assert!(mistakes.to_string().contains("config.toml:2:1: `log.hold_s`: seven cannot be used"), "{mistakes}");
    }
    assert!(hears.try_recv().is_err());

    // What waits for a restart is named until it comes, or is taken back.
    write("[log]\nhold_s = 50\ngroup_events_max = 60\n");
    assert_eq!(names(&reloader.reload().unwrap().restart), ["log.group_events_max"]);
    write("[log]\nhold_s = 50\ngroup_events_max = 6\n");
    let reloaded = reloader.reload().unwrap();
    assert!(reloaded.changed.is_empty() && reloaded.restart.is_empty());
}
