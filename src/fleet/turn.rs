//! [`Turn`]: the operations of a renewal at the store. Each is a [step](crate::store::steps) that
//! is written with a compare-and-set.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Fleet,
    bounds::Bounds,
    member::{Member, Seen},
};
use crate::{
    clock::{self, Moment},
    error::Fate,
    store::{
        StoreError, Swap, Versioned,
        steps::{self, Entry, Publication, Wish},
        value::{SharedCooldown, SharedGate, Value},
    },
};

/// How often a step is tried while others change the value.
const MAX_TRIES: u32 = 10;

/// How long a store keeps a value that nobody changes.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The greatest number that seeds revisions. Wall clocks reach it in the year 10889.
const SEED: u64 = 1 << 48;

/// The operations of one renewal.
pub(crate) struct Turn<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) member: &'a Member,
    pub(crate) bounds: Bounds,
}

/// The shared value as the store gave it.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) revision: u64,
    pub(crate) value: Value,
    /// How old the value was when the store was asked, or when it answered.
    pub(crate) age: Duration,
    /// When the store was asked.
    pub(crate) asked: Moment,
}

/// The answer to a wish.
pub(crate) enum Entered {
    /// There is a newer token.
    Newer(Found),
    /// The endpoint is left alone.
    BackingOff(SharedGate, Duration),
    /// Another process asks for a token.
    Held(Found),
    /// This process asks for a token.
    Granted(HeldLease),
}

/// The lease of this process.
pub(crate) struct HeldLease {
    pub(crate) fence: u64,
    /// The others hold their requests.
    pub(crate) holds: bool,
    pub(crate) takeover: bool,
    /// A late request of another process may kill the token that comes under this lease.
    pub(crate) stray: bool,
    confirmed: Instant,
    /// The value as it was written last.
    written: Box<Found>,
}

/// The next move of a step.
enum Move<T> {
    Answer(T),
    Write(Value, T),
}

impl Found {
    /// Returns how old the value is now, or more.
    fn age_now(&self) -> Duration {
        self.age.saturating_add(clock::moment().since(&self.asked))
    }
}

