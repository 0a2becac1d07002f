//! [`LocalStore`] of a platform where no store can be opened.

use std::path::Path;

use futures_util::{Stream, stream};

use crate::{
    error::ConfigError,
    store::{
        error::StoreError,
        name::Name,
        token_store::{Notice, Swap, Versioned},
    },
};

/// A store that can't exist.
#[derive(Clone, Debug)]
pub(super) enum LocalStore {}

impl LocalStore {
    pub(super) fn open(path: &Path) -> Result<Self, ConfigError> {
        Err(ConfigError::FileStore {
            path: path.into(),
            reason:
                "can't be shared on this platform, whose processes have no clock in common that \
                     outlasts a sleep; use another store"
                    .into(),
        })
    }

    #[expect(clippy::unused_async, reason = "the store of the other platforms waits")]
    pub(super) async fn get(&self, _: &Name) -> Result<Option<Versioned>, StoreError> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the store of the other platforms waits")]
    pub(super) async fn compare_and_set(
        &self,
        _: &Name,
        _: u64,
        _: u64,
        _: &[u8],
    ) -> Result<Swap, StoreError> {
        match *self {}
    }

    pub(super) fn watch(&self, _: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        stream::pending()
    }
}
