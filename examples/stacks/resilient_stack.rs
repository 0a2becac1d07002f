//! Timeouts, budgeted retries, a limit and a bounded queue around the layer, in the order of
//! `docs/stacks.md`, while the token is revoked, the token endpoint fails and the API answers 503
//! now and then.
//!
//! ```text
//! cargo run -p examples-stacks --example resilient_stack
//! ```
//!
//! It sends 200 requests, prints how many succeeded, what they met on the way, and how many `POST
//! /auth` that took.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request as Incoming, State},
    middleware::{self, Next},
    response::{IntoResponse, Response as Answer},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::{
    net::TcpListener,
    time::{Sleep, sleep},
};
use tower::{
    ServiceBuilder, ServiceExt,
    retry::{
        Policy,
        budget::{Budget, TpsBudget},
    },
};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, Error, RefreshPolicy, SendPayments, TokenCache,
    client,
    sandbox::{AuthFault, Sandbox},
};

/// Repeats what may succeed if it is sent again, and does no harm if it was applied already.
#[derive(Clone)]
struct Retries {
    /// Of all requests together, so that an API in trouble is not sent many times what it can't
    /// take once.
    budget: Arc<TpsBudget>,
    /// Of this request.
    made: u32,
}

impl Retries {
    fn new() -> Self {
        // At least 10 retries a second, and a fifth of the requests.
        Self { budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2)), made: 0 }
    }
}

impl<B: Clone, R> Policy<Request<B>, Response<R>, Error> for Retries {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<R>, Error>,
    ) -> Option<Sleep> {
        let repeatable =
            request.method().is_idempotent() || request.headers().contains_key("idempotency");
        let again = match result {
            // A 401 whose token could not be renewed. The layer has dealt with every other 401.
            Ok(response) => match response.extensions().get::<AuthError>() {
                Some(error) => error.is_transient(),
                None => response.status() == StatusCode::SERVICE_UNAVAILABLE && repeatable,
            },
            // The request was not applied, so any may be repeated.
            Err(Error::Auth { error, .. }) => error.is_transient(),
            Err(Error::Inner { .. }) => repeatable,
        };
        if !again {
            self.budget.deposit();
            return None;
        }
        if self.made == 6 || !self.budget.withdraw() {
            return None;
        }
        // Exponential back-off with full jitter: up to 20 ms, 40 ms, 80 ms, 160 ms.
        let longest = Duration::from_millis(20 << self.made);
        self.made += 1;
        Some(sleep(longest.mul_f64(fastrand::f64())))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sandbox = Sandbox::builder().resource_latency(Duration::from_millis(20)).start().await?;
    let api = serve_unreliably(&sandbox).await?;

    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(sandbox.base_url(), client::https()?, credentials)?;
    // The sandbox knows each token at once, so one that it refuses need not be tried again.
    let policy = RefreshPolicy::default().propagation_delay(Duration::ZERO);
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build()?;
    let auth = AuthLayer::new(cache.clone()).allow_origin(&api)?;
    let client = ServiceBuilder::new()
        // How long a caller waits: queue, token, replays and retries included.
        .timeout(Duration::from_secs(10))
        // A bounded queue, whose callers wait; with `load_shed` they would get an error at once.
        .buffer(256)
        .retry(Retries::new())
        .concurrency_limit(20)
        .layer(auth)
        // How long each attempt takes.
        .timeout(Duration::from_secs(2))
        .service(client::https::<Full<Bytes>>()?);

    let mut calls: FuturesUnordered<_> = (0..200)
        .map(|number| {
            let request = Request::post(format!("{api}/accounts"))
                .header("idempotency", format!("payment-{number}"))
                .body(Full::from(r#"{"name": "Ada"}"#));
            let client = client.clone();
            async move { client.oneshot(request?).await }
        })
        .collect();
    let (mut answered, mut succeeded) = (0, 0);
    while let Some(outcome) = calls.next().await {
        match outcome {
            Ok(response) => succeeded += u32::from(response.status() == StatusCode::CREATED),
            Err(error) => println!("failed: {error}"),
        }
        answered += 1;
        if answered == 50 {
            sandbox.fail_next_auth(AuthFault::Status {
                status: StatusCode::BAD_GATEWAY,
                retry_after: None,
            });
            sandbox.revoke(Sandbox::CLIENT_ID);
        }
        if answered == 120 {
            sandbox.fail_next_auth(AuthFault::ResetAfterIssuing);
            sandbox.revoke(Sandbox::CLIENT_ID);
        }
    }

    let (counters, seen) = (sandbox.counters(), cache.counters());
    println!("{answered} requests, {succeeded} succeeded, {} accounts", counters.accounts_created);
    println!(
        "{} met a 401 and were replayed, {} were repeated after they had been applied",
        seen.replays, counters.idempotent_replays
    );
    let failed = seen.token_requests - seen.tokens_issued;
    println!("{} POST /auth, {failed} of which failed", counters.auth_requests);
    sandbox.shutdown().await;
    let as_promised =
        succeeded == 200 && counters.accounts_created == 200 && counters.auth_requests == 5;
    if !as_promised {
        return Err(format!("not as promised: {counters:#?}").into());
    }
    println!("As promised: all 200 requests succeeded, and each was applied once.");
    Ok(())
}

/// The sandbox's API at an address of its own, where every tenth request is answered 503: one
/// without being applied, the next one after it was.
async fn serve_unreliably(sandbox: &Sandbox) -> Result<String, BoxError> {
    let arrived = Arc::new(AtomicU64::default());
    let app = sandbox.router().layer(middleware::from_fn_with_state(arrived, fail_every_tenth));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(url)
}

async fn fail_every_tenth(
    State(arrived): State<Arc<AtomicU64>>,
    request: Incoming,
    next: Next,
) -> Answer {
    let number = arrived.fetch_add(1, Ordering::Relaxed);
    if number % 20 == 9 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let answer = next.run(request).await;
    if number % 20 == 19 { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { answer }
}
