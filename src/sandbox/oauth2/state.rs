//! [`State`]: what the handlers of one server share.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::jwk::Jwk;
use serde_json::{Map, Value};

use super::{
    client::OAuth2Client, counters::OAuth2Counters, grant_type::KNOWN, issuance::Issuance,
    request::TokenRequest, scripted::Script, tokens::Tokens,
};
use crate::sandbox::{bounded_map::BoundedMap, clock::Clock, token};

/// How many of the last requests for a token are kept.
const MAX_REQUESTS: usize = 1000;
/// The bounds of the identifiers of assertions that are kept.
const MAX_IDS: usize = 100_000;
const MAX_ID_BYTES: usize = 16 * 1024 * 1024;

/// The settings of the builder.
pub(super) struct Settings {
    pub(super) issuer: String,
    pub(super) token_uri: String,
    pub(super) token_lifetime: Duration,
    pub(super) assertion_lifetime: Duration,
    pub(super) latency: Duration,
    pub(super) issuance: Issuance,
    pub(super) jwt_tokens: bool,
    pub(super) takes_json: bool,
    pub(super) token_uri_audience: bool,
    /// The grants by name, beside those of RFC 6749, 7523 and 8693.
    pub(super) grants: BTreeSet<String>,
    /// If there are any, a request must name one of them.
    pub(super) audiences: BTreeSet<String>,
    /// If there are any, a request can name no other.
    pub(super) resources: BTreeSet<String>,
    /// The keys of those whose assertions are grants.
    pub(super) issuers: HashMap<String, Vec<Jwk>>,
    pub(super) subject_tokens: HashSet<String>,
    /// Fields of the metadata that are set, or left out.
    pub(super) metadata: Vec<(String, Option<Value>)>,
}

/// The state of one server. Each part has a lock of its own, and no two are held at once.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) clients: BTreeMap<String, OAuth2Client>,
    /// The secrets that were changed since the start.
    secrets: Mutex<HashMap<String, String>>,
    tokens: Mutex<Tokens>,
    /// The `jti` of each assertion that was accepted, with its issuer.
    ids: Mutex<BoundedMap<()>>,
    /// The client that each refresh token belongs to.
    refresh_tokens: Mutex<HashMap<String, String>>,
    script: Mutex<Script>,
    counters: Mutex<OAuth2Counters>,
    requests: Mutex<VecDeque<TokenRequest>>,
}

impl State {
    pub(super) fn new(
        settings: Settings,
        clock: Clock,
        clients: BTreeMap<String, OAuth2Client>,
        refresh_tokens: HashMap<String, String>,
    ) -> Self {
        Self {
            settings,
            clock,
            clients,
            secrets: Mutex::default(),
            tokens: Mutex::default(),
            ids: Mutex::new(BoundedMap::new(MAX_IDS, MAX_ID_BYTES)),
            refresh_tokens: Mutex::new(refresh_tokens),
            script: Mutex::default(),
            counters: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    /// Returns the secret that `client` has now, if it has one.
    pub(super) fn secret(&self, client: &OAuth2Client) -> Option<String> {
        let first = client.secret.as_ref()?;
        Some(lock(&self.secrets).get(&client.id).unwrap_or(first).clone())
    }

    /// Replaces the secret of a client. Returns `false` if no client of this id has one.
    pub(super) fn change_secret(&self, client_id: &str, secret: String) -> bool {
        let has_secret = self.clients.get(client_id).is_some_and(|it| it.secret.is_some());
        if has_secret {
            lock(&self.secrets).insert(client_id.to_owned(), secret);
        }
        has_secret
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut OAuth2Counters)) {
        change(&mut lock(&self.counters));
    }

    pub(super) fn counters(&self) -> OAuth2Counters {
        *lock(&self.counters)
    }

    pub(super) fn record(&self, request: TokenRequest) {
        let mut requests = lock(&self.requests);
        if requests.len() == MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    pub(super) fn requests(&self) -> Vec<TokenRequest> {
        lock(&self.requests).iter().cloned().collect()
    }

    /// Returns `true` for the first assertion of `issuer` with this `jti`.
    pub(super) fn is_first_use(&self, issuer: &str, jti: &str) -> bool {
        // The length keeps two pairs apart that are the same when joined.
        let key = format!("{} {issuer} {jti}", issuer.len());
        let mut ids = lock(&self.ids);
        if ids.get(&key).is_some() {
            return false;
        }
        let size = key.len();
        ids.insert(key, (), size);
        true
    }

    /// Replaces a refresh token, if it is one of `client`, and returns the new one. The old one is
    /// dead from then on (RFC 9700, section 4.14.2).
    pub(super) fn rotate(&self, refresh_token: &str, client: &str) -> Option<String> {
        let mut tokens = lock(&self.refresh_tokens);
        if tokens.get(refresh_token).is_none_or(|owner| owner != client) {
            return None;
        }
        tokens.remove(refresh_token);
        let new = format!("refresh-{}", token::random_id());
        tokens.insert(new.clone(), client.to_owned());
        Some(new)
    }

    /// Returns the fields of the metadata (RFC 8414, section 2).
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let settings = &self.settings;
        let methods: BTreeSet<&str> = self
            .clients
            .values()
            .flat_map(|client| client.methods.iter().map(|method| method.name()))
            .collect();
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("issuer", settings.issuer.as_str().into());
        set("token_endpoint", settings.token_uri.as_str().into());
        set("token_endpoint_auth_methods_supported", methods.into_iter().collect());
        let grants = settings.grants.iter().map(String::as_str);
        set("grant_types_supported", KNOWN.into_iter().chain(grants).collect());
        set("response_types_supported", Value::Array(Vec::new()));
        for (name, value) in &settings.metadata {
            match value {
                Some(value) => fields.insert(name.clone(), value.clone()),
                None => fields.remove(name),
            };
        }
        fields
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
