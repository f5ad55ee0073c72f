//! The file: its keys and values with their lines and columns.

use super::check::Wrong;
use super::keys::{self, KEYS, Key, SECTIONS, table_of};
use super::load::Layers;
use super::mistake::{Origin, nearest};
use super::sections::Config;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// The text of a file, for places in it.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
    /// Lines that are not TOML: what is read there may be none of the author's doing.
    broken: Vec<usize>,
}

impl Text<'_> {
    fn at(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte.min(self.text.len())).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File { path: self.path.into(), at: Some(self.at(span.start)) }
    }

    fn is_broken(&self, byte: usize) -> bool {
        self.broken.contains(&self.at(byte).0)
    }

    /// A value as it is written there; `None` where the file is not TOML, which is told already.
    fn value(&self, span: Range<usize>) -> Option<Value> {
        let written = self.text.get(span)?;
        format!("value = {written}").parse::<Table>().ok()?.remove("value")
    }
}

/// Reads what a file sets.
pub(super) fn read(layers: &mut Layers, path: &Path, text: &str) {
    let mut place = Text { path, text, broken: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        place.broken.push(place.at(error.span().unwrap_or_default().start).0);
        let what = error.message().replace('\n', ", ");
        layers.complain(place.origin(error.span().unwrap_or_default()), None, what.into());
    }
    for (name, value) in root.get_ref() {
        let written = name.get_ref().as_ref();
        let is_section = SECTIONS.iter().any(|(section, _)| *section == written);
        match (keys::find(written), value.get_ref()) {
            (Some(key), _) => read_value(layers, &place, key, name.span(), value),
            (None, DeValue::Table(table)) if is_section => read_section(layers, &place, written, table),
            (None, _) if is_section => {
                let wrong = format!("`{written}` is a section: write [{written}]");
                complain(layers, &place, name.span(), written, wrong.into());
            }
            (None, DeValue::Table(_)) => {
                let sections = SECTIONS.iter().map(|(section, _)| (*section).to_owned());
                let wrong = Wrong { what: format!("unknown section [{written}]"), nearest: nearest(written, sections) };
                complain(layers, &place, name.span(), written, wrong);
            }
            (None, _) => unknown(layers, &place, name.span(), written),
        }
    }
}

fn read_section(layers: &mut Layers, place: &Text<'_>, section: &str, table: &DeTable<'_>) {
    for (name, value) in table {
        let full = format!("{section}.{}", name.get_ref());
        match keys::find(&full) {
            Some(key) => read_value(layers, place, key, name.span(), value),
            None => unknown(layers, place, name.span(), &full),
        }
    }
}

fn read_value(
    layers: &mut Layers,
    place: &Text<'_>,
    key: &'static Key,
    name: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) {
    let takes_table = matches!(key.of(&table_of(&Config::default())), Some(Value::Table(_)));
    let found = match value.get_ref() {
        DeValue::Table(entries) if takes_table => Some(Value::Table(table(layers, place, key, entries))),
        DeValue::Table(_) => Some(Value::Table(Table::new())),
        _ => place.value(value.span()),
    };
    if let Some(found) = found.filter(|_| !place.is_broken(name.start)) {
        layers.put(key, found, place.origin(name));
    }
}

/// The entries of a key that takes any names, those that are texts.
fn table(layers: &mut Layers, place: &Text<'_>, key: &'static Key, entries: &DeTable<'_>) -> Table {
    let mut out = Table::new();
    for (name, value) in entries {
        let full = format!("{}.{}", key.name, name.get_ref());
        match value.get_ref() {
            DeValue::String(text) => drop(out.insert(name.get_ref().to_string(), Value::String(text.to_string()))),
            DeValue::Table(_) => {
                let wrong = format!("`{full}` is a table: a name with dots in it must be in quotes");
                complain(layers, place, name.span(), &full, wrong.into());
            }
            // Without the value, which may be a secret.
            _ => complain(layers, place, name.span(), &full, format!("`{full}` must be a text in quotes").into()),
        }
    }
    out
}

fn unknown(layers: &mut Layers, place: &Text<'_>, span: Range<usize>, name: &str) {
    let known = KEYS.iter().map(|key| key.name.to_owned());
    let wrong = Wrong { what: format!("unknown key `{name}`"), nearest: nearest(name, known) };
    complain(layers, place, span, name, wrong);
}

/// Complains, unless the line is known to be broken.
fn complain(layers: &mut Layers, place: &Text<'_>, span: Range<usize>, name: &str, wrong: Wrong) {
    if !place.is_broken(span.start) {
        layers.complain(place.origin(span), Some(name.to_owned()), wrong);
    }
}
