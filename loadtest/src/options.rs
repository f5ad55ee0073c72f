//! The command line.

use crate::plan::Plan;
use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = include_str!("help.txt");

/// What kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// POSTs over keep-alive HTTP/1.1.
    Http,
    /// One event per WebSocket message.
    Ws,
    /// WebSockets that only stay open.
    WsIdle,
    /// No load: print the ids that a run would send.
    Ids,
}

/// How a batch's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// `{"events":[…]}`
    Object,
    /// `[…]`
    Array,
    /// One event per line.
    Ndjson,
}

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// What kind of load.
    pub mode: Mode,
    /// The server.
    pub address: SocketAddr,
    /// Request path.
    pub path: String,
    /// Extra header lines, without line ends.
    pub headers: Vec<String>,
    /// Connections in all.
    pub connections: usize,
    /// Of these, how many carry messages (the rest stay idle).
    pub active: usize,
    /// Requests outstanding on a connection at most.
    pub depth: usize,
    /// Engine threads.
    pub threads: usize,
    /// Requests per second for an open loop.
    pub rate: Option<f64>,
    /// An open loop looks at schedule and sockets this often only; zero is whenever there is something to do.
    pub tick: Duration,
    /// Random arrivals in place of even ones.
    pub poisson: bool,
    /// Events in a POST.
    pub batch: usize,
    /// How a batch is written.
    pub batch_format: BatchFormat,
    /// Fraction of events that repeat an earlier one.
    pub duplicates: f64,
    /// Repeat the window's events over and over.
    pub all_duplicates: bool,
    /// How far back repeats go.
    pub duplicate_window: u64,
    /// Fraction of bad events.
    pub bad: f64,
    /// Where ids and contents come from.
    pub seed: u64,
    /// The lowest counter used.
    pub first: u64,
    /// Stop after this many events.
    pub events: Option<u64>,
    /// Different event bodies.
    pub templates: usize,
    /// Left out of the figures.
    pub warmup: Duration,
    /// Measured time.
    pub duration: Duration,
    /// Wait for outstanding answers at most this long.
    pub drain: Duration,
    /// The run ends by then, whatever happens.
    pub time_limit: Duration,
    /// Wait for the connections at most this long.
    pub connect_timeout: Duration,
    /// End when no connection has been up for this long.
    pub give_up: Option<Duration>,
    /// Look into every answer.
    pub verify: bool,
    /// Any 2xx or frame is an acknowledgement (yardstick servers).
    pub plain: bool,
    /// Send again what got no answer or was refused.
    pub retry: bool,
    /// Where acknowledged ids go.
    pub ledger: Option<PathBuf>,
    /// Where per-second figures go.
    pub series: Option<PathBuf>,
    /// Where the JSON report goes; `-` is standard output.
    pub json: Option<PathBuf>,
    /// The server's process.
    pub pid: Option<u32>,
    /// An open loop whose own p99 lag is above this is inconclusive.
    pub lag_limit: Duration,
    /// Client addresses 127.0.0.1 … to spread connections over.
    pub local_addresses: usize,
}

impl Options {
    /// Reads a command line (without the program's name); `None` when help was asked for.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let mut raw = Raw::default();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Value(word) => raw.mode = Some(mode(&word.string()?)?),
                Long(name) => {
                    let name = name.to_owned();
                    raw.take(&name, &mut parser).with_context(|| format!("--{name}"))?;
                }
                other => return Err(other.unexpected().into()),
            }
        }
        // A command line can be read by everybody on the machine: a token is never in it.
        if let (false, Ok(token)) = (raw.has_token, std::env::var("INGESTD_TOKEN")) {
            raw.token(&token, "INGESTD_TOKEN")?;
        }
        raw.checked().map(Some)
    }

    /// Decides what each event of the run is.
    pub fn plan(&self) -> Plan {
        Plan::new(self.seed, self.first, self.duplicates, self.bad, self.duplicate_window, self.all_duplicates)
    }
}

fn mode(word: &str) -> Result<Mode> {
    Ok(match word {
        "http" => Mode::Http,
        "ws" => Mode::Ws,
        "ws-idle" => Mode::WsIdle,
        "ids" => Mode::Ids,
        _ => bail!("unknown mode {word:?}: http, ws, ws-idle or ids"),
    })
}

/// The command line before defaults that depend on each other.
#[derive(Default)]
struct Raw {
    mode: Option<Mode>,
    address: Option<String>,
    path: Option<String>,
    headers: Vec<String>,
    has_token: bool,
    numbers: std::collections::BTreeMap<&'static str, f64>,
    batch_format: Option<BatchFormat>,
    flags: std::collections::BTreeSet<&'static str>,
    ledger: Option<PathBuf>,
    series: Option<PathBuf>,
    json: Option<PathBuf>,
}

