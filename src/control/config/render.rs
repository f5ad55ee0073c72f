//! The table of keys as documents, and the values in effect for people and programs.

use super::keys::{KEYS, Key, SECTIONS, table_of};
use super::load::Setting;
use super::sections::Config;
use serde_json::json;
use std::fmt::Write as _;
use toml::Value;

const FILE_HEAD: &str = "\
# ingestd's configuration: every key with its default; what is left out has it. Environment variables go before this file
# (log.hold_s is INGESTD_LOG_HOLD_S), flags before both. Unknown keys are errors: `ingestd check` names all mistakes.
# A key that says \"hot\" is taken over by SIGHUP (systemctl reload) and `ingestd admin config reload`, the others by the
# next start. `ingestd config show` prints what is in effect and where it was set.
# This file is what `ingestd config default` prints.
";

const REFERENCE_HEAD: &str = "\
# Configuration

Three layers, each before the one above it: the file (`--config FILE` or `INGESTD_CONFIG`), environment variables, flags
(`--data-dir`, `--listen`). A key that is in none has its default. `config.toml` is a file with every key at its default;
`ingestd config default` prints it, `ingestd config reference` this page.

| | |
|---|---|
| `ingestd check` | every mistake at once, with file, line, column and the nearest key; then tries disk, sockets and sinks. Exit code 0: all is well; 64: mistakes in the configuration; 1: something outside does not work. `--config-only` tries nothing outside |
| `ingestd config show` | the values in effect, and where each was set: default, file and line, variable, flag. Secrets are left out |
| `ingestd admin config show` | the same of the running daemon |
| `ingestd admin config check` | what a reload would change, or why it would be refused |
| `ingestd admin config reload`, SIGHUP | takes over every hot key at once and names the keys that want a restart. A file with a mistake changes nothing; the answer and the log say why |

A hot key holds for requests and connections that begin after the reload; what is under way ends as it began. Behind that two
changes close connections: one by which a connection could not begin any more as it has (`server.proxy_protocol`,
`server.trusted_proxies`: 503 with `Connection: close`, GOAWAY, WebSocket close 1012; `docs/limits.md`), and one of `[auth]` or
its files by which a WebSocket would not be let in any more (1008; `docs/security.md`). Environment and flags are those of the
daemon's start.

Secrets are read from files, never from variables or flags: `clickhouse.password_file`, `kafka.option_files`. Under systemd
they are credentials (`LoadCredential=`). `PORT` and `LOG_LEVEL` are short for `INGESTD_SERVER_LISTEN` on 127.0.0.1 and
`INGESTD_LOG_LEVEL`, which go before them. An unknown variable that begins with `INGESTD_` is a mistake, but for those that
Kubernetes sets for a service of that name.
";

/// `config.toml`: every key at its default.
#[must_use]
pub fn config_file() -> String {
    let mut out = FILE_HEAD.to_owned();
    let mut section = None;
    for (key, default) in defaults() {
        let (in_section, name) = key.parts();
        if in_section != section {
            section = in_section;
            let (name, about) = SECTIONS.iter().find(|(name, _)| Some(*name) == section).copied().unwrap_or_default();
            out.push('\n');
            comment(&mut out, about);
            write_line(&mut out, format_args!("[{name}]"));
        } else if section.is_none() || default.is_table() {
            out.push('\n');
        }
        comment(&mut out, &format!("{} ({})", key.about, facts(key)));
        match default {
            Value::Table(_) => write_line(&mut out, format_args!("[{}]", key.name)),
            value => write_line(&mut out, format_args!("{name} = {value}")),
        }
    }
    out
}

/// `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = REFERENCE_HEAD.to_owned();
    let mut section = None;
    write_line(&mut out, format_args!("\n{TABLE_HEAD}"));
    for (key, default) in defaults() {
        let (in_section, _) = key.parts();
        if in_section != section {
            section = in_section;
            let (name, about) = SECTIONS.iter().find(|(name, _)| Some(*name) == section).copied().unwrap_or_default();
            write_line(&mut out, format_args!("\n## [{name}]\n\n{about}\n\n{TABLE_HEAD}"));
        }
        let default = match default {
            Value::Table(_) => "empty".to_owned(),
            value => format!("`{value}`"),
        };
        let unit = match (key.unit, key.range) {
            (Some(unit), Some(range)) => format!("{unit}, {}", range_text(range)),
            _ if !key.choices.is_empty() => key.choices.join(", "),
            _ => String::new(),
        };
        let about = key.about.replace('<', "\\<");
        let (name, reload) = (key.name, key.reload.as_str());
        write_line(&mut out, format_args!("| `{name}` | {default} | {unit} | {reload} | {about} |"));
    }
    out
}

