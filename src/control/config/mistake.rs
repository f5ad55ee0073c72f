//! Where a value comes from, and what is wrong with one.

use crate::control::terminal::printable;
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
    /// For programs, as it is.
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
            Origin::Variable(name) => write!(f, "environment variable {}: ", printable(name))?,
            origin => write!(f, "{}: ", printable(&origin.to_string()))?,
        }
        // It repeats what others have written: names of keys, words of a sink's client.
        f.write_str(&printable(&self.what))?;
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

/// What other programs call what is called otherwise here.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("auth.mode", "auth.intake"),
    ("clickhouse.addresses", "clickhouse.urls"),
    ("clickhouse.host", "clickhouse.urls"),
    ("kafka.brokers", "kafka.bootstrap_servers"),
    ("server.host", "server.listen"),
    ("server.port", "server.listen"),
];

/// The candidate that a misspelled name is nearest to, if one is near; else one of which it has a part, or that is called so
/// elsewhere.
pub(super) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let candidates: Vec<String> = candidates.collect();
    let other = || OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, ours)| (*ours).to_owned());
    by_distance(name, &candidates)
        .or_else(|| other().filter(|ours| candidates.contains(ours)))
        .or_else(|| by_part(name, &candidates))
}

/// Shorter parts are in too many names.
const PART_BYTES_MIN: usize = 3;

/// The shortest candidate of the same section which the name is a part of, or whose words it has in another order.
fn by_part(name: &str, candidates: &[String]) -> Option<String> {
    let (section, own) = parts(name);
    let has = |whole: &str, part: &str| {
        let words = |name: &str| name.split('_').map(str::to_owned).collect::<BTreeSet<_>>();
        part.len() >= PART_BYTES_MIN && (whole.contains(part) || words(part).is_subset(&words(whole)))
    };
    let is_near = |candidate: &&String| {
        let (in_section, theirs) = parts(candidate);
        in_section == section && (has(theirs, own) || has(own, theirs))
    };
    candidates.iter().filter(is_near).min_by_key(|candidate| candidate.len()).cloned()
}

/// A name's section, if it is in one, and the rest.
fn parts(name: &str) -> (Option<&str>, &str) {
    name.split_once('.').map_or((None, name), |(section, name)| (Some(section), name))
}

fn by_distance(name: &str, candidates: &[String]) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let own = last(name);
    let distance = |candidate: &str| {
        // The right name in the wrong section is near, too.
        let elsewhere = strsim::damerau_levenshtein(&own, &last(candidate)) + 1;
        strsim::damerau_levenshtein(name, candidate).min(elsewhere)
    };
    let (distance, candidate) = candidates.iter().map(|candidate| (distance(candidate), candidate)).min()?;
    (distance <= own.len().div_ceil(3).max(2)).then(|| candidate.clone())
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
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

    #[test]
    fn a_part_of_a_name_and_another_programs_name_are_recognised() {
        let near = |name: &str| nearest(name, KEYS.iter().map(|key| key.name.to_owned()));
        for (name, key) in [
            ("clickhouse.password", "clickhouse.password_file"),
            ("tls.cert", "tls.cert_file"),
            ("tls.key", "tls.key_file"),
            ("kafka.servers", "kafka.bootstrap_servers"),
            ("limits.max_body", "limits.body_bytes_max"),
            ("server.listen_address", "server.listen"),
            ("level", "log_level"),
        ] {
            assert_eq!(near(name).as_deref(), Some(key), "{name}");
        }
        for (other, ours) in OTHER_NAMES {
            assert_eq!(near(other).as_deref(), Some(ours), "{other}");
        }
        for name in ["kafka.x", "log.certificate"] {
            assert_eq!(near(name), None, "{name}");
        }
    }
}
