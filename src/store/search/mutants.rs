//! Steps that are wrong, each of which the search must find.

use std::time::Duration;

use super::{
    events::{STEPS, Steps},
    explore::explore,
    start,
    state::{Faults, LEASE},
};
use crate::{
    error::Fate,
    store::{
        steps::{self, Entry, Publication, Wish},
        value::{Lease, SharedCooldown, TokenState, Value},
    },
};

const NONE: Faults = Faults::NONE;
const CRASH: Faults = Faults { crashes: 1, ..NONE };
const EXPIRY: Faults = Faults { expiries: 1, ..NONE };
const FAILURE: Faults = Faults { failures: 1, ..NONE };

/// Asserts that the search finds that the invariant `broken` does not hold.
fn assert_found(steps: Steps, faults: Faults, broken: &str) {
    let way = explore(start(2, 0, faults), &steps).expect_err("the steps are wrong");
    assert!(way.starts_with(broken), "{way}");
    // The same faults find nothing wrong with the steps as they are.
    explore(start(2, 0, faults), &STEPS).expect("the steps are right");
}

/// Changes what a wish that was granted writes.
fn grant(
    value: &Value,
    age: Duration,
    wish: &Wish,
    revision: u64,
    change: impl FnOnce(&mut Value, Option<Lease>),
) -> Entry {
    let mut entry = steps::enter(value, age, wish, revision);
    if let Entry::Granted(next) = &mut entry {
        change(next, value.head.lease);
    }
    entry
}

#[test]
fn a_floor_that_is_read_when_the_store_is_asked_is_found() {
    let steps = Steps { floor: |process| process.serves, ..STEPS };
    assert_found(steps, NONE, "5: the holder alone");
}

#[test]
fn no_second_look_under_the_lease_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            steps::enter(value, age, &Wish { floor: u64::MAX, ..*wish }, revision)
        },
        ..STEPS
    };
    assert_found(steps, NONE, "5: the holder alone");
}

#[test]
fn a_wish_that_gets_the_token_it_wants_replaced_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            let floor = wish.floor.saturating_sub(1);
            steps::enter(value, age, &Wish { floor, ..*wish }, revision)
        },
        ..STEPS
    };
    // The first token that is found dead is never replaced.
    let way = explore(start(0, 2, CRASH), &steps).expect_err("the steps are wrong");
    assert!(way.starts_with('7'), "{way}");
}

#[test]
fn a_lease_that_nobody_minds_is_found() {
    let steps = Steps {
        enter: |value, _, wish, revision| steps::enter(value, LEASE, wish, revision),
        ..STEPS
    };
    assert_found(steps, NONE, "2: a lease ends by its owner");
}

#[test]
fn a_lease_or_a_back_off_that_never_ends_is_found() {
    let steps = Steps {
        enter: |value, _, wish, revision| steps::enter(value, Duration::ZERO, wish, revision),
        ..STEPS
    };
    assert_found(steps, CRASH, "7");
    assert_found(steps, FAILURE, "7");
}

#[test]
fn a_takeover_without_a_fence_of_its_own_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            grant(value, age, wish, revision, |next, former| {
                if former.is_some() {
                    next.head.fence = value.head.fence;
                }
            })
        },
        ..STEPS
    };
    assert_found(steps, EXPIRY, "2: each lease has a fence");
    assert_found(steps, CRASH, "2: each lease has a fence");
}

#[test]
fn a_takeover_that_is_not_written_down_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            grant(value, age, wish, revision, |next, _| {
                next.head.lease = next.head.lease.map(|lease| Lease { takeover: false, ..lease });
            })
        },
        ..STEPS
    };
    assert_found(steps, Faults { crashes: 1, ..FAILURE }, "a token that was killed");
}

#[test]
fn the_own_lease_of_a_flight_that_was_dropped_is_found_to_be_a_takeover() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            grant(value, age, wish, revision, |next, former| {
                if former.is_some_and(|former| former.owner == wish.owner) {
                    next.head.lease = former;
                }
            })
        },
        ..STEPS
    };
    assert_found(steps, Faults { drops: 1, ..FAILURE }, "a token that was killed");
}

#[test]
fn a_renewal_that_is_not_announced_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            steps::enter(value, age, &Wish { holds: false, ..*wish }, revision)
        },
        ..STEPS
    };
    assert_found(steps, NONE, "5: a request that kills");
}

#[test]
fn a_back_off_that_outlives_a_lease_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            grant(value, age, wish, revision, |next, _| next.head.gate = value.head.gate.clone())
        },
        ..STEPS
    };
    assert_found(steps, FAILURE, "a lease ends the back-off");
}

