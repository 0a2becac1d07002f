//! A fleet: any number of processes that share the token of one client id through a
//! [store](crate::store).
//!
//! # A renewal
//!
//! 1. Whoever is due first takes the lease, with the same change of the shared value that tells the
//!    others to hold their requests.
//! 2. It waits a [grace](bounds::Bounds::grace), so that all have heard of it. Nobody acknowledges
//!    anything.
//! 3. It asks the endpoint, and confirms its lease meanwhile.
//! 4. It publishes the token, which tells the others to go on with that.
//!
//! A wish for a token names the token that it wants replaced. So however many processes have the
//! same wish, the endpoint is asked once. The number of a token is the fence of the lease under
//! which it was asked for.
//!
//! Nothing compares the clocks of two machines. A token that another process published is dated by
//! the moment at which this process began to hold for it, or by the store's own clock.
//!
//! The module keeps the protocol's side. The side of the cache's state is in
//! [`cache`](crate::cache).

mod bounds;
mod member;
mod naming;
mod orders;
mod record;
mod turn;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::Uri;
use secrecy::ExposeSecret;

use self::record::Record;
pub(crate) use self::{
    bounds::{Bounds, REGROUP, look_after},
    member::{Member, News, Seen},
    orders::{Order, Orders},
    turn::{Entered, Found, HeldLease, Turn},
};
use crate::{
    clock::{self, Moment},
    store::{
        DynStore, Name, Notice, StoreDown, StoreError,
        seal::Sealing,
        value::{Foreign, GREATEST, Owner, SharedGate, Value},
    },
    token::{AccessToken, Identity, Times, Windows, schedule},
};

/// The means by which a cache shares its token with other processes.
pub(crate) struct Fleet {
    store: Box<dyn DynStore>,
    naming: Naming,
    sharing: Sharing,
    owner: Owner,
    member: Mutex<Option<Arc<Member>>>,
    pub(crate) orders: Orders,
}

/// How a token is shared, whatever the store.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    pub(crate) namespace: String,
    pub(crate) store_down: StoreDown,
    /// The lifetime of a lease, if the user set one.
    pub(crate) lease: Option<Duration>,
    pub(crate) sealing: Sealing,
}

/// The source of the name under which processes share a token.
#[derive(Debug)]
pub(crate) enum Naming {
    /// The user gave it.
    Given(Name),
    /// The endpoint's identity, within the namespace.
    ByIdentity,
}

/// A clock that a token's age is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    /// The token was asked for after this moment. This process held its requests then, or its
    /// fence had not been given.
    Held(Moment),
    /// The token had been published for this long when the store was asked.
    Store { asked: Moment, age: Duration },
}

impl Fleet {
    pub(crate) fn new(store: Box<dyn DynStore>, naming: Naming) -> Self {
        Self {
            store,
            naming,
            sharing: Sharing::default(),
            owner: fastrand::u64(1..),
            member: Mutex::default(),
            orders: Orders::default(),
        }
    }

    /// Sets how the token is shared.
    pub(crate) fn with(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    pub(crate) fn store_down(&self) -> StoreDown {
        self.sharing.store_down
    }

    /// Returns the part of this process, if its name is known.
    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        if let Naming::Given(name) = &self.naming {
            let mut member = self.lock();
            return Some(Arc::clone(
                member.get_or_insert_with(|| Arc::new(Member::new(name.clone(), 0))),
            ));
        }
        self.lock().clone()
    }

    /// Names the fleet after the endpoint's identity, unless the user gave the name. `newest` is
    /// the number of the newest token of this cache. Returns the part of this process, and whether
    /// it is another one than before; `None` if there is no name.
    pub(crate) fn join(
        &self,
        identity: Option<&Identity>,
        uri: Option<&Uri>,
        newest: u64,
    ) -> Option<Arc<Member>> {
        if !matches!(self.naming, Naming::ByIdentity) {
            return self.member();
        }
        let name = naming::name(identity?, uri, &self.sharing.namespace)?;
        let mut member = self.lock();
        match &*member {
            Some(member) if member.name == name => Some(Arc::clone(member)),
            Some(_) => Some(Arc::clone(member.insert(Arc::new(Member::new(name, newest))))),
            None => Some(Arc::clone(member.insert(Arc::new(Member::new(name, 0))))),
        }
    }

    /// Returns the operations of a renewal of tokens with this `lifetime`, if that is known.
    pub(crate) fn turn<'a>(&'a self, member: &'a Member, lifetime: Option<Duration>) -> Turn<'a> {
        let bounds = Bounds::new(lifetime, self.store.notice(), self.sharing.lease);
        Turn { fleet: self, member, bounds }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns the changes of the value from now on.
    pub(crate) fn watch(&self, member: &Member) -> BoxStream<'static, Notice> {
        self.store.watch(&member.name)
    }

    /// Seals `token` for the others, as the one with the number `sequence`.
    pub(crate) fn seal(
        &self,
        member: &Member,
        sequence: u64,
        token: &AccessToken,
    ) -> Result<Bytes, StoreError> {
        let times = token.times();
        let spent = clock::now().saturating_duration_since(times.sent.at);
        let record = Record::new(token.expose_secret(), token.scheme(), times.lifetime, spent);
        match self.sharing.sealing.seal(&member.name, sequence, &record.encode()) {
            Ok(sealed) => Ok(sealed.into()),
            Err(error) => Err(StoreError::unusable(error.to_string())),
        }
    }

