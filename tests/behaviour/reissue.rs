//! Tokens that replace others: what the endpoint hears of it, and what follows if it issues the
//! same token again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Response, StatusCode};
use support::{Resource, URI, authorization, get, known_at_once, ok, settle, unauthorized};
use tokio::time::advance;
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AccessToken, AuthError, AuthLayer, TokenCache, TokenEndpoint,
    endpoint::{ApiOrigins, IssuedToken, Rotation, Trigger},
};

/// An endpoint of which each token is made by a function of its number, from 1 on.
struct Scripted<F> {
    make: F,
    /// Why each token was asked for, and the secret of the one before it.
    asked: Arc<Mutex<Vec<String>>>,
}

impl<F> Scripted<F>
where
    F: Fn(usize) -> IssuedToken + Send + Sync + 'static,
{
    fn new(make: F) -> (Self, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::default();
        (Self { make, asked: Arc::clone(&asked) }, asked)
    }

    fn ask(&self, why: String) -> IssuedToken {
        let mut asked = self.asked.lock().unwrap();
        asked.push(why);
        (self.make)(asked.len())
    }
}

impl<F> TokenEndpoint for Scripted<F>
where
    F: Fn(usize) -> IssuedToken + Send + Sync + 'static,
{
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Ok(self.ask("first".into()))
    }

    async fn reissue(
        &self,
        trigger: Trigger,
        previous: &AccessToken,
    ) -> Result<IssuedToken, AuthError> {
        Ok(self.ask(format!("{trigger:?} {}", previous.expose_secret())))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    fn api_origins(&self) -> ApiOrigins {
        ApiOrigins::none().and("https://api.example.com").unwrap()
    }
}

fn numbered(number: usize) -> IssuedToken {
    IssuedToken::new(format!("token-{number}")).expires_in(Duration::from_secs(300))
}

fn stable(_: usize) -> IssuedToken {
    IssuedToken::new("the-same").expires_in(Duration::from_secs(300))
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_hears_what_it_replaces_and_why() {
    let (endpoint, asked) = Scripted::new(numbered);
    let cache = known_at_once(endpoint);
    let service = AuthLayer::new(cache.clone()).layer(Resource::new(|_, request| {
        if authorization(request) == "Bearer token-2" { unauthorized() } else { ok() }
    }));
    cache.token().await.unwrap();
    cache.refresh().await.unwrap();
    let response = service.clone().oneshot(get(URI)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    // The renewal is due, and then the token has expired.
    advance(Duration::from_secs(260)).await;
    service.clone().oneshot(get(URI)).await.unwrap();
    settle().await;
    advance(Duration::from_secs(400)).await;
    service.oneshot(get(URI)).await.unwrap();
    assert_eq!(
        *asked.lock().unwrap(),
        ["first", "Forced token-1", "Refused token-2", "Due token-3", "Due token-4"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_is_issued_again_is_not_sent_again_to_whoever_refused_it() {
    let (endpoint, asked) = Scripted::new(stable);
    let cache = known_at_once(endpoint);
    let resource = Resource::new(|_, _| unauthorized());
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    for number in 1..=10 {
        let response = service.clone().oneshot(get(URI)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let error = response.extensions().get::<AuthError>().expect("there is no newer token");
        assert!(error.is_cooling_down(), "{error}");
        assert_eq!(resource.seen().len(), number, "each request is sent once");
    }
    assert!(asked.lock().unwrap().len() <= 3, "{:?}", asked.lock().unwrap());
    assert!(cache.counters().same_token_again >= 1);
}

/// With a delay of propagation, a new token is sent again for two seconds although it is refused.
/// That one is known everywhere by then does not change when it is issued again.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_issued_again_is_not_young_again() {
    let (endpoint, _) = Scripted::new(stable);
    let cache = TokenCache::new(endpoint);
    let resource = Resource::new(|number, _| if number == 1 { ok() } else { unauthorized() });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(10)).await;
    cache.refresh().await.unwrap();
    assert_eq!(cache.counters().same_token_again, 1);
    service.oneshot(get(URI)).await.unwrap();
    assert_eq!(resource.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_401_of_a_token_that_was_issued_again_costs_no_request() {
    let (endpoint, asked) = Scripted::new(stable);
    let cache = known_at_once(endpoint);
    let first = cache.token().await.unwrap();
    cache.refresh().await.unwrap();
    assert!(!cache.invalidate(&first), "it was refused before it was issued again");
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_issued_again_lives_as_long_as_the_endpoint_says_now() {
    let (endpoint, asked) = Scripted::new(stable);
    let cache = known_at_once(endpoint);
    let service = AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| ok()));
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(260)).await;
    assert!(cache.current().unwrap().time_left() <= Duration::from_secs(40));
    service.clone().oneshot(get(URI)).await.unwrap();
    settle().await;
    assert_eq!(cache.current().unwrap().time_left(), Duration::from_secs(300));
    assert_eq!((asked.lock().unwrap().len(), cache.counters().same_token_again), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_may_have_a_scheme_and_a_moment_of_renewal_of_its_own() {
    let (endpoint, asked) = Scripted::new(|number| {
        numbered(number).scheme("DPoP").renew_in(Duration::from_secs(100)).with(number)
    });
    let cache = known_at_once(endpoint);
    let resource = Resource::new(|_, _| Response::new(String::new()));
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(99)).await;
    service.clone().oneshot(get(URI)).await.unwrap();
    settle().await;
    assert_eq!(asked.lock().unwrap().len(), 1);
    advance(Duration::from_secs(2)).await;
    service.clone().oneshot(get(URI)).await.unwrap();
    settle().await;
    service.oneshot(get(URI)).await.unwrap();
    let (old, new) = ("DPoP token-1", "DPoP token-2");
    assert_eq!(resource.tokens(), [old, old, old, new]);
    assert_eq!(cache.current().unwrap().get::<usize>(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_scheme_that_no_header_can_carry_is_an_invalid_response() {
    let (endpoint, _) = Scripted::new(|number| numbered(number).scheme("two words"));
    let error = known_at_once(endpoint).token().await.unwrap_err();
    assert!(error.is_invalid_response(), "{error}");
}
