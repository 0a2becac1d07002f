use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;

use super::*;
use crate::{
    ConfigError, Credentials, RefreshPolicy, TokenCache, TokenEndpoint, clock,
    endpoint::{
        OAuth2,
        oauth2::{
            OAuth2Builder,
            testing::{ID, SECRET, Server, URI},
        },
    },
    store::MemoryStore,
};

/// A row of a database, which may be out of order.
#[derive(Clone, Default)]
struct Row(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    token: String,
    stored: Vec<String>,
    is_broken: bool,
    is_slow: bool,
    /// How many loads are left before they hang.
    hangs_after: Option<usize>,
    is_shared: bool,
}

impl Row {
    fn with(token: &str) -> Self {
        let row = Self::default();
        row.0.lock().unwrap().token = token.into();
        row
    }

    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap());
    }

    fn stored(&self) -> Vec<String> {
        self.0.lock().unwrap().stored.clone()
    }
}

impl RefreshTokens for Row {
    async fn load(&self) -> Result<SecretString, BoxError> {
        let hangs = match &mut self.0.lock().unwrap().hangs_after {
            Some(0) => true,
            Some(loads) => {
                *loads -= 1;
                false
            }
            None => false,
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(self.0.lock().unwrap().token.clone().into())
    }

    async fn store(&self, token: &SecretString, former: &SecretString) -> Result<(), BoxError> {
        let is_slow = self.0.lock().unwrap().is_slow;
        if is_slow {
            std::future::pending::<()>().await;
        }
        let mut inner = self.0.lock().unwrap();
        if inner.is_broken {
            return Err("the disk is full".into());
        }
        if inner.token != former.expose_secret() {
            return Ok(());
        }
        inner.token = token.expose_secret().into();
        let token = inner.token.clone();
        inner.stored.push(token);
        Ok(())
    }

    fn is_shared(&self) -> bool {
        self.0.lock().unwrap().is_shared
    }
}

fn builder(server: &Server, row: &Row) -> OAuth2Builder<Server> {
    let credentials = Credentials::new(ID, SECRET);
    OAuth2::refresh_token(URI, server.clone(), credentials, row.clone())
}

fn rotating(number: u8) -> String {
    format!(r#"{{"access_token": "a{number}", "refresh_token": "r{number}"}}"#)
}

fn sent(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

fn issue(endpoint: &OAuth2<Server>) -> Result<String, AuthError> {
    let issued = TokenEndpoint::issue(endpoint).now_or_never().expect("nothing waits here");
    issued.map(|token| token.secret.expose_secret().to_owned())
}

#[test]
fn a_new_refresh_token_is_stored_and_an_old_one_is_not_stored_again() {
    let server = Server::answering(200, &rotating(1))
        .then(200, "application/json", &rotating(1))
        .then(200, "application/json", r#"{"access_token": "a2", "refresh_token": ""}"#)
        .then(200, "application/json", r#"{"access_token": "a3"}"#);
    let row = Row::with("r0");
    let endpoint = builder(&server, &row).build().unwrap();
    for token in ["a1", "a1", "a2", "a3"] {
        assert_eq!(issue(&endpoint).unwrap(), token);
    }
    assert_eq!(row.stored(), ["r1"]);
    assert_eq!(server.bodies(), [sent("r0"), sent("r1"), sent("r1"), sent("r1")]);
}

#[test]
fn an_access_token_whose_refresh_token_can_not_be_stored_is_not_used_and_nothing_is_lost() {
    let server = Server::answering(200, &rotating(1)).then(200, "application/json", &rotating(2));
    let row = Row::with("r0");
    let endpoint = builder(&server, &row).build().unwrap();
    row.set(|row| row.is_broken = true);
    for _ in 0..3 {
        let error = issue(&endpoint).unwrap_err();
        assert!(error.is_credentials() && error.to_string().contains("stored"), "{error}");
        assert!(endpoint.credentials_changed().now_or_never().unwrap(), "it is tried again");
    }
    assert_eq!(server.bodies(), [sent("r0")], "nothing is asked for until it is stored");
    row.set(|row| row.is_broken = false);
    assert_eq!(issue(&endpoint).unwrap(), "a2");
    assert_eq!(row.stored(), ["r1", "r2"]);
    assert_eq!(server.bodies(), [sent("r0"), sent("r1")]);
}

/// Another process, or a person who has allowed the integration anew, came first.
#[test]
fn a_refresh_token_that_somebody_else_has_stored_is_not_overwritten_by_a_late_one() {
    let server = Server::answering(200, &rotating(1)).then(200, "application/json", &rotating(10));
    let row = Row::with("r0");
    let endpoint = builder(&server, &row).build().unwrap();
    row.set(|row| row.is_broken = true);
    issue(&endpoint).unwrap_err();
    row.set(|row| (row.is_broken, row.token) = (false, "r9".into()));
    assert_eq!(issue(&endpoint).unwrap(), "a10");
    assert_eq!(server.bodies(), [sent("r0"), sent("r9")]);
    assert_eq!(row.stored(), ["r10"]);
}

/// The server has replaced the one that was sent, whatever is wrong with the access token.
#[test]
fn a_new_refresh_token_is_stored_even_if_its_access_token_can_not_be_used() {
    for body in [
        r#"{"access_token": "a1", "refresh_token": "r1", "scope": "less"}"#,
        r#"{"access_token": "a1", "refresh_token": "r1", "token_type": "DPoP"}"#,
        r#"{"refresh_token": "r1"}"#,
    ] {
        let row = Row::with("r0");
        let builder = builder(&Server::answering(200, body), &row).scope("more").require_scope();
        issue(&builder.build().unwrap()).unwrap_err();
        assert_eq!(row.stored(), ["r1"], "{body}");
    }
    let refusal = r#"{"error": "invalid_grant", "refresh_token": "r1"}"#;
    for status in [200, 400] {
        let row = Row::with("r0");
        issue(&builder(&Server::answering(status, refusal), &row).build().unwrap()).unwrap_err();
        assert!(row.stored().is_empty(), "{status}");
    }
}

#[test]
fn an_empty_refresh_token_is_not_sent() {
    let server = Server::answering(200, &rotating(1));
    let error = issue(&builder(&server, &Row::with("")).build().unwrap()).unwrap_err();
    assert!(error.is_credentials() && error.to_string().contains("empty"), "{error}");
    assert!(server.bodies().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_named_and_stores_the_refresh_token_before_anything_else_is_sent() {
    let server = Server::answering(200, &rotating(1)).then(200, "application/json", &rotating(2));
    let row = Row::with("r0");
    let endpoint = builder(&server, &row).build().unwrap();
    row.set(|row| row.is_slow = true);
    let ends = clock::later(clock::now(), Duration::from_secs(5));
    let error = credentials::bounded(ends, endpoint.issue()).await.map(|_| ()).unwrap_err();
    assert!(error.is_credentials() && error.to_string().contains("stored"), "{error}");
    assert_eq!(error.fate(), Fate::Issued);
    row.set(|row| row.is_slow = false);
    assert_eq!(issue(&endpoint).unwrap(), "a2");
    assert_eq!(row.stored(), ["r1", "r2"]);
    assert_eq!(server.bodies(), [sent("r0"), sent("r1")]);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_stored_yet_outlives_the_endpoint() {
    let (server, row) = (Server::answering(200, &rotating(1)), Row::with("r0"));
    let endpoint = builder(&server, &row).build().unwrap();
    row.set(|row| row.is_slow = true);
    assert!(endpoint.issue().now_or_never().is_none());
    row.set(|row| row.is_slow = false);
    drop(endpoint);
    tokio::task::yield_now().await;
    assert_eq!(row.stored(), ["r1"]);
}

#[test]
fn a_refusal_is_looked_into_once_if_somebody_else_has_replaced_the_refresh_token() {
    let refusal = r#"{"error": "invalid_grant"}"#;
    let server = Server::answering(400, refusal);
    let row = Row::with("r0");
    let endpoint = builder(&server, &row).build().unwrap();
    let error = issue(&endpoint).unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("allowed anew"), "{error}");
    assert_eq!(server.bodies().len(), 1);
    assert!(!endpoint.credentials_changed().now_or_never().unwrap());
    row.set(|row| row.token = "r1".into());
    assert!(endpoint.credentials_changed().now_or_never().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_after_a_refusal_does_not_hide_it() {
    // An attempt of one second has no second left.
    for (attempt_timeout, longest) in [(10, 1000), (1, 500)] {
        let server = Server::answering(400, r#"{"error": "invalid_grant"}"#);
        let row = Row::with("r0");
        row.set(|row| row.hangs_after = Some(1));
        let policy = RefreshPolicy::default()
            .attempt_timeout(Duration::from_secs(attempt_timeout))
            .deadline(Duration::from_secs(30));
        let endpoint = builder(&server, &row).build().unwrap();
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        let started = clock::now();
        let error = cache.token().await.unwrap_err();
        assert!(error.is_rejected() && !error.is_timeout(), "{error}");
        assert_eq!(error.code(), Some("invalid_grant"));
        assert_eq!(server.bodies().len(), 1);
        let waited = clock::now() - started;
        assert!(waited <= Duration::from_millis(longest + 5), "{waited:?}");
    }
}

#[test]
fn a_cache_with_a_store_needs_refresh_tokens_that_are_shared_too() {
    let (server, row) = (Server::answering(200, &rotating(1)), Row::with("r0"));
    let build = || {
        let endpoint = builder(&server, &row).subject("alice").build().unwrap();
        TokenCache::builder(endpoint).shared(MemoryStore::new()).build()
    };
    assert!(matches!(build(), Err(ConfigError::InvalidSetting { .. })));
    row.set(|row| row.is_shared = true);
    assert!(build().is_ok());
    row.set(|row| row.is_shared = false);
    assert!(TokenCache::builder(builder(&server, &row).build().unwrap()).build().is_ok());
    let identity = |builder: OAuth2Builder<Server>| {
        builder.build().unwrap().identity().now_or_never().unwrap().unwrap()
    };
    assert!(identity(builder(&server, &row)).is_none());
    let (alice, bob) =
        (builder(&server, &row).subject("alice"), builder(&server, &row).subject("b"));
    assert_ne!(identity(alice), identity(bob));
}

#[test]
fn no_text_holds_a_refresh_token() {
    let token = "the-refresh-token-itself";
    let body = format!(r#"{{"error": "invalid_grant", "error_description": "{token} is old"}}"#);
    let endpoint = builder(&Server::answering(400, &body), &Row::with(token));
    let shown = format!("{endpoint:?}");
    let endpoint = endpoint.build().unwrap();
    let error = issue(&endpoint).unwrap_err();
    for text in [shown, format!("{endpoint:?} {error} {error:?}")] {
        assert!(!text.contains(token), "{text}");
    }
}
