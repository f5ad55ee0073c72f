//! Texts without the secrets that have come into them by mistake: passwords in addresses, values behind telling names.

/// Parts of names behind which secrets are.
const TELLING: [&str; 9] =
    ["password", "passwd", "secret", "token", "credential", "api_key", "api-key", "apikey", "authorization"];
const SECRET: &str = "(secret)";

/// A text without user and password in addresses, and without the values of `password=…` and the like.
pub(crate) fn redact(text: &str) -> String {
    text.split_inclusive('\n').map(|line| without_values(&without_users(line))).collect()
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
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(value) = next_value(&lower, at) {
        out.push_str(&line[at..value.start]);
        out.push_str(SECRET);
        at = value.end;
    }
    out + &line[at..]
}

/// The next value from `from` on that is behind a telling name.
fn next_value(lower: &str, from: usize) -> Option<std::ops::Range<usize>> {
    let names = TELLING.iter().filter_map(|name| Some((lower[from..].find(name)? + from, name.len())));
    let (found, length) = names.min()?;
    let behind = found + length;
    // The rest of the name, then what stands between name and value.
    let name_end = behind + lower[behind..].find(|letter: char| !is_name(letter)).unwrap_or(lower.len() - behind);
    let gap = lower[name_end..].len() - lower[name_end..].trim_start_matches(is_between).len();
    if !lower[name_end..name_end + gap].contains(['=', ':']) {
        return next_value(lower, behind);
    }
    let start = name_end + gap;
    let start = start + lower[start..].strip_prefix("bearer ").map_or(0, |_| "bearer ".len());
    let end = start + lower[start..].find(ends_value).unwrap_or(lower.len() - start);
    if start == end { next_value(lower, behind) } else { Some(start..end) }
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
    fn values_behind_telling_names_go_and_the_names_stay() {
        assert_eq!(redact("?user=me&password=hunter2&x=1"), "?user=me&password=(secret)&x=1");
        assert_eq!(redact("\"sasl.password\": \"hunter2\", \"a\": 1"), "\"sasl.password\": \"(secret)\", \"a\": 1");
        assert_eq!(redact("Authorization: Bearer abc.def\nnext"), "Authorization: Bearer (secret)\nnext");
        assert_eq!(redact("API_KEY = k1\ntoken_count is 5"), "API_KEY = (secret)\ntoken_count is 5");
        assert_eq!(redact("the password is wrong"), "the password is wrong");
        assert_eq!(redact("password="), "password=");
        assert_eq!(redact("Paßwörter: ünïcode password=ü"), "Paßwörter: ünïcode password=(secret)");
    }
}
