//! Answers probes and start-up code: is there a token, or will there be one?

use super::{
    TokenCache,
    state::{Standing, State},
};
use crate::{
    clock::{self, Moment},
    error::AuthError,
};

impl TokenCache {
    /// Returns `false` if there is no token that can be sent, and the last refresh failed. Returns
    /// `true` otherwise.
    ///
    /// It never waits and starts nothing. A cache is ready in each of these states:
    ///
    /// - No token was ever asked for, or the last one has expired while nobody needed it and no
    ///   refresh has failed since it was issued. The next request gets a token.
    /// - Requests are held while an exclusive endpoint is asked for a token. The hold ends within
    ///   [`RefreshPolicy::hold_timeout`](crate::RefreshPolicy::hold_timeout).
    /// - The endpoint is down, and the token in use is good. Requests are signed with it.
    /// - The token is suspect, because a request for its successor got no response. It is sent, and
    ///   its first 401 starts a refresh.
    /// - A resource refused a token that a resource had accepted before. If there is no successor,
    ///   it is served on.
    ///
    /// A token is not served on if it was refused after a hold on an exclusive endpoint had timed
    /// out, because the request for its successor is likely to have killed it. It counts as no
    /// token. While no successor can be had, one request at a time tries it, and it is served again
    /// once a resource has accepted it.
    ///
    /// A token that no resource ever accepted, and that one has refused, can't be sent. A resource
    /// that refuses every token does not change the readiness, because the others can be reached.
    /// [`Counters::unauthorized_foreign`][foreign] counts such refusals. A process that shares its
    /// token with others is ready as soon as it has one of theirs.
    ///
    /// # Kubernetes
    ///
    /// A pod that is not ready gets no requests, and without requests no token is asked for. So the
    /// readiness probe asks for one itself. While the endpoint is left alone after a failure, that
    /// costs no request to it. The probe may time out, after one second by default, and the refresh
    /// that it started goes on, so that a later probe finds the token.
    ///
    /// The liveness probe never asks the cache. A restart does not mend a token endpoint, and costs
    /// the token that was still good.
    ///
    /// ```
    /// use axum::{Router, extract::State, routing::get};
    /// use http::StatusCode;
    /// use tower_reauth::TokenCache;
    ///
    /// /// For `readinessProbe: {httpGet: {path: /ready, port: 8080}}`.
    /// async fn ready(State(cache): State<TokenCache>) -> StatusCode {
    ///     if cache.is_ready() || cache.warm_up().await.is_ok() {
    ///         StatusCode::OK
    ///     } else {
    ///         StatusCode::SERVICE_UNAVAILABLE
    ///     }
    /// }
    ///
    /// /// For `livenessProbe: {httpGet: {path: /live, port: 8080}}`.
    /// async fn live() -> StatusCode {
    ///     StatusCode::OK
    /// }
    ///
    /// fn probes(cache: TokenCache) -> Router {
    ///     Router::new().route("/ready", get(ready)).route("/live", get(live)).with_state(cache)
    /// }
    /// # let _ = probes;
    /// ```
    ///
    /// [foreign]: crate::Counters::unauthorized_foreign
    pub fn is_ready(&self) -> bool {
        let now = clock::moment();
        is_ready(&self.0.core().lock().state, &now)
    }

    /// Returns the error of the last refresh. Returns `None` after a success, and before the first
    /// refresh has ended.
    ///
    /// A token that another process of the fleet has got counts as a success. An error does not
    /// mean that requests fail: [`is_ready`](Self::is_ready) tells that.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn f(cache: tower_reauth::TokenCache) {
    /// if let Some(error) = cache.last_error().filter(|error| error.is_rejected()) {
    ///     eprintln!("correct the secret: {error}");
    /// }
    /// # }
    /// ```
    pub fn last_error(&self) -> Option<AuthError> {
        self.0.core().lock().state.last_error().cloned()
    }

    /// Gets a token before there is traffic, if there is none yet.
    ///
    /// Await it before the service takes requests, so that the first of them need not wait for a
    /// token. It returns at once if there is a token. The future borrows nothing, so it can be
    /// spawned.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). The cache asks again when a request needs a token, so a service
    /// may log the error and go on. That is better than to end where an outage of the token
    /// endpoint would restart all of its replicas over and over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the refresh goes on, and its token is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn f(cache: tower_reauth::TokenCache) {
    /// if let Err(error) = cache.warm_up().await {
    ///     eprintln!("there is no token yet: {error}");
    /// }
    /// // Now open the listener.
    /// # }
    /// ```
    pub fn warm_up(&self) -> impl Future<Output = Result<(), AuthError>> + use<> {
        let token = self.token();
        async { token.await.map(drop) }
    }
}

/// Returns whether requests can be served: with the token in use, or with the one that the next
/// flight is to bring. A token that is held back for a flight counts, so that a renewal after a
/// failure does not show.
fn is_ready(state: &State, now: &Moment) -> bool {
    state.last_error().is_none()
        || state.current.as_ref().is_some_and(|current| {
            let is_servable = match current.standing {
                Standing::Good => true,
                Standing::Refused => current.token.is_accepted() && current.withheld.is_none(),
                Standing::Dead => false,
            };
            is_servable && current.token.is_usable_at(now)
        })
}
