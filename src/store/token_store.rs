//! [`TokenStore`]: one value per name, changed by compare-and-set.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use futures_util::Stream;

use super::{error::StoreError, name::Name};

/// The longest value, in bytes.
pub(super) const MAX_VALUE: usize = 8 * 1024;

/// The time that a notice takes, where a store does not say.
pub(super) const NOTICE: Duration = Duration::from_millis(50);

/// Shares one client's token between processes: a small value per name, changed by compare-and-set.
///
/// A value has at most 8 KiB, and is written a few times per lifetime of a token. The caller bounds
/// every operation by half a second at most, and drops the future when it takes longer. Such an
/// operation may have taken effect or not.
///
/// A panic in an operation counts as its error, and a panic in the stream as the end of it. If
/// [`notice`](Self::notice) panics, its default counts. If [`has_clock`](Self::has_clock) does, the
/// store has none.
///
/// [The module](crate::store#how-to-write-a-store) tells how to write a store, and how to test it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a token store",
    note = "the docs of the module `store` list the stores and say how to write one"
)]
pub trait TokenStore: Send + Sync + 'static {
    /// Returns the value under `name`; `None` if there is none.
    ///
    /// It must be the newest: never that of a cache or of a replica that lags behind.
    ///
    /// # Errors
    ///
    /// Returns an error if the value can't be read. [`StoreError`] lists the constructors.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any point.
    fn get(
        &self,
        name: &Name,
    ) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;

    /// Replaces the value under `name` if its revision is still `old`, which is 0 if there is none.
    ///
    /// `new` is the revision of the new value. The caller chooses it, greater than `old` and below
    /// 2^53. A store with revisions of its own keeps `new` beside the value.
    ///
    /// The change is linearizable and is seen by [`watch`](Self::watch). It starts the value's
    /// [age](Versioned::age) anew, even if the bytes are the same. A conflict changes nothing, the
    /// age included. The store must not forget the value for `keep`, and may forget it afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the value can't be replaced, or if that is unknown.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any point. The value has then been replaced, or not.
    fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// Returns a stream of the changes of the value under `name`. Of several changes the newest
    /// will do, and an older one never follows a newer one.
    ///
    /// The first item is a [`Notice::Gap`], once the stream works. From then on it yields each
    /// change, whichever process made it. It may lose changes, and yields another gap when that may
    /// have happened. After each gap the caller gets the value. While nothing changes the stream is
    /// quiet. A stream that fails tries by itself to work again. It ends only if it never can.
    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static;

    /// Returns how long a notice takes to reach nearly all watchers.
    ///
    /// A process that is about to ask for a token waits this long, so that the others have stopped
    /// sending the old one. Defaults to 50 ms.
    fn notice(&self) -> Duration {
        NOTICE
    }

    /// Returns `true` if [ages](Versioned::age) are by a clock of the store's own, so that every
    /// process reads the same. Defaults to `true`.
    ///
    /// `false` says that an age is how long this process has seen the revision. That is less than
    /// the truth for a process that has just started. Such an age ends a lease, though later than
    /// necessary. It never dates a token.
    fn has_clock(&self) -> bool {
        true
    }
}

/// A value with its revision. `Debug` does not show the value, which may hold a secret.
///
/// A store makes it from its fields, so it gets no further ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The number that the change gave to the value. It only grows.
    pub revision: u64,
    /// The value.
    pub value: Bytes,
    /// How long the value has been as it is, by the store's own clock, when the store read it.
    ///
    /// Never less than the truth, so a clock that counts milliseconds is rounded up. A token that
    /// seems too young is sent after its end. At most 100 ms more than the truth, since a lease
    /// that seems too old is taken from its holder. The clocks of two machines are not compared: a
    /// store [without a clock](TokenStore::has_clock) has another rule.
    pub age: Duration,
}

/// The result of a [compare-and-set](TokenStore::compare_and_set).
///
/// There is no third one, so a store around another can match both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Another revision than the expected one was found, or none. The value is as it was.
    Conflict(Option<Versioned>),
}

/// An item of a [watch](TokenStore::watch). `Debug` does not show the value, which may hold a
/// secret.
///
/// A store makes it, so its variants get no further fields.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The value has changed.
    Changed {
        /// The revision of the new value.
        revision: u64,
        /// The new value.
        value: Bytes,
    },
    /// Changes may have been missed.
    Gap,
}

/// The rule for renewals while the store can't be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreDown {
    /// The process renews alone at the end of its window, or after a refusal. Its token kills that
    /// of the others.
    #[default]
    Alone,
    /// The process asks for no token. Its callers get a transient error once theirs is unusable.
    Fail,
}

impl fmt::Debug for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned")
            .field("revision", &self.revision)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { revision, .. } => {
                f.debug_struct("Changed").field("revision", revision).finish_non_exhaustive()
            }
            Self::Gap => f.write_str("Gap"),
        }
    }
}
