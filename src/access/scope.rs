//! What a credential may do; the same names stand for the groups of routes.

use std::fmt;

/// A group of routes, and the right to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Events come in: `/events`, `/events/batch`, `/batch`, the WebSocket.
    Intake = 1,
    /// Something is looked at: statistics, metrics, health in detail, the pipeline.
    Read = 2,
    /// Something is changed over HTTP.
    Manage = 4,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::Intake, Scope::Read, Scope::Manage];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Intake => "intake",
            Scope::Read => "read",
            Scope::Manage => "manage",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether one of them is `scope`.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Scopes(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}