#[test]
fn a_count_of_refusals_that_is_forgotten_is_found() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            grant(value, age, wish, revision, |next, _| next.head.cooldown = wish.cooldown)
        },
        ..STEPS
    };
    assert_found(steps, Faults { renewals: 1, ..CRASH }, "the count of early refusals");
}

#[test]
fn an_extension_by_somebody_else_is_found() {
    let steps = Steps { extend: |value, _, _| Some(value.clone()), ..STEPS };
    assert_found(steps, EXPIRY, "5: the holder alone");
}

#[test]
fn a_token_that_is_published_under_an_older_fence_is_found() {
    let steps = Steps {
        publish: |value, fence, token, cooldown| {
            let mut value = value.clone();
            value.head.fence = value.head.fence.max(fence);
            match steps::publish(&value, value.head.fence, token, cooldown) {
                Publication::Write(mut next) => {
                    next.head.sequence = fence;
                    Publication::Write(next)
                }
                other => other,
            }
        },
        ..STEPS
    };
    assert_found(steps, EXPIRY, "4");
}

/// Changes what a token that is published writes.
fn write(published: Publication, change: impl FnOnce(&mut Value)) -> Publication {
    match published {
        Publication::Write(mut next) => {
            change(&mut next);
            Publication::Write(next)
        }
        other => other,
    }
}

#[test]
fn a_token_that_is_published_without_an_end_of_the_lease_is_found() {
    let steps = Steps {
        publish: |value, fence, token, cooldown| {
            write(steps::publish(value, fence, token, cooldown), |next| {
                next.head.lease = value.head.lease;
            })
        },
        ..STEPS
    };
    assert_found(steps, NONE, "a token is published as alive, and ends the lease");
}

#[test]
fn a_token_that_inherits_the_state_of_the_one_before_is_found() {
    let steps = Steps {
        publish: |value, fence, token, cooldown| {
            write(steps::publish(value, fence, token, cooldown), |next| {
                next.head.state = value.head.state;
            })
        },
        ..STEPS
    };
    assert_found(steps, FAILURE, "a token is published as alive, and ends the lease");
}

#[test]
fn a_failure_that_does_not_change_the_state_is_found() {
    let steps = Steps {
        leave: |value, owner, fence, _, gate| {
            steps::leave(value, owner, fence, Fate::NotIssued, gate)
        },
        ..STEPS
    };
    assert_found(steps, FAILURE, "a token that was killed");
}

#[test]
fn a_suspect_that_is_taken_for_alive_again_is_found() {
    let steps = Steps {
        leave: |value, owner, fence, fate, gate| {
            let mut next = steps::leave(value, owner, fence, fate, gate)?;
            if fate == Fate::NotIssued {
                next.head.state = TokenState::Alive;
            }
            Some(next)
        },
        ..STEPS
    };
    assert_found(steps, Faults { failures: 2, ..NONE }, "a token that was killed");
}

#[test]
fn a_failure_without_an_end_of_the_lease_is_found() {
    let steps = Steps {
        leave: |value, owner, fence, fate, _| {
            let mut next = steps::leave(value, owner, fence, fate, None)?;
            next.head.lease = value.head.lease;
            Some(next)
        },
        ..STEPS
    };
    assert_found(steps, FAILURE, "2: a lease ends with the flight");
}

#[test]
fn a_token_that_is_about_to_die_may_be_adopted_or_not() {
    // The search sees no difference. Not to adopt it saves a request to the resource.
    let steps = Steps {
        enter: |value, age, wish, revision| {
            if value.head.sequence > wish.floor {
                return Entry::Newer;
            }
            steps::enter(value, age, wish, revision)
        },
        ..STEPS
    };
    for faults in Faults::combinations(1) {
        let found = explore(start(1, 1, faults), &steps).expect("the order is right too");
        assert_eq!(found.posts, faults.most_posts());
    }
}

/// The cool-down is data: no step depends on it.
#[test]
fn no_step_depends_on_the_count_of_refusals() {
    let steps = Steps {
        enter: |value, age, wish, revision| {
            let cooldown = SharedCooldown { early: 1, never_accepted: 1, jitter: 0.5 };
            steps::enter(value, age, &Wish { cooldown, ..*wish }, revision)
        },
        ..STEPS
    };
    let found = explore(start(2, 0, CRASH), &steps).expect("the steps are right");
    assert_eq!(found.posts, CRASH.most_posts());
}