const NUMBERS: [&str; 25] = [
    "connections",
    "active",
    "pipeline",
    "window",
    "threads",
    "rate",
    "tick",
    "batch",
    "duplicates",
    "duplicate-window",
    "bad",
    "seed",
    "first",
    "events",
    "templates",
    "warmup",
    "duration",
    "drain",
    "time-limit",
    "connect-timeout",
    "give-up",
    "pid",
    "lag-limit",
    "local-addresses",
    "hold",
];
const FLAGS: [&str; 5] = ["poisson", "all-duplicates", "verify", "plain", "retry"];

impl Raw {
    fn take(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<()> {
        if let Some(known) = NUMBERS.iter().find(|known| **known == name) {
            let text = parser.value()?.string()?;
            self.numbers.insert(known, number(&text)?);
        } else if let Some(known) = FLAGS.iter().find(|known| **known == name) {
            self.flags.insert(known);
        } else {
            match name {
                "address" => self.address = Some(parser.value()?.string()?),
                "path" => self.path = Some(parser.value()?.string()?),
                "header" => self.headers.push(parser.value()?.string()?),
                "token-file" => {
                    let file = PathBuf::from(parser.value()?);
                    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
                    self.token(&text, &file.display().to_string())?;
                }
                "format" => self.batch_format = Some(batch_format(&parser.value()?.string()?)?),
                "ledger" => self.ledger = Some(parser.value()?.into()),
                "series" => self.series = Some(parser.value()?.into()),
                "json" => self.json = Some(parser.value()?.into()),
                _ => bail!("unknown option; --help lists them"),
            }
        }
        Ok(())
    }

    /// Sends this token, an API key or a JWT, with each request and handshake.
    fn token(&mut self, text: &str, origin: &str) -> Result<()> {
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("{origin} holds no token that a header can carry");
        }
        self.headers.push(format!("Authorization: Bearer {token}"));
        self.has_token = true;
        Ok(())
    }

    fn number(&self, name: &'static str, default: f64) -> f64 {
        self.numbers.get(name).copied().unwrap_or(default)
    }

    fn seconds(&self, name: &'static str, default: f64) -> Duration {
        Duration::from_secs_f64(self.number(name, default).min(1e6))
    }

