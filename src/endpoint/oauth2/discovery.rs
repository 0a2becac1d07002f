//! [`Discovery`]: finds the token endpoint of an issuer when a token is first asked for.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use tokio::time::{Instant, timeout};

use super::{
    super::{
        client::TokenClient,
        http_service::{self, HttpService},
        response::TokenResponse,
    },
    metadata::{self, Metadata, Unusable, Wanted},
};
use crate::{
    clock, credentials,
    error::{AuthError, ConfigError, Fate, Kind, shown},
};

/// How long the metadata is used before it is fetched again.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a renewal waits for metadata where there is an older one.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the first address is asked alone.
const HEAD_START: Duration = Duration::from_secs(1);

/// The metadata of one issuer.
pub(super) struct Discovery {
    issuer: String,
    has_certificate: bool,
    addresses: [Uri; 2],
    found: Mutex<Option<Found>>,
}

#[derive(Clone)]
struct Found {
    metadata: Arc<Metadata>,
    /// `None` once something speaks against it.
    fresh_until: Option<Instant>,
}

/// The failure of one fetch.
struct Failure {
    error: AuthError,
    /// The address of before can't be trusted any more, because the issuer is another's now.
    is_void: bool,
}

impl Discovery {
    /// Creates a discovery that has fetched nothing yet, for a client that shows a certificate or
    /// does not.
    ///
    /// # Errors
    ///
    /// Returns an error if the issuer is no absolute http or https URL without query and fragment.
    pub(super) fn new(issuer: String, has_certificate: bool) -> Result<Self, ConfigError> {
        let addresses = metadata::addresses(&issuer)?;
        Ok(Self { issuer, has_certificate, addresses, found: Mutex::default() })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns where the metadata is looked for first.
    pub(super) fn first_address(&self) -> &Uri {
        &self.addresses[0]
    }

    /// Returns the metadata, which is fetched if it is not known or too old. An old one is used
    /// while its server is down or has no such document, because the token endpoint may be up.
    pub(super) async fn metadata<S: HttpService>(
        &self,
        client: &TokenClient<S>,
    ) -> Result<Arc<Metadata>, AuthError> {
        let found = self.found().clone();
        let Some(former) = found else {
            return self.fetch_and_keep(client).await.map_err(|failure| failure.error);
        };
        if former.fresh_until.is_some_and(|until| clock::now() < until) {
            return Ok(former.metadata);
        }
        match timeout(PATIENCE, self.fetch_and_keep(client)).await {
            Ok(Ok(metadata)) => Ok(metadata),
            Ok(Err(failure)) if failure.is_void => Err(failure.error),
            _ => Ok(former.metadata),
        }
    }

    async fn fetch_and_keep<S: HttpService>(
        &self,
        client: &TokenClient<S>,
    ) -> Result<Arc<Metadata>, Failure> {
        // In a box, because hardly any request for a token needs its room.
        let fetched = credentials::in_time(Box::pin(self.fetch(client))).await;
        let metadata = Arc::new(fetched.map_err(|waited| self.timed_out(waited))??);
        let fresh_until = Some(clock::later(clock::now(), KEPT_FOR));
        *self.found() = Some(Found { metadata: Arc::clone(&metadata), fresh_until });
        Ok(metadata)
    }

    /// Has the metadata fetched again if it can be, because the token endpoint was not where it
    /// says. That may be over in a moment, so what is known is not forgotten.
    pub(super) fn doubt(&self) {
        if let Some(found) = &mut *self.found() {
            found.fresh_until = None;
        }
    }

    /// Fetches the document from the first address, or from the second one where the first has none
    /// or hangs. Many servers have only the second one, and say so in many ways.
    async fn fetch<S: HttpService>(&self, client: &TokenClient<S>) -> Result<Metadata, Failure> {
        let [first, second] = &self.addresses;
        let mut first = pin!(self.fetch_from(client, first));
        let second = pin!(self.fetch_from(client, second));
        let (fetched, other) = match timeout(HEAD_START, first.as_mut()).await {
            Ok(fetched) => (fetched, Either::Left(second)),
            // A slow one may still come first.
            Err(_) => select(first, second).await.factor_first(),
        };
        match fetched {
            Err(failure) if may_be_elsewhere(&failure.error) => {
                other.await.map_err(|other| failure.and(other))
            }
            fetched => fetched,
        }
    }

    async fn fetch_from<S: HttpService>(
        &self,
        client: &TokenClient<S>,
        address: &Uri,
    ) -> Result<Metadata, Failure> {
        let mut request = Request::new(Full::<Bytes>::default());
        *request.uri_mut() = address.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, json);
        let response = client.exchange(request, &[]).await;
        let response = response.map_err(|error| self.not_fetched(error))?;
        let document = match response.value() {
            Ok(document) if response.status().is_success() => document,
            _ => return Err(self.not_found(&response).into()),
        };
        let wanted = Wanted {
            issuer: &self.issuer,
            may_be_plain: client.allows_plain_http(),
            has_certificate: self.has_certificate,
        };
        metadata::read(&document.0, &wanted).map_err(|unusable| Failure {
            error: self.unusable(unusable),
            is_void: unusable == Unusable::OtherIssuer,
        })
    }

