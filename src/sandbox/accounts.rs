//! The accounts, and the answers that are kept for their idempotency keys.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::{bounded::Bounded, clock, token};

const MAX_ENTRIES: usize = 100_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// All accounts, and the answers that are kept for their idempotency keys.
pub(super) struct Accounts {
    inner: Mutex<Inner>,
}

struct Inner {
    by_id: Bounded<Stored>,
    answers: Bounded<Answered>,
}

struct Stored {
    owner: String,
    account: Account,
}

struct Answered {
    asked: Bytes,
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
            by_id: Bounded::new(MAX_ENTRIES, MAX_BYTES),
            answers: Bounded::new(MAX_ENTRIES, MAX_BYTES),
        };
        Self { inner: Mutex::new(inner) }
    }
}

/// What came of a request for an account.
pub(super) enum Creation {
    Created(Account),
    /// The answer that is stored for the idempotency key.
    Stored(Account),
    /// The idempotency key was used with another body.
    Conflict,
}

impl Accounts {
    /// Makes an account at `now`, unless `key` has been used before.
    pub(super) fn create(
        &self,
        owner: String,
        key: Option<String>,
        name: String,
        asked: Bytes,
        now: u64,
    ) -> Creation {
        // A line feed can't be in a header, so no client can name the key of another.
        let key = key.map(|key| format!("{owner}\n{key}"));
        // One lock from the look-up to the storing: of two requests with the same key, one creates.
        let mut accounts = self.lock();
        if let Some(answered) = key.as_deref().and_then(|key| accounts.answers.get(key)) {
            if answered.asked != asked {
                return Creation::Conflict;
            }
            return Creation::Stored(answered.account.clone());
        }
        let account = Account { id: token::random_id(), name, created_at: clock::rfc3339(now) };
        let stored = Stored { owner, account: account.clone() };
        let size = stored.owner.len() + account.size();
        accounts.by_id.add(account.id.clone(), stored, size);
        if let Some(key) = key {
            let size = key.len() + asked.len() + account.size();
            accounts.answers.add(key, Answered { asked, account: account.clone() }, size);
        }
        Creation::Created(account)
    }

    /// The account, if it is the owner's.
    pub(super) fn find(&self, owner: &str, id: &str) -> Option<Account> {
        let accounts = self.lock();
        let stored = accounts.by_id.get(id).filter(|stored| stored.owner == owner)?;
        Some(stored.account.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