    fn checked(self) -> Result<Options> {
        let mode = self.mode.context("say what to do: http, ws, ws-idle or ids")?;
        let ws = matches!(mode, Mode::Ws | Mode::WsIdle);
        let batch = self.number("batch", 1.0) as usize;
        let events = self.numbers.get("events").map(|count| *count as u64);
        let connections = self.number("connections", if mode == Mode::WsIdle { 1000.0 } else { 64.0 }) as usize;
        let active = if mode == Mode::WsIdle { 0 } else { self.number("active", connections as f64) as usize };
        let counted = events.is_some() && !self.numbers.contains_key("duration");
        let warmup = self.seconds("warmup", if events.is_some() || mode == Mode::WsIdle { 0.0 } else { 0.5 });
        let duration = match mode {
            Mode::WsIdle => self.seconds("hold", 1.0),
            _ => self.seconds("duration", if counted { 60.0 } else { 3.0 }),
        };
        let drain = self.seconds("drain", 2.0);
        let connect_timeout = self.seconds("connect-timeout", 10.0);
        let bound = connect_timeout + warmup + duration + drain + Duration::from_secs(1);
        let default_path = if ws {
            "/events/stream"
        } else if batch > 1 {
            "/v1/events/batch"
        } else {
            "/v1/events"
        };
        let depth = if ws { self.number("window", 1.0) } else { self.number("pipeline", 1.0) } as usize;
        let plain = self.flags.contains("plain");
        // Which events of a batch were good stands only in its answer.
        let mixed = batch > 1 && ["duplicates", "bad"].iter().any(|name| self.number(name, 0.0) > 0.0);
        let options = Options {
            mode,
            address: resolve(self.address.as_deref().unwrap_or("127.0.0.1:3001"))?,
            path: self.path.clone().unwrap_or_else(|| default_path.to_owned()),
            connections,
            active,
            depth,
            threads: self.number("threads", 1.0) as usize,
            rate: self.numbers.get("rate").copied().filter(|rate| *rate > 0.0),
            tick: self.seconds("tick", 0.0),
            poisson: self.flags.contains("poisson"),
            batch,
            batch_format: self.batch_format.unwrap_or(BatchFormat::Object),
            duplicates: self.number("duplicates", 0.0),
            all_duplicates: self.flags.contains("all-duplicates"),
            duplicate_window: self.number("duplicate-window", 10_000.0) as u64,
            bad: self.number("bad", 0.0),
            seed: self.numbers.get("seed").map_or_else(clock_seed, |seed| *seed as u64),
            first: self.number("first", 0.0) as u64,
            events,
            templates: self.number("templates", 1024.0) as usize,
            warmup,
            duration,
            drain,
            time_limit: self.numbers.get("time-limit").map_or(bound, |_| self.seconds("time-limit", 0.0)),
            connect_timeout,
            give_up: self.numbers.get("give-up").map(|_| self.seconds("give-up", 0.0)),
            verify: !plain && (self.flags.contains("verify") || self.ledger.is_some() || mixed),
            plain,
            retry: self.flags.contains("retry"),
            pid: self.numbers.get("pid").map(|pid| *pid as u32),
            lag_limit: self.seconds("lag-limit", 0.001),
            local_addresses: self.number("local-addresses", 1.0) as usize,
            headers: self.headers,
            ledger: self.ledger,
            series: self.series,
            json: self.json,
        };
        options.check()?;
        Ok(options)
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        ensure!(self.connections >= 1, "--connections must be at least 1");
        ensure!((1..=self.connections).contains(&self.threads), "--threads must be 1 to the number of connections");
        ensure!(self.depth >= 1 && self.depth <= 4096, "--pipeline and --window go from 1 to 4096");
        ensure!(self.batch >= 1, "--batch must be at least 1");
        ensure!(self.batch == 1 || self.mode == Mode::Http, "--batch is for http");
        ensure!((1..=1 << 20).contains(&self.templates), "--templates goes from 1 to 1048576");
        ensure!((0.0..=1.0).contains(&self.duplicates), "--duplicates is a fraction");
        ensure!(self.tick <= Duration::from_millis(10), "--tick goes up to 10ms");
        ensure!((0.0..=1.0).contains(&self.bad), "--bad is a fraction");
        ensure!((1..=200).contains(&self.local_addresses), "--local-addresses goes from 1 to 200");
        ensure!(!(self.plain && self.ledger.is_some()), "--plain answers have nothing for --ledger");
        let whole = self.events.is_none_or(|events| events % (self.batch * self.threads) as u64 == 0);
        ensure!(whole, "--events must be a multiple of --batch times --threads");
        Ok(())
    }
}

fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Few enough digits to survive being a JSON number.
    now.as_micros() as u64 & ((1 << 52) - 1)
}

/// A number, with an optional `k` or `M`, or a time unit `s`, `ms` or `us`.
fn number(text: &str) -> Result<f64> {
    let (digits, scale) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1e-3)
    } else if let Some(digits) = text.strip_suffix("us") {
        (digits, 1e-6)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1.0)
    } else if let Some(digits) = text.strip_suffix('k') {
        (digits, 1e3)
    } else if let Some(digits) = text.strip_suffix('M') {
        (digits, 1e6)
    } else {
        (text, 1.0)
    };
    let value: f64 = digits.parse().with_context(|| format!("{text:?} is not a number"))?;
    ensure!(value.is_finite() && value >= 0.0, "{text:?} is not a number of use here");
    Ok(value * scale)
}

fn batch_format(word: &str) -> Result<BatchFormat> {
    Ok(match word {
        "object" => BatchFormat::Object,
        "array" => BatchFormat::Array,
        "ndjson" => BatchFormat::Ndjson,
        _ => bail!("unknown format {word:?}: object, array or ndjson"),
    })
}

fn resolve(text: &str) -> Result<SocketAddr> {
    let text = if text.contains(':') { text.to_owned() } else { format!("127.0.0.1:{text}") };
    let mut found = text.to_socket_addrs().with_context(|| format!("address {text:?}"))?;
    found.next().with_context(|| format!("address {text:?} resolves to nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn numbers_take_units() {
        let options = parse("http --rate 20k --duration 1500ms --warmup 0.2s --address 8081").unwrap().unwrap();
        assert_eq!(options.rate, Some(20_000.0));
        assert_eq!(options.duration, Duration::from_millis(1500));
        assert_eq!(options.warmup, Duration::from_millis(200));
        assert_eq!(options.address.port(), 8081);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in ["", "smtp", "http --connections 0", "http --bogus 1", "http --rate x", "ws --batch 3"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--help").unwrap().is_none());
    }
}
