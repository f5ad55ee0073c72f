use hyper::header::{HeaderValue, InvalidHeaderValue};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The variable that holds the token where no file does.
const VARIABLE: &str = "INGESTD_TOKEN";

/// Why there is no usable token. The token itself is in none of the texts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The file named by `--token-file` cannot be read.
    #[error("cannot read token file {path}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// Nothing but white space.
    #[error("{origin} holds no token")]
    Empty { origin: String },
    /// Line breaks, control characters or the like.
    #[error("the token in {origin} has characters that a header cannot carry")]
    NotAHeader { origin: String, source: InvalidHeaderValue },
    /// The variable is not UTF-8.
    #[error("{VARIABLE} is not UTF-8")]
    NotUtf8,
}

/// The `Authorization` header: from the file if one is named, else from the variable, else none.
pub(crate) fn authorization(file: Option<&Path>) -> Result<Option<HeaderValue>, TokenError> {
    if let Some(path) = file {
        let text =
            fs::read_to_string(path).map_err(|source| TokenError::Unreadable { path: path.to_owned(), source })?;
        return bearer(&text, &path.display().to_string()).map(Some);
    }
    match env::var(VARIABLE) {
        Ok(text) => bearer(&text, VARIABLE).map(Some),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(TokenError::NotUtf8),
    }
}

fn bearer(text: &str, origin: &str) -> Result<HeaderValue, TokenError> {
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty { origin: origin.to_owned() });
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|source| TokenError::NotAHeader { origin: origin.to_owned(), source })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_loses_the_white_space_around_it() {
        assert_eq!(bearer("abc.def\n", "file").unwrap(), "Bearer abc.def");
    }

    #[test]
    fn no_error_shows_the_token() {
        for text in ["", " \n", "top\nsecret"] {
            let error = bearer(text, "file").unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = authorization(Some(Path::new("/nonexistent/token"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/token"), "{error}");
    }
}
