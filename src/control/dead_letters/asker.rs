//! Who asks.

use super::super::audit::Entry;
use crate::access::Caller;
use crate::commit::Whose;
use std::sync::OnceLock;

/// On whose behalf letters are looked at and changed.
#[derive(Debug)]
pub enum Asker {
    /// Whoever may use the admin socket, which keeps its own record.
    Operator,
    /// Somebody over HTTP.
    Remote(Box<Remote>),
}

/// Somebody who asks over HTTP.
#[derive(Debug)]
pub struct Remote {
    /// Which letters there are for him.
    pub(super) whose: Whose,
    /// By what he is known.
    pub(super) caller: Caller,
    /// What the audit log is to have of his order, if it is one.
    pub(super) order: Option<Entry>,
    /// The entry that says that it is about to be carried out.
    pub(super) begun: OnceLock<u64>,
}

/// The operator's reach.
static ALL: Whose = Whose::All;

impl Asker {
    /// Which letters are within reach.
    pub(super) fn whose(&self) -> &Whose {
        match self {
            Asker::Operator => &ALL,
            Asker::Remote(remote) => &remote.whose,
        }
    }

    /// What is to be recorded of an order, where it is recorded here.
    pub(super) fn order(&self) -> Option<(&Remote, &Entry)> {
        match self {
            Asker::Operator => None,
            Asker::Remote(remote) => remote.order.as_ref().map(|entry| (&**remote, entry)),
        }
    }
}
