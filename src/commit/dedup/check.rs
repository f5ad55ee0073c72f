use crate::Error;
use crate::dedup::Dedup;
use crate::index::{BATCH, Spot, Step};
use crate::ring::Id;
use crate::spill::Found;
use event::{Entry, Fingerprint, Seq, Verdict};
use std::hint::black_box;

/// What memory knows of an id.
enum Memory {
    /// Nothing that counts; it would go here.
    Vacant(Spot),
    /// Accepted before, and its window is not over.
    Held(Found),
}

/// A filter said "maybe": the entry's place in the batch and the span's number.
pub(crate) type Maybe = (usize, usize);

impl Dedup {
    /// Decides each entry in order and appends one verdict for each. A new id gets the next sequence number and is
    /// remembered at once, so that a repeat inside the group is caught.
    ///
    /// # Errors
    /// [`Error::Lookup`]: the group must not be committed, and the filter not be used again.
    pub fn check(&mut self, entries: &[Entry], verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        self.finish_load();
        verdicts.reserve(entries.len());
        let first = self.next_seq().get();
        for batch in entries.chunks(BATCH) {
            self.make_room(batch);
            self.asked = 0;
            self.maybes.clear();
            if let [entry] = batch {
                // Requests of one event are frequent, and there is nothing to overlap.
                verdicts.push(self.decide(entry, self.index.home(entry.fingerprint), 0)?);
                continue;
            }
            // Each step starts the reads of the whole batch before the next step needs the first of them.
            let mut spots = self.homes(batch);
            self.find_candidates(batch, &mut spots);
            for (n, entry) in batch.iter().enumerate() {
                verdicts.push(self.decide(entry, spots[n], n)?);
            }
        }
        if self.next_seq().get() > first {
            self.marks.note(first, self.now);
        }
        Ok(())
    }

    /// Starts to bring the memory that [`Dedup::check`] will need for these entries closer.
    ///
    /// `check` overlaps the cache misses of the entries it is given together. Where a group consists of many requests
    /// of few events, calling this for all of them before the first `check` gives the same gain.
    pub fn touch(&self, entries: &[Entry]) {
        for entry in entries {
            black_box(self.index.touch(self.index.home(entry.fingerprint)));
        }
    }

    fn make_room(&mut self, batch: &[Entry]) {
        let live = self.live();
        for entry in batch {
            // One rebuild in a group is enough, unless a shard cannot wait.
            let slots = self.index.make_room(entry.fingerprint, live, self.group.rebuilt_slots == 0);
            if slots > 0 {
                self.note_rebuild(slots);
            }
        }
    }

    /// Where each entry's probe starts.
    fn homes(&self, batch: &[Entry]) -> [Spot; BATCH] {
        let mut spots = [Spot::default(); BATCH];
        for (spot, entry) in spots.iter_mut().zip(batch) {
            *spot = self.index.home(entry.fingerprint);
        }
        // Loops that only read are short enough for the processor to have a dozen cache misses under way.
        for spot in &spots[..batch.len()] {
            black_box(self.index.touch(*spot));
        }
        spots
    }

    /// Moves each spot on to its first candidate or to a free slot; asks the filters about ids without a candidate.
    fn find_candidates(&mut self, batch: &[Entry], spots: &mut [Spot; BATCH]) {
        let mut further = [0_u8; BATCH];
        let mut going_further = 0;
        let mut candidates = [0; BATCH];
        let mut count = 0;
        for (n, spot) in spots[..batch.len()].iter_mut().enumerate() {
            match self.index.step(spot) {
                Step::Free => self.asked |= 1 << n,
                Step::Candidate(seq_low) => {
                    candidates[count] = seq_low;
                    count += 1;
                }
                // One probe in four has to read another bucket.
                Step::Further => {
                    black_box(self.index.touch(*spot));
                    further[going_further] = n as u8;
                    going_further += 1;
                }
            }
        }
        for &n in &further[..going_further] {
            match self.index.walk(&mut spots[usize::from(n)]) {
                None => self.asked |= 1 << n,
                Some(seq_low) => {
                    candidates[count] = seq_low;
                    count += 1;
                }
            }
        }
        for &seq_low in &candidates[..count] {
            black_box(self.ring.touch(seq_low));
        }
        if !self.spans.is_empty() {
            self.ask_filters(batch);
        }
    }

    /// Asks each span's filter about the ids without a candidate. The newest span comes first, so that the first hit of
    /// an id is the one that counts.
    fn ask_filters(&mut self, batch: &[Entry]) {
        let mut strangers = [(0, 0); BATCH];
        let mut count = 0;
        for (n, entry) in batch.iter().enumerate() {
            strangers[count] = (n, entry.fingerprint);
            count += usize::from(self.asked & (1 << n) != 0);
        }
        for (number, span) in self.spans.iter().enumerate().rev() {
            for &(_, fingerprint) in &strangers[..count] {
                black_box(span.bloom.touch(fingerprint));
            }
            for &(n, fingerprint) in &strangers[..count] {
                if span.bloom.may_hold(fingerprint) {
                    self.maybes.push((n, number));
                }
            }
        }
    }

    fn decide(&mut self, entry: &Entry, spot: Spot, n: usize) -> Result<Verdict, Error> {
        let spot = match self.search_memory(entry.fingerprint, spot) {
            Memory::Held(found) => return Ok(duplicate(found, entry)),
            Memory::Vacant(vacant) => {
                if let Some(found) = self.search_disk(entry.fingerprint, n)? {
                    return Ok(duplicate(found, entry));
                }
                vacant
            }
        };
        let seq = self.ring.end();
        self.ring.push(Id::new(entry.fingerprint, entry.content));
        self.index.set(spot, seq as u32);
        Ok(Verdict::Accepted(Seq::new(seq)))
    }

    /// Goes on from a candidate to the id itself. A slot whose id has left the ring or has another fingerprint is
    /// passed over; one whose id has expired is where the id goes again.
    fn search_memory(&self, fingerprint: Fingerprint, mut spot: Spot) -> Memory {
        while let Some(seq_low) = self.index.walk(&mut spot) {
            if let Some(id) = self.ring.get(seq_low)
                && id.fingerprint() == fingerprint
            {
                let seq = self.ring.seq(seq_low);
                if seq < self.marks.expired_below() {
                    return Memory::Vacant(spot);
                }
                return Memory::Held(Found { seq, content: id.content() });
            }
            spot.pass_over();
        }
        Memory::Vacant(spot)
    }

    /// Reads the spill files that may hold the id.
    fn search_disk(&mut self, fingerprint: Fingerprint, n: usize) -> Result<Option<Found>, Error> {
        if self.asked & (1 << n) == 0 {
            // There was a candidate in memory, but it was another id or has left memory.
            let spans = self.spans.iter().enumerate().rev();
            self.maybes
                .extend(spans.filter(|(_, span)| span.bloom.may_hold(fingerprint)).map(|(number, _)| (n, number)));
        }
        for &(_, number) in self.maybes.iter().filter(|&&(entry, _)| entry == n) {
            self.counters.disk_reads += 1;
            let found = self.spans[number].find(fingerprint, &mut self.page)?;
            if let Some(found) = found.filter(|found| found.seq >= self.marks.expired_below()) {
                self.counters.disk_hits += 1;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn duplicate(found: Found, entry: &Entry) -> Verdict {
    Verdict::Duplicate { first: Seq::new(found.seq), differs: found.content != entry.content }
}