    /// Reads a shared value. One whose token can't be opened is foreign and never absent, or two
    /// parts of a fleet that do not have the same keys would replace each other's token for ever.
    pub(crate) fn read(
        &self,
        member: &Member,
        revision: u64,
        bytes: &Bytes,
    ) -> Result<Value, StoreError> {
        if revision > GREATEST {
            return Err(StoreError::unusable(Foreign::Garbage.why()));
        }
        let value = Value::decode(bytes).map_err(|foreign| StoreError::unusable(foreign.why()))?;
        if value.has_token() {
            self.unseal(member, &value)?;
        }
        Ok(value)
    }

    /// Returns the token's lifetime, and how much of that had passed when it was published.
    pub(crate) fn record_times(
        &self,
        member: &Member,
        value: &Value,
    ) -> Option<(Duration, Duration)> {
        self.unseal(member, value).ok().map(|record| (record.lifetime(), record.spent()))
    }

    /// Opens the token of `value`, and dates it. It is `sequence` in this cache.
    pub(crate) fn open(
        &self,
        member: &Member,
        value: &Value,
        anchor: Anchor,
        (scheme, windows): (&str, &Windows),
    ) -> Result<AccessToken, StoreError> {
        let record = self.unseal(member, value)?;
        let anchor = match anchor {
            Anchor::Held(at) => Anchor::Held(at),
            // The store dates the last change, which may be a lease of later.
            Anchor::Store { asked, age } => {
                Anchor::Store { asked, age: age.saturating_add(value.published()) }
            }
        };
        let times = times(&record, anchor, self.store.has_clock(), windows);
        let scheme = record.scheme.as_deref().unwrap_or(scheme);
        let sequence = member.local(value.head.sequence);
        AccessToken::new(scheme, record.secret.expose_secret(), sequence, times)
            .map_err(|_| StoreError::unusable("the stored token can't be sent in a header"))
    }

    /// Returns the mark of this process' credentials, for a gate after they were refused.
    pub(crate) fn mark(&self, member: &Member, identity: &Identity) -> Option<u64> {
        self.sharing.sealing.mark(&member.name, identity.credentials()?)
    }

    /// Returns whether `gate` is for other credentials than those of `identity`.
    pub(crate) fn is_for_others(
        &self,
        member: &Member,
        gate: &SharedGate,
        identity: &Identity,
    ) -> bool {
        let (Some(mark), Some(mine)) = (gate.credentials, identity.credentials()) else {
            return false;
        };
        !self.sharing.sealing.is_mark(&member.name, mine, mark)
    }

    fn unseal(&self, member: &Member, value: &Value) -> Result<Record, StoreError> {
        let opened = self.sharing.sealing.open(&member.name, value.head.sequence, &value.token);
        let record = opened.map_err(|foreign| StoreError::unusable(foreign.to_string()))?;
        Record::decode(&record)
            .ok_or_else(|| StoreError::unusable("the stored token is none of this crate's"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Member>>> {
        // Every change under this lock is one assignment.
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("naming", &self.naming)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// Returns the times of a token that another process asked for. `has_clock` says that the store's
/// ages are by a clock of its own.
fn times(record: &Record, anchor: Anchor, has_clock: bool, windows: &Windows) -> Times {
    let lifetime = record.lifetime();
    let (sent, lifetime) = match anchor {
        Anchor::Held(at) => (at, lifetime),
        Anchor::Store { asked, age } => {
            let passed = age.saturating_add(record.spent());
            // Without a clock of the store nobody knows how old the token was at its first sight.
            let lifetime = if has_clock { lifetime } else { lifetime / 4 };
            match asked.at.checked_sub(passed) {
                Some(at) => (Moment { at, ..asked }, lifetime),
                // The clock of this machine does not go back that far.
                None => (asked, lifetime.saturating_sub(passed)),
            }
        }
    };
    let schedule = schedule::schedule(lifetime, windows, fastrand::f64());
    Times { sent, lifetime, schedule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(anchor: Anchor, now: Moment) -> (Duration, Duration) {
        passed_by(anchor, now, true)
    }

    fn passed_by(anchor: Anchor, now: Moment, has_clock: bool) -> (Duration, Duration) {
        let spent = Duration::from_millis(99);
        let record = Record::new("s", "", Duration::from_secs(300), spent);
        let times = times(&record, anchor, has_clock, &crate::RefreshPolicy::default().windows);
        (now.at - times.sent.at, times.lifetime)
    }

    #[test]
    fn a_token_is_as_old_as_the_store_says_and_its_holder_had_spent() {
        let now = clock::moment();
        let age = Duration::from_millis(200);
        let (passed, lifetime) = passed(Anchor::Store { asked: now, age }, now);
        assert_eq!((passed.as_millis(), lifetime.as_secs()), (300, 300));
    }

    #[test]
    fn a_token_of_unknown_age_is_renewed_early() {
        let now = clock::moment();
        let (passed, lifetime) =
            passed_by(Anchor::Store { asked: now, age: Duration::ZERO }, now, false);
        assert_eq!((passed.as_millis(), lifetime.as_secs()), (100, 75));
    }

    #[test]
    fn a_token_that_was_held_for_is_as_old_as_the_hold() {
        let held = clock::moment();
        assert_eq!(passed(Anchor::Held(held), held).0, Duration::ZERO);
    }

    #[test]
    fn a_token_from_before_this_machine_started_has_less_time_left() {
        let now = clock::moment();
        let age = Duration::MAX;
        let (passed, lifetime) = passed(Anchor::Store { asked: now, age }, now);
        assert_eq!((passed, lifetime), (Duration::ZERO, Duration::ZERO));
    }
}
