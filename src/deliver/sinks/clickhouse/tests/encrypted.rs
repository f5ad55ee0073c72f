//! `https`: a real server behind something that ends TLS, as in front of most ClickHouses.

use super::rows::{numbered, seen};
use super::server::{Server, root};
use crate::{Client, Config, Kind, Outcome, SetupError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for 127.0.0.1 that nobody but itself has signed, for a hundred years.
fn fixture(name: &str) -> PathBuf {
    root().join("src/deliver/sinks/clickhouse/tests/fixtures").join(name)
}

/// Takes TLS connections to a server; returns the url.
async fn encrypt(server: &Server) -> String {
    let certificate = CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let port = server.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut upstream).await.ok();
            });
        }
    });
    url
}

fn trusting(server: &Server, url: &str, file: Option<&Path>) -> Config {
    Config { urls: vec![url.into()], certificates: file.map(Path::to_owned), ..server.config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_over_tls() {
    let server = Server::shared();
    let url = encrypt(server).await;
    let client = Client::new(trusting(server, &url, Some(&fixture("certificate.pem")))).unwrap();
    client.prepare().await.unwrap();
    client.insert(&client.target(), "t", &numbered(&client, 1..=5000)).await.unwrap();
    assert_eq!(seen(server, &client), (5000, 5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_gets_nothing() {
    let server = Server::shared();
    let url = encrypt(server).await;
    let client = Client::new(trusting(server, &url, None)).unwrap();
    let failure = client.insert(&client.target(), "t", &numbered(&client, 1..=10)).await.unwrap_err();
    assert_eq!((&failure.kind, failure.outcome), (&Kind::Unavailable, Outcome::NotApplied), "{failure}");
    assert!(failure.message.contains("certificate"), "{failure}");
}

#[test]
fn certificates_that_cannot_be_read_are_said() {
    for name in ["no-such.pem", "key.pem"] {
        let config = Config { certificates: Some(fixture(name)), ..Config::new(["https://h:8443"]) };
        let Err(error @ SetupError::Certificates { .. }) = Client::new(config) else { panic!("{name} is taken") };
        assert!(error.to_string().contains(name), "{error}");
    }
}