impl Turn<'_> {
    /// Reads the shared value. There is always one, which may be empty.
    pub(crate) async fn get(&self, within: Duration) -> Result<Found, StoreError> {
        let asked = clock::moment();
        let got = within_time(within, self.fleet.store.get(&self.member.name)).await?;
        self.found(got, asked)
    }

    /// Enters with a wish. `token` is how long ago the token was asked for that the wish wants
    /// replaced, if this process has it.
    pub(crate) async fn enter(
        &self,
        wish: &Wish,
        token: Option<Duration>,
    ) -> Result<Entered, StoreError> {
        let started = clock::now();
        let (entered, written) = self
            .step(self.unclaimed(wish.floor, token), wish.floor, |found, revision| {
                match steps::enter(&found.value, found.age, wish, revision) {
                    Entry::Newer => Move::Answer(Entry::Newer),
                    Entry::Held => Move::Answer(Entry::Held),
                    Entry::BackingOff(gate, left) => Move::Answer(Entry::BackingOff(gate, left)),
                    Entry::Granted(next) => Move::Write(next.clone(), Entry::Granted(next)),
                }
            })
            .await?;
        Ok(match entered {
            Entry::Newer => Entered::Newer(written),
            Entry::Held => Entered::Held(written),
            Entry::BackingOff(gate, left) => Entered::BackingOff(gate, left),
            Entry::Granted(next) => {
                let lease = next.head.lease;
                let takeover = lease.is_some_and(|lease| lease.takeover);
                Entered::Granted(HeldLease {
                    fence: next.head.fence,
                    holds: lease.is_some_and(|lease| lease.hold),
                    takeover,
                    stray: takeover || next.head.stray,
                    confirmed: started,
                    written: Box::new(written),
                })
            }
        })
    }

    /// Confirms the lease. Returns whether it still is this process'.
    pub(crate) async fn extend(&self, lease: &mut HeldLease) -> Result<bool, StoreError> {
        let (owner, fence) = (self.fleet.owner, lease.fence);
        let started = clock::now();
        let (held, written) = self
            .step(Some(Found::clone(&lease.written)), fence, |found, _| {
                match steps::extend(&found.value, owner, fence) {
                    Some(next) => Move::Write(next, true),
                    None => Move::Answer(false),
                }
            })
            .await?;
        (lease.confirmed, lease.written) = (started, Box::new(written));
        Ok(held)
    }

    /// Confirms the lease, unless that was done lately enough to ask the endpoint. Returns whether
    /// it is known to be this process'.
    pub(crate) async fn confirm(&self, lease: &mut HeldLease) -> Result<bool, StoreError> {
        let passed = clock::now().saturating_duration_since(lease.confirmed);
        if passed <= self.bounds.confirmed { Ok(true) } else { self.extend(lease).await }
    }

    /// Publishes a sealed token. Returns the value with it; `None` if a newer lease was granted
    /// meanwhile.
    pub(crate) async fn publish(
        &self,
        lease: &HeldLease,
        token: &Bytes,
        cooldown: SharedCooldown,
    ) -> Result<Option<Found>, StoreError> {
        let fence = lease.fence;
        let step = self.step(Some(Found::clone(&lease.written)), fence, |found, _| {
            match steps::publish(&found.value, fence, token, cooldown) {
                Publication::Write(mut next) => {
                    next.head.takeover |= lease.stray;
                    Move::Write(next, true)
                }
                Publication::Published => Move::Answer(true),
                Publication::Fenced => Move::Answer(false),
            }
        });
        let (published, written) = step.await?;
        Ok(published.then_some(written))
    }

    /// Gives the lease back without a token.
    pub(crate) async fn leave(
        &self,
        lease: &HeldLease,
        fate: Fate,
        gate: Option<SharedGate>,
    ) -> Result<(), StoreError> {
        let (owner, fence) = (self.fleet.owner, lease.fence);
        let step = self.step(Some(Found::clone(&lease.written)), fence, |found, _| {
            match steps::leave(&found.value, owner, fence, fate, gate.clone()) {
                Some(next) => Move::Write(next, ()),
                None => Move::Answer(()),
            }
        });
        step.await.map(|_| ())
    }

    /// Returns the value that was seen last, if a step may start from it: nobody has a lease, and
    /// the endpoint is not left alone. Its age matters for its token alone. A notice does not tell
    /// it, so `token` must: the age of the token `floor` of this process.
    fn unclaimed(&self, floor: u64, token: Option<Duration>) -> Option<Found> {
        let Seen { revision, value, .. } = self.member.seen()?;
        let is_unclaimed = value.head.lease.is_none() && value.head.gate.is_none();
        let age = match token {
            _ if !value.has_token() => Duration::ZERO,
            Some(age) if value.head.sequence == floor => age.saturating_sub(value.published()),
            _ => return None,
        };
        let value = Value::clone(&value);
        is_unclaimed.then(|| Found { revision, value, age, asked: clock::moment() })
    }

    /// Takes one step, and again as long as others change the value meanwhile. Returns the value
    /// that the step has written or found.
    async fn step<T>(
        &self,
        known: Option<Found>,
        floor: u64,
        mut decide: impl FnMut(&Found, u64) -> Move<T>,
    ) -> Result<(T, Found), StoreError> {
        let Self { fleet, member, bounds } = self;
        let mut is_known = known.is_some();
        let mut found = match known {
            Some(known) => known,
            None => self.get(bounds.operation).await?,
        };
        for _ in 0..MAX_TRIES {
            let revision = next_revision(found.revision, floor, member.greatest());
            let (next, answer) = match decide(&found, revision) {
                // The value that was seen may be old by now.
                Move::Answer(_) if is_known => {
                    is_known = false;
                    found = self.get(bounds.operation).await?;
                    continue;
                }
                Move::Answer(answer) => return Ok((answer, found)),
                Move::Write(next, answer) => (next, answer),
            };
            is_known = false;
            let next = next.following(&found.value, found.age_now());
            let bytes = next.encode().ok_or_else(too_long)?;
            let asked = clock::moment();
            let swap =
                fleet.store.compare_and_set(&member.name, found.revision, revision, &bytes, KEEP);
            match within_time(bounds.operation, swap).await? {
                Swap::Done => {
                    member.found(revision, next.clone(), asked);
                    let written = Found { revision, value: next, age: Duration::ZERO, asked };
                    return Ok((answer, written));
                }
                Swap::Conflict(other) => found = self.found(other, asked)?,
            }
            sleep(Duration::from_millis(5).mul_f64(fastrand::f64())).await;
        }
        Err(StoreError::unavailable("others changed the value each time"))
    }

    /// Reads what the store gave, and notes it.
    fn found(&self, got: Option<Versioned>, asked: Moment) -> Result<Found, StoreError> {
        let Some(Versioned { revision, value, age }) = got else {
            let (revision, value, age) = (0, Value::default(), Duration::ZERO);
            return Ok(Found { revision, value, age, asked });
        };
        let value = self.fleet.read(self.member, revision, &value)?;
        // By the store's clock, unless that stands still. No value is younger than its first sight.
        let age = age.max(self.member.known_for(revision, &asked));
        self.member.found(revision, value.clone(), asked);
        Ok(Found { revision, value, age, asked })
    }
}

