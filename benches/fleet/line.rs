//! The lines by which a process of the fleet tells what happens.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Times are in microseconds of the clock that all processes share.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// This process sends a request for a token.
    Asking,
    /// That request has been answered.
    Asked {
        start: u64,
        end: u64,
    },
    /// This process serves this token from now on.
    Token {
        sequence: u64,
    },
    /// Requests were held for so long.
    Held {
        seconds: f64,
    },
    Answered(Request),
}

/// A request to the resource, the time in which it was held included.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Its caller saw a 401.
    pub(crate) refused: bool,
}

impl Line {
    pub(crate) fn print(self) {
        let mut line = serde_json::to_vec(&self).unwrap();
        line.push(b'\n');
        // A parent that has gone reads nothing.
        let _ = io::stdout().lock().write_all(&line);
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}
