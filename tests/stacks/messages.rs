//! Every message that a user may see, in a table that a person can read: `messages.md`. With
//! `WRITE_MESSAGES=1` the table is written anew.

mod auth;
mod config;
mod connections;
mod fake;
mod oauth2;

use std::{env, error::Error, fmt::Write as _, fs};

use tower_reauth::{
    AccessToken, AuthError, Credentials, Error as RequestError, TokenCache, sandbox::Sandbox,
    store::StoreError,
};

/// A secret that no text may hold.
const SECRET: &str = "hunter2-hunter2-hunter2";

/// The situations of one kind of error, with the text of each.
struct Section {
    title: &'static str,
    rows: Vec<(&'static str, String)>,
}

impl Section {
    fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new() }
    }

    fn row(&mut self, situation: &'static str, error: impl std::fmt::Display) {
        self.rows.push((situation, error.to_string()));
    }
}

fn credentials() -> Credentials {
    Credentials::new("my-client", SECRET)
}

/// The errors of the service, and of what is no request.
async fn others() -> Section {
    let mut section = Section::new("Errors of a request, of stores and of claims");
    let down = || AuthError::transient("connection reset");
    section.row("a request without a token, by itself", RequestError::from(down()));
    section.row("a request whose HTTP client failed, by itself", RequestError::inner("reset"));
    section.row("a store of your own is down", StoreError::unavailable("no route to db:5432"));
    section.row("a store of your own refuses", StoreError::denied("the right to write is missing"));
    section.row("a store of your own is set up wrong", StoreError::unusable("no table `tokens`"));
    let sandbox = Sandbox::builder().start().await.unwrap();
    let token = token(&sandbox).await;
    section.row("claims of another shape", token.claims::<Vec<u8>>().unwrap_err());
    section
}

async fn token(sandbox: &Sandbox) -> AccessToken {
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let http = tower_reauth::client::https().unwrap();
    let endpoint = tower_reauth::SendPayments::new(sandbox.base_url(), http, credentials).unwrap();
    TokenCache::new(endpoint).token().await.unwrap()
}

/// Returns the text of an error with those of its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", chain(cause)))
}

#[tokio::test]
async fn every_message_is_as_in_the_table() {
    let sections = [
        config::settings(),
        auth::requests().await,
        auth::responses().await,
        auth::tokens().await,
        auth::sources().await,
        connections::failed().await,
        oauth2::failed().await,
        others().await,
    ];
    let mut table = String::from(
        "# Messages\n\nWhat users read, by situation. `tests/stacks/messages.rs` checks each.\n",
    );
    for Section { title, rows } in &sections {
        write!(table, "\n## {title}\n\n| situation | text |\n|---|---|\n").unwrap();
        for (situation, text) in rows {
            check(text);
            writeln!(table, "| {situation} | {text} |").unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/messages.md");
    if env::var_os("WRITE_MESSAGES").is_some() {
        fs::write(path, &table).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap();
    for (line, (expected, actual)) in expected.lines().zip(table.lines()).enumerate() {
        assert_eq!(expected, actual, "line {}", line + 1);
    }
    assert_eq!(expected.lines().count(), table.lines().count());
}

/// Checks what goes for every text.
fn check(text: &str) {
    assert!(!text.contains('\n') && !text.contains('|'), "it fits a line of the table: {text}");
    assert!(!text.contains("hunter2"), "it holds a secret: {text}");
    assert!(!text.ends_with('.'), "it goes on in a chain: {text}");
    assert!(text.len() <= 400, "it is short: {text}");
    for jargon in ["inner service", "flight", "landing", "in passing", "lease of the fleet"] {
        assert!(!text.contains(jargon), "it says {jargon:?}: {text}");
    }
}
