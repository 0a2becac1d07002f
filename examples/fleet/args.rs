//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// The environment variable with the URL of `--redis`.
pub(crate) const REDIS_URL: &str = "FLEET_REDIS_URL";

#[derive(Parser)]
#[command(
    about = "Runs processes that share one token, and counts the 401s and the requests for tokens"
)]
pub(crate) struct Options {
    /// Processes of the fleet.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=200))]
    pub(crate) processes: u16,
    /// Renewals to wait for, after the first token.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) renewals: u16,
    /// How long each token lives, in seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(3..=3600))]
    pub(crate) lifetime: u16,
    /// Callers in each process. Each pauses for 100 ms between two requests.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) callers: u16,
    /// How long each `POST /auth` takes, in milliseconds.
    #[arg(long, default_value_t = 100, value_name = "MILLISECONDS")]
    pub(crate) auth_latency_ms: u64,
    /// Kill (SIGKILL) one process in the middle of a renewal.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) kill: Option<Victim>,
    /// Make the store unusable for so long after the first renewal, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) break_store: Option<u16>,
    /// What a process does when the store can't be used: renew alone, or fail.
    #[arg(long, value_enum, default_value_t = StoreDownName::Alone, value_name = "WHAT")]
    pub(crate) store_down: StoreDownName,
    /// How many processes renew alone whatever `--store-down` says.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(crate) alone: u16,
    /// Give the processes no store, for comparison: each new token kills that of the others.
    #[arg(long, conflicts_with_all = ["kill", "plot", "break_store"])]
    pub(crate) without_store: bool,
    /// Share the token through the Redis or Valkey at this URL, and not through files. The
    /// environment variable keeps a password out of the list of processes. Needs the feature
    /// `redis`.
    #[arg(long, value_name = "URL", env = REDIS_URL, hide_env_values = true)]
    #[arg(conflicts_with_all = ["without_store", "break_store"])]
    pub(crate) redis: Option<String>,
    /// Run without the store too, and draw both runs as an SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,

    /// Be a process of the fleet at the sandbox with this URL.
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) member_of: Option<String>,
    /// Keeps the fleet of this run apart from those of other runs.
    #[arg(long, hide = true, default_value = "")]
    pub(crate) namespace: String,
    /// The directory of the store that a process of the fleet uses.
    #[arg(long, hide = true, requires = "member_of", value_name = "DIRECTORY")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Victim {
    /// The process that has the lease, once its `POST /auth` has arrived.
    Holder,
}

/// [`StoreDown`](tower_reauth::store::StoreDown) by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreDownName {
    /// Ask for a token without the store.
    Alone,
    /// Ask for none.
    Fail,
}

impl Options {
    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime.into())
    }

    /// Returns about how long the renewals take. Tokens are due after 80 % of their lifetime.
    pub(crate) fn usual_time(&self) -> Duration {
        self.lifetime().mul_f64(0.8) * u32::from(self.renewals) + Duration::from_secs(2)
    }

    /// Returns how long the renewals may take.
    pub(crate) fn longest_time(&self) -> Duration {
        self.lifetime() * (u32::from(self.renewals) + 1) + Duration::from_secs(20)
    }
}
