//! Counters for operators, read as [`Counters`] and, with the feature `metrics`, through the
//! `metrics` facade.
//!
//! Signing a request counts nothing. A number to which all requests of all cores write would cost
//! more than signing them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

#[cfg(feature = "metrics")]
use crate::isolate::isolate;

/// The target of every event and span.
pub(crate) const TARGET: &str = "tower_reauth";

/// Emits an event at WARN if it is news, and at DEBUG if it only repeats what the log was told.
macro_rules! log_news {
    ($is_news:expr, $($event:tt)+) => {
        if $is_news {
            tracing::warn!(target: $crate::events::TARGET, $($event)+);
        } else {
            tracing::debug!(target: $crate::events::TARGET, $($event)+);
        }
    };
}

pub(crate) use log_news;

/// A number that only grows, and its name in the `metrics` facade.
#[derive(Debug)]
pub(crate) struct Count {
    value: AtomicU64,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "the facade's name"))]
    name: &'static str,
}

impl Count {
    const fn new(name: &'static str) -> Self {
        Self { value: AtomicU64::new(0), name }
    }

    pub(crate) fn add(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        isolate(|| metrics::counter!(self.name).increment(1));
    }

    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Returns the number as it is serialized.
    fn serialized(value: u64) -> u64 {
        value
    }
}

/// The longest of many times. The facade gets all of them, in seconds.
#[derive(Debug)]
pub(crate) struct Longest {
    nanoseconds: AtomicU64,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "the facade's name"))]
    name: &'static str,
}

impl Longest {
    const fn new(name: &'static str) -> Self {
        Self { nanoseconds: AtomicU64::new(0), name }
    }

    pub(crate) fn record(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_max(nanoseconds, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        isolate(|| metrics::histogram!(self.name).record(time.as_secs_f64()));
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// Returns the time as it is serialized, in the unit of the facade.
    fn serialized(value: Duration) -> f64 {
        value.as_secs_f64()
    }
}

macro_rules! tally {
    ($($(#[$doc:meta])* $field:ident: $kind:ident as $value:ty = $name:literal,)*) => {
        /// A snapshot of what a [`TokenCache`](crate::TokenCache) has done since it was made.
        ///
        /// The numbers are not taken at one instant. A refresh, for one, is counted as ended a
        /// moment after its callers have their token. The feature `metrics` records drains and
        /// holds in histograms, in seconds.
        ///
        /// With `serde` it is a map of each field's name to a number. Times are in seconds there.
        ///
        /// # Examples
        ///
        /// ```
        /// # fn f(cache: tower_reauth::TokenCache) -> serde_json::Result<()> {
        /// let counters = cache.counters();
        /// println!("{} refreshes failed", counters.refreshes_failed);
        ///
        /// // For a page of a service that shows how it is.
        /// let json = serde_json::to_string(&counters)?;
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $field: $value,)*
        }

        impl Serialize for Counters {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let fields = [$(stringify!($field)),*].len();
                let mut map = serializer.serialize_struct("Counters", fields)?;
                $(map.serialize_field(stringify!($field), &$kind::serialized(self.$field))?;)*
                map.end()
            }
        }

        /// The numbers themselves.
        #[derive(Debug)]
        pub(crate) struct Tally {
            $(pub(crate) $field: $kind,)*
        }

        impl Default for Tally {
            fn default() -> Self {
                Self { $($field: $kind::new($name),)* }
            }
        }

        impl Tally {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($field: self.$field.get(),)* }
            }
        }
    };
}

