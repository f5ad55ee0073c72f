//! Sends accepted events once more: each must be answered as a duplicate with the seq of the first.

use crate::event::{Item, Key, Tag};
use crate::http::{Answer, Client};
use crate::ledger::{Ledger, Request, Shape};
use crate::load::render;
use crate::report::{Kind, Violation};
use crate::rng::Rng;

/// Most events that one batch of the check carries.
const BATCH_MAX: usize = 100;
/// How often a refused request is tried again before the check gives up.
const TRIES: u32 = 100;

/// Re-sends up to `count` acknowledged events that were first sent in `round_first` or later (older ones may have left
/// the dedup window), one by one, and up to a hundred of them as a batch. Returns how many were sent.
pub fn resend(
    http: &mut Client,
    ledger: &mut Ledger,
    tag: &Tag,
    rng: &mut Rng,
    count: usize,
    round_first: u32,
) -> (u64, Vec<Violation>) {
    let known = |(key, entry): (&Key, &crate::ledger::Entry)| (entry.acked && key.round >= round_first).then_some(*key);
    let mut keys: Vec<Key> = ledger.events.iter().filter_map(known).collect();
    // The map's order differs from run to run; the plan may not.
    keys.sort_unstable();
    for index in 0..count.min(keys.len()) {
        let other = index + rng.below((keys.len() - index) as u64) as usize;
        keys.swap(index, other);
    }
    keys.truncate(count);
    let sent = keys.len() as u64;
    let mut violations = Vec::new();
    for key in &keys {
        match post(http, tag, Shape::Single, std::slice::from_ref(key)) {
            Ok(answer) => violations.extend(check_single(ledger, *key, &answer)),
            Err(why) => {
                violations.push(Violation::new(Kind::Lifecycle, format!("re-sending {key}: {why}")));
                return (0, violations);
            }
        }
    }
    keys.truncate(BATCH_MAX);
    if !keys.is_empty() {
        match post(http, tag, Shape::Batch, &keys) {
            Ok(answer) => violations.extend(check_batch(&keys, &answer)),
            Err(why) => violations.push(Violation::new(Kind::Lifecycle, format!("re-sending a batch: {why}"))),
        }
    }
    (sent, violations)
}

/// Posts until the answer is not a refusal.
fn post(http: &mut Client, tag: &Tag, shape: Shape, keys: &[Key]) -> Result<Answer, String> {
    let items = keys.iter().map(|key| Item { key: *key, bad: false }).collect();
    let (path, headers, text) = render(tag, &Request { id: 0, shape, items });
    let mut last = String::new();
    for _ in 0..TRIES {
        match http.post(path, &headers, text.as_bytes()) {
            Ok(answer) if !matches!(answer.status, 429 | 503) => return Ok(answer),
            Ok(answer) => last = format!("{} {}", answer.status, answer.excerpt()),
            Err(error) => last = error.to_string(),
        }
        std::thread::sleep(crate::daemon::POLL * 10);
    }
    Err(format!("no answer but {last}"))
}

fn check_single(ledger: &mut Ledger, key: Key, answer: &Answer) -> Option<Violation> {
    let json = answer.json();
    let seq = json["seq"].as_u64();
    let entry = ledger.events.entry(key).or_default();
    let sound = answer.status == 202
        && json["duplicate"] == true
        && seq.is_some()
        && entry.seq.is_none_or(|known| Some(known) == seq);
    if sound {
        entry.seq = seq;
        return None;
    }
    let detail = format!("{key}, accepted as seq {:?}, sent again: {} {}", entry.seq, answer.status, answer.excerpt());
    Some(Violation::new(Kind::NotDuplicate, detail))
}

fn check_batch(keys: &[Key], answer: &Answer) -> Option<Violation> {
    if answer.status == 202 && answer.json()["duplicates"] == keys.len() {
        return None;
    }
    let detail =
        format!("a batch of {} accepted events sent again: {} {}", keys.len(), answer.status, answer.excerpt());
    Some(Violation::new(Kind::NotDuplicate, detail))
}