/// Returns the revision of the next change. The number of the newest token, the `greatest` revision
/// that was seen and the wall clock only seed it: after a store has lost its data, numbers go on
/// above those before. Two leases of one number would be one to whoever had the first.
fn next_revision(revision: u64, floor: u64, greatest: u64) -> u64 {
    let wall = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_millis()).unwrap_or_default();
    // Neither a wall clock of the far future nor a wrong answer that was seen once may use up the
    // numbers that a store can hold.
    let (wall, greatest) = (wall.min(SEED), greatest.min(SEED));
    revision.max(floor).max(greatest).saturating_add(1).max(wall)
}

async fn within_time<T>(
    time: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(time, operation).await.unwrap_or_else(|_| {
        let time = clock::in_seconds(time);
        Err(StoreError::unavailable(format!("it did not respond within {time}")))
    })
}

fn too_long() -> StoreError {
    StoreError::unusable("the token is too long for a shared value, which has 8 KiB at most")
}

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
mod tests {
    use super::*;
    use crate::{
        fleet::Naming,
        store::{MemoryStore, Name, value::GREATEST},
    };

    /// Returns the fence of a lease in an empty store, for a process that has seen this revision.
    async fn fence_after(revision: u64) -> u64 {
        let name = Name::new("payments").expect("allowed");
        let fleet = Fleet::new(Box::new(MemoryStore::new()), Naming::Given(name));
        let member = fleet.member().expect("it has a name");
        assert!(member.note(revision, Value::default()));
        let wish = Wish {
            owner: fleet.owner(),
            floor: 0,
            forced: false,
            holds: true,
            passes: None,
            cooldown: SharedCooldown::default(),
            longest_back_off: Duration::ZERO,
            lease: Duration::from_secs(3),
        };
        match fleet.turn(&member, None).enter(&wish, None).await {
            Ok(Entered::Granted(lease)) => lease.fence,
            _ => panic!("nobody else asks for a token"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_lost_its_data_goes_on_above_the_numbers_of_a_clock_that_is_ahead() {
        let wall = clock::wall().duration_since(std::time::UNIX_EPOCH).expect("it is later");
        let ahead = u64::try_from(wall.as_millis()).expect("a date") + 3_600_000;
        assert_eq!(fence_after(ahead).await, ahead + 1);
        assert_eq!(fence_after(GREATEST).await, SEED + 1, "numbers are not used up");
    }
}
