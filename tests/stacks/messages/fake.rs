//! [`Fake`]: an endpoint that does one thing.

use std::{future::pending, time::Duration};

use futures_util::{Stream, stream};
use http::Uri;
use tower_reauth::{
    AuthError,
    endpoint::{Identity, IssuedToken, Rotation, TokenEndpoint},
    store::{Name, Notice, StoreError, Swap, TokenStore, Versioned},
};

pub(super) struct Fake {
    uri: Option<Uri>,
    act: Act,
}

pub(super) enum Act {
    Issue(Duration),
    Fail(AuthError),
    Hang,
    Panic,
}

/// Long enough for every situation.
pub(super) const GOOD: Act = Act::Issue(Duration::from_secs(300));

impl Fake {
    pub(super) fn new(act: Act) -> Self {
        Self { uri: None, act }
    }

    pub(super) fn at(uri: &'static str, act: Act) -> Self {
        Self { uri: Some(Uri::from_static(uri)), act }
    }
}

impl TokenEndpoint for Fake {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        match &self.act {
            Act::Issue(lifetime) => Ok(IssuedToken::new("a-token").expires_in(*lifetime)),
            Act::Fail(error) => Err(error.clone()),
            Act::Hang => pending().await,
            Act::Panic => panic!("as it was told to"),
        }
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    fn uri(&self) -> Option<&Uri> {
        self.uri.as_ref()
    }

    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        Ok(Some(Identity::new("my-client")))
    }
}

/// A store that is down.
pub(super) struct Down;

impl TokenStore for Down {
    async fn get(&self, _: &Name) -> Result<Option<Versioned>, StoreError> {
        Err(StoreError::unavailable("no route to db:5432"))
    }

    async fn compare_and_set(
        &self,
        _: &Name,
        _: u64,
        _: u64,
        _: &[u8],
        _: Duration,
    ) -> Result<Swap, StoreError> {
        Err(StoreError::unavailable("no route to db:5432"))
    }

    fn watch(&self, _: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        stream::pending()
    }
}
