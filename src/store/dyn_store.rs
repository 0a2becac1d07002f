//! [`DynStore`]: a [`TokenStore`] without its type.

use std::{
    any::Any,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};

use super::{
    error::StoreError,
    name::Name,
    token_store::{NOTICE, Notice, Swap, TokenStore, Versioned},
};
use crate::isolate::isolate;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A dyn-compatible [`TokenStore`]. A panic of the store is an error of the operation, the end of
/// the stream, or the absence of an answer.
pub(crate) trait DynStore: Send + Sync + 'static {
    fn get<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>>;
    fn compare_and_set<'a>(
        &'a self,
        name: &'a Name,
        old: u64,
        new: u64,
        value: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;
    fn watch(&self, name: &Name) -> BoxStream<'static, Notice>;
    fn notice(&self) -> Duration;
    fn has_clock(&self) -> bool;
}

impl<S: TokenStore> DynStore for S {
    fn get<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(contained(move || TokenStore::get(self, name)))
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a Name,
        old: u64,
        new: u64,
        value: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(contained(move || TokenStore::compare_and_set(self, name, old, new, value, keep)))
    }

    fn watch(&self, name: &Name) -> BoxStream<'static, Notice> {
        let Some(notices) = isolate(|| TokenStore::watch(self, name).boxed()) else {
            return stream::empty().boxed();
        };
        let notices = AssertUnwindSafe(notices).catch_unwind();
        notices.filter_map(|notice| ready(notice.map_err(discard).ok())).boxed()
    }

    fn notice(&self) -> Duration {
        isolate(|| TokenStore::notice(self)).unwrap_or(NOTICE)
    }

    fn has_clock(&self) -> bool {
        // Without a clock an age dates no token, which is the safe side.
        isolate(|| TokenStore::has_clock(self)).unwrap_or(false)
    }
}

/// Runs `operation`, and turns a panic of the store into an error.
async fn contained<T, F>(operation: impl FnOnce() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let running = AssertUnwindSafe(async { operation().await });
    running.catch_unwind().await.unwrap_or_else(|panic| {
        discard(panic);
        Err(StoreError::unavailable("it panicked"))
    })
}

/// Drops what a panic has thrown, whose destructor is the store's too.
fn discard(panic: Box<dyn Any + Send>) {
    isolate(|| drop(panic));
}
