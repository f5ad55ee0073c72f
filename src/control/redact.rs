//! Texts without the secrets that have come into them by mistake: passwords in addresses, values behind telling names, API
//! keys.

use std::ops::Range;

/// Parts of names behind which secrets are.
const TELLING: [&str; 9] =
    ["password", "passwd", "secret", "token", "credential", "api_key", "api-key", "apikey", "authorization"];
const SECRET: &str = "(secret)";
/// How an API key begins, and how many digits its id has: `ing_<id>_<secret>`.
const KEY: &str = "ing_";
const ID_DIGITS: usize = 16;
const BEARER: &str = "bearer ";

/// A text without user and password in addresses, without the values of `password=…` and the like, and without what is
/// secret in API keys.
pub(crate) fn redact(text: &str) -> String {
    text.split_inclusive('\n').map(|line| without_values(&without_users(&without_keys(line)))).collect()
}

/// `ing_<id>_<secret>` without the secret, be it whole or cut off.
fn without_keys(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(KEY) {
        let (before, behind) = rest.split_at(at + KEY.len());
        out.push_str(before);
        rest = behind;
        if let Some(secret) = secret_behind(behind) {
            out.push_str(&behind[..secret.start]);
            out.push_str(SECRET);
            rest = &behind[secret.end..];
        }
    }
    out + rest
}

/// Where the secret is in what follows the beginning of a key, if it is one.
fn secret_behind(behind: &str) -> Option<Range<usize>> {
    let (id, secret) = behind.split_once('_')?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(is_digit);
    let digits = secret.bytes().take_while(|byte| is_digit(*byte)).count();
    let start = id.len() + 1;
    (is_id && digits > 0).then_some(start..start + digits)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// `scheme://user:password@host` without user and password.
fn without_users(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, address)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        // A password may hold what ends an address elsewhere, so the last @ of the word counts.
        let word = address.find(|letter: char| letter.is_whitespace() || "\"'<>,;".contains(letter));
        let (word, behind) = address.split_at(word.unwrap_or(address.len()));
        match word.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str(SECRET);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(word),
        }
        rest = behind;
    }
    out + rest
}

/// `password=x`, `"password": "x"`, `Authorization: Bearer x` without x.
fn without_values(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut names = Names { line: &lower, next: TELLING.map(|name| lower.find(name)) };
    let mut out = String::with_capacity(line.len());
    let (mut kept, mut from) = (0, 0);
    while let Some(behind) = names.behind_next(from) {
        let (value, on) = value_behind(&lower, behind);
        from = on;
        if let Some(value) = value {
            out.push_str(&line[kept..value.start]);
            out.push_str(SECRET);
            kept = value.end;
        }
    }
    out + &line[kept..]
}

/// Where telling names are: each is looked for once, however many there are of another.
struct Names<'a> {
    line: &'a str,
    next: [Option<usize>; TELLING.len()],
}

impl Names<'_> {
    /// Where the first telling name from `from` on ends.
    fn behind_next(&mut self, from: usize) -> Option<usize> {
        for (next, name) in self.next.iter_mut().zip(TELLING) {
            if next.is_some_and(|at| at < from) {
                *next = self.line[from..].find(name).map(|at| at + from);
            }
        }
        let first = self.next.iter().zip(TELLING).filter_map(|(next, name)| Some((next.as_ref()?, name.len()))).min();
        first.map(|(at, length)| at + length)
    }
}

/// The value that belongs to a name which is telling up to `behind`, if there is one; and where to look on.
fn value_behind(lower: &str, behind: usize) -> (Option<Range<usize>>, usize) {
    let count = |from: usize, is_part: &dyn Fn(char) -> bool| {
        lower[from..].find(|letter| !is_part(letter)).unwrap_or(lower.len() - from)
    };
    let name_end = behind + count(behind, &is_name);
    let start = name_end + count(name_end, &is_between);
    let between = &lower[name_end..start];
    if !between.contains(['=', ':']) {
        return (None, name_end);
    }
    let start = if lower[start..].starts_with(BEARER) { start + BEARER.len() } else { start };
    let end = start
        + match between.chars().next_back().filter(|last| matches!(last, '"' | '\'')) {
            // What is in quotes may hold anything else.
            Some(quote) => count(start, &|letter| letter != quote),
            None => count(start, &|letter| !ends_value(letter)),
        };
    ((start < end).then_some(start..end), end)
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || "_-.".contains(letter)
}

fn is_between(letter: char) -> bool {
    "\"'=: ".contains(letter)
}

fn ends_value(letter: char) -> bool {
    letter.is_whitespace() || "\"',;&}".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_hosts_and_lose_users_and_passwords() {
        assert_eq!(redact("at http://me:p@ss@db:8123/x, then"), "at http://(secret)@db:8123/x, then");
        assert_eq!(redact("http://db:8123 and a@b"), "http://db:8123 and a@b");
        assert_eq!(redact("[\"http://a:b@c\", \"http://d:e@f\"]"), "[\"http://(secret)@c\", \"http://(secret)@f\"]");
    }

    #[test]
    fn keys_keep_their_ids_and_lose_their_secrets() {
        let (id, secret) = ("00000000000000fe", "0a".repeat(32));
        let key = format!("ing_{id}_{secret}");
        let left = format!("ing_{id}_(secret)");
        assert_eq!(redact(&format!("pause {key}, \"{key}\" ing_{id}_0a")), format!("pause {left}, \"{left}\" {left}"));
        for text in ["ing_", "ing_x_0a", &format!("ing_{id}"), &format!("ing_{id}_"), &format!("ing_{id}0_{secret}")] {
            assert_eq!(redact(text), text);
        }
        let many = "ing_".repeat(100_000);
        assert_eq!(redact(&many), many);
    }

    #[test]
    fn values_behind_telling_names_go_and_the_names_stay() {
        assert_eq!(redact("?user=me&password=hunter2&x=1"), "?user=me&password=(secret)&x=1");
        assert_eq!(redact("\"sasl.password\": \"hunter2\", \"a\": 1"), "\"sasl.password\": \"(secret)\", \"a\": 1");
        assert_eq!(redact("Authorization: Bearer abc.def\nnext"), "Authorization: Bearer (secret)\nnext");
        assert_eq!(redact("API_KEY = k1\ntoken_count is 5"), "API_KEY = (secret)\ntoken_count is 5");
        assert_eq!(redact("the password is wrong"), "the password is wrong");
        assert_eq!(redact("password="), "password=");
        assert_eq!(redact("{\"secret\":\"two words, three\",\"a\":1}"), "{\"secret\":\"(secret)\",\"a\":1}");
        for many in ["token ", "token"].map(|word| word.repeat(100_000)) {
            assert_eq!(redact(&many), many);
        }
        assert_eq!(redact("Paßwörter: ünïcode password=ü"), "Paßwörter: ünïcode password=(secret)");
    }
}
