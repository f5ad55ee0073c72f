use crate::batch::{Batch, Builder, Place};
use crate::input::Input;
use crate::lines::{Line, Lines};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

/// What the reader found.
#[derive(Debug)]
pub(crate) enum Item {
    /// Events to send.
    Batch(Batch),
    /// A line that no request could carry.
    TooLong(Place),
    /// The rest of this input cannot be read.
    Failed { file: u32, error: io::Error },
    /// All inputs are read; without it, the reader has not come to its end.
    End,
}

/// Counts that the reader keeps and others look at.
#[derive(Debug, Default)]
pub(crate) struct ReadCounts {
    /// Bytes, before decompression.
    pub(crate) bytes: Arc<AtomicU64>,
    /// Blank lines.
    pub(crate) blank_lines: AtomicU64,
}

/// Reads all inputs in order on a thread of its own, which ends when the receiver is dropped; while an input that
/// somebody else writes has nothing to read, only after that.
pub(crate) fn start(
    inputs: Vec<Input>,
    batch_events_max: Arc<AtomicUsize>,
    queue: usize,
    counts: Arc<ReadCounts>,
) -> io::Result<Receiver<Item>> {
    let (items, receiver) = mpsc::channel(queue);
    let mut reader = Reader { items, builder: Builder::default(), batch_events_max, counts };
    thread::Builder::new().name("send-reader".to_owned()).spawn(move || {
        // An error means that nobody wants more.
        drop(reader.read_all(&inputs));
    })?;
    Ok(receiver)
}

/// The receiver is gone.
struct Unwanted;

struct Reader {
    items: Sender<Item>,
    builder: Builder,
    batch_events_max: Arc<AtomicUsize>,
    counts: Arc<ReadCounts>,
}

impl Reader {
    fn read_all(&mut self, inputs: &[Input]) -> Result<(), Unwanted> {
        for (input, file) in inputs.iter().zip(0..) {
            let read = match input.open(Arc::clone(&self.counts.bytes)) {
                Ok(source) => self.read(Lines::new(source), file, input.is_live())?,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                self.give(Item::Failed { file, error })?;
            }
        }
        self.flush()?;
        self.give(Item::End)
    }

    fn read(&mut self, mut lines: Lines<impl Read>, file: u32, live: bool) -> Result<io::Result<()>, Unwanted> {
        loop {
            while let Some((line, found)) = lines.next_read() {
                self.take(Place { file, line }, found)?;
            }
            if lines.ended() {
                return Ok(Ok(()));
            }
            if live {
                self.flush_if_idle()?;
            }
            if let Err(error) = lines.fill() {
                return Ok(Err(error));
            }
        }
    }

    fn take(&mut self, place: Place, line: Line<'_>) -> Result<(), Unwanted> {
        match line {
            Line::Text(text) => {
                if !self.builder.fits(text) {
                    self.flush()?;
                }
                self.builder.push(place, text);
                if self.builder.len() >= self.batch_events_max.load(Ordering::Relaxed) {
                    self.flush()?;
                }
            }
            Line::Blank => {
                self.counts.blank_lines.fetch_add(1, Ordering::Relaxed);
            }
            Line::TooLong => self.give(Item::TooLong(place))?,
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Unwanted> {
        self.builder.finish().map_or(Ok(()), |batch| self.give(Item::Batch(batch)))
    }

    /// Sends what there is if a sender waits for it: a slow pipe is not held up by a batch that is not full, a fast
    /// one fills its batches while the senders are busy.
    fn flush_if_idle(&mut self) -> Result<(), Unwanted> {
        match self.items.try_reserve() {
            Ok(permit) => {
                if let Some(batch) = self.builder.finish() {
                    permit.send(Item::Batch(batch));
                }
                Ok(())
            }
            Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Closed(())) => Err(Unwanted),
        }
    }

    fn give(&self, item: Item) -> Result<(), Unwanted> {
        self.items.blocking_send(item).map_err(|_| Unwanted)
    }
}
