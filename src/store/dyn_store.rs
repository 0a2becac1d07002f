//! [`DynStore`]: a [`TokenStore`] without its type.

use std::{future::Future, pin::Pin, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};

use super::{
    error::StoreError,
    name::Name,
    token_store::{Notice, Swap, TokenStore, Versioned},
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A dyn-compatible [`TokenStore`].
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
        Box::pin(TokenStore::get(self, name))
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a Name,
        old: u64,
        new: u64,
        value: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(TokenStore::compare_and_set(self, name, old, new, value, keep))
    }

    fn watch(&self, name: &Name) -> BoxStream<'static, Notice> {
        TokenStore::watch(self, name).boxed()
    }

    fn notice(&self) -> Duration {
        TokenStore::notice(self)
    }

    fn has_clock(&self) -> bool {
        TokenStore::has_clock(self)
    }
}
