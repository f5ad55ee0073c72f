use hyper::Uri;
use hyper::http::uri::{InvalidUri, Scheme};

/// Where to post.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `POST` one event.
    pub(crate) single: Uri,
    /// `POST` many.
    pub(crate) batch: Uri,
}

/// Why a URL cannot be the daemon's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Not a URL at all.
    #[error("{url:?} is not a URL: {reason}")]
    Invalid { url: String, reason: String },
    /// No `http://` or `https://` before the host.
    #[error("{url:?} has no scheme: write http://HOST:PORT or https://HOST:PORT")]
    NoScheme { url: String },
    /// Any other.
    #[error("scheme {scheme:?} is not supported, only http and https")]
    Scheme { scheme: String },
    /// Everybody on the machine can read the command line.
    #[error("the URL holds a user name or password: use --token-file")]
    Credentials,
    /// A query would end up in the middle of the path.
    #[error("{url:?} has a query")]
    Query { url: String },
}

impl Target {
    /// Whether what is sent there is enciphered.
    pub(crate) fn is_https(&self) -> bool {
        self.batch.scheme() == Some(&Scheme::HTTPS)
    }

    /// Reads `http://HOST[:PORT][/PREFIX]`, or the same with `https`.
    pub(crate) fn parse(url: &str) -> Result<Target, TargetError> {
        let invalid = |reason: InvalidUri| TargetError::Invalid { url: url.to_owned(), reason: reason.to_string() };
        if url.contains('@') {
            return Err(TargetError::Credentials);
        }
        if !url.contains("://") {
            return Err(TargetError::NoScheme { url: url.to_owned() });
        }
        let uri: Uri = url.parse().map_err(invalid)?;
        let scheme = uri.scheme().ok_or_else(|| TargetError::NoScheme { url: url.to_owned() })?;
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(TargetError::Scheme { scheme: scheme.to_string() });
        }
        if uri.query().is_some() {
            return Err(TargetError::Query { url: url.to_owned() });
        }
        let base = url.trim_end_matches('/');
        Ok(Target {
            single: format!("{base}/events").parse().map_err(invalid)?,
            batch: format!("{base}/events/batch").parse().map_err(invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_a_slash_at_the_end_is_not() {
        let target = Target::parse("http://127.0.0.1:3001").unwrap();
        assert_eq!(target.single, "http://127.0.0.1:3001/events");
        let target = Target::parse("http://[::1]:3001/v1/").unwrap();
        assert_eq!(target.batch, "http://[::1]:3001/v1/events/batch");
        assert!(!target.is_https() && Target::parse("https://shop").unwrap().is_https());
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert!(matches!(Target::parse("localhost:3001"), Err(TargetError::NoScheme { .. })));
        assert!(matches!(Target::parse("ftp://shop"), Err(TargetError::Scheme { .. })));
        assert!(matches!(Target::parse("http://a b"), Err(TargetError::Invalid { .. })));
        assert!(matches!(Target::parse("http://"), Err(TargetError::Invalid { .. })));
        assert!(matches!(Target::parse("http://h/?a=b"), Err(TargetError::Query { .. })));
    }

    #[test]
    fn credentials_in_the_url_are_refused_and_not_repeated() {
        let error = Target::parse("http://user:secret@host").unwrap_err();
        assert_eq!(error, TargetError::Credentials);
        assert!(!error.to_string().contains("secret"));
    }
}
