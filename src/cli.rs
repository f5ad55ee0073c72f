//! The command line's grammar, nothing else.

mod dead_letters;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use dead_letters::{DeadLetters, LetterFilter, WhichLetters};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Takes cart events over HTTP and WebSocket, stores them before it answers, ships them exactly once.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon.
    Serve(Run),
    /// Send files of one JSON event per line to a daemon.
    Send(send::Options),
    /// Say all that is wrong with the configuration, then try disk, sockets and sinks. Exit code 0: all is well; 64:
    /// mistakes in the configuration; 1: something outside does not work.
    Check(Check),
    /// Show the configuration, or all there is to configure.
    #[command(subcommand)]
    Config(Printed),
    /// Look at or repair a stopped daemon's log.
    #[command(subcommand)]
    Wal(Wal),
    /// Ask and steer a running daemon, over its unix socket.
    Admin(Admin),
    /// Print what a shell needs to complete commands and options.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command.
    Man {
        /// The folder, made if it is not there.
        dir: PathBuf,
    },
}

/// What is checked, and how the result is told.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) layers: Serve,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Look at the configuration only: try nothing outside.
    #[arg(long)]
    pub(crate) config_only: bool,
}

/// What is shown of the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Printed {
    /// The values in effect and where each was set: default, file and line, variable or flag.
    Show {
        #[command(flatten)]
        layers: Serve,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// A file with every key at its default, as config.toml.
    Default,
    /// Every key, as docs/configuration.md.
    Reference,
}

/// How the daemon runs.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) layers: Serve,
    /// The data folder is a checkpoint, and runs beside the original: under an id of its own, and what it holds is the
    /// original's to deliver. Decided once.
    #[arg(long, conflicts_with = "replace")]
    pub(crate) as_new_node: bool,
    /// The data folder is a checkpoint, and takes the place of the original, which must never run again. Decided once.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration file (TOML).
    #[arg(long, env = "INGESTD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Overrides `data_dir`.
    #[arg(long, value_hint = clap::ValueHint::DirPath)]
    pub(crate) data_dir: Option<String>,
    /// Overrides `server.listen`.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
}

/// What can be asked of a running daemon.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// The daemon's data folder.
    #[arg(long, default_value = "data", env = "INGESTD_DATA_DIR", global = true)]
    pub(crate) data_dir: PathBuf,
    /// Its socket, if it is not admin.sock in the data folder.
    #[arg(long, env = "INGESTD_ADMIN_SOCKET", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Print one JSON value; top and wal tail: one a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Version, health, log and sinks.
    Status,
    /// Watch the daemon live: rates, latency, intake, disk, connections, sinks. Keys: q quits, p pauses, arrows scroll.
    Top(Top),
    /// Each sink's state, place and lag; or steer one.
    Sinks(AdminSinks),
    /// Have a sink, or all, deliver what is committed now, and wait for it.
    Flush {
        /// The sink; all of them without.
        sink: Option<String>,
    },
    /// Stop a sink until it is resumed, also over restarts.
    Pause {
        /// The sink.
        sink: String,
    },
    /// Have a sink go on, after a pause or after a failure that is mended.
    Resume {
        /// The sink.
        sink: String,
    },
    /// Give up what a sink has not got: its events before that one are counted as expired and never delivered.
    Skip {
        /// The sink.
        sink: String,
        /// First event that it is to get again.
        #[arg(long)]
        until: u64,
    },
    /// Copy the data folder while the daemon runs: the log with all that stands beside it, without Parquet files. The copy
    /// starts only with --as-new-node or --replace.
    Checkpoint {
        /// The copy: a folder that is not there yet, outside the data folder.
        #[arg(value_hint = clap::ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Events that were rejected, or that a sink can never take.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Erase what the daemon holds of a person, or of one event: in the log, also where sinks have not got it yet, and
    /// among the dead letters. Prints what to run where it has been delivered to already.
    Erase(Erase),
    /// The running daemon's configuration.
    #[command(subcommand)]
    Config(AdminConfig),
    /// API keys: who may send, and who may look.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Does every accepted event have its place? Exits 1 when the counts do not balance.
    Audit,
    /// Compare what a sink holds with the log, event by event; exits 1 when something is missing or there twice.
    Verify {
        /// The sink.
        sink: String,
        /// First event; without, the oldest that the log still has.
        #[arg(long)]
        from: Option<u64>,
        /// Last event; without, the newest that the sink should have.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Look at the running daemon's log, follow it, trim it.
    #[command(subcommand)]
    Wal(AdminWal),
    /// Show at which level is logged, or set it until the next reload or start.
    LogLevel {
        /// off, error, warn, info, debug, trace, or a filter such as "info,hyper=warn".
        level: Option<String>,
    },
    /// Have the daemon finish what is under way and end, as SIGTERM does. Returns when that has begun.
    Drain,
    /// Who has changed what, and whether that record is whole.
    AuditLog(AuditLog),
    /// Gather configuration, status, metrics, recent log lines and facts of the system into one archive, without secrets.
    Support {
        /// The archive; without, ingestd-support-TIME.tar.gz in this folder.
        #[arg(long, short, value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Put it in the place of a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// What the daemon speaks: the protocol's version, and every command.
    Hello,
}

/// Whose data is erased.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["user", "event"]))]
pub(crate) struct Erase {
    /// A person, by `userId`.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// One event, by `eventId`.
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<String>,
    /// Only events of this owner.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only say what there is.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also what has the id elsewhere in it, or cannot be taken apart.
    #[arg(long)]
    pub(crate) also_mentions: bool,
}

/// How the daemon is watched.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: f64,
    /// With --json: end after so many.
    #[arg(long, requires = "json")]
    pub(crate) count: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("must be from 0.1 to 3600 seconds".into()) }
}

