//! A real log in a temporary folder, with a writer thread, and a Parquet sink that follows it.

use dedup::Dedup;
use event::{Batch, Durability, Seq, Source, UnixMicros};
use ingestd::commit::{
    Budget, Control, DeadLetterLimits, Desk, DeskSeed, Engine, EngineParts, GroupLimits, Hub, Idempotency,
    IdempotencyLimits, Pending, Settled, StopHandle, Store, Submission, Tail, Timeline,
};
use ingestd::deliver::sinks::{ParquetConfig, ParquetSink};
use ingestd::deliver::{Backoff, Destination, Handle, Shipper, Step};
use ingestd::metrics::Metrics;
use parquet_sink::Folder;
use record::{BlockWriter, IdListWriter, SegmentMeta, put_record};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Some day, at noon.
pub const NOON: UnixMicros = UnixMicros::new(1_714_564_800_000_000);
/// Far above what anything here takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// Looks at a condition until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A good event.
pub fn event(id: u64) -> String {
    format!(
        r#"{{"eventId":"e-{id}","eventType":"cart_created","timestamp":"2024-05-01T11:59:00Z","sessionId":"s-{}","storeId":"st","data":{{"cartId":"{id}"}}}}"#,
        id % 7,
    )
}

/// Good events with these numbers.
pub fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(event).collect()
}

