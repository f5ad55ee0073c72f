use crate::Error;
use crate::spill::span::Span;
use crate::spill::writer::Job;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

/// What the thread is asked to do.
#[derive(Debug)]
enum Work {
    Write(Job),
    /// Free the filter and unlink the file: of a large file that takes longer than the writer may stall.
    Discard(Span),
}

/// The thread that writes spill files. It works on shared, immutable chunks; nothing else is shared.
#[derive(Debug)]
pub(crate) struct SpillThread {
    work: Option<Sender<Work>>,
    done: Receiver<Result<Span, Error>>,
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

impl SpillThread {
    pub(crate) fn start() -> Result<Self, Error> {
        let (work, todo) = channel();
        let (report, done) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let handle = std::thread::Builder::new()
            .name("dedup-spill".into())
            .spawn(move || serve(&todo, &report, &told))
            .map_err(Error::Thread)?;
        Ok(SpillThread { work: Some(work), done, stop, handle: Some(handle) })
    }

    pub(crate) fn write(&self, job: Job) -> Result<(), Error> {
        self.send(Work::Write(job))
    }

    pub(crate) fn discard(&self, span: Span) -> Result<(), Error> {
        self.send(Work::Discard(span))
    }

    fn send(&self, work: Work) -> Result<(), Error> {
        self.work.as_ref().and_then(|sender| sender.send(work).ok()).ok_or(Error::ThreadGone)
    }

    /// The result of a job, if one is ready.
    pub(crate) fn try_done(&self) -> Result<Option<Result<Span, Error>>, Error> {
        match self.done.try_recv() {
            Ok(result) => Ok(Some(result)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::ThreadGone),
        }
    }

    /// Waits for the result of the job under way.
    pub(crate) fn wait_done(&self) -> Result<Result<Span, Error>, Error> {
        self.done.recv().map_err(|_| Error::ThreadGone)
    }
}

impl Drop for SpillThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.work = None;
        if let Some(handle) = self.handle.take() {
            // A panic of the thread was reported when it was next needed; nothing is left to do about it here.
            drop(handle.join());
        }
    }
}

fn serve(todo: &Receiver<Work>, report: &Sender<Result<Span, Error>>, stop: &AtomicBool) {
    for work in todo {
        match work {
            Work::Discard(span) => drop(span),
            Work::Write(job) => match job.run(stop).transpose() {
                // The chunks are given back before the report, so that the writer's release frees them.
                Some(result) => {
                    if report.send(result).is_err() {
                        return;
                    }
                }
                None => return,
            },
        }
    }
}
