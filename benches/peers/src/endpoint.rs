//! A token endpoint that takes 5 ms, and counts what it is asked.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use crate::{
    answer::{Answer, FETCH, Issuer, Refused, token},
    plugin,
    server::Server,
};

/// Reached in this process, over HTTP, or as a program.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<State>);

#[derive(Debug)]
struct State {
    answer: Answer,
    seen: Mutex<Seen>,
    server: OnceLock<Server>,
    /// Where the program writes down its fetches, if it is one.
    program: OnceLock<tempfile::TempDir>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    fetches: usize,
    first_end: Option<SystemTime>,
}

impl Endpoint {
    pub fn new(answer: Answer) -> Self {
        Self(Arc::new(State {
            answer,
            seen: Mutex::default(),
            server: OnceLock::new(),
            program: OnceLock::new(),
        }))
    }

    /// In this process.
    pub async fn fetch(&self) -> Result<String, Refused> {
        self.0.seen.lock().unwrap().fetches += 1;
        tokio::time::sleep(FETCH).await;
        self.0.seen.lock().unwrap().first_end.get_or_insert_with(SystemTime::now);
        match self.0.answer {
            Answer::Token => Ok(token()),
            Answer::Refusal => Err(Refused),
        }
    }

    /// Over HTTP, on loopback.
    pub fn url(&self) -> String {
        let server = self.0.server.get_or_init(|| {
            let state = Arc::downgrade(&self.0);
            Server::start(move || state.upgrade().map(Self))
        });
        server.url()
    }

    /// As a program: the file that it writes to, and how it answers.
    pub fn program(&self) -> (PathBuf, Answer) {
        let directory = self.0.program.get_or_init(|| tempfile::tempdir().unwrap());
        (log(directory), self.0.answer)
    }

    pub fn fetches(&self) -> usize {
        self.all().fetches
    }

    /// When the first answer was ready.
    pub fn first_end(&self) -> Option<SystemTime> {
        self.all().first_end
    }

    fn all(&self) -> Seen {
        let seen = *self.0.seen.lock().unwrap();
        let Some(directory) = self.0.program.get() else { return seen };
        let (fetches, first_end) =
            plugin::read(&fs::read_to_string(log(directory)).unwrap_or_default());
        Seen { fetches: seen.fetches + fetches, first_end: seen.first_end.or(first_end) }
    }
}

impl Issuer for Endpoint {
    async fn issue(&self) -> Result<String, Refused> {
        self.fetch().await
    }
}

fn log(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("log")
}