/// An event of four kilobytes that hardly compress.
pub fn noisy(number: u64) -> String {
    let letter = |n: u64| {
        let mixed = (number * 31 + n * n * (number + 7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        char::from(b'a' + mixed.to_be_bytes()[0] % 26)
    };
    let noise: String = (0..4_000).map(letter).collect();
    event(number).replace(r#""cartId""#, &format!(r#""noise":"{noise}","cartId""#))
}

/// A log with so many groups of 50 of them.
pub fn noisy_log(groups: u64) -> Place {
    let place = Place::new();
    let groups: Vec<_> = (0..groups).map(|group| (NOON, (1..=50).map(|n| noisy(group * 50 + n)).collect())).collect();
    place.append::<String>(&groups);
    place
}

/// A data folder and a folder of files.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A sink's settings: nothing rolls unless a test says so.
    pub fn config(&self) -> ParquetConfig {
        let mut config = ParquetConfig::new(self.dir.path().join("events"));
        config.file_age_max = Duration::from_secs(3600);
        config
    }

    pub fn folder(&self) -> Folder {
        Folder::new(self.config())
    }

    /// Appends groups, each with its commit time, to a log that nobody has open.
    pub fn append<T: AsRef<[u8]>>(&self, groups: &[(UnixMicros, Vec<T>)]) {
        let mut writer = wal::open(&self.data(), &wal::Options::default()).unwrap().writer;
        let (mut block, mut ids) = (BlockWriter::default(), IdListWriter::default());
        for (committed_at, events) in groups {
            block.begin();
            ids.begin();
            let mut records = Vec::new();
            for (n, raw) in events.iter().enumerate() {
                put_record(&mut records, 0, None, None, raw.as_ref());
                ids.push(u128::from(writer.next().get()) + n as u128, 0);
            }
            let received_at = committed_at.minus(Duration::from_millis(3));
            let meta = SegmentMeta { tenant: "default", source: Source::Http as u8, received_at, traceparent: None };
            block.whole(&meta, &records, events.len() as u32);
            let first = writer.next();
            let (block, ids) = (block.finish(first, *committed_at), ids.finish(first, *committed_at));
            writer.commit(&wal::Group { events: Some((events.len() as u32, block, ids)), writes: &[] }).unwrap();
        }
        writer.close().unwrap();
    }

    /// Damages the newest group, which is in a WAL file only, and has the log repaired without it.
    pub fn lose_newest_group(&self) {
        let files = std::fs::read_dir(self.data().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let is_wal = |path: &PathBuf| path.extension().is_some_and(|found| found == "log");
        let has_content = |path: &PathBuf| std::fs::metadata(path).unwrap().len() > 0;
        let wal = files.filter(is_wal).filter(has_content).max().unwrap();
        let mut bytes = std::fs::read(&wal).unwrap();
        let near_the_end = bytes.len() - 20;
        bytes[near_the_end] ^= 1;
        std::fs::write(&wal, bytes).unwrap();
        let repaired = wal::repair(&self.data(), &mut |_, _| None).unwrap();
        assert_eq!(repaired.found.gaps.len(), 1, "{:?}", repaired.found);
    }

    /// Opens the log and starts its writer thread.
    pub fn open(&self) -> Log {
        self.open_with(GroupLimits::default())
    }

    /// The same, with other limits of the writer.
    pub fn open_with(&self, limits: GroupLimits) -> Log {
        let opened = wal::open(&self.data(), &wal::Options::default()).unwrap();
        let tail = Tail::new(opened.recovery.next.prev());
        let dedup = dedup::Config {
            window: Duration::from_secs(3600),
            budget_bytes: 1 << 20,
            spill_dir: self.dir.path().join("spill"),
        };
        let timeline = Timeline::load(&opened.reader, opened.recovery.last_commit).unwrap();
        let parts = EngineParts {
            dedup: Dedup::new(dedup, opened.recovery.next).unwrap(),
            idempotency: Idempotency::load(opened.reader.clone(), IdempotencyLimits::default(), &timeline).unwrap(),
            reader: opened.reader.clone(),
            dead_letters: Arc::new(Arc::new(DeadLetterLimits::default()).into()),
            limits,
            incarnation: opened.incarnation,
            timeline,
            tail: tail.clone(),
            hub: Hub::default(),
            metrics: Arc::new(Metrics::default()),
        };
        let disk = Disk::default();
        let store = Slow { writer: opened.writer, disk: disk.clone() };
        let (engine, mut desks, control, stop) = Engine::new(store, parts, 1).unwrap();
        let writer = std::thread::spawn(move || engine.run().unwrap());
        let key = opened.identity.fingerprint_key;
        let (reader, trimmer, desk) = (opened.reader, opened.trimmer, desks.pop());
        Log { reader, trimmer, tail, control, disk, stop, desk, key, writer }
    }

    /// Position and id of every row of every file, by file.
    #[track_caller]
    pub fn files(&self) -> Vec<Vec<(Seq, String)>> {
        let folder = self.folder();
        folder.list().unwrap().iter().map(|file| folder.ids(file).unwrap()).collect()
    }

    /// Asserts that the files hold exactly the events with these numbers, each once, in order.
    #[track_caller]
    pub fn assert_holds(&self, numbers: std::ops::RangeInclusive<u64>) {
        let rows: Vec<_> = self.files().concat();
        let wanted: Vec<_> = numbers.map(|number| (Seq::new(number), format!("e-{number}"))).collect();
        assert_eq!(rows, wanted);
    }
}

/// An open log.
pub struct Log {
    pub reader: wal::Reader,
    pub trimmer: wal::Trimmer,
    pub tail: Tail,
    pub control: Control,
    pub disk: Disk,
    pub stop: StopHandle,
    desk: Option<DeskSeed>,
    key: event::FingerprintKey,
    writer: JoinHandle<()>,
}

/// Whether writes of the log return, as on a disk that hangs.
#[derive(Clone, Default)]
pub struct Disk(Arc<(Mutex<(bool, u32)>, Condvar)>);

impl Disk {
    /// From now on no write returns, until [`Disk::go_on`].
    pub fn hang(&self) {
        self.0.0.lock().unwrap().0 = true;
    }

    pub fn go_on(&self) {
        self.0.0.lock().unwrap().0 = false;
        self.0.1.notify_all();
    }

    /// Whether a write is under way and does not return.
    pub fn is_waited_for(&self) -> bool {
        self.0.0.lock().unwrap().1 > 0
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.1 += 1;
        let mut state = self.0.1.wait_while(state, |(hangs, _)| *hangs).unwrap();
        state.1 -= 1;
    }
}

/// The log, on such a disk. A write that hangs is seen by nobody yet.
struct Slow {
    writer: wal::Writer,
    disk: Disk,
}

impl Store for Slow {
    fn next(&self) -> Seq {
        self.writer.next()
    }

    fn commit(&mut self, group: &wal::Group<'_>) -> Result<(), wal::CommitError> {
        self.disk.pass();
        self.writer.commit(group)
    }

    fn durability(&self) -> Durability {
        self.writer.durability()
    }

    fn close(self) -> Result<(), wal::CommitError> {
        self.writer.close()
    }
}

impl Log {
    pub fn sink(&self, config: ParquetConfig) -> ParquetSink {
        let timeline = Timeline::load(&self.reader, UnixMicros::default()).unwrap();
        ParquetSink::new(config, timeline, self.reader.clone(), self.control.clone(), self.tail.clone())
            .with_backoff(Backoff::new(Duration::from_millis(10), Duration::from_millis(50)))
    }

    /// Starts a sink in its thread.
    pub fn run(&self, config: ParquetConfig) -> Running {
        Running::start(self.sink(config))
    }

    /// Starts a sink that tells `probe` of each step and is never ended by it.
    pub fn run_watched(&self, config: ParquetConfig, mut probe: impl FnMut(Step) + Send + 'static) -> Running {
        Running::start(self.sink(config).with_probe(Box::new(move |step| {
            probe(step);
            false
        })))
    }

    /// Runs a sink until it reaches `step` for the `nth` time and dies there, or else until it stops by itself.
    pub fn run_until(&self, config: ParquetConfig, step: Step, nth: usize) {
        let mut seen = 0;
        let probe = move |at| {
            seen += usize::from(at == step);
            seen == nth
        };
        let sink = Running::start(self.sink(config).with_probe(Box::new(probe)));
        // It may be dead already.
        sink.stop.send_replace(true);
        sink.thread.join().unwrap();
    }

    /// Commits requests of events through the writer thread, one after the other.
    pub fn submit(&mut self, requests: &[Vec<String>]) {
        self.at_desk(async |mut counter| {
            for events in requests {
                let Settled::Back(done) = counter.hand_in(events).await else { panic!("the writer did not answer") };
                assert!(done.outcome.is_ok());
            }
        });
    }

    /// Works as an acceptor does. Once.
    pub fn at_desk<T>(&mut self, work: impl AsyncFnOnce(Counter) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let desk = self.desk.take().unwrap().open();
        let parser = prepare::Parser::new(prepare::Limits::default(), self.key.clone());
        tokio::task::LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(desk.clone().run(|| Duration::from_secs(60)));
            work(Counter { desk, parser }).await
        })
    }

    /// Whether the writer thread has ended.
    pub fn is_ended(&self) -> bool {
        self.writer.is_finished()
    }

    /// Ends the writer thread.
    pub fn close(self) {
        self.stop.stop();
        self.writer.join().unwrap();
    }
}

/// Where requests are handed in.
pub struct Counter {
    desk: Desk,
    parser: prepare::Parser,
}

impl Counter {
    /// Hands in a request of these events.
    pub fn hand_in(&mut self, events: &[String]) -> Pending {
        let now = UnixMicros::now();
        let mut batch = Batch::new("default", Source::Http, now);
        for event in events {
            self.parser.single(event.as_bytes(), now, &mut batch).unwrap();
        }
        let permit = Budget::new(1, 1 << 30).enter().unwrap();
        self.desk.submit(Box::new(Submission::new(batch, permit))).map_err(|(refusal, _)| refusal).unwrap()
    }
}

/// A sink in its thread.
pub struct Running {
    pub handle: Handle,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    pub fn start<D: Destination>(sink: Shipper<D>) -> Self {
        let handle = sink.handle();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || block_on(sink.run(stopped)));
        Running { handle, stop, thread }
    }

    pub fn flush(&self) -> Result<Seq, ingestd::deliver::FlushError> {
        block_on(async { tokio::time::timeout(WITHIN, self.handle.flush()).await.expect("a flush is answered") })
    }

    pub fn status(&self) -> ingestd::deliver::Snapshot {
        self.handle.status().snapshot()
    }

    pub fn state(&self) -> &'static str {
        self.status().state.as_str()
    }

    /// Stops it and waits for its end.
    pub fn stop(self) -> ingestd::deliver::Snapshot {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap();
        self.handle.status().snapshot()
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
