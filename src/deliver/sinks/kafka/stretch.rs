//! How much of a slice is sent at once: all of it, unless the link is too slow for that, or somebody in it is refused.
//! No I/O.

use crate::{Item, Message, Position, Slice};
use std::ops::Range;

/// A part of a slice, of whole items, that is sent at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    pub(crate) slice: &'a Slice,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Where the topics are once they have it.
    pub(crate) end: Position,
    pub(crate) incarnation: Option<u64>,
}

impl<'a> Stretch<'a> {
    /// Its messages with their places in the slice.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (usize, Message<'a>)> + use<'a> {
        self.slice.messages().enumerate().take(self.to).skip(self.from)
    }

    /// Bytes of its messages.
    pub(crate) fn bytes(&self) -> usize {
        self.messages().map(|(_, message)| message.batch_bytes()).sum()
    }

    /// Whether what is said of it can be meant for one item only.
    pub(crate) fn is_one_item(&self) -> bool {
        let mut items = self.messages().map(|(_, message)| message.item);
        items.next().is_some_and(|first| items.all(|item| item == first))
    }
}

impl Slice {
    /// The end of a stretch that begins at `from` and has at most `bytes`, or else one item.
    pub(crate) fn reach(&self, from: usize, bytes: usize) -> usize {
        let mut sum = 0;
        let mut reached = from;
        let mut messages = self.messages().enumerate().skip(from).peekable();
        while let Some((place, message)) = messages.next() {
            sum += message.batch_bytes();
            let item_ends = messages.peek().is_none_or(|(_, next)| next.item != message.item);
            if item_ends && (sum <= bytes || reached == from) {
                reached = place + 1;
            }
            if sum > bytes && reached > from {
                break;
            }
        }
        reached
    }
}

/// How many bytes a transaction takes. Less when a link turns out to be too slow for it, more again once it goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace(usize);

impl Pace {
    /// Small enough for the slowest link, large enough to get on.
    const LEAST: usize = 64 << 10;
    const MOST: usize = 16 << 20;

    pub(crate) const START: Pace = Pace(Pace::MOST);

    pub(crate) fn bytes(self) -> usize {
        self.0
    }

    /// So much was not acknowledged in time.
    pub(crate) fn timed_out(&mut self, bytes: usize) {
        self.0 = (self.0.min(bytes) / 2).max(Pace::LEAST);
    }

    /// So much was. It grows slowly, for whoever asks too much has waited in vain; and what is small says nothing.
    pub(crate) fn went_well(&mut self, bytes: usize) {
        if bytes >= self.0 / 2 {
            self.0 = (self.0 + self.0 / 8).min(Pace::MOST);
        }
    }
}

/// Which items may be the ones that a topic refuses, by their places, ascending.
///
/// A broker refuses batches, not messages: all that a batch had are suspects. They are sent again in smaller and smaller
/// stretches, and what is innocent is delivered on the way; who is refused while it is alone is guilty. Each step either
/// delivers something or leaves fewer suspects, so there is an end without any deadline.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspects(Vec<Range<usize>>);

impl Suspects {
    pub(crate) fn among(slice: &Slice, items: impl Iterator<Item = Item>) -> Self {
        let mut places: Vec<_> = items.map(|item| slice.places_of(item)).collect();
        places.sort_by_key(|places| places.start);
        Suspects(places)
    }

    /// The end of what is sent next, from `from` on and up to `to` at most.
    pub(crate) fn reach(&self, from: usize, to: usize) -> usize {
        let end = match &*self.0 {
            [] => to,
            [first, ..] if first.start > from => first.start,
            [only] => only.end,
            several => several[several.len() / 2].start,
        };
        end.min(to)
    }

