//! Dead letters.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use crate::control::dead_letters::{Asker, Command, LetterError};
use serde_json::Value;

/// Does what is asked about them, of all tenants: who may use the socket is the operator.
pub(super) async fn run(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let fields = Value::Object(request.fields.clone());
    match Command::of_request(&request.command, &fields) {
        Some(command) => parts.letters.run(command.map_err(refused)?, &Asker::Operator).await.map_err(refused),
        None => Err(format!("`{}` is not carried out by this daemon", request.command).into()),
    }
}

fn refused(error: LetterError) -> Refusal {
    match error {
        LetterError::Question(text) => Refusal::bad_request(text),
        error => error.to_string().into(),
    }
}
