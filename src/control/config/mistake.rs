//! Where a value comes from, and what is wrong with one.

use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// Where a value was set: the layers, each before the one above it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the file, from this line and column on; without them where the file itself is the matter.
    File {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1.
        at: Option<(usize, usize)>,
    },
    /// In an environment variable.
    Variable(String),
    /// On the command line.
    Flag(&'static str),
    /// By the socket that was handed in.
    Socket,
}

impl Origin {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Origin::Default => json!({"layer": "default"}),
            Origin::File { path, at } => {
                json!({"layer": "file", "file": path, "line": at.map(|at| at.0), "column": at.map(|at| at.1)})
            }
            Origin::Variable(name) => json!({"layer": "environment", "variable": name}),
            Origin::Flag(flag) => json!({"layer": "flag", "flag": flag}),
            Origin::Socket => json!({"layer": "socket"}),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, at: None } => write!(f, "{}", path.display()),
            Origin::File { path, at: Some((line, column)) } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Socket => f.write_str("the socket that was handed in"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// The key, as far as it is one.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What may have been meant.
    pub nearest: Option<String>,
}

impl Mistake {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = self.origin.to_json();
        out["key"] = self.key.clone().into();
        out["message"] = self.what.clone().into();
        out["nearest"] = self.nearest.clone().into();
        out
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::Variable(name) => write!(f, "environment variable {name}: ")?,
            origin => write!(f, "{origin}: ")?,
        }
        f.write_str(&self.what)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, one a line.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Mistake::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The candidate that a misspelled name is nearest to, if one is near.
pub(super) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let own = last(name);
    let distance = |candidate: &String| {
        // The right name in the wrong section is near, too.
        let elsewhere = strsim::damerau_levenshtein(&own, &last(candidate)) + 1;
        strsim::damerau_levenshtein(name, candidate).min(elsewhere)
    };
    let (distance, candidate) = candidates.map(|candidate| (distance(&candidate), candidate)).min()?;
    (distance <= own.len().div_ceil(3).max(2)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(name: &str) -> Option<String> {
        nearest(name, ["server.listen", "log.hold_s", "data_dir"].into_iter().map(str::to_owned))
    }

    #[test]
    fn a_slip_is_recognised_and_something_else_is_not() {
        assert_eq!(near("server.listne").as_deref(), Some("server.listen"));
        assert_eq!(near("listen").as_deref(), Some("server.listen"));
        assert_eq!(near("log.data_dir").as_deref(), Some("data_dir"));
        assert_eq!(near("log.holds").as_deref(), Some("log.hold_s"));
        assert_eq!(near("server.certificate"), None);
    }
}
