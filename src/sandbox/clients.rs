//! The clients that may ask for tokens, and the token in use of each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// All known clients.
pub(super) struct Clients {
    by_id: Mutex<HashMap<String, Client>>,
}

struct Client {
    secret: String,
    /// The `jti` of the token in use. There is one per client, which makes tokens exclusive.
    current: Option<String>,
}

impl Clients {
    pub(super) fn new(secrets: HashMap<String, String>) -> Self {
        let by_id = secrets
            .into_iter()
            .map(|(id, secret)| (id, Client { secret, current: None }))
            .collect();
        Self { by_id: Mutex::new(by_id) }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    pub(super) fn accepts(&self, id: &str, secret: &str) -> bool {
        self.lock().get(id).is_some_and(|client| client.secret == secret)
    }

    /// Replaces the secret. Returns `false` if the client is unknown.
    pub(super) fn change_secret(&self, id: &str, secret: String) -> bool {
        self.lock().get_mut(id).map(|client| client.secret = secret).is_some()
    }

    /// Puts a new token in use, which kills the one before it.
    pub(super) fn replace(&self, id: &str, token_id: String) {
        if let Some(client) = self.lock().get_mut(id) {
            client.current = Some(token_id);
        }
    }

    /// Kills the token in use. Returns `true` if there was one.
    pub(super) fn revoke(&self, id: &str) -> bool {
        self.lock().get_mut(id).is_some_and(|client| client.current.take().is_some())
    }

    pub(super) fn is_current(&self, id: &str, token_id: &str) -> bool {
        self.lock().get(id).is_some_and(|client| client.current.as_deref() == Some(token_id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
