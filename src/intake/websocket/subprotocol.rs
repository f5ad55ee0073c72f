//! Subprotocols (RFC 6455, section 1.9): the way in which a browser, whose WebSockets have no headers of their own, brings
//! a token: `new WebSocket(url, ["ingestd.v1", "bearer." + token])`.
//!
//! Answered is `ingestd.v1`, never the token: answers stand in logs.

use crate::access::Failure;
use hyper::header::{GetAll, HeaderValue};

/// What is spoken here.
pub(in crate::intake) const SUBPROTOCOL: &str = "ingestd.v1";
/// What stands before a token.
const BEARER: &[u8] = b"bearer.";

fn offered<'a>(values: &GetAll<'a, HeaderValue>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lists: Vec<&'a HeaderValue> = values.iter().collect();
    lists.into_iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether ours is among them.
pub(in crate::intake) fn offers_ours(values: &GetAll<'_, HeaderValue>) -> bool {
    offered(values).any(|offer| offer == SUBPROTOCOL.as_bytes())
}

/// Whether there is a token among them, be it a good one or not.
pub(in crate::intake) fn offers_token(values: &GetAll<'_, HeaderValue>) -> bool {
    offered(values).any(|offer| offer.starts_with(BEARER))
}

/// The token among them.
///
/// # Errors
/// [`Failure::Ambiguous`] where there are two.
pub(in crate::intake) fn token_in(values: GetAll<'_, HeaderValue>) -> Result<Option<&[u8]>, Failure> {
    let mut tokens = offered(&values).filter_map(|offer| offer.strip_prefix(BEARER));
    let first = tokens.next();
    if tokens.any(|other| Some(other) != first) { Err(Failure::Ambiguous) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_found_in_one_list_or_in_several() {
        for lists in [&["ingestd.v1, bearer.a.b.c"][..], &["bearer.a.b.c ,ingestd.v1"], &["ingestd.v1", "bearer.a.b.c"]]
        {
            let headers = headers(lists);
            let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
            assert!(offers_ours(&all) && offers_token(&all), "{lists:?}");
            assert_eq!(token_in(all), Ok(Some(&b"a.b.c"[..])), "{lists:?}");
        }
        for (lists, token) in [
            (&[][..], Ok(None)),
            (&["graphql-ws, Bearer.a"], Ok(None)),
            (&["bearer.a, bearer.a"], Ok(Some(&b"a"[..]))),
            (&["bearer.a, bearer.b"], Err(Failure::Ambiguous)),
        ] {
            let headers = headers(lists);
            let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
            assert!(!offers_ours(&all), "{lists:?}");
            assert_eq!(token_in(all), token, "{lists:?}");
        }
    }
}
