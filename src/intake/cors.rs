//! Which pages a browser lets see answers (the Fetch standard, section 3.3), and which may open a WebSocket: there a
//! browser asks nobody, and only the server can say no (RFC 6455, section 10.2).

use super::answer::{Answer, problem_with};
use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, ORIGIN,
    VARY,
};

/// What a page may send with its events.
const REQUEST_HEADERS: &str = "content-type, content-encoding, authorization, x-api-key, idempotency-key, \
     x-request-id, traceparent, tracestate";
/// What a page may read of an answer, beside what any page may.
const ANSWER_HEADERS: &str = "x-request-id, retry-after, idempotency-replayed, www-authenticate, ratelimit, \
     ratelimit-policy";
const METHODS: &str = "GET, POST, OPTIONS";

/// The pages that may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// `None`: all.
    origins: Option<Vec<Box<str>>>,
    allow_credentials: bool,
    max_age_s: u64,
}

impl Cors {
    /// Pages of these origins, `*` for all; `allow_credentials`: with cookies and the like.
    ///
    /// # Errors
    /// What is no origin, or does not go together.
    pub fn new(origins: &[String], allow_credentials: bool, max_age_s: u64) -> Result<Self, String> {
        let is_any = origins.iter().any(|origin| origin == "*");
        if is_any && origins.len() > 1 {
            return Err("\"*\" is every origin: name no others beside it".into());
        }
        if is_any && allow_credentials {
            return Err("every origin (\"*\") with credentials is what browsers refuse: name the origins".into());
        }
        if let Some(wrong) = origins.iter().filter(|_| !is_any).find(|origin| !is_origin(origin)) {
            return Err(format!(
                "\"{wrong}\" is no origin: write scheme and host in small letters, and the port where it is not the \
                 scheme's own, such as https://shop.example or http://localhost:8080"
            ));
        }
        let origins = (!is_any).then(|| origins.iter().map(|origin| origin.as_str().into()).collect());
        Ok(Cors { origins, allow_credentials, max_age_s })
    }

    /// Every page may, without credentials.
    #[must_use]
    pub fn anybody() -> Self {
        Cors { origins: None, allow_credentials: false, max_age_s: 0 }
    }

    /// No page may.
    #[must_use]
    pub fn nobody() -> Self {
        Cors { origins: Some(Vec::new()), allow_credentials: false, max_age_s: 0 }
    }

    /// Whether an answer says other things to other origins.
    pub(super) fn depends_on_origin(&self) -> bool {
        self.origins.is_some()
    }

    /// Whether pages of the request's origin may; a request without one is of no browser.
    pub(super) fn allows(&self, request: &HeaderMap) -> bool {
        let Some(origins) = &self.origins else { return true };
        request.get_all(ORIGIN).iter().all(|origin| origins.iter().any(|known| known.as_bytes() == origin.as_bytes()))
    }

    /// Answers a preflight.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Answer {
        if !self.allows(request) {
            return refused();
        }
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age_s.into());
        if self.origins.is_none() {
            // Answered alike whether it names an origin or not.
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        answer
    }

    /// Says in an answer who may see it. One that depends on who asks says that, too, or a cache between would give it
    /// to others.
    pub(super) fn put(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let allowed = match &self.origins {
            None => HeaderValue::from_static("*"),
            Some(_) => {
                answer.append(VARY, HeaderValue::from_static("Origin"));
                match request.get(ORIGIN) {
                    Some(origin) => origin.clone(),
                    None => return,
                }
            }
        };
        if !request.contains_key(ORIGIN) || !self.allows(request) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANSWER_HEADERS));
        if self.allow_credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// 403: pages of this origin may not.
pub(super) fn refused() -> Answer {
    let detail = "pages of this origin may not send events here (cors.allowed_origins)";
    problem_with(StatusCode::FORBIDDEN, detail, &[("code", "origin_not_allowed".into())])
}

/// Whether a text is an origin as browsers write it (RFC 6454, section 6.2): compared byte by byte, any other would never
/// match.
fn is_origin(text: &str) -> bool {
    if text == "null" {
        return true;
    }
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    is_scheme && !host.is_empty() && host.bytes().all(is_plain) && (own_port.is_empty() || !host.ends_with(own_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Result<Cors, String> {
        Cors::new(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>(), credentials, 60)
    }

    fn of(origin: &str) -> HeaderMap {
        [(ORIGIN, HeaderValue::from_str(origin).unwrap())].into_iter().collect()
    }

    #[test]
    fn what_could_never_match_or_never_work_is_refused() {
        for origin in [
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://Shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://*.example",
            "HTTPS://shop.example",
            "https://shop.example, https://b.example",
            "",
        ] {
            assert!(cors(&[origin], false).is_err(), "{origin}");
        }
        assert!(cors(&["*"], true).is_err());
        assert!(cors(&["*", "https://shop.example"], false).is_err());
        for origin in ["https://shop.example", "http://localhost:8080", "http://[::1]:3000", "null", "app://shop"] {
            assert!(cors(&[origin], true).is_ok(), "{origin}");
        }
    }

    #[test]
    fn an_origin_is_the_same_only_as_a_whole() {
        let cors = cors(&["https://shop.example", "https://b.example"], false).unwrap();
        assert!(cors.allows(&of("https://shop.example")) && cors.allows(&of("https://b.example")));
        assert!(cors.allows(&HeaderMap::new()));
        for other in ["https://shop.example.evil", "https://evil-shop.example", "http://shop.example", "null", ""] {
            assert!(!cors.allows(&of(other)), "{other}");
        }
        let mut two = of("https://shop.example");
        two.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(!cors.allows(&two));
    }
}
