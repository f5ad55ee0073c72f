use crate::deliver::{Courier, why};
use crate::outcome::Outcome;
use crate::plan::{Plan, Tuning};
use crate::reader::{self, Item, ReadCounts};
use crate::stop::{Phase, Stop};
use crate::tally::{Event, Tally};
use crate::{Observer, Summary};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};

/// One run, from the first line to the summary.
pub(crate) async fn drive(
    mut plan: Plan,
    tuning: Tuning,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> io::Result<Summary> {
    let started = Instant::now();
    observer.begin(plan.inputs.iter().map(|input| input.bytes).sum());
    let courier = Arc::new(Courier::new(&plan, tuning, Arc::clone(&observer), stop.clone()));
    let read_counts = Arc::<ReadCounts>::default();
    let inputs = plan.inputs.clone();
    let items = reader::start(inputs, courier.batch_events_max(), plan.concurrency, Arc::clone(&read_counts))?;
    let names = plan.inputs.iter().map(|input| Arc::clone(&input.name)).collect();
    let mut tally = Tally::new(names, plan.rejects.take());
    exchange(items, &courier, plan.concurrency, &stop, |event| {
        tally.add(event);
        observer.progress(&tally.counts(&read_counts));
    })
    .await;
    observer.end();
    Ok(tally.finish(&read_counts, stop.phase() >= Phase::Stopping, started))
}

/// Reads and sends until nothing is left to do.
async fn exchange(
    mut items: Receiver<Item>,
    courier: &Arc<Courier>,
    concurrency: usize,
    stop: &Stop,
    mut add: impl FnMut(Event),
) {
    let mut deliveries = JoinSet::new();
    let mut reading = true;
    while reading || !deliveries.is_empty() {
        tokio::select! {
            biased;
            Some(delivered) = deliveries.join_next() => add(Event::Delivered(unwrap_task(delivered))),
            () = stop.reached(Phase::Hopeless), if reading => {
                reading = false;
                leave_unsent(&mut items, stop.phase(), &mut add);
            }
            item = items.recv(), if reading && deliveries.len() < concurrency => match item {
                Some(Item::Batch(batch)) => {
                    let courier = Arc::clone(courier);
                    deliveries.spawn(async move { courier.deliver(batch).await });
                }
                Some(Item::TooLong(place)) => add(Event::TooLong(place)),
                Some(Item::Failed { file, error }) => add(Event::Failed { file, error }),
                Some(Item::End) => reading = false,
                None => {
                    reading = false;
                    add(Event::ReaderLost);
                }
            },
        }
    }
}

/// Ends the reader and counts what it had read ahead.
fn leave_unsent(items: &mut Receiver<Item>, phase: Phase, add: &mut impl FnMut(Event)) {
    items.close();
    while let Ok(item) = items.try_recv() {
        match item {
            Item::Batch(batch) => {
                let mut outcome = Outcome::default();
                outcome.leave(&batch, why(phase));
                add(Event::Delivered(outcome));
            }
            Item::TooLong(place) => add(Event::TooLong(place)),
            Item::Failed { file, error } => add(Event::Failed { file, error }),
            Item::End => {}
        }
    }
}

/// A delivery is never cancelled: it ends, or panics, and then so does the run.
fn unwrap_task(ended: Result<Outcome, JoinError>) -> Outcome {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
