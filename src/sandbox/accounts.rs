//! `POST /accounts` and `GET /accounts/{id}`: something to spend a token on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{auth, bounded::Bounded, clock, guard::Caller, problem::Problem, state::Shared, token};

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
struct Account {
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

impl Accounts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(owner)): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = match auth::idempotency_key(&headers) {
        // A line feed can't be in a header, so no client can name the key of another.
        Ok(key) => key.map(|key| format!("{owner}\n{key}")),
        Err(why) => return Problem::malformed([why]).into_response(),
    };
    let Some(name) = read_name(&body) else {
        return Problem::malformed([
            "the body must be a JSON object with a string as its name".to_owned()
        ])
        .into_response();
    };

    // One lock from the look-up to the storing: of two requests with the same key, one creates.
    let mut accounts = shared.accounts.lock();
    if let Some(answered) = key.as_deref().and_then(|key| accounts.answers.get(key)) {
        if answered.asked != body {
            return Problem::new(
                StatusCode::CONFLICT,
                "The key was used with another body",
                "conflict",
            )
            .into_response();
        }
        shared.tally.count(|counters| counters.idempotent_replays += 1);
        return (StatusCode::CREATED, Json(answered.account.clone())).into_response();
    }
    let account =
        Account { id: token::random_id(), name, created_at: clock::rfc3339(shared.clock.now()) };
    let stored = Stored { owner, account: account.clone() };
    let size = stored.owner.len() + account.size();
    accounts.by_id.add(account.id.clone(), stored, size);
    if let Some(key) = key {
        let size = key.len() + body.len() + account.size();
        accounts.answers.add(key, Answered { asked: body, account: account.clone() }, size);
    }
    drop(accounts);
    shared.tally.count(|counters| counters.accounts_created += 1);
    (StatusCode::CREATED, Json(account)).into_response()
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(owner)): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match shared.accounts.lock().by_id.get(&id) {
        Some(stored) if stored.owner == owner => Json(stored.account.clone()).into_response(),
        _ => Problem::not_found().into_response(),
    }
}

fn read_name(body: &Bytes) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return None };
    match fields.remove("name") {
        Some(Value::String(name)) => Some(name),
        _ => None,
    }
}
