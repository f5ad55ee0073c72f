use super::proxy::Proxy;
use super::rows::{numbered, seen};
use super::server::{Server, until};
use crate::{Client, Cluster, Config, Kind, Outcome, Remedy, Settled, Target};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_kill_9_of_the_server() {
    let mut server = Server::plain();
    let client = server.client().await;
    let target = client.target();
    let (first, second) = (numbered(&client, 1..=5000), numbered(&client, 5001..=6000));
    client.insert(&target, "a", &first).await.unwrap();
    server.kill();
    let failure = client.insert(&target, "b", &second).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Retry);
    server.start_again();
    client.insert(&target, "a", &first).await.unwrap();
    client.insert(&target, "b", &second).await.unwrap();
    client.insert(&target, "b", &second).await.unwrap();
    assert_eq!(seen(&server, &client), (6000, 6000));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_batch_leaves_all_or_nothing() {
    let mut server = Server::plain();
    let mut config = server.config();
    config.batch_rows_max = 400_000;
    let client = Client::new(config).unwrap();
    client.prepare().await.unwrap();
    let batch = numbered(&client, 1..=200_000);
    let target = client.target();
    let place = client.config().place(crate::Table::Raw);
    let mut whole = 0;
    for (round, pieces) in (0..4).map(|round| (round, 1 + round * 4)) {
        let token = format!("t{round}");
        // The server dies at another moment of the insert each time.
        let (result, ()) = tokio::join!(client.insert(&target, &token, &batch), async {
            for _ in 0..pieces {
                tokio::task::yield_now().await;
            }
            server.kill();
        });
        if let Err(failure) = &result {
            assert_eq!(failure.remedy(), Remedy::Retry, "{failure}");
        }
        server.start_again();
        let rows = server.number(&format!("SELECT count() FROM {place}"));
        assert!(rows == whole || rows == whole + 200_000, "a part of a batch is there: {rows}");
        client.insert(&target, &token, &batch).await.unwrap();
        whole += 200_000;
        assert_eq!(server.number(&format!("SELECT count() FROM {place}")), whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_does_no_harm() {
    let server = Server::shared();
    let proxy = Proxy::before(server.port()).await;
    let client = Client::new(Config { urls: vec![proxy.url()], ..server.config() }).unwrap();
    client.prepare().await.unwrap();
    let target = client.target();
    let batch = numbered(&client, 1..=20_000);
    proxy.set_cutting(true);
    for attempt in 1..=3 {
        let failure = client.insert(&target, "t", &batch).await.unwrap_err();
        assert_eq!((&failure.kind, failure.outcome), (&Kind::Unclear, Outcome::Unknown), "{failure}");
        assert_eq!(proxy.cut(), attempt);
    }
    assert_eq!(seen(server, &client), (20_000, 20_000), "it was applied all the same");
    proxy.set_cutting(false);
    client.insert(&target, "t", &batch).await.unwrap();
    assert_eq!(client.settle(&target, "t", &batch).await.unwrap(), Settled::Whole);
    assert_eq!(seen(server, &client), (20_000, 20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up_and_dropped_later() {
    let server = Server::plain();
    let client = server.client().await;
    // On a busy machine a server that does not hang may take longer than that.
    let answer_timeout = std::time::Duration::from_secs(1);
    let impatient = Client::new(Config { answer_timeout, ..client.config().clone() }).unwrap();
    impatient.hosts()[0].set_prepared();
    let (target, batch) = (client.target(), numbered(&client, 1..=1000));
    server.signal("STOP");
    let failure = impatient.insert(&target, "t", &batch).await.unwrap_err();
    assert_eq!((&failure.kind, failure.outcome), (&Kind::Unclear, Outcome::Unknown), "{failure}");
    server.signal("CONT");
    // Whether the first one still goes through or not: under one token there is one.
    until("an insert", async || client.insert(&target, "t", &batch).await.is_ok()).await;
    until("an end of the first one", async || {
        server.number("SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'") == 0
    })
    .await;
    assert_eq!(seen(&server, &client), (1000, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_is_settled() {
    let server = Server::shared();
    let client = server.client().await;
    let target = client.target();
    let batch = numbered(&client, 1..=100);
    assert_eq!(client.settle(&target, "t", &batch).await.unwrap(), Settled::Inserted);
    assert_eq!(client.settle(&target, "t", &batch).await.unwrap(), Settled::Whole);
    // The table has forgotten the token, and has some of the rows only.
    let place = client.config().place(crate::Table::Raw);
    server.sql(&format!("DELETE FROM {place} WHERE seq IN (7, 50, 51, 100)"));
    assert_eq!(client.settle(&target, "forgotten", &batch).await.unwrap(), Settled::Completed(vec![]));
    assert_eq!(seen(server, &client), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_batches_go_to_the_next_server_and_unfinished_ones_stay() {
    let (mut first, second) = (Server::plain(), Server::plain());
    let client = Client::new(Config { urls: vec![first.url(), second.url()], ..first.config() }).unwrap();
    client.prepare().await.unwrap();
    let here = client.target();
    assert_eq!(here, Target::Host(first.url()));
    client.insert(&here, "a", &numbered(&client, 1..=10)).await.unwrap();

    first.kill();
    let pinned = numbered(&client, 11..=20);
    let failure = client.insert(&here, "b", &pinned).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Retry);
    let there = client.target();
    assert_eq!(there, Target::Host(second.url()), "the next batch goes elsewhere");
    client.insert(&there, "c", &numbered(&client, 21..=30)).await.unwrap();
    assert!(client.insert(&here, "b", &pinned).await.is_err(), "the pinned one waits");

    first.start_again();
    client.insert(&here, "b", &pinned).await.unwrap();
    assert_eq!(seen(&first, &client), (20, 20));
    assert_eq!(seen(&second, &client), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_any_server_will_do() {
    let (mut first, second) = (Server::plain(), Server::plain());
    let config = Config { urls: vec![first.url(), second.url()], ..first.config() };
    // No Keeper is at hand: plain tables, made beforehand, stand where the replicated ones would.
    Client::new(config.clone()).unwrap().prepare().await.unwrap();
    let client = Client::new(Config { cluster: Some(Cluster::new("c")), ..config }).unwrap();
    client.hosts().iter().for_each(|host| host.set_prepared());
    assert_eq!(client.target(), Target::Any);
    first.kill();
    client.insert(&Target::Any, "a", &numbered(&client, 1..=10)).await.unwrap();
    assert_eq!(seen(&second, &client), (10, 10));
    client.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_leaves_open_another_does_not_settle() {
    let server = Server::shared();
    let proxy = Proxy::before(server.port()).await;
    let config = Config { urls: vec![proxy.url(), "http://127.0.0.1:1".into()], ..server.config() };
    let made = Client::new(Config { urls: vec![server.url()], ..config.clone() }).unwrap();
    made.prepare().await.unwrap();
    let client = Client::new(Config { cluster: Some(Cluster::new("c")), ..config }).unwrap();
    client.hosts().iter().for_each(|host| host.set_prepared());
    proxy.set_cutting(true);
    let failure = client.insert(&Target::Any, "a", &numbered(&client, 1..=10)).await.unwrap_err();
    assert_eq!((&failure.kind, failure.outcome), (&Kind::Unavailable, Outcome::Unknown), "{failure}");
    assert_eq!(seen(server, &client), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_is_prepared_when_it_is_needed() {
    let (mut first, mut second) = (Server::plain(), Server::plain());
    let client = Client::new(Config { urls: vec![first.url(), second.url()], ..first.config() }).unwrap();
    second.kill();
    client.prepare().await.unwrap();
    first.kill();
    second.start_again();
    client.ping().await.unwrap_err();
    let there = client.target();
    assert_eq!(there, Target::Host(second.url()));
    client.insert(&there, "a", &numbered(&client, 1..=10)).await.unwrap();
    assert_eq!(seen(&second, &client), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_is_looked_at_before_it_gets_a_row() {
    let server = Server::shared();
    let owner = server.client().await;
    let place = owner.config().place(crate::Table::Errors);
    server.sql(&format!("ALTER TABLE {place} MODIFY SETTING non_replicated_deduplication_window = 0"));
    let client = Client::new(owner.config().clone()).unwrap();
    let failure = client.insert(&client.target(), "a", &numbered(&client, 1..=10)).await.unwrap_err();
    assert_eq!((failure.remedy(), failure.outcome), (Remedy::Final, Outcome::NotApplied), "{failure}");
    assert!(failure.message.contains("mend with: ALTER TABLE"), "{failure}");
    assert_eq!(seen(server, &client), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_longer_named_is_not_forgotten() {
    let server = Server::shared();
    let client = server.client().await;
    let target = Target::Host("http://gone:8123".into());
    let failure = client.insert(&target, "a", &numbered(&client, 1..=10)).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Final);
    assert!(failure.to_string().contains("http://gone:8123"), "{failure}");
}