    /// Everything before that place was taken.
    pub(crate) fn acquit(&mut self, before: usize) {
        self.0.retain(|places| places.start >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use event::Seq;

    /// Events of three messages each, with so many bytes in the first one.
    fn slice(sizes: &[usize]) -> Slice {
        let mut slice = Slice::new(Position::START);
        for (seq, size) in (1..).zip(sizes) {
            slice.push(&Event {
                seq: Seq::new(seq),
                incarnation: 100 + seq,
                tenant: "default",
                event_id: "e",
                event_type: "t",
                session_id: "s",
                schema_version: 1,
                traceparent: None,
                raw: &vec![b'x'; *size],
                validated: Some(b"v"),
                enriched: Some(b"e"),
            });
        }
        slice
    }

    fn at(seq: u64) -> Position {
        Position { seq: Seq::new(seq), dead_seq: 0 }
    }

    #[test]
    fn a_stretch_says_where_it_ends() {
        let mut slice = slice(&[1, 1, 1]);
        slice.cover(at(9), 7);
        let (first, all) = (slice.stretch(0, 3), slice.stretch(3, 9));
        assert_eq!((first.end, first.incarnation), (at(1), Some(101)));
        assert_eq!((all.end, all.incarnation), (at(9), Some(7)));
        assert_eq!(all.messages().map(|(place, _)| place).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        assert!(first.is_one_item() && !all.is_one_item());
        let nothing = slice.stretch(9, 9);
        assert_eq!((nothing.end, nothing.bytes(), nothing.is_one_item()), (at(9), 0, false));
    }

    #[test]
    fn what_was_sent_of_a_slice_is_found_in_it() {
        let mut slice = slice(&[1, 1, 1]);
        slice.cover(at(9), 7);
        for (position, place) in [(0, Some(0)), (1, Some(3)), (2, Some(6)), (3, Some(9)), (4, None), (9, None)] {
            assert_eq!(slice.place_after(at(position)), place, "{position}");
        }
        slice.remove(Item::Event(Seq::new(2)));
        assert_eq!((slice.place_after(at(1)), slice.place_after(at(3))), (Some(3), Some(6)));
    }

    #[test]
    fn a_stretch_takes_whole_items_and_one_at_least() {
        let slice = slice(&[1_000, 5_000, 1_000]);
        let whole = slice.stretch(0, 9).bytes();
        assert_eq!(slice.reach(0, whole), 9);
        assert_eq!(slice.reach(0, whole - 1), 6);
        assert_eq!(slice.reach(0, 2_000), 3);
        assert_eq!(slice.reach(3, 2_000), 6, "larger than may be, and alone");
        assert_eq!((slice.reach(0, 0), slice.reach(9, 0)), (3, 9));
    }

    #[test]
    fn a_slow_link_gets_less_and_less_until_it_goes_well() {
        let mut pace = Pace::START;
        // A link on which so many bytes arrive in time.
        for fits in [5_000_000, 700_000, 70_000] {
            let mut lost = 0;
            while pace.bytes() > fits {
                pace.timed_out(pace.bytes());
                lost += 1;
            }
            assert!(lost <= 8, "{lost} slices until {fits}");
            assert!(pace.bytes() * 2 > fits);
        }
        let mut sent = 0;
        while pace != Pace::START {
            pace.went_well(pace.bytes());
            sent += 1;
        }
        assert!(sent < 60, "{sent} transactions until all is as it was");
    }

    #[test]
    fn a_cluster_that_is_away_leaves_something_to_send() {
        let mut pace = Pace::START;
        for _ in 0..100 {
            pace.timed_out(10);
        }
        assert_eq!(pace.bytes(), Pace::LEAST);
        pace.went_well(10);
        assert_eq!(pace.bytes(), Pace::LEAST, "ten bytes say nothing of a link");
    }

    /// Sends a slice to a topic that refuses whatever has a guilty one in it, and blames all of it; returns who is
    /// named, and after how many stretches.
    fn search(slice: &Slice, guilty: &[u64]) -> (Vec<Item>, usize) {
        let is_guilty = |item: Item| guilty.iter().any(|seq| item == Item::Event(Seq::new(*seq)));
        let (mut from, mut steps, mut named) = (0, 0, Vec::new());
        let mut suspects = Suspects::default();
        while from < slice.len() {
            let to = suspects.reach(from, slice.len());
            let stretch = slice.stretch(from, to);
            assert!(to > from);
            steps += 1;
            let mut items: Vec<_> = stretch.messages().map(|(_, message)| message.item).collect();
            items.dedup();
            if !items.iter().any(|item| is_guilty(*item)) {
                suspects.acquit(to);
                from = to;
            } else if stretch.is_one_item() {
                named.extend(items);
                suspects = Suspects::default();
                from = to;
            } else {
                suspects = Suspects::among(slice, items.into_iter());
            }
        }
        (named, steps)
    }

    #[test]
    fn the_guilty_are_found_by_halving_and_nobody_else() {
        let slice = slice(&[1; 2_000]);
        for guilty in [&[][..], &[1], &[2_000], &[1_234], &[7, 8, 1_999]] {
            let (named, steps) = search(&slice, guilty);
            assert_eq!(named, guilty.iter().map(|seq| Item::Event(Seq::new(*seq))).collect::<Vec<_>>());
            // Eleven halvings, and as many stretches of those who are innocent.
            assert!(steps <= 1 + 23 * guilty.len(), "{steps} stretches for {guilty:?}");
        }
    }
}