    // Nothing was asked for by then that a server could have issued, so the token in use is as good
    // as before.
    fn timed_out(&self, waited: Duration) -> AuthError {
        let text = format!(
            "the metadata of the issuer at {} was not there within {}, so no token was asked for; \
             check the network, or try again later",
            shown(&self.addresses[0]),
            clock::in_seconds(waited),
        );
        AuthError::new(Kind::Transient, text).with_fate(Fate::NotIssued)
    }

    /// Names what was asked for, of which the client below knows nothing.
    fn not_fetched(&self, error: AuthError) -> Failure {
        let is_void = http_service::is_tls_refusal(&error);
        let text = format!(
            "the metadata of the issuer at {} can't be fetched, so no token was asked for; check \
             the issuer and the network, or give the token endpoint's address instead",
            shown(&self.addresses[0]),
        );
        let kind = match error.kind() {
            Kind::InvalidResponse => Kind::Permanent,
            kind => kind,
        };
        let named = match error.status() {
            Some(status) => AuthError::responded(kind, text, status),
            None => AuthError::new(kind, text),
        };
        let error = named.with_fate(Fate::NotIssued).with_source(error.into());
        Failure { error, is_void }
    }

    fn not_found(&self, response: &TokenResponse) -> AuthError {
        let status = response.status();
        // The code or the status decides, but never blames the secret, which was not sent.
        let refusal = response.refusal();
        let kind = if refusal.is_transient() { Kind::Transient } else { Kind::Permanent };
        let text = format!(
            "the metadata of the issuer at {} can't be read: {status}; check the issuer, or give \
             the token endpoint's address instead",
            shown(&self.addresses[0]),
        );
        AuthError::responded(kind, text, status)
            .with_fate(Fate::NotIssued)
            .with_retry_after(refusal.retry_after())
    }

    fn unusable(&self, unusable: Unusable) -> AuthError {
        let origin = shown(&self.addresses[0]);
        let text = match unusable {
            Unusable::OtherIssuer => format!(
                "the metadata at {origin} is that of another issuer than the one given, so it is \
                 not trusted; give the issuer exactly as the server writes it"
            ),
            Unusable::NoIssuer => format!(
                "the document at {origin} names no issuer, so it is no metadata; check the issuer, \
                 or give the token endpoint's address instead"
            ),
            Unusable::NoTokenEndpoint => format!(
                "the metadata at {origin} names no token endpoint that can be used; give its \
                 address instead of the issuer"
            ),
            Unusable::Downgrade => format!(
                "the metadata at {origin} names a token endpoint over plain http, although the \
                 issuer has https, so nothing was sent there; have the server name its https \
                 address, or use OAuth2Builder::allow_plain_http"
            ),
        };
        AuthError::new(Kind::Permanent, text)
    }

    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        // Every change under this lock is one assignment.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    /// Returns the failure of both addresses.
    fn and(self, other: Self) -> Self {
        // Where the other one is down, it may be the one that has the document.
        let is_void = other.is_void || self.is_void && !other.error.is_transient();
        let is_telling = self.error.is_transient() || self.error.status().is_none();
        let error = if is_telling { self.error } else { other.error };
        Self { error, is_void }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self { error, is_void: false }
    }
}

/// Returns `true` if the other address may have the document after this error.
fn may_be_elsewhere(error: &AuthError) -> bool {
    // Some servers fail at a path that they do not know. Any other failing server is busy.
    !error.is_transient() || error.status().is_some_and(|it| matches!(it.as_u16(), 500..=502))
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
