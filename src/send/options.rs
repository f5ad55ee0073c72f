use std::path::PathBuf;
use std::time::Duration;

/// Sends files of one JSON event per line to a daemon
///
/// To resume, run it again: what the daemon already has counts as a duplicate, not as an error.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = Options::EXIT_CODES)]
pub struct Options {
    /// Files of one JSON event per line; `-` reads standard input, `.gz` and `.zst` are decompressed
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Where the daemon listens; a path is kept as a prefix
    #[arg(long, value_name = "URL", default_value = Options::DEFAULT_URL)]
    pub url: String,

    /// PEM file of the authorities that the certificate of an https URL is held to; without it, those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// File that holds the API key or JWT to send; without it, the variable INGESTD_TOKEN
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Requests in flight at once; their lines may be stored in any order
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Most events in one request; fewer where they are large or the server allows only fewer
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,

    /// How long to retry a batch that the server does not take now, as 90s, 5m or 1h; 0 for ever
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub retry_for: Duration,

    /// Send each line in a request of its own, to POST /events
    #[arg(long)]
    pub single: bool,

    /// Write every rejected line's place and reason to this file, one JSON object per line, in no order
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,

    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,

    /// No progress and no text summary; errors and --json are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

impl Options {
    /// Where a daemon listens by default.
    pub const DEFAULT_URL: &str = "http://127.0.0.1:3001";

    /// What [`crate::Exit`] means, for the command's help.
    pub const EXIT_CODES: &str = "\
Exit codes:
    0  every line is accepted or a duplicate
    1  every line was answered, some were rejected
    2  an option, a file or the URL is wrong; nothing was sent
    3  some lines are unsent: no server, given up, or a file could not be read to its end
  130  interrupted; what was in flight was finished first";
}

/// Reads `90`, `90s`, `1500ms`, `5m`, `1h` or `2d`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration such as 90s, 5m or 1h"))?;
    let millis = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = millis.ok_or_else(|| format!("{unit:?} is not a unit: use ms, s, m, h or d"))?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Cli::try_parse_from(["send"].iter().chain(args)).map(|cli| cli.options)
    }

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let options = parse(&["a.ndjson", "-"]).unwrap();
        assert_eq!(options.files, [PathBuf::from("a.ndjson"), PathBuf::from("-")]);
        assert_eq!((options.concurrency, options.batch), (4, 100));
        assert_eq!(options.retry_for, Duration::from_secs(300));
        assert_eq!(options.url, "http://127.0.0.1:3001");
    }

    #[test]
    fn no_file_and_no_token_on_the_command_line() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--token", "secret", "a"]).is_err());
        assert!(parse(&["--batch", "0", "a"]).is_err());
        assert!(parse(&["--concurrency", "0", "a"]).is_err());
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, millis) in [("0", 0), ("90", 90_000), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "m", "-1", "5 m", "5y", "1.5h", "99999999999999999999", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
