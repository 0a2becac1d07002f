//! What was logged.

use std::{
    error::Error,
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, Mutex},
};

use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Keeps what is written to it. Clones share it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what this thread logs up to `level`, until the guard is dropped.
    pub fn of_this_thread(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(level).with_writer(log.clone()).finish();
        // A test on another thread, where there is no subscriber, could be the first to reach an
        // event. Without this one, the event would then be marked as nobody's for all threads.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    pub fn add(&self, text: &str) {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
    }

    pub fn add_debug(&self, value: &impl Debug) {
        self.add(&format!("{value:?}\n{value:#?}\n"));
    }

    /// Adds the error with its causes.
    pub fn add_error(&self, error: &(dyn Error + 'static)) {
        let mut text = String::new();
        let mut next = Some(error);
        while let Some(error) = next {
            writeln!(text, "{error} {error:?} {error:#?}").unwrap();
            next = error.source();
        }
        self.add(&text);
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
