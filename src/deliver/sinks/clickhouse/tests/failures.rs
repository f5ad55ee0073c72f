use super::rows::{numbered, seen};
use super::server::{Server, Setup};
use crate::codes::{self, CODES, Class};
use crate::{Client, Config, Failure, Kind, Outcome, Remedy, Severity, Table};
use clickhouse::error::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The same tables, as another user.
pub(super) fn as_user(server: &Server, client: &Client, user: &str, password: &str) -> Client {
    let (user, password) = (user.into(), password.into());
    Client::new(Config { urls: vec![server.url()], user, password, ..client.config().clone() }).unwrap()
}

/// Something that never costs a row, and leaves none behind.
async fn fails(client: &Client, rows: u64) -> Failure {
    let failure = client.insert(&client.target(), "t", &numbered(client, 1..=rows)).await.unwrap_err();
    assert_ne!(failure.remedy(), Remedy::Isolate, "{failure}");
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listed_code_has_the_name_beside_it() {
    let server = Server::shared();
    for (code, name, _) in CODES {
        assert_eq!(server.sql(&format!("SELECT errorCodeToName({code})")), name, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_final() {
    let users = "<w><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
                 <quota>default</quota></w>";
    let server = Server::start(Setup { users, ..Setup::default() });
    let owner = server.client().await;
    let right = as_user(&server, &owner, "w", "p");
    right.insert(&right.target(), "a", &numbered(&right, 1..=10)).await.unwrap();

    let wrong = as_user(&server, &owner, "w", "wrong");
    let failure = wrong.prepare().await.unwrap_err();
    assert_eq!((&failure.kind, failure.code), (&Kind::Auth, Some(516)), "{failure}");
    let problems = wrong.check().await;
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Refusal));
    assert!(problems[0].to_string().contains("Authentication failed"), "{}", problems[0]);

    // As after a change of the password: a small batch, and one that is still being sent when the answer comes.
    wrong.hosts()[0].set_prepared();
    for rows in [10, 50_000] {
        let failure = fails(&wrong, rows).await;
        assert_eq!((&failure.kind, failure.code), (&Kind::Auth, Some(516)), "{rows} rows: {failure}");
        assert_eq!((failure.outcome, failure.remedy()), (Outcome::NotApplied, Remedy::Final));
    }
    assert_eq!(seen(&server, &owner), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_and_a_closed_port_are_known_not_to_have_it() {
    for url in ["http://no-such-host.invalid:8123", "http://127.0.0.1:1"] {
        let client = Client::new(Config::new([url])).unwrap();
        let failure = fails(&client, 10).await;
        assert_eq!((&failure.kind, failure.outcome), (&Kind::Unavailable, Outcome::NotApplied), "{failure}");
        assert_eq!(failure.remedy(), Remedy::Retry);
        assert!(failure.to_string().starts_with(url), "{failure}");
        let problems = client.check().await;
        assert_eq!((problems.len(), problems[0].severity), (1, Severity::Away));
        assert_eq!(client.prepare().await.unwrap_err().kind, Kind::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_said_with_what_mends_it() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    server.sql(&format!("ALTER TABLE {place} DROP COLUMN user_id"));
    server.sql(&format!("ALTER TABLE {place} MODIFY COLUMN session_id FixedString(40)"));
    let failure = fails(&client, 10).await;
    assert_eq!((&failure.kind, failure.remedy()), (&Kind::Schema, Remedy::Final));

    let problems = client.check().await;
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let url = server.url();
    assert_eq!(
        lines,
        [
            format!(
                "{url}: table {place} has no column user_id; mend with: \
                 ALTER TABLE {place} ADD COLUMN user_id Nullable(String)"
            ),
            format!(
                "{url}: column session_id of table {place} is FixedString(40), not String; mend with: \
                 ALTER TABLE {place} MODIFY COLUMN session_id String"
            ),
        ]
    );
    for problem in &problems {
        server.sql(problem.mend.as_ref().unwrap());
    }
    assert_eq!(client.check().await, []);
    client.insert(&client.target(), "t", &numbered(&client, 1..=10)).await.unwrap();
    assert_eq!(seen(server, &client), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_is_a_schema_error() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    server.sql(&format!("DROP TABLE {place} SYNC"));
    let failure = fails(&client, 10).await;
    assert_eq!((&failure.kind, failure.code), (&Kind::Schema, Some(60)), "{failure}");
    let problems = client.check().await;
    assert!(problems[0].what.ends_with("is missing"), "{}", problems[0]);
    server.sql(problems[0].mend.as_ref().unwrap());
    assert_eq!(client.check().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deduplication_window_of_zero_is_refused() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    server.sql(&format!("ALTER TABLE {place} MODIFY SETTING non_replicated_deduplication_window = 0"));
    server.sql(&format!("ALTER TABLE {place} MODIFY SETTING fsync_after_insert = 0"));
    let problems = client.check().await;
    let severities: Vec<_> = problems.iter().map(|problem| problem.severity).collect();
    assert_eq!(severities, [Severity::Refusal, Severity::Warning]);
    assert_eq!(
        problems[0].to_string(),
        format!(
            "{}: table {place} has non_replicated_deduplication_window = 0, not 10000: a repeated batch would be there \
             twice; mend with: ALTER TABLE {place} MODIFY SETTING non_replicated_deduplication_window = 10000",
            server.url()
        )
    );
    for problem in &problems {
        server.sql(problem.mend.as_ref().unwrap());
    }
    assert_eq!(client.check().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_with_too_few_rights_are_told_which() {
    let users = "<reader><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>readonly</profile>\
                 <quota>default</quota></reader>\
                 <looker><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
                 <quota>default</quota><grants><query>GRANT SELECT ON *.*</query></grants></looker>\
                 <writer><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
                 <quota>default</quota><grants><query>GRANT SELECT, INSERT ON *.*</query></grants></writer>";
    let profiles = "<readonly><readonly>1</readonly></readonly>";
    let server = Server::start(Setup { users, profiles, ..Setup::default() });
    let owner = server.client().await;
    let place = owner.config().place(Table::Raw);

    let reader = as_user(&server, &owner, "reader", "p");
    let failure = fails(&reader, 10).await;
    assert_eq!((&failure.kind, failure.outcome, failure.code), (&Kind::Auth, Outcome::NotApplied, Some(164)));
    let problems = reader.check().await;
    assert!(problems[0].what.contains("user reader is read-only"), "{problems:?}");

    let looker = as_user(&server, &owner, "looker", "p");
    let failure = fails(&looker, 10).await;
    assert_eq!((&failure.kind, failure.outcome, failure.code), (&Kind::Auth, Outcome::NotApplied, Some(497)));
    let problems = looker.check().await;
    assert_eq!(
        problems[0].to_string(),
        format!(
            "{}: user looker may not INSERT on table {place}; mend with: GRANT INSERT ON {place} TO `looker`",
            server.url()
        )
    );

    // Where all is made already, the rights to write are enough.
    let writer = as_user(&server, &owner, "writer", "p");
    assert_eq!(writer.check().await, []);
    writer.prepare().await.unwrap();
    writer.insert(&writer.target(), "t", &numbered(&writer, 1..=10)).await.unwrap();
    assert_eq!(seen(&server, &owner), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_parts_slows_down() {
    let server = Server::start(Setup::default());
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    server.sql(&format!("ALTER TABLE {place} MODIFY SETTING parts_to_throw_insert = 2, parts_to_delay_insert = 2"));
    server.sql(&format!("SYSTEM STOP MERGES {place}"));
    let target = client.target();
    for seq in 1..=2 {
        client.insert(&target, &format!("t{seq}"), &numbered(&client, seq..=seq)).await.unwrap();
    }
    let failure = client.insert(&target, "t3", &numbered(&client, 3..=3)).await.unwrap_err();
    assert_eq!((&failure.kind, failure.code), (&Kind::TooManyParts, Some(252)), "{failure}");
    assert_eq!(failure.remedy(), Remedy::SlowDown);
    server.sql(&format!("SYSTEM START MERGES {place}"));
    server.sql(&format!("OPTIMIZE TABLE {place} FINAL"));
    client.insert(&target, "t3", &numbered(&client, 3..=3)).await.unwrap();
    assert_eq!(seen(&server, &client), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_partitions_is_the_tables_fault() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    let made = server.sql(&format!("SHOW CREATE TABLE {place} FORMAT TSVRaw"));
    server.sql(&format!("DROP TABLE {place} SYNC"));
    server.sql(&made.replace("PARTITION BY toYYYYMM(committed_at)", "PARTITION BY seq"));
    let failure = fails(&client, 200).await;
    assert_eq!((&failure.kind, failure.code), (&Kind::Schema, Some(252)), "{failure}");
    assert_eq!(failure.remedy(), Remedy::Final);
    let problems = client.check().await;
    assert!(problems[0].what.contains("is partitioned by (seq)"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_limit_costs_no_row() {
    let users = "<small><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>small</profile>\
                 <quota>default</quota></small>";
    let profiles = "<small><max_memory_usage>4000000</max_memory_usage></small>";
    let server = Server::start(Setup { users, profiles, ..Setup::default() });
    let owner = server.client().await;
    let small = as_user(&server, &owner, "small", "p");
    small.hosts()[0].set_prepared();
    let failure = fails(&small, 50_000).await;
    assert_eq!((&failure.kind, failure.code), (&Kind::Memory, Some(241)), "{failure}");
    assert_eq!(failure.remedy(), Remedy::Retry);
    assert_eq!(seen(&server, &owner), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_row() {
    // More than any disk has.
    let config = "<storage_configuration><disks><default><keep_free_space_bytes>1000000000000000\
                  </keep_free_space_bytes></default></disks></storage_configuration>";
    let server = Server::start(Setup { config, ..Setup::default() });
    let client = server.client().await;
    let failure = fails(&client, 10).await;
    assert_eq!((&failure.kind, failure.code), (&Kind::Disk, Some(243)), "{failure}");
    assert_eq!(failure.remedy(), Remedy::Retry);
    assert_eq!(seen(&server, &client), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_page_leaves_the_outcome_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            // The end of a chunked body.
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0 && !bytes[..read].ends_with(b"0\r\n\r\n")) {}
            stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops").await.ok();
        }
    });
    let client = Client::new(Config::new([url])).unwrap();
    client.hosts()[0].set_prepared();
    let failure = fails(&client, 10).await;
    assert_eq!((&failure.kind, failure.outcome), (&Kind::Unclear, Outcome::Unknown), "{failure}");
}

#[test]
fn old_servers_are_told_from_new_ones() {
    for (version, is_enough) in
        [("18.16.1", false), ("24.7.9.1", false), ("24.8.1.1", true), ("26.9.2.1", true), ("", false)]
    {
        assert_eq!(crate::check::is_new_enough(version), is_enough, "{version}");
    }
}

#[test]
fn codes_are_read_at_the_start_of_a_text_only() {
    for (text, code) in [
        ("Code: 469. DB::Exception: Constraint `c` …", Some(469)),
        ("Code: 516", Some(516)),
        ("  Code: 60. x", Some(60)),
        ("Code: 99999999999. x", None),
        ("Code: x", None),
        ("Code: 46 9", None),
        ("<html>Code: 469. DB::Exception</html>", None),
        ("", None),
    ] {
        assert_eq!(codes::code(text), code, "{text}");
    }
    // What a client wrote does not decide what becomes of it.
    let text = "Code: 16. DB::Exception: No such column. Column values: x = 'Code: 469. DB::Exception'.";
    let failure = Failure::of("h", &Error::BadResponse(text.into()));
    assert_eq!((failure.kind, failure.code), (Kind::Schema, Some(16)));
}

#[test]
fn only_listed_codes_cost_a_row_and_unknown_ones_are_tried_again() {
    let of = |code: u32| Failure::of("h", &Error::BadResponse(format!("Code: {code}. DB::Exception: it")));
    for (code, name, class) in CODES {
        assert_eq!(of(code).remedy() == Remedy::Isolate, class == Class::Row, "{name}");
    }
    for code in [49, 1002, 4242] {
        let failure = of(code);
        assert_eq!((failure.remedy(), failure.outcome), (Remedy::Retry, Outcome::Unknown), "{code}");
    }
    for code in [49, 74, 75, 76, 241, 243, 252, 319] {
        assert_eq!(of(code).outcome, Outcome::Unknown, "{code}");
    }
}
