//! The store of accounts and of the responses to idempotency keys. It knows no HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::{bounded_map::BoundedMap, clock, token};

/// The bounds of each of the two maps, so that a long load test does not fill the memory.
const MAX_ENTRIES: usize = 100_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// All accounts, and the stored responses.
pub(super) struct Accounts {
    inner: Mutex<Inner>,
}

struct Inner {
    by_id: BoundedMap<OwnedAccount>,
    /// By owner and idempotency key.
    responses: BoundedMap<StoredResponse>,
}

struct OwnedAccount {
    /// The id of the client that created the account.
    owner: String,
    account: Account,
}

struct StoredResponse {
    /// The body with which the key was used first.
    request_body: Bytes,
    account: Account,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    id: String,
    name: String,
    created_at: String,
}

impl Account {
    fn size(&self) -> usize {
        self.id.len() + self.name.len() + self.created_at.len()
    }
}

impl Default for Accounts {
    fn default() -> Self {
        let inner = Inner {
            by_id: BoundedMap::new(MAX_ENTRIES, MAX_BYTES),
            responses: BoundedMap::new(MAX_ENTRIES, MAX_BYTES),
        };
        Self { inner: Mutex::new(inner) }
    }
}

/// The result of a request for an account.
pub(super) enum Creation {
    /// A new account.
    Created(Account),
    /// The response that is stored for the idempotency key.
    Repeated(Account),
    /// The idempotency key was used with another body.
    Conflict,
}

impl Accounts {
    /// Creates an account at `now`, in seconds since 1970, unless `owner` has used `key` before.
    pub(super) fn create(
        &self,
        owner: String,
        key: Option<String>,
        name: String,
        request_body: Bytes,
        now: u64,
    ) -> Creation {
        // A header can't hold a line feed, so no client can spell the key of another.
        let key = key.map(|key| format!("{owner}\n{key}"));
        // The lock is held from the lookup to the insertion, so that one of two concurrent requests
        // with the same key creates the account and the other one finds its response.
        let mut accounts = self.lock();
        if let Some(response) = key.as_deref().and_then(|key| accounts.responses.get(key)) {
            if response.request_body != request_body {
                return Creation::Conflict;
            }
            return Creation::Repeated(response.account.clone());
        }
        let account = Account { id: token::random_id(), name, created_at: clock::rfc3339(now) };
        let stored = OwnedAccount { owner, account: account.clone() };
        let size = stored.owner.len() + account.size();
        accounts.by_id.insert(account.id.clone(), stored, size);
        if let Some(key) = key {
            let size = key.len() + request_body.len() + account.size();
            accounts.responses.insert(
                key,
                StoredResponse { request_body, account: account.clone() },
                size,
            );
        }
        Creation::Created(account)
    }

    /// Returns the account `id` if `owner` created it.
    pub(super) fn find(&self, owner: &str, id: &str) -> Option<Account> {
        let accounts = self.lock();
        let stored = accounts.by_id.get(id).filter(|stored| stored.owner == owner)?;
        Some(stored.account.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
