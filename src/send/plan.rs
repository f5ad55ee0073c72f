use crate::Options;
use crate::input::Input;
use crate::rejects::RejectsFile;
use crate::target::{Target, TargetError};
use crate::token::{self, TokenError};
use crate::trust::{TrustError, trust};
use hyper::header::HeaderValue;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Time limits that no user needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// First step of the exponential backoff.
    pub backoff_first: Duration,
    /// Its longest step.
    pub backoff_longest: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to one request.
    pub attempt_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            backoff_first: Duration::from_millis(200),
            backoff_longest: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a run could not start: nothing was sent. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(#[from] Wrong);

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("cannot read {}: {source}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error("standard input can be read only once")]
    StdinTwice,
    #[error("cannot write {}: {source}", path.display())]
    Rejects { path: PathBuf, source: io::Error },
    #[error("{} is an input: writing the rejects there would destroy it", path.display())]
    RejectsIsInput { path: PathBuf },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl UsageError {
    /// The process has no more threads or descriptors.
    pub(crate) fn runtime(source: io::Error) -> Self {
        UsageError(Wrong::Runtime(source))
    }
}

/// Checked options.
pub(crate) struct Plan {
    pub(crate) inputs: Vec<Input>,
    pub(crate) target: Target,
    /// Whose certificates are believed, where the target is https.
    pub(crate) trust: Option<rustls::ClientConfig>,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) concurrency: usize,
    /// Most events in a request; 1 where each goes to `POST /events`.
    pub(crate) batch_events_max: usize,
    pub(crate) single: bool,
    /// `None`: for ever.
    pub(crate) retry_for: Option<Duration>,
    pub(crate) rejects: Option<RejectsFile>,
}

impl Plan {
    /// Looks at everything that can be wrong before anything is sent, and creates the file of rejects last.
    pub(crate) fn check(options: &Options) -> Result<Plan, UsageError> {
        Ok(Plan::find_wrong(options)?)
    }

    fn find_wrong(options: &Options) -> Result<Plan, Wrong> {
        let target = Target::parse(&options.url)?;
        let trust = target.is_https().then(|| trust(options.ca_file.as_deref())).transpose()?;
        let authorization = token::authorization(options.token_file.as_deref())?;
        let inputs = options
            .files
            .iter()
            .map(|path| Input::check(path).map_err(|source| Wrong::Input { path: path.clone(), source }))
            .collect::<Result<Vec<_>, _>>()?;
        if options.files.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(Wrong::StdinTwice);
        }
        let rejects = match &options.rejects {
            None => None,
            Some(path) => {
                let failed = |source| Wrong::Rejects { path: path.clone(), source };
                let file = RejectsFile::open(path).map_err(failed)?;
                let identity = file.identity().map_err(failed)?;
                if inputs.iter().any(|input| input.identity == Some(identity)) {
                    return Err(Wrong::RejectsIsInput { path: path.clone() });
                }
                Some(file.emptied().map_err(failed)?)
            }
        };
        Ok(Plan {
            inputs,
            target,
            trust,
            authorization,
            concurrency: options.concurrency.into(),
            batch_events_max: if options.single { 1 } else { options.batch.into() },
            single: options.single,
            retry_for: Some(options.retry_for).filter(|time| !time.is_zero()),
            rejects,
        })
    }
}
