//! The lines of JSON by which a process of the fleet reports on its standard output.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// This process asks for a token on behalf of all.
    Lease { fence: u64, takeover: bool },
    /// This process serves this token from now on.
    Token { sequence: u64 },
    /// All numbers so far.
    Counts(Counts),
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) answers: u64,
    /// Answers with the status 401.
    pub(crate) seen: u64,
    pub(crate) errors: u64,
    /// The longest time of a request that ended since the line before this one.
    pub(crate) lately_longest_ms: f64,
    pub(crate) longest_ms: f64,
    pub(crate) longest_hold_ms: f64,
}

impl Line {
    pub(crate) fn print(self) {
        let Ok(mut line) = serde_json::to_vec(&self) else { return };
        line.push(b'\n');
        // Without a parent nobody reads, and the end of the standard input ends this process.
        let _ = io::stdout().lock().write_all(&line);
    }
}