/// What can be done with a running daemon's log.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminWal {
    /// Where it begins and ends, its room, and every start that wrote to it.
    Inspect,
    /// Read every event and check it; exits 1 when one cannot be read or is missing. `ingestd wal verify` on a stopped daemon
    /// checks what stands beside the events, too.
    Verify {
        /// First event; without, the oldest that the log still has.
        #[arg(long)]
        from: Option<u64>,
        /// Last event; without, the newest.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Print events as they are committed, one a line, without what is in them.
    Tail {
        /// First event; without, the next one to be committed.
        #[arg(long)]
        from: Option<u64>,
        /// With the event's own bytes, as they were received: never render them.
        #[arg(long)]
        raw: bool,
        /// End after so many.
        #[arg(long, short = 'n')]
        count: Option<u64>,
    },
    /// Let go of what every sink has, now, without waiting for log.hold_s.
    Trim,
}

/// What is asked of the audit log.
#[derive(Debug, Args)]
pub(crate) struct AuditLog {
    /// Not before that: a time such as 2026-11-29T01:00:00Z, or how long ago: 90s, 15m, 2h, 7d.
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Only this action.
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// So many of the newest at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) limit: u64,
    /// Check that every entry is there as it was written; exits 1 when not.
    #[arg(long, conflicts_with_all = ["since", "action"])]
    pub(crate) verify: bool,
}

/// What can be done with a running daemon's configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminConfig {
    /// The values in effect and where each was set.
    Show,
    /// What a reload would change, or why it would be refused; changes nothing.
    Check,
    /// Read file and environment again and take over what can be without a restart; a mistake changes nothing.
    Reload,
}

/// What can be done with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a key and print it, this once; only its hash is kept. On disk, and taken everywhere, when it is printed.
    Add {
        /// The owner of the events that come with it: 1 to 64 of a-z, 0-9, _, - and .
        #[arg(long)]
        tenant: String,
        /// What it may do; may be given more than once.
        #[arg(long, required = true, value_delimiter = ',')]
        scope: Vec<ScopeName>,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
        /// When it ends: a time (2027-01-31T00:00:00Z), or from now (12h, 90d); without, never.
        #[arg(long)]
        expires: Option<String>,
    },
    /// Every key, the oldest first, with its state and when it was last used.
    List,
    /// Have a key refused from now on, for good; its WebSockets are closed.
    Revoke {
        /// Its id, what stands between the underscores of the key; or the whole key.
        id: String,
    },
}

/// What a key may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ScopeName {
    /// Send events.
    Intake,
    /// Look at statistics, metrics and health.
    Read,
    /// Change something over HTTP.
    Manage,
}

impl ScopeName {
    /// As the daemon knows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            ScopeName::Intake => "intake",
            ScopeName::Read => "read",
            ScopeName::Manage => "manage",
        }
    }
}

/// What is asked about sinks.
#[derive(Debug, Args)]
pub(crate) struct AdminSinks {
    #[command(subcommand)]
    pub(crate) command: Option<SinksCommand>,
}

/// What can be done with a sink.
#[derive(Debug, Subcommand)]
pub(crate) enum SinksCommand {
    /// Each sink's state, place and lag, as without a command.
    List,
    /// Stop a sink until it is resumed, also over restarts.
    Pause {
        /// The sink.
        sink: String,
    },
    /// Have a sink go on, after a pause or after a failure that is mended.
    Resume {
        /// The sink.
        sink: String,
    },
    /// Have a sink, or all, deliver what is committed now, and wait for it.
    Flush {
        /// The sink; all of them without.
        sink: Option<String>,
    },
    /// Give up what a sink has not got: its events before that one are counted as expired and never delivered. Says where
    /// it goes on: a batch of which nobody knows whether it has arrived is given up as a whole.
    Skip {
        /// The sink.
        sink: String,
        /// First event that it is to get again.
        #[arg(long)]
        until: u64,
    },
    /// Have a sink begin again with that event, whatever it holds: for one that has failed as diverged, fenced or
    /// watermark_lost. What lies before counts as handed over, what lies behind is sent; ClickHouse's tables are searched
    /// first, so that no row is there twice, Kafka's topics cannot be.
    Reconcile {
        /// The sink.
        sink: String,
        /// First event that it is to get.
        #[arg(long)]
        from: u64,
    },
}

/// What can be done with a stopped daemon's log.
#[derive(Debug, Subcommand)]
pub(crate) enum Wal {
    /// Read everything and check it; exits 1 when something is missing.
    Verify(WalPlace),
    /// Say what is there.
    Inspect(WalPlace),
    /// Print one JSON object per event.
    Dump(WalDump),
    /// Record what is lost, so that the daemon starts again.
    Repair(WalPlace),
    /// Give up what a switched-off sink has not got: the log is no longer kept for it. If it is switched on again, it
    /// begins anew, and wants to find nothing of ours: an empty folder, empty tables.
    ForgetSink(WalForget),
}

/// Which sink of which log.
#[derive(Debug, Args)]
pub(crate) struct WalForget {
    /// The data folder.
    #[arg(long, default_value = "data", env = "INGESTD_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// The sink's name, as in the configuration.
    pub(crate) sink: String,
}

/// Which log.
#[derive(Debug, Args)]
pub(crate) struct WalPlace {
    /// The data folder.
    #[arg(long, default_value = "data", env = "INGESTD_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which part of which log.
#[derive(Debug, Args)]
pub(crate) struct WalDump {
    /// The data folder.
    #[arg(long, default_value = "data", env = "INGESTD_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// First position.
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// With the event's own bytes.
    #[arg(long)]
    pub(crate) raw: bool,
}
