//! Random sequences of steps keep the invariants 1 to 4, whatever the ages and conflicts are.

use std::collections::HashMap;

use proptest::{collection::vec, option, prelude::*};

use super::*;

const LEASE: Duration = Duration::from_secs(3);

/// A step of one of the owners.
#[derive(Clone, Copy, Debug)]
struct Step {
    owner: Owner,
    kind: Kind,
    /// The age of the value, in ms.
    age: u64,
    /// How far behind the value is from which the step is decided at first.
    lag: usize,
    /// The wall clock, which may be wrong.
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Enter { floor: u64, forced: bool, holds: bool, early: u32 },
    // Under one of the fences that the owner was ever granted, by its distance from the last one.
    Extend { back: usize },
    Publish { back: usize, token: u8 },
    Leave { back: usize, fate: Fate, gate: Option<u64> },
}

fn kinds() -> impl Strategy<Value = Kind> {
    let fate = prop_oneof![Just(Fate::NotIssued), Just(Fate::Unknown), Just(Fate::Issued)];
    let back = prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    prop_oneof![
        4 => (0..4_u64, any::<bool>(), any::<bool>(), 0..3_u32)
            .prop_map(|(floor, forced, holds, early)| Kind::Enter { floor, forced, holds, early }),
        1 => back.clone().prop_map(|back| Kind::Extend { back }),
        3 => (back.clone(), 1..=3_u8).prop_map(|(back, token)| Kind::Publish { back, token }),
        2 => (back, fate, option::of(0..6_000_u64))
            .prop_map(|(back, fate, gate)| Kind::Leave { back, fate, gate }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    (1..=3_u64, kinds(), 0..6_000_u64, 0..3_usize, 0..50_u64)
        .prop_map(|(owner, kind, age, lag, clock)| Step { owner, kind, age, lag, clock })
}

/// A store, and what is remembered of all the steps.
#[derive(Default)]
struct World {
    /// All values by their revisions. The last one counts.
    values: Vec<(u64, Value)>,
    fences: HashMap<Owner, Vec<u64>>,
    published: HashMap<u64, Bytes>,
}

impl World {
    /// Takes a step from a value that may be stale. A conflict makes it decide again.
    fn take(&mut self, step: Step) {
        let newest = self.values.len() - 1;
        let mut at = newest.saturating_sub(step.lag);
        loop {
            let (revision, value) = self.values[at].clone();
            let Some((next_revision, next)) = self.decide(step, revision, &value) else { return };
            if at == newest {
                self.check(step, &value, &next);
                // The value is as after its way through a store.
                let bytes = next.encode().expect("short enough").into();
                assert_eq!(Value::decode(&bytes).as_ref(), Ok(&next));
                self.values.push((next_revision, next));
                return;
            }
            at = newest;
        }
    }

    fn decide(&self, step: Step, revision: u64, value: &Value) -> Option<(u64, Value)> {
        let next = (revision + 1).max(step.clock);
        let fence = |back| self.fence(step.owner, back);
        let value = match step.kind {
            Kind::Enter { floor, forced, holds, early } => {
                // A token of the last few, or the newest.
                let floor = value.head.sequence.saturating_sub(floor);
                let wish = Wish {
                    owner: step.owner,
                    floor,
                    forced,
                    holds,
                    passes: None,
                    longest_back_off: Duration::MAX,
                    cooldown: SharedCooldown { early, ..SharedCooldown::default() },
                    lease: LEASE,
                };
                match enter(value, Duration::from_millis(step.age), &wish, next) {
                    Entry::Granted(value) => value,
                    Entry::Newer | Entry::BackingOff(..) | Entry::Held => return None,
                }
            }
            Kind::Extend { back } => extend(value, step.owner, fence(back)?)?,
            Kind::Publish { back, token } => {
                let token = Bytes::from(vec![token]);
                match publish(value, fence(back)?, &token, SharedCooldown::default()) {
                    Publication::Write(value) => value,
                    Publication::Published | Publication::Fenced => return None,
                }
            }
            Kind::Leave { back, fate, gate } => {
                let gate = gate.map(|pause_ms| SharedGate {
                    kind: "transient".into(),
                    status: None,
                    pause_ms,
                    credentials: None,
                });
                leave(value, step.owner, fence(back)?, fate, gate)?
            }
        };
        Some((next, value))
    }

    fn fence(&self, owner: Owner, back: usize) -> Option<u64> {
        self.fences.get(&owner)?.iter().rev().nth(back).copied()
    }

    /// Checks a change, and remembers what it granted and published.
    fn check(&mut self, step: Step, value: &Value, next: &Value) {
        let (old, new) = (&value.head, &next.head);
        assert!(new.fence >= old.fence && new.sequence >= old.sequence, "1");
        assert!(new.sequence <= new.fence, "a value with a newer token is refused");
        let owner = |head: &crate::store::value::Head| head.lease.map(|lease| lease.owner);
        if owner(old) != owner(new) {
            let is_over = Duration::from_millis(step.age) >= LEASE;
            assert!(owner(old).is_none_or(|owner| owner == step.owner) || is_over, "2");
            if let Some(owner) = owner(new) {
                assert!(owner == step.owner && new.fence > old.fence, "2");
                self.fences.entry(owner).or_default().push(new.fence);
            }
        }
        if let Kind::Extend { back } | Kind::Leave { back, .. } = step.kind {
            let is_holder = owner(old) == Some(step.owner);
            assert!(is_holder && self.fence(step.owner, back) == Some(old.fence), "2");
        }
        if (new.sequence, &next.token) != (old.sequence, &value.token) {
            let before = self.published.insert(new.sequence, next.token.clone());
            assert_eq!(before, None, "3");
            assert_eq!(new.sequence, old.fence, "4");
            let is_own = self.fences.get(&step.owner).is_some_and(|it| it.contains(&old.fence));
            assert!(is_own, "4");
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_steps_breaks_an_invariant(steps in vec(steps(), 1..60)) {
        let mut world = World::default();
        world.values.push((0, Value::default()));
        for step in steps {
            world.take(step);
        }
    }
}
