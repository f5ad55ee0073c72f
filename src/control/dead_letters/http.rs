//! `/dead-letters` over HTTP.
//!
//! | call | does |
//! |---|---|
//! | `GET /dead-letters?code=&sink=&tenant=&state=&since=&limit=&cursor=` | lists |
//! | `GET /dead-letters/{id}` | shows one, with its bytes |
//! | `PUT /dead-letters/{id}` | keeps the body as the bytes of its replay |
//! | `POST /dead-letters/{id}/replay` | replays it |
//! | `POST /dead-letters/replay` | replays those that the filter in the body takes |
//! | `DELETE /dead-letters/{id}` | purges it |
//! | `POST /dead-letters/purge` | purges those that the filter in the body takes |

use super::asker::{Asker, Remote};
use super::command::id_of;
use super::{Command, Filter, LetterError, Letters};
use crate::access::Scope;
use crate::intake::{Answer, Order, problem, turned_away};
use event::Refusal;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

impl Letters {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, order: Order) -> Answer {
        let command = match command(&order) {
            Ok(command) => command,
            Err(answer) => return *answer,
        };
        let (is_removed, is_edit) = (matches!(command, Command::Purge(_)), matches!(command, Command::Edit(..)));
        let letters = Arc::clone(&self);
        let done = match command.change() {
            None => {
                let Order { whose, caller, .. } = order;
                let asker = Asker::Remote(Box::new(Remote { whose, caller, order: None, begun: OnceLock::new() }));
                let question = async move {
                    let told = letters.run(command, &asker).await;
                    letters.may_still(&asker, Scope::Read)?;
                    told
                };
                self.workshop.look_up(question).await
            }
            Some(change) => {
                self.workshop.carry_out(async move { letters.recorded(command, change, order).await }).await
            }
        };
        match done {
            Ok(_) if is_removed => {
                let mut answer = Answer::default();
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer
            }
            // Who may change is not thereby one who may read.
            Ok(mut result) if is_edit => {
                result.as_object_mut().into_iter().for_each(|told| told.retain(|name, _| !name.starts_with("raw")));
                json_answer(&result)
            }
            Ok(result) => json_answer(&result),
            Err(error) => told(&error),
        }
    }
}

fn command(order: &Order) -> Result<Command, Box<Answer>> {
    let rest = order.path.strip_prefix("/dead-letters").unwrap_or(&order.path);
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let path: Vec<&str> = rest.split('/').collect();
    let (method, refuse) = (&order.method, |error: LetterError| Box::new(told(&error)));
    let filter = || of_body(&order.body).map_err(refuse);
    let id =
        |text: &str| id_of(text).map_err(|_| Box::new(problem(StatusCode::NOT_FOUND, "there is nothing at this path")));
    match path.as_slice() {
        [""] if method == Method::GET => {
            Filter::of_query(order.query.as_deref().unwrap_or_default()).map(Command::List).map_err(refuse)
        }
        [""] => Err(not_allowed("GET")),
        ["replay"] if method == Method::POST => filter().map(Command::ReplayAll),
        ["purge"] if method == Method::POST => filter().map(Command::PurgeAll),
        ["replay" | "purge"] => Err(not_allowed("POST")),
        [letter] => {
            let id = id(letter)?;
            match *method {
                Method::GET => Ok(Command::Show(id)),
                Method::PUT => Ok(Command::Edit(id, order.body.clone())),
                Method::DELETE => Ok(Command::Purge(id)),
                _ => Err(not_allowed("GET, PUT, DELETE")),
            }
        }
        [letter, "replay"] => {
            let id = id(letter)?;
            if method == Method::POST { Ok(Command::Replay(id)) } else { Err(not_allowed("POST")) }
        }
        _ => Err(Box::new(problem(StatusCode::NOT_FOUND, "there is nothing at this path"))),
    }
}

fn of_body(body: &[u8]) -> Result<Filter, LetterError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Filter::default());
    }
    let object: Value = serde_json::from_slice(body)
        .map_err(|error| LetterError::question(format!("the body is a filter, a JSON object: {error}")))?;
    Filter::of_object(&object, &[])
}

fn not_allowed(allow: &'static str) -> Box<Answer> {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    Box::new(answer)
}

fn json_answer(body: &Value) -> Answer {
    let mut answer = Answer::new(Full::new(body.to_string().into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What shoppers did is not to lie about in caches.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn told(error: &LetterError) -> Answer {
    let status = match error {
        LetterError::TurnedAway(failure, group) => return turned_away(*failure, *group),
        LetterError::Missing(_) => StatusCode::NOT_FOUND,
        LetterError::Question(_) => StatusCode::BAD_REQUEST,
        LetterError::Conflict(_) => StatusCode::CONFLICT,
        LetterError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        LetterError::Full => StatusCode::INSUFFICIENT_STORAGE,
        LetterError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        LetterError::Refused(_) | LetterError::Late(_) => StatusCode::SERVICE_UNAVAILABLE,
        LetterError::Unreadable(_) | LetterError::NotRecorded(_) | LetterError::Read(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let mut answer = problem(status, &error.to_string());
    let later_s = match error {
        LetterError::Refused(Refusal::StorageFailed) => None,
        LetterError::Refused(_) | LetterError::Late(_) => Some(1),
        LetterError::TooMany(wait) => Some((wait.as_millis().div_ceil(1000) as u64).max(1)),
        _ => None,
    };
    if let Some(seconds) = later_s {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_orders_too_much_is_told_when_to_come_again() {
        let answer = told(&LetterError::TooMany(Duration::from_millis(1500)));
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
    }
}
