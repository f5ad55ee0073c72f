//! Who asks.

use crate::access::Caller;
use crate::commit::Whose;

/// On whose behalf letters are looked at and changed.
#[derive(Debug)]
pub enum Asker {
    /// Whoever may use the admin socket.
    Operator,
    /// Somebody over HTTP.
    Remote(Remote),
}

/// Somebody who asks over HTTP.
#[derive(Debug)]
pub struct Remote {
    /// Which letters there are for him.
    pub(super) whose: Whose,
    /// By what he is known.
    pub(super) caller: Caller,
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
}
