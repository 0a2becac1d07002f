//! [`fixed`]: a token that never changes.

use std::{fmt, time::Duration};

use secrecy::SecretString;

use super::token_endpoint::{Rotation, TokenEndpoint};
use crate::{error::AuthError, token::IssuedToken};

/// The longest lifetime that the cache gives a token.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Creates an endpoint that always issues `token`, and asks nobody for it: for tests, and for APIs
/// whose token is a key that never expires.
///
/// - The token lives for a year, or as long as its own claims say if it is a JWT. After that it is
///   issued again.
/// - There is no other token, so the 401 of a resource that refuses it is the caller's.
/// - No origin may see the token but those that are
///   [allowed by name](crate::AuthLayer::allow_origin).
/// - A token that no header can carry is an [`AuthError`] when a token is needed.
///
/// # Examples
///
/// A test of a client, whose server is the function `api`:
///
/// ```
/// use http::{Request, Response, header};
/// use tower::{BoxError, Layer, service_fn};
/// use tower_reauth::{AuthLayer, TokenCache, endpoint};
///
/// async fn api(request: Request<String>) -> Result<Response<String>, BoxError> {
///     assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer my-token");
///     Ok(Response::new("done".into()))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let auth = AuthLayer::new(TokenCache::new(endpoint::fixed("my-token")))
///     .allow_origin("https://api.example.com")?;
/// let client = auth.layer(service_fn(api));
///
/// let request = Request::get("https://api.example.com/accounts").body(String::new())?;
/// assert_eq!(client.send(request).await?.into_body(), "done");
/// # Ok(())
/// # }
/// ```
pub fn fixed(token: impl Into<SecretString>) -> FixedToken {
    FixedToken { token: token.into() }
}

/// A token that never changes. Returned by [`fixed`].
#[derive(Clone)]
pub struct FixedToken {
    token: SecretString,
}

impl TokenEndpoint for FixedToken {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Ok(IssuedToken::new(self.token.clone()).expires_in(LIFETIME))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }
}

impl fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tower::{Layer, service_fn};

    use super::*;
    use crate::{AuthLayer, BoxError, Error, TokenCache};

    #[tokio::test(start_paused = true)]
    async fn the_token_lives_for_a_year_and_is_issued_again_after_it() {
        let cache = TokenCache::new(fixed("for-ever"));
        let token = cache.token().await.unwrap();
        assert_eq!(token.lifetime(), LIFETIME);
        tokio::time::sleep(LIFETIME / 2).await;
        assert_eq!(cache.current().unwrap().sequence(), 1);
        tokio::time::sleep(LIFETIME).await;
        assert_eq!(cache.token().await.unwrap().expose_secret(), "for-ever");
        assert!(!format!("{:?}", fixed("for-ever")).contains("ever"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_the_callers_and_no_other_origin_sees_the_token() {
        let auth = AuthLayer::new(TokenCache::new(fixed("key")))
            .allow_origin("https://api.example.com")
            .unwrap();
        let counted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&counted);
        let client = auth.layer(service_fn(move |_: http::Request<String>| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut response = http::Response::new(String::new());
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            std::future::ready(Ok::<_, BoxError>(response))
        }));
        let request = |uri: &str| http::Request::get(uri).body(String::new()).unwrap();
        let refused = client.send(request("https://api.example.com/")).await.unwrap();
        assert_eq!(refused.status(), http::StatusCode::UNAUTHORIZED);
        let before = counted.load(std::sync::atomic::Ordering::SeqCst);
        let elsewhere: Result<_, Error> = client.send(request("https://other.example/")).await;
        assert!(elsewhere.unwrap_err().as_auth().is_some_and(AuthError::is_refused_origin));
        assert_eq!(counted.load(std::sync::atomic::Ordering::SeqCst), before);
    }

    #[tokio::test]
    async fn a_token_that_no_header_can_carry_is_an_error() {
        for unsendable in ["", "two\nlines"] {
            let error = TokenCache::new(fixed(unsendable)).token().await.unwrap_err();
            assert!(!error.is_transient(), "{error}");
        }
    }
}
