use crate::backoff::retry_after;
use crate::batch::Batch;
use crate::plan::Tuning;
use crate::target::Target;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest answer that is read: more than 10,000 details of the longest messages need.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one request led to.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A whole answer.
    Answer { status: StatusCode, retry_after: Option<Duration>, body: Bytes },
    /// No whole answer.
    None {
        reason: String,
        /// The server may have read the request.
        unclear: bool,
    },
}

/// Posts events, over connections that are kept.
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Target,
    authorization: Option<HeaderValue>,
    single: bool,
    attempt_timeout: Duration,
}

impl Client {
    /// `trust` is wanted by an https target only.
    pub(crate) fn new(
        target: Target,
        trust: Option<ClientConfig>,
        authorization: Option<HeaderValue>,
        single: bool,
        tuning: &Tuning,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(tuning.connect_timeout));
        connector.set_nodelay(true);
        let connector = match trust {
            Some(trust) => HttpsConnectorBuilder::new()
                .with_tls_config(trust)
                .https_only()
                .enable_http1()
                .wrap_connector(connector),
            None => HttpsConnector::from((connector, Arc::new(nobody()))),
        };
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Client { http, target, authorization, single, attempt_timeout: tuning.attempt_timeout }
    }

    /// Sends `batch` once.
    pub(crate) async fn post(&self, batch: &Batch) -> Reply {
        match tokio::time::timeout(self.attempt_timeout, self.exchange(batch)).await {
            Ok(reply) => reply,
            Err(_) => {
                Reply::None { reason: format!("no answer within {} s", self.attempt_timeout.as_secs()), unclear: true }
            }
        }
    }

    async fn exchange(&self, batch: &Batch) -> Reply {
        let response = match self.http.request(self.request(batch)).await {
            Ok(response) => response,
            Err(error) => return Reply::None { reason: self.explain(&error), unclear: !error.is_connect() },
        };
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Reply::Answer { status, retry_after, body: body.to_bytes() },
            Err(error) => Reply::None { reason: causes(&*error), unclear: true },
        }
    }

    fn explain(&self, error: &hyper_util::client::legacy::Error) -> String {
        // The outermost error says only that it is one of a client.
        let cause = error.source().map_or_else(|| error.to_string(), causes);
        match self.target.batch.authority() {
            Some(server) if error.is_connect() => format!("cannot reach {server}: {cause}"),
            _ => cause,
        }
    }

    fn request(&self, batch: &Batch) -> Request<Full<Bytes>> {
        let (uri, media_type) = if self.single {
            (&self.target.single, HeaderValue::from_static("application/json"))
        } else {
            (&self.target.batch, HeaderValue::from_static("application/x-ndjson"))
        };
        let mut request = Request::new(Full::new(batch.body()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, media_type);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ingestd-send/", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// Trusts nobody: for a client that speaks plain HTTP.
fn nobody() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    #[expect(clippy::expect_used, reason = "the provider is a constant, and has ciphers for both versions")]
    let builder = builder.expect("ring has ciphers for TLS 1.2 and 1.3");
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// An error and what caused it, in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
