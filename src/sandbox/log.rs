//! The log of requests, a line for each, for people.

use std::{fmt::Write as _, mem, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::state::SandboxState;

/// The receiver of the log, which gets it line by line.
pub(super) type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Says in the extensions of a response why it is what it is.
#[derive(Clone, Copy)]
pub(super) struct Reason(pub(super) &'static str);

/// One request that has arrived. Its line is written when its response is there, or when there will
/// be none.
struct Entry {
    log: Log,
    line: String,
}

impl Entry {
    fn end(mut self, response: &Response) {
        let _ = write!(self.line, " {}", response.status());
        if let Some(Reason(reason)) = response.extensions().get() {
            let _ = write!(self.line, ": {reason}");
        }
        (self.log)(&mem::take(&mut self.line));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            (self.log)(&format!("{} got no response", self.line));
        }
    }
}

/// Logs each request. Tokens, secrets and queries are not in the log.
pub(super) async fn log_request(
    State(state): State<Arc<SandboxState>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(log) = state.log.clone() else { return next.run(request).await };
    let line = format!("{} {}", request.method(), request.uri().path());
    let entry = Entry { log, line };
    let response = next.run(request).await;
    entry.end(&response);
    response
}
