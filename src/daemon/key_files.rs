//! Files of keys and certificates, taken over when they change. Each look has a thread of its own, for on a file system that
//! hangs it takes for ever: neither the other kind of files, nor room for events, nor the end of the daemon may hang with it.

use super::certificates::{self, Certificates, LOOK_INTERVAL};
use super::taken_over;
use super::threads::{Fatal, spawn};
use crate::access::Access;
use crate::control::audit::AuditLog;
use crate::intake::Shared;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often there is a turn; what is looked at in it has intervals of its own.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often the files of JWTs' keys are looked at.
const KEYS_INTERVAL: Duration = Duration::from_secs(5);
/// A look that takes longer counts as hanging, and is told.
const HANGS_AFTER: Duration = Duration::from_mins(1);

/// What looks after them. It touches no file itself, and holds nothing of the log, which closes without waiting for it.
pub(super) struct KeyFiles {
    access: Arc<Access>,
    certificates: Certificates,
    looks: Vec<Looks>,
}

impl KeyFiles {
    /// After those that the daemon uses now.
    pub(super) fn new(shared: &Shared, audit: &Arc<AuditLog>, fatal: &mpsc::UnboundedSender<Fatal>) -> Self {
        let access = Arc::clone(&shared.access);
        let mut looks = vec![at_keys(Arc::clone(&access), Arc::clone(audit), fatal.clone())];
        if let Some(tls) = &shared.tls {
            let (named, looked, audit) = (Arc::clone(tls), Arc::clone(tls), Arc::clone(audit));
            let look = move || certificates::look(&looked, &audit);
            looks.push(Looks::new("cert-files", LOOK_INTERVAL, move || named.files(), look, fatal.clone()));
        }
        KeyFiles { access, certificates: Certificates::new(shared), looks }
    }

    /// Looks until `stop`.
    pub(super) fn run(mut self, stop: &watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.certificates.watch();
            let reloads = self.access.reloads();
            self.looks.iter_mut().for_each(|looks| looks.turn(reloads));
            std::thread::sleep(INTERVAL);
        }
    }
}

fn at_keys(access: Arc<Access>, audit: Arc<AuditLog>, fatal: mpsc::UnboundedSender<Fatal>) -> Looks {
    let named = Arc::clone(&access);
    let look = move || {
        if let Some(taken) = access.refresh() {
            let taken = taken.map(|files| json!({"files": files})).map_err(|error| error.to_string());
            taken_over::record(&audit, "take_over_keys", taken);
        }
    };
    Looks::new("jwt-files", KEYS_INTERVAL, move || named.files(), look, fatal)
}

/// Looks at one kind of files, one after the other.
struct Looks {
    /// Of the thread.
    name: &'static str,
    interval: Duration,
    files: Box<dyn Fn() -> Vec<PathBuf> + Send>,
    look: Arc<dyn Fn() + Send + Sync>,
    fatal: mpsc::UnboundedSender<Fatal>,
    /// When the last one began.
    begun: Instant,
    under_way: Option<Look>,
}

/// A look that was begun.
struct Look {
    files: Vec<PathBuf>,
    /// As many reloads there had been.
    reloads: u64,
    thread: JoinHandle<()>,
    is_told: bool,
}

impl Looks {
    fn new(
        name: &'static str,
        interval: Duration,
        files: impl Fn() -> Vec<PathBuf> + Send + 'static,
        look: impl Fn() + Send + Sync + 'static,
        fatal: mpsc::UnboundedSender<Fatal>,
    ) -> Self {
        let (files, look) = (Box::new(files), Arc::new(look));
        Looks { name, interval, files, look, fatal, begun: Instant::now(), under_way: None }
    }

    /// Begins a look where it is time for one. While one hangs there is no other, until a reload has read the files that
    /// are to be looked at from then on: then the old one is left to itself.
    fn turn(&mut self, reloads: u64) {
        let took = self.begun.elapsed();
        if let Some(look) = &mut self.under_way
            && !look.thread.is_finished()
            && look.reloads == reloads
        {
            look.tell(took);
            return;
        }
        if let Some(look) = self.under_way.take_if(|look| look.is_told) {
            tracing::info!(files = ?look.files, "files of keys or certificates that hung are looked at again");
        }
        if took >= self.interval {
            self.begin(reloads);
        }
    }

    fn begin(&mut self, reloads: u64) {
        self.begun = Instant::now();
        let files = (self.files)();
        if files.is_empty() {
            self.under_way = None;
            return;
        }
        let look = Arc::clone(&self.look);
        let thread = spawn(self.name, &self.fatal, move || {
            look();
            Ok(())
        });
        match thread {
            Ok(thread) => self.under_way = Some(Look { files, reloads, thread, is_told: false }),
            Err(error) => tracing::warn!(%error, ?files, "no thread to look whether these files have changed"),
        }
    }
}

impl Look {
    /// Says that it hangs, once.
    fn tell(&mut self, took: Duration) {
        if took < HANGS_AFTER || self.is_told {
            return;
        }
        self.is_told = true;
        tracing::error!(
            files = ?self.files,
            took_s = took.as_secs(),
            "files of keys or certificates cannot be read to their end: what was read before stays in use, and no change of \
             them is seen; mend their file system, or name other files, then `ingestd admin config reload`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    #[track_caller]
    fn eventually(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_look_that_hangs_is_told_and_is_alone_until_a_reload() {
        let begun = Arc::new(AtomicUsize::new(0));
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let counted = Arc::clone(&begun);
        let look = move || {
            // The first one alone.
            if counted.fetch_add(1, SeqCst) == 0 {
                waits.lock().unwrap().recv().unwrap();
            }
        };
        let (fatal, mut failed) = mpsc::unbounded_channel();
        let mut looks = Looks::new("looks", Duration::ZERO, || vec![PathBuf::from("secret")], look, fatal);
        looks.turn(0);
        eventually(|| begun.load(SeqCst) == 1);
        for _ in 0..3 {
            looks.turn(0);
        }
        assert_eq!(begun.load(SeqCst), 1);
        let first = looks.under_way.as_mut().unwrap();
        first.tell(HANGS_AFTER - Duration::from_secs(1));
        assert!(!first.is_told);
        first.tell(HANGS_AFTER);
        assert!(first.is_told);
        looks.turn(1);
        eventually(|| begun.load(SeqCst) == 2);
        eventually(|| {
            looks.turn(1);
            begun.load(SeqCst) > 3
        });
        goes_on.send(()).unwrap();
        assert!(failed.try_recv().is_err(), "none has failed");
    }
}
