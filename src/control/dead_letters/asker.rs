//! Who asks.

use crate::commit::Whose;

/// On whose behalf letters are looked at and changed.
#[derive(Debug)]
pub enum Asker {
    /// Whoever may use the admin socket.
    Operator,
    /// Somebody over HTTP, for whom there are these letters.
    Remote(Whose),
}

/// The operator's reach.
static ALL: Whose = Whose::All;

impl Asker {
    /// Which letters are within reach.
    pub(super) fn whose(&self) -> &Whose {
        match self {
            Asker::Operator => &ALL,
            Asker::Remote(whose) => whose,
        }
    }
}
