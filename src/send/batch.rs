use bytes::{Bytes, BytesMut};

/// Bytes of events after which no more are added to a batch. A single longer event is a batch of its own.
pub(crate) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where an event came from. Ordered as the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index into the list of inputs.
    pub(crate) file: u32,
    /// Line number, from 1.
    pub(crate) line: u64,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    place: Place,
    /// Where its text, with its line feed, ends in the body.
    end: usize,
}

/// Some events as the body of a request, and where each came from. Never empty.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    body: Bytes,
    events: Vec<Event>,
}

impl Batch {
    /// How many events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// One event per line.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Where the event at `index` came from.
    pub(crate) fn place(&self, index: usize) -> Place {
        self.events[index].place
    }

    /// Where all of them came from, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.events.iter().map(|event| event.place)
    }

    /// The first `events`, and the rest if there is one; without copying.
    pub(crate) fn split(mut self, events: usize) -> (Batch, Option<Batch>) {
        assert!(events > 0, "no part of a batch is empty");
        if events >= self.len() {
            return (self, None);
        }
        let mut rest = self.events.split_off(events);
        let cut = self.events.last().map_or(0, |event| event.end);
        rest.iter_mut().for_each(|event| event.end -= cut);
        let tail = self.body.split_off(cut);
        (self, Some(Batch { body: tail, events: rest }))
    }

    /// The events at `indexes`, which ascend, as a batch of their own; `None` where there are none.
    pub(crate) fn pick(&self, indexes: &[usize]) -> Option<Batch> {
        let mut builder = Builder::default();
        for &index in indexes {
            let start = if index == 0 { 0 } else { self.events[index - 1].end };
            builder.push(self.events[index].place, &self.body[start..self.events[index].end - 1]);
        }
        builder.finish()
    }
}

/// Puts events together.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    body: BytesMut,
    events: Vec<Event>,
}

impl Builder {
    /// How many events so far.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether `text` can be added without going over the limit of bytes.
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        self.events.is_empty() || self.body.len() + text.len() < BATCH_BYTES_MAX
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, place: Place, text: &[u8]) {
        debug_assert!(!text.contains(&b'\n'), "an event is one line");
        self.body.extend_from_slice(text);
        self.body.extend_from_slice(b"\n");
        self.events.push(Event { place, end: self.body.len() });
    }

    /// The batch, leaving the builder empty; `None` where nothing was added.
    pub(crate) fn finish(&mut self) -> Option<Batch> {
        if self.events.is_empty() {
            return None;
        }
        Some(Batch { body: self.body.split().freeze(), events: std::mem::take(&mut self.events) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: &[&str]) -> Batch {
        let mut builder = Builder::default();
        for (text, line) in texts.iter().zip(1..) {
            builder.push(Place { file: 0, line }, text.as_bytes());
        }
        builder.finish().unwrap()
    }

    fn lines(batch: &Batch) -> Vec<u64> {
        batch.places().map(|place| place.line).collect()
    }

    #[test]
    fn splitting_keeps_text_and_place_together() {
        let (head, tail) = batch(&["a", "bb", "ccc", "d"]).split(1);
        let tail = tail.unwrap();
        assert_eq!((&head.body()[..], lines(&head)), (&b"a\n"[..], vec![1]));
        assert_eq!((&tail.body()[..], lines(&tail)), (&b"bb\nccc\nd\n"[..], vec![2, 3, 4]));
        let (middle, last) = tail.split(2);
        assert_eq!((&middle.body()[..], lines(&middle)), (&b"bb\nccc\n"[..], vec![2, 3]));
        assert_eq!(&last.unwrap().body()[..], b"d\n");
        assert!(batch(&["a"]).split(5).1.is_none());
    }

    #[test]
    fn picking_keeps_text_and_place_together() {
        let whole = batch(&["a", "bb", "ccc"]);
        let picked = whole.pick(&[0, 2]).unwrap();
        assert_eq!((&picked.body()[..], lines(&picked)), (&b"a\nccc\n"[..], vec![1, 3]));
        assert!(whole.pick(&[]).is_none());
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_unless_it_is_one_event() {
        let mut builder = Builder::default();
        let half = vec![b'x'; BATCH_BYTES_MAX / 2];
        assert!(builder.fits(&vec![b'x'; 2 * BATCH_BYTES_MAX]));
        builder.push(Place { file: 0, line: 1 }, &half);
        assert!(!builder.fits(&half));
        assert!(builder.fits(&half[..half.len() - 2]));
    }
}