const TABLE_HEAD: &str = "| key | default | unit and range | change | |\n|---|---|---|---|---|";

/// Keys and defaults in the order of the file.
fn defaults() -> impl Iterator<Item = (&'static Key, Value)> {
    let table = table_of(&Config::default());
    KEYS.iter().filter_map(move |key| Some((key, key.of(&table)?.clone())))
}

/// Unit, range and reload of a key, for its comment.
fn facts(key: &Key) -> String {
    let unit = key.unit.map(|unit| format!("{unit}, "));
    let range = key.range.map(|range| format!("{}, ", range_text(range)));
    let choices = (!key.choices.is_empty()).then(|| format!("{}, ", key.choices.join(" | ")));
    [unit, range, choices, Some(key.reload.as_str().to_owned())].into_iter().flatten().collect()
}

fn range_text((least, most): (i64, i64)) -> String {
    if most == i64::MAX { format!("at least {least}") } else { format!("{least} to {most}") }
}

/// A comment, broken where lines get long.
fn comment(out: &mut String, text: &str) {
    const WIDTH: usize = 118;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            write_line(out, format_args!("# {line}"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    write_line(out, format_args!("# {line}"));
}

fn write_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    writeln!(out, "{line}").ok();
}

/// The values in effect as a file that says them, each with where it was set.
#[must_use]
pub fn settings_text(settings: &[Setting]) -> String {
    let mut lines = Vec::new();
    for Setting { key, value, origin } in settings {
        match value {
            Value::Table(entries) if !entries.is_empty() => {
                let entry = |(name, value): (&String, &Value)| (format!("{}.\"{name}\" = {value}", key.name), origin);
                lines.extend(entries.iter().map(entry));
            }
            Value::Table(_) => lines.push((format!("{} = {{}}", key.name), origin)),
            value => lines.push((format!("{} = {value}", key.name), origin)),
        }
    }
    let width = lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= 60).max().unwrap_or_default();
    lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
}

/// The same for programs.
#[must_use]
pub fn settings_json(settings: &[Setting]) -> serde_json::Value {
    let one = |setting: &Setting| {
        let mut out = setting.origin.to_json();
        out["key"] = setting.key.name.into();
        out["value"] = json!(setting.value);
        out["unit"] = setting.key.unit.into();
        out["reload"] = setting.key.reload.as_str().into();
        out
    };
    settings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_every_key_of_the_sections_and_no_other() {
        let mut there = BTreeSet::new();
        for (name, value) in table_of(&Config::default()) {
            match value {
                Value::Table(section) => there.extend(section.into_iter().map(|(key, _)| format!("{name}.{key}"))),
                _ => drop(there.insert(name)),
            }
        }
        let named: BTreeSet<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(there, named);
        assert_eq!(named.len(), KEYS.len(), "a key is there twice");
        let sections: BTreeSet<_> = KEYS.iter().filter_map(|key| key.parts().0).collect();
        assert_eq!(sections, SECTIONS.iter().map(|(name, _)| *name).collect());
    }

    #[test]
    fn every_number_has_a_unit_and_a_range_that_holds_its_default() {
        for (key, default) in defaults() {
            let Value::Integer(default) = default else {
                assert!(key.unit.is_none() && key.range.is_none(), "{}", key.name);
                continue;
            };
            let (least, most) = key.range.unwrap_or_else(|| panic!("{} has no range", key.name));
            assert!(key.unit.is_some() && (least..=most).contains(&default), "{}", key.name);
        }
    }

    #[test]
    fn the_file_says_the_defaults() {
        let table: toml::Table = config_file().parse().unwrap();
        assert_eq!(table, table_of(&Config::default()));
    }

    /// Where this fails, `make docs` writes them anew.
    #[test]
    fn the_shipped_file_and_the_reference_are_those_of_the_code() {
        for (name, wanted) in [("config.toml", config_file()), ("docs/configuration.md", reference())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let there = std::fs::read_to_string(path).unwrap_or_default();
            assert_eq!(there, wanted, "{name}: run `make docs`");
        }
    }
}
