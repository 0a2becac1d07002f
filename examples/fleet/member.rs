//! One process of the fleet, as the parent has it.

use std::{env, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};
use tower_reauth::BoxError;

use crate::{
    args::{Options, REDIS_URL, StoreDownName},
    lines::{Counts, Line},
};

pub(crate) struct Member {
    pub(crate) process: Child,
    /// Its end tells the process to stop.
    pub(crate) input: Option<ChildStdin>,
    pub(crate) counts: Counts,
    /// The longest request since the last sample.
    pub(crate) wait_ms: f64,
    /// The number of the token that it serves.
    pub(crate) sequence: u64,
    pub(crate) is_alive: bool,
}

impl Member {
    pub(crate) fn start(
        options: &Options,
        store_down: StoreDownName,
        base_url: &str,
        store: Option<&Path>,
    ) -> Result<Self, BoxError> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--member-of", base_url, "--callers", &options.callers.to_string()]);
        if let Some(store) = store {
            command.arg("--store").arg(store);
            command.arg("--namespace").arg(std::process::id().to_string());
            if let Some(url) = &options.redis {
                command.env(REDIS_URL, url);
            }
            if store_down == StoreDownName::Fail {
                command.args(["--store-down", "fail"]);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take();
        let (counts, wait_ms, sequence) = (Counts::default(), 0.0, 0);
        Ok(Self { process, input, counts, wait_ms, sequence, is_alive: true })
    }

    /// Sends each line of this process to `lines`, with its number.
    pub(crate) fn reporting(
        mut self,
        number: usize,
        lines: &mpsc::UnboundedSender<(usize, Line)>,
    ) -> Self {
        if let Some(output) = self.process.stdout.take() {
            let lines = lines.clone();
            tokio::spawn(async move {
                let mut output = BufReader::new(output).lines();
                while let Ok(Some(line)) = output.next_line().await {
                    if let Ok(line) = serde_json::from_str(&line) {
                        let _ = lines.send((number, line));
                    }
                }
            });
        }
        self
    }
}