tally! {
    /// Refreshes that were started, whatever their end.
    refreshes: Count as u64 = "tower_reauth_refreshes_total",
    /// Attempts at the token endpoint. Each is at most one `POST`.
    token_requests: Count as u64 = "tower_reauth_token_requests_total",
    /// Refreshes that brought a token.
    tokens_issued: Count as u64 = "tower_reauth_tokens_issued_total",
    /// Those of [`tokens_issued`](Counters::tokens_issued) and
    /// [`store_adopted`](Counters::store_adopted) that brought the token in use again.
    same_token_again: Count as u64 = "tower_reauth_same_token_again_total",
    /// Refreshes that ended with an error.
    refreshes_failed: Count as u64 = "tower_reauth_refreshes_failed_total",
    /// Callers that joined a refresh which another one had started.
    joined: Count as u64 = "tower_reauth_joined_total",
    /// Callers that got the error of an earlier refresh at once, during back-off.
    backed_off: Count as u64 = "tower_reauth_backed_off_total",
    /// Requests of ours that a resource answered 401, or otherwise
    /// [refused](crate::AuthLayer::refusals) for their token. First attempts and replays alike.
    unauthorized: Count as u64 = "tower_reauth_unauthorized_total",
    /// Those of [`unauthorized`](Counters::unauthorized) whose token had expired by then.
    unauthorized_expired: Count as u64 = "tower_reauth_unauthorized_expired_total",
    /// Those of [`unauthorized`](Counters::unauthorized) whose token this cache had replaced by
    /// then, or was replacing.
    unauthorized_replaced: Count as u64 = "tower_reauth_unauthorized_replaced_total",
    /// Those of [`unauthorized`](Counters::unauthorized) whose token was the newest and had not
    /// expired. Somebody else uses the same credentials, or the resource refuses every token.
    unauthorized_foreign: Count as u64 = "tower_reauth_unauthorized_foreign_total",
    /// 401s that did not lead to a renewal, because tokens were refused too soon after each other
    /// ([`RefreshPolicy::cooldown_base`](crate::RefreshPolicy::cooldown_base)).
    cooled_down: Count as u64 = "tower_reauth_cooled_down_total",
    /// Those of [`cooled_down`](Counters::cooled_down) that came while no token was ever accepted.
    breaker_open: Count as u64 = "tower_reauth_breaker_open_total",
    /// Routes that were sent a refused request again, with the same token, to learn whether the
    /// token or the resource is at fault.
    doubts: Count as u64 = "tower_reauth_doubts_total",
    /// Those of [`doubts`](Counters::doubts) that ended with an acceptance of the token.
    doubts_cleared: Count as u64 = "tower_reauth_doubts_cleared_total",
    /// Requests sent again with the token that had been refused: for a doubt, after the refusal of
    /// a proof, or because the token was young
    /// ([`RefreshPolicy::propagation_delay`](crate::RefreshPolicy::propagation_delay)).
    same_token_retries: Count as u64 = "tower_reauth_same_token_retries_total",
    /// Requests of ours that a resource refused for what stands beside the token, such as a DPoP
    /// proof without its nonce. First attempts and replays alike.
    proofs_refused: Count as u64 = "tower_reauth_proofs_refused_total",
    /// Requests sent again with a newer token.
    replays: Count as u64 = "tower_reauth_replays_total",
    /// 401s without a replay, because the body could not be sent again.
    replays_declined: Count as u64 = "tower_reauth_replays_declined_total",
    /// Renewals for which requests were held back.
    holds: Count as u64 = "tower_reauth_holds_total",
    /// Drains that ended at their timeout, with requests still in flight.
    drains_timed_out: Count as u64 = "tower_reauth_drains_timed_out_total",
    /// Holds that ended by their timeout, before the endpoint responded.
    holds_timed_out: Count as u64 = "tower_reauth_holds_timed_out_total",
    /// Tokens that another process had asked for, and that this one took from the
    /// [store](crate::store).
    store_adopted: Count as u64 = "tower_reauth_store_adopted_total",
    /// Operations of the store that failed.
    store_errors: Count as u64 = "tower_reauth_store_errors_total",
    /// Tokens that were not handed to the other processes, because a newer lease had been granted.
    store_fenced: Count as u64 = "tower_reauth_store_fenced_total",
    /// Leases that this process took over from one that had stopped.
    store_takeovers: Count as u64 = "tower_reauth_store_takeovers_total",
    /// Refreshes without a lease, because the store could not be used
    /// ([`StoreDown::Alone`](crate::store::StoreDown::Alone)).
    store_alone: Count as u64 = "tower_reauth_store_alone_total",
    /// Renewals of other processes for which this one held requests back.
    sibling_holds: Count as u64 = "tower_reauth_sibling_holds_total",
    /// The longest drain, which is the wait for requests in flight.
    longest_drain: Longest as Duration = "tower_reauth_drain_seconds",
    /// The longest hold, which is a drain and what follows it until the endpoint has responded or
    /// the hold has timed out.
    longest_hold: Longest as Duration = "tower_reauth_hold_seconds",
    /// The longest hold for a renewal of another process. [`longest_hold`](Counters::longest_hold)
    /// has those for renewals of this one.
    longest_sibling_hold: Longest as Duration = "tower_reauth_sibling_hold_seconds",
}
