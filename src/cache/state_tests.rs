//! Drives the state by tables and at random, without a lock, a runtime or a wait.

#![expect(unused_must_use, reason = "no core carries these effects out")]

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::{
    super::{
        acquire::{self, Acquisition, CanScout},
        complete::{self, Arrival, Completion},
        effect::{Effect, NewLeases, Record},
        hold, invalidate,
    },
    *,
};
use crate::{
    error::{Fate, Kind},
    events::Counters,
    events::Tally,
    token::{Times, schedule::schedule},
};

const LIFETIME: Duration = Duration::from_secs(300);

/// A state at a moment that only tests advance.
struct World {
    state: State,
    rules: Rules,
    now: Moment,
    tally: Tally,
    /// A resource has accepted the token lately.
    accepted_lately: bool,
    /// Callers can go first.
    can_scout: bool,
}

impl World {
    fn empty(rotation: Rotation) -> Self {
        let rules = Rules { rotation, policy: RefreshPolicy::default(), shared: false };
        World {
            state: State::default(),
            rules,
            now: clock::moment(),
            tally: Tally::default(),
            accepted_lately: false,
            can_scout: false,
        }
    }

    /// With a token that is this old.
    fn with_token(rotation: Rotation, age: u64) -> Self {
        let mut world = Self::empty(rotation);
        world.acquire(&Requirement::Usable);
        world.issue();
        world.advance(age);
        world
    }

    fn advance(&mut self, seconds: u64) {
        self.now.at += Duration::from_secs(seconds);
    }

    fn token(&self, sequence: u64) -> AccessToken {
        let windows = &self.rules.policy.windows;
        let times = Times {
            sent: self.now,
            lifetime: LIFETIME,
            schedule: schedule(LIFETIME, windows, 0.5),
        };
        AccessToken::new("Bearer", &format!("token-{sequence}"), sequence, times).unwrap()
    }

    fn current(&self) -> AccessToken {
        self.state.current.as_ref().unwrap().token.clone()
    }

    /// Applies one transition and keeps what it counts.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut State, &Inputs<'_>) -> (T, Effects),
    ) -> (T, Effects) {
        let inputs = Inputs {
            rules: &self.rules,
            now: self.now,
            random: 0.5,
            accepted_lately: self.accepted_lately,
        };
        let (value, effects) = step(&mut self.state, &inputs);
        for effect in &effects.then {
            if let Effect::Count(counter) = effect {
                counter(&self.tally).add();
            }
        }
        (value, effects)
    }

    fn counters(&self) -> Counters {
        self.tally.snapshot()
    }

    fn acquire(&mut self, requirement: &Requirement) -> (Acquisition, Effects) {
        let can_scout = if self.can_scout { CanScout::Yes } else { CanScout::Late };
        self.step(|state, inputs| acquire::acquire(state, requirement, can_scout, true, inputs))
    }

    /// Says in a word what a caller with this requirement gets.
    fn outcome(&mut self, requirement: &Requirement) -> String {
        let (acquisition, effects) = self.acquire(requirement);
        let start = effects.start.map(|start| format!("{:?}", start.trigger));
        match (acquisition, start) {
            (Acquisition::Token(token), None) => format!("token {}", token.sequence()),
            (Acquisition::Token(token), Some(trigger)) => {
                format!("token {}, starts {trigger}", token.sequence())
            }
            (Acquisition::Wait, None) => "joins".into(),
            (Acquisition::Scout, _) => "goes first".into(),
            (Acquisition::Wait, Some(trigger)) => format!("starts {trigger}"),
            (Acquisition::Failed(error), _) if error.is_cooling_down() => "cooling down".into(),
            (Acquisition::Failed(_), _) => "stored error".into(),
        }
    }

    fn complete(&mut self, sequence: u64, completion: &Completion) -> Effects {
        self.step(|state, inputs| ((), complete::complete(state, sequence, completion, inputs))).1
    }

    /// Ends the flight with a token.
    fn issue(&mut self) -> Effects {
        let sequence = self.state.last_sequence;
        let result = Ok(self.token(sequence));
        self.complete(
            sequence,
            &Completion {
                result,
                fate: Fate::NotIssued,
                panicked: false,
                arrival: Arrival::default(),
            },
        )
    }

    /// Ends the flight with an error.
    fn fail(&mut self, kind: Kind, fate: Fate) -> Effects {
        let result = Err(AuthError::new(kind, "x"));
        let sequence = self.state.last_sequence;
        self.complete(
            sequence,
            &Completion { result, fate, panicked: false, arrival: Arrival::default() },
        )
    }

    fn refuse(&mut self, token: &AccessToken, accepted_lately: bool) -> (bool, Effects) {
        self.accepted_lately = accepted_lately;
        self.step(|state, inputs| invalidate::invalidated(state, token, inputs))
    }
}

#[test]
fn what_a_caller_gets_in_each_state() {
    type Make = fn() -> World;
    let states: [(&str, Make); 9] = [
        ("empty", || World::empty(Rotation::Exclusive)),
        ("served", || World::with_token(Rotation::Exclusive, 10)),
        ("due", || World::with_token(Rotation::Exclusive, 240)),
        ("expired", || World::with_token(Rotation::Exclusive, 296)),
        ("refused", || {
            let mut world = World::with_token(Rotation::Exclusive, 10);
            let token = world.current();
            world.refuse(&token, false);
            world
        }),
        ("renewing", || {
            let mut world = World::with_token(Rotation::Exclusive, 240);
            world.acquire(&Requirement::Usable);
            world
        }),
        ("held", || {
            let mut world = World::with_token(Rotation::Exclusive, 10);
            world.acquire(&Requirement::Fresh);
            world
        }),
        ("failed", || {
            let mut world = World::empty(Rotation::Exclusive);
            world.acquire(&Requirement::Usable);
            world.fail(Kind::Transient, Fate::NotIssued);
            world
        }),
        ("rejected, a second ago", || {
            let mut world = World::empty(Rotation::Exclusive);
            world.acquire(&Requirement::Usable);
            world.fail(Kind::Rejected, Fate::NotIssued);
            world.fail_again_and_wait(4);
            world
        }),
    ];
    // Usable, newer than the current token, fresh.
    let expected = [
        ["starts Needed", "starts Needed", "starts Forced"],
        ["token 1", "cooling down", "starts Forced"],
        ["token 1, starts Due", "cooling down", "starts Forced"],
        ["starts Needed", "cooling down", "starts Forced"],
        ["starts Needed", "starts Needed", "starts Forced"],
        ["token 1", "joins", "joins"],
        ["joins", "joins", "joins"],
        ["stored error", "stored error", "starts Forced"],
        ["starts Probe", "stored error", "starts Forced"],
    ];
    for ((name, make), expected) in states.into_iter().zip(expected) {
        let newer = make().state.current.map(|it| Requirement::NewerThan(it.token));
        let token = make().token(0);
        let newer = newer.unwrap_or(Requirement::NewerThan(token));
        for (number, expected) in expected.into_iter().enumerate() {
            let mut world = make();
            let requirement = match number {
                0 => Requirement::Usable,
                // The token of this very world, because tokens are compared by identity.
                1 => match &world.state.current {
                    Some(current) => Requirement::NewerThan(current.token.clone()),
                    None => newer.clone(),
                },
                _ => Requirement::Fresh,
            };
            assert_eq!(world.outcome(&requirement), expected, "{name}, {requirement:?}");
        }
    }
}

#[test]
fn a_forced_flight_ignores_back_off_at_most_once_a_second() {
    let mut world = World::empty(Rotation::Overlapping);
    // Long back-off, and the last forced flight a second ago.
    world.fail_again_and_wait(5);
    for _ in 0..3 {
        assert_eq!(world.outcome(&Requirement::Fresh), "starts Forced");
        world.fail(Kind::Permanent, Fate::NotIssued);
        assert_eq!(world.outcome(&Requirement::Fresh), "stored error");
        world.now.at += Duration::from_millis(999);
        assert_eq!(world.outcome(&Requirement::Fresh), "stored error");
        world.now.at += Duration::from_millis(1);
        assert_eq!(world.outcome(&Requirement::Usable), "stored error");
    }
    world.acquire(&Requirement::Fresh);
    // Without back-off there is no such bound.
    world.issue();
    for _ in 0..3 {
        assert_eq!(world.outcome(&Requirement::Fresh), "starts Forced");
        world.issue();
    }
}

#[test]
fn a_source_that_fails_is_asked_again_during_back_off() {
    for (kind, expected) in [
        (Kind::Rejected, "starts Probe"),
        (Kind::Credentials, "starts Probe"),
        (Kind::Permanent, "stored error"),
        (Kind::Transient, "stored error"),
    ] {
        let mut world = World::empty(Rotation::Exclusive);
        for _ in 0..6 {
            world.advance(60);
            world.acquire(&Requirement::Usable);
            world.fail(kind, Fate::NotIssued);
        }
        assert_eq!(world.outcome(&Requirement::Usable), "stored error", "{kind:?}");
        world.advance(1);
        assert_eq!(world.outcome(&Requirement::Usable), expected, "{kind:?}");
    }
}

impl World {
    /// Fails so often that the back-off is long, then waits for a second.
    fn fail_again_and_wait(&mut self, times: u32) {
        for _ in 0..times {
            self.advance(60);
            self.acquire(&Requirement::Fresh);
            self.fail(Kind::Rejected, Fate::NotIssued);
        }
        self.advance(1);
    }
}

#[test]
fn what_a_failure_makes_of_the_token_in_use() {
    use Rotation::{Exclusive, Overlapping};
    // Suspect, dead, and a new generation of leases.
    for (rotation, fate, expected) in [
        (Exclusive, Fate::NotIssued, (false, false, false)),
        (Exclusive, Fate::Unknown, (true, false, true)),
        (Exclusive, Fate::Issued, (false, true, false)),
        (Overlapping, Fate::NotIssued, (false, false, false)),
        (Overlapping, Fate::Unknown, (false, false, false)),
        (Overlapping, Fate::Issued, (false, false, false)),
    ] {
        let mut world = World::with_token(rotation, 240);
        world.acquire(&Requirement::Usable);
        let effects = world.fail(Kind::Timeout, fate);
        let current = world.state.current.as_ref().unwrap();
        let advances = matches!(effects.leases, Some(NewLeases::NextGeneration));
        assert_eq!(
            (current.suspect, current.standing == Standing::Dead, advances),
            expected,
            "{rotation:?} {fate:?}"
        );
        assert!(effects.publish && world.state.gate().is_some());
    }
}

#[test]
fn a_flight_ends_once_and_its_waiters_are_told_first() {
    let mut world = World::with_token(Rotation::Exclusive, 240);
    world.acquire(&Requirement::Usable);
    let effects = world.issue();
    let Some(Ended::Completed(outcome)) = &effects.ended else { panic!("{effects:?}") };
    assert_eq!(outcome.result.as_ref().unwrap().sequence(), 2);
    assert!(matches!(effects.leases, Some(NewLeases::Of(_))));
    let tells = |effect: &Effect| matches!(effect, Effect::Announce(_) | Effect::Log(_));
    assert_eq!(effects.then.iter().filter(|effect| tells(effect)).count(), 2);
    // It ended, so an error of the same flight is nobody's.
    let effects = world.fail(Kind::Timeout, Fate::Unknown);
    assert!(effects.ended.is_none() && !world.state.current.as_ref().unwrap().suspect);
}

#[test]
fn an_abandoned_flight_may_bring_a_token_late_and_never_an_older_one() {
    let mut world = World::empty(Rotation::Overlapping);
    world.acquire(&Requirement::Usable);
    world.advance(1000);
    let (_, effects) = world.acquire(&Requirement::Usable);
    assert!(matches!(effects.ended, Some(Ended::Abandoned)));
    assert_eq!(effects.start.unwrap().sequence, 2);
    let late = |world: &World| Completion {
        result: Ok(world.token(1)),
        fate: Fate::NotIssued,
        panicked: false,
        arrival: Arrival::default(),
    };
    let completion = late(&world);
    let effects = world.complete(1, &completion);
    assert!(effects.ended.is_none(), "the second flight goes on");
    assert_eq!(world.current().sequence(), 1);
    world.issue();
    assert_eq!(world.current().sequence(), 2);
    let completion = late(&world);
    let effects = world.complete(1, &completion);
    assert!(effects.leases.is_none());
    assert_eq!(world.current().sequence(), 2);
}

#[test]
fn an_error_that_is_no_longer_needed_is_left_to_an_effect() {
    let mut world = World::empty(Rotation::Exclusive);
    world.acquire(&Requirement::Usable);
    world.fail(Kind::Transient, Fate::NotIssued);
    world.advance(60);
    world.acquire(&Requirement::Usable);
    let effects = world.fail(Kind::Transient, Fate::NotIssued);
    let discards = |effects: &Effects| {
        effects.then.iter().filter(|effect| matches!(effect, Effect::Discard(_))).count()
    };
    assert_eq!(discards(&effects), 2, "the error before, of the back-off and as the last one");
    world.advance(60);
    world.acquire(&Requirement::Usable);
    assert_eq!(discards(&world.issue()), 2, "the error of both");
}

#[test]
fn what_a_refusal_does_by_the_state_of_the_token() {
    // Withdrawn, and how it is counted: expired, replaced, foreign.
    type Case = (&'static str, fn() -> (World, AccessToken), bool, [u64; 3]);
    let cases: [Case; 5] = [
        ("foreign", || with_its_token(World::with_token(Rotation::Exclusive, 10)), true, [0, 0, 1]),
        (
            "expired",
            || with_its_token(World::with_token(Rotation::Exclusive, 296)),
            true,
            [1, 0, 0],
        ),
        (
            "replaced",
            || {
                let (mut world, old) = with_its_token(World::with_token(Rotation::Exclusive, 10));
                world.acquire(&Requirement::Fresh);
                world.issue();
                (world, old)
            },
            false,
            [0, 1, 0],
        ),
        (
            "dying",
            || {
                let (mut world, old) = with_its_token(World::with_token(Rotation::Exclusive, 10));
                world.acquire(&Requirement::Fresh);
                (world, old)
            },
            false,
            [0, 1, 0],
        ),
        (
            "suspect",
            || {
                let (mut world, old) = with_its_token(World::with_token(Rotation::Exclusive, 240));
                world.acquire(&Requirement::Usable);
                world.fail(Kind::Timeout, Fate::Unknown);
                (world, old)
            },
            true,
            [0, 1, 0],
        ),
    ];
    for (name, make, withdrawn, counted) in cases {
        let (mut world, token) = make();
        let (result, effects) = world.refuse(&token, false);
        assert_eq!((result, effects.publish), (withdrawn, withdrawn), "{name}");
        let counters = world.counters();
        let classes = [
            counters.unauthorized_expired,
            counters.unauthorized_replaced,
            counters.unauthorized_foreign,
        ];
        assert_eq!((classes, counters.unauthorized), (counted, 1), "{name}");
        assert_eq!(world.state.servable(&world.now).is_some(), !withdrawn && name == "replaced");
    }
}

fn with_its_token(world: World) -> (World, AccessToken) {
    let token = world.current();
    (world, token)
}

#[test]
fn a_suspect_token_that_was_accepted_lately_is_foreign() {
    let mut world = World::with_token(Rotation::Exclusive, 240);
    let token = world.current();
    world.acquire(&Requirement::Usable);
    world.fail(Kind::Timeout, Fate::Unknown);
    world.refuse(&token, true);
    assert_eq!(world.counters().unauthorized_foreign, 1);
}

#[test]
fn the_third_early_refusal_in_a_row_waits_and_says_so() {
    let mut world = World::with_token(Rotation::Exclusive, 0);
    for shared in [false, true] {
        let token = world.current();
        let (withdrawn, effects) = world.refuse(&token, false);
        let logs = |effect: &Effect| match effect {
            Effect::Log(Record::Refused { shared: it, .. }) => *it == shared,
            _ => false,
        };
        assert!(withdrawn && effects.then.iter().any(logs), "{effects:?}");
        world.acquire(&Requirement::Usable);
        world.issue();
    }
    let token = world.current();
    let (withdrawn, effects) = world.refuse(&token, false);
    let waits = |effect: &Effect| matches!(effect, Effect::Log(Record::RefusedTooSoon { .. }));
    assert!(!withdrawn && effects.then.iter().any(waits), "{effects:?}");
    assert_eq!(world.counters().cooled_down, 1);
}

#[test]
fn a_renewal_holds_from_an_idle_moment_or_from_the_end_of_its_window() {
    for is_idle in [true, false] {
        let mut world = World::with_token(Rotation::Exclusive, 240);
        world.acquire(&Requirement::Usable);
        let sequence = world.state.last_sequence;
        let (found, effects) = world.step(|state, _| hold::check_idle(state, sequence, is_idle));
        assert!(found == is_idle && effects.publish);
        assert_eq!(world.state.servable(&world.now).is_some(), !is_idle);
        let (drains, effects) = world.step(|state, inputs| hold::hold(state, sequence, inputs));
        assert!(drains && matches!(effects.leases, Some(NewLeases::NextGeneration)));
        assert!(world.state.servable(&world.now).is_none());
    }
    // A refused token may live, so requests with it are drained. A dead one has nothing to protect.
    for (is_dead, drains) in [(false, true), (true, false)] {
        let mut world = World::with_token(Rotation::Exclusive, 240);
        world.acquire(&Requirement::Usable);
        world.state.current.as_mut().unwrap().suspect = is_dead;
        let token = world.current();
        world.refuse(&token, false);
        let sequence = world.state.last_sequence;
        let (found, _) = world.step(|state, _| hold::check_idle(state, sequence, false));
        let (result, _) = world.step(|state, inputs| hold::hold(state, sequence, inputs));
        assert_eq!((found, result), (true, drains));
    }
}

#[test]
fn a_refused_token_that_was_accepted_is_served_on_while_no_successor_is_to_be_had() {
    for accepted in [true, false] {
        let mut world = World::with_token(Rotation::Exclusive, 10);
        let token = world.current();
        if accepted {
            token.accept();
        }
        let (withdrawn, _) = world.refuse(&token, false);
        assert!(withdrawn && world.state.servable(&world.now).is_none());
        assert_eq!(world.outcome(&Requirement::Usable), "starts Needed");
        let effects = world.fail(Kind::Transient, Fate::NotIssued);
        let Some(Ended::Completed(outcome)) = effects.ended else { panic!() };
        // Whoever waited for a token has one, and whoever was refused has the error.
        assert_eq!(outcome.standing.is_some(), accepted);
        assert_eq!(world.state.servable(&world.now).is_some(), accepted);
        // While the endpoint is left alone, another 401 is its caller's.
        let (withdrawn, _) = world.refuse(&token, false);
        assert!(!withdrawn);
        assert_eq!(world.outcome(&Requirement::NewerThan(token.clone())), "stored error");
        assert_eq!(world.state.servable(&world.now).is_some(), accepted);
        // After that it asks for a successor again.
        world.advance(1);
        let (withdrawn, _) = world.refuse(&token, false);
        assert_eq!(withdrawn, accepted);
        assert_eq!(world.outcome(&Requirement::NewerThan(token)), "starts Needed");
    }
}

/// A world in which the hold of a renewal has timed out.
fn scouting() -> World {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    world.current().accept();
    world.acquire(&Requirement::Fresh);
    world.time_out();
    world
}

impl World {
    fn time_out(&mut self) -> Effects {
        let sequence = self.state.last_sequence;
        self.step(|state, inputs| ((), hold::time_out(state, sequence, inputs))).1
    }

    /// Says what a caller gets that can go first.
    fn outcome_of_scout(&mut self) -> String {
        self.can_scout = true;
        let outcome = self.outcome(&Requirement::Usable);
        self.can_scout = false;
        outcome
    }
}

#[test]
fn after_a_hold_that_timed_out_one_caller_goes_first() {
    let mut world = scouting();
    assert!(world.state.servable(&world.now).is_none(), "nobody is served from the slot");
    assert_eq!(world.outcome(&Requirement::Usable), "joins", "it can't go first");
    assert_eq!(world.outcome_of_scout(), "goes first");
    assert_eq!(world.outcome_of_scout(), "joins");
    // It could not be sent, so another one goes.
    let ((), effects) = world.step(|state, inputs| ((), hold::give_up_scouting(state, inputs)));
    assert!(effects.release);
    assert_eq!(world.outcome_of_scout(), "goes first");
    // An abandoned flight does not end the scouting of its successor.
    let ((), effects) = world.step(|state, _| ((), hold::follow(state, Some(1))));
    assert!(!effects.release);
    let ((), effects) = world.step(|state, _| ((), hold::follow(state, Some(2))));
    assert!(effects.release && effects.publish);
    assert_eq!(world.outcome(&Requirement::Usable), "token 1");
    // There is nothing left to follow, or to time out.
    let ((), effects) = world.step(|state, _| ((), hold::follow(state, None)));
    assert!(!effects.release);
    assert!(!world.time_out().release);
    assert_eq!(world.counters().holds_timed_out, 1);
}

#[test]
fn a_token_that_was_refused_after_its_hold_is_tried_by_one_caller_at_a_time() {
    let mut world = scouting();
    let token = world.current();
    assert_eq!(world.outcome_of_scout(), "goes first");
    assert!(world.refuse(&token, false).0);
    world.step(|state, _| ((), hold::follow(state, None)));
    assert_eq!(world.outcome_of_scout(), "joins");
    world.advance(10);
    assert_eq!(world.outcome_of_scout(), "joins");
    world.advance(1);
    assert_eq!(world.outcome_of_scout(), "goes first");
    assert_eq!(world.outcome_of_scout(), "joins");
    // It could not be sent, so another one goes.
    let ((), effects) = world.step(|state, inputs| ((), hold::give_up_scouting(state, inputs)));
    assert!(effects.release);
    assert_eq!(world.outcome_of_scout(), "goes first");
    // Its refusal changes nothing.
    assert!(!world.refuse(&token, false).0);
    world.fail(Kind::Timeout, Fate::Unknown);
    assert_eq!(world.outcome_of_scout(), "stored error");
    assert!(world.state.servable(&world.now).is_none());
    world.accepted_lately = true;
    world.step(|state, inputs| ((), invalidate::accepted(state, &token, None, inputs)));
    assert_eq!(world.outcome(&Requirement::Usable), "token 1");
}

#[test]
fn a_token_that_is_known_to_be_dead_is_not_tried() {
    let mut world = scouting();
    let token = world.current();
    world.refuse(&token, false);
    world.fail(Kind::Expired, Fate::Issued);
    world.accepted_lately = true;
    world.step(|state, inputs| ((), invalidate::accepted(state, &token, None, inputs)));
    assert_eq!(world.outcome_of_scout(), "stored error");
}

#[test]
fn the_hold_for_a_refused_token_times_out_like_any_other() {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    let token = world.current();
    token.accept();
    world.refuse(&token, false);
    assert_eq!(world.outcome(&Requirement::Usable), "starts Needed");
    world.time_out();
    assert_eq!(world.outcome_of_scout(), "goes first");
    world.step(|state, _| ((), hold::follow(state, None)));
    assert_eq!(world.outcome(&Requirement::Usable), "token 1");
    // The token was accepted again. Another refusal waits for the flight, and costs nobody else.
    let (withdrawn, _) = world.refuse(&token, true);
    assert!(!withdrawn);
    assert_eq!(world.outcome(&Requirement::NewerThan(token)), "joins");
    assert_eq!(world.outcome(&Requirement::Usable), "token 1");
}

#[test]
fn one_refusal_does_not_prove_that_a_suspect_token_is_dead() {
    for accepted in [true, false] {
        let mut world = World::with_token(Rotation::Exclusive, 240);
        let token = world.current();
        if accepted {
            token.accept();
        }
        world.acquire(&Requirement::Usable);
        world.fail(Kind::Timeout, Fate::Unknown);
        let (withdrawn, _) = world.refuse(&token, false);
        assert!(withdrawn);
        assert_eq!(world.state.refused_token(&world.now).is_some(), accepted);
        // The renewal of a token that may live holds nobody, and if it fails, that token is better
        // than none.
        assert_eq!(world.outcome(&Requirement::Usable), "starts Needed");
        let is_held = world.state.flight.unwrap().stage == Stage::Holding;
        assert_eq!(is_held, !accepted, "a dead token has nothing to protect");
        world.fail(Kind::Transient, Fate::NotIssued);
        assert_eq!(world.state.servable(&world.now).is_some(), accepted);
    }
}

#[test]
fn refusals_of_a_suspect_token_skip_back_off_once() {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    let token = world.current();
    token.accept();
    world.acquire(&Requirement::Fresh);
    world.fail(Kind::Timeout, Fate::Unknown);
    let mut started = 0;
    for _ in 0..50 {
        world.refuse(&token, false);
        let (_, effects) = world.acquire(&Requirement::Usable);
        if effects.start.is_some() {
            started += 1;
            world.fail(Kind::Timeout, Fate::Unknown);
        }
    }
    assert_eq!(started, 1);
}

#[test]
fn a_flight_that_issued_nothing_leaves_no_suspicion_whatever_became_of_its_hold() {
    for (fate, suspect) in [(Fate::NotIssued, false), (Fate::Unknown, true)] {
        let mut world = scouting();
        assert!(world.state.current.as_ref().unwrap().suspect);
        world.fail(Kind::Credentials, fate);
        assert_eq!(world.state.current.as_ref().unwrap().suspect, suspect, "{fate:?}");
    }
}

#[test]
fn a_suspicion_that_an_acceptance_has_cleared_does_not_come_back() {
    let mut world = World::with_token(Rotation::Exclusive, 240);
    world.acquire(&Requirement::Usable);
    world.fail(Kind::Timeout, Fate::Unknown);
    world.accepted_lately = true;
    world.advance(1);
    world.acquire(&Requirement::Fresh);
    let sequence = world.state.last_sequence;
    world.step(|state, inputs| hold::hold(state, sequence, inputs));
    // The generation that began with the hold has seen no acceptance yet.
    world.accepted_lately = false;
    world.fail(Kind::Transient, Fate::NotIssued);
    assert!(!world.state.current.as_ref().unwrap().suspect);
}

#[test]
fn an_abandoned_flight_that_may_have_killed_the_token_makes_it_suspect() {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    world.acquire(&Requirement::Fresh);
    world.advance(100);
    let (_, effects) = world.acquire(&Requirement::Fresh);
    assert!(matches!(effects.ended, Some(Ended::Abandoned)));
    let error = AuthError::new(Kind::Timeout, "x");
    let completion = Completion {
        result: Err(error),
        fate: Fate::Unknown,
        panicked: false,
        arrival: Arrival::default(),
    };
    let effects = world.complete(2, &completion);
    assert!(effects.ended.is_none() && world.state.flight.is_some());
    assert!(world.state.current.as_ref().unwrap().suspect);
}

#[test]
fn without_a_handle_no_flight_starts() {
    for age in [240, 296] {
        let mut world = World::with_token(Rotation::Exclusive, age);
        world.state.closed = true;
        for requirement in [Requirement::Usable, Requirement::Fresh] {
            let (_, effects) = world.acquire(&requirement);
            assert!(effects.start.is_none());
        }
    }
}

/// An event, and the seconds before it.
#[derive(Clone, Debug)]
enum Event {
    Acquire(u8),
    Issue(u64),
    Fail(u64, u8, bool),
    Refuse(bool, bool),
    Look(bool),
    Hold,
    TimeOut,
    Scout(bool),
    Follow(u64),
    Accept,
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        (0_u8..3).prop_map(Event::Acquire),
        (0_u64..3).prop_map(Event::Issue),
        ((0_u64..3), (0_u8..3), any::<bool>()).prop_map(|(a, b, c)| Event::Fail(a, b, c)),
        (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Event::Refuse(a, b)),
        any::<bool>().prop_map(Event::Look),
        Just(Event::Hold),
        Just(Event::TimeOut),
        any::<bool>().prop_map(Event::Scout),
        (0_u64..2).prop_map(Event::Follow),
        Just(Event::Accept),
    ];
    (prop_oneof![4 => 0_u64..3, 1 => 0_u64..400, 1 => Just(5000)], event)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn the_invariants_hold_whatever_happens(
        exclusive in any::<bool>(),
        events in vec(event(), 1..60),
    ) {
        let rotation = if exclusive { Rotation::Exclusive } else { Rotation::Overlapping };
        let mut world = World::empty(rotation);
        let (mut started, mut ended, mut newest) = (0_u64, 0_u64, 0_u64);
        let mut first = None;
        for (seconds, event) in events {
            world.advance(seconds);
            let last = world.state.last_sequence;
            let in_flight = world.state.flight;
            let effects = match event {
                Event::Acquire(number) => {
                    let requirement = match (number, &world.state.current) {
                        (0, _) => Requirement::Usable,
                        (1, Some(current)) => Requirement::NewerThan(current.token.clone()),
                        _ => Requirement::Fresh,
                    };
                    let (acquisition, effects) = world.acquire(&requirement);
                    // Whoever waits, waits for a flight.
                    if let Acquisition::Wait = acquisition {
                        prop_assert!(world.state.flight.is_some());
                    }
                    effects
                }
                Event::Issue(back) if last > back => {
                    let sequence = last - back;
                    let result = Ok(world.token(sequence));
                    let fate = Fate::NotIssued;
                    let (panicked, arrival) = (false, Arrival::default());
                    world.complete(sequence, &Completion { result, fate, panicked, arrival })
                }
                Event::Fail(back, fate, panicked) if last > back => {
                    let fate = [Fate::NotIssued, Fate::Unknown, Fate::Issued][usize::from(fate)];
                    let kind = if panicked { Kind::Interrupted } else { Kind::Timeout };
                    let result = Err(AuthError::new(kind, "x"));
                    let arrival = Arrival::default();
                    world.complete(last - back, &Completion { result, fate, panicked, arrival })
                }
                Event::Refuse(old, accepted) => {
                    let current = world.state.current.as_ref().map(|it| it.token.clone());
                    let Some(token) = (if old { first.clone() } else { current.clone() }) else {
                        continue;
                    };
                    let is_current = current.is_some_and(|current| current.is(&token));
                    let (withdrawn, effects) = world.refuse(&token, accepted);
                    prop_assert!(is_current || !withdrawn, "an old token cost the new one");
                    effects
                }
                Event::Look(is_idle) => {
                    world.step(|state, _| hold::check_idle(state, last, is_idle)).1
                }
                Event::Hold => world.step(|state, inputs| hold::hold(state, last, inputs)).1,
                Event::TimeOut => world.time_out(),
                Event::Scout(goes) => {
                    let before = world.state.flight.map(|it| it.stage);
                    world.can_scout = true;
                    let (acquisition, effects) = world.acquire(&Requirement::Usable);
                    world.can_scout = false;
                    if let Acquisition::Scout = acquisition {
                        let current = world.state.current.as_ref().unwrap();
                        let is_first = before == Some(Stage::Scouting { taken: false });
                        let is_trial = current.withheld.is_some();
                        let may_go = match current.standing {
                            Standing::Good => is_first,
                            Standing::Refused => is_trial,
                            Standing::Dead => false,
                        };
                        prop_assert!(may_go);
                        prop_assert!(current.token.is_usable_at(&world.now));
                        if !goes {
                            world.step(|state, inputs| ((), hold::give_up_scouting(state, inputs)));
                        }
                    }
                    effects
                }
                Event::Follow(back) => {
                    let sequence = last.checked_sub(back);
                    world.step(|state, _| ((), hold::follow(state, sequence))).1
                }
                Event::Accept => {
                    world.accepted_lately = true;
                    if let Some(current) = &world.state.current {
                        current.token.accept();
                    }
                    continue;
                }
                Event::Issue(_) | Event::Fail(..) => continue,
            };
            if effects.leases.is_some() {
                world.accepted_lately = false;
            }
            started += u64::from(effects.start.is_some());
            ended += u64::from(effects.ended.is_some());
            // At most one flight: each that started has ended, or is the one in progress.
            prop_assert_eq!(started - ended, u64::from(world.state.flight.is_some()));
            prop_assert_eq!(world.state.last_sequence, started);
            let number = |flight: Option<Flight>| flight.map(|it| it.sequence);
            let replaced = number(in_flight) != number(world.state.flight);
            prop_assert!(!replaced || effects.ended.is_some() || in_flight.is_none());
            if let Some(current) = &world.state.current {
                prop_assert!(current.token.sequence() >= newest, "an older token came back");
                newest = current.token.sequence();
                first.get_or_insert_with(|| current.token.clone());
            }
            if let Some(token) = world.state.servable(&world.now) {
                let current = world.state.current.as_ref().unwrap();
                let holds = world.state.flight.is_some_and(|it| it.stage != Stage::Serving);
                let is_good = current.standing == Standing::Good && !holds;
                prop_assert!(token.is_usable_at(&world.now) && is_good);
            }
            // The slot never outlasts the token.
            if let Some(until) = world.state.served_until(&world.now) {
                let times = world.current().times().at(LIFETIME, &world.now);
                prop_assert!(until < times);
            }
        }
    }
}

#[test]
fn a_flight_that_was_called_off_or_given_up_may_not_ask_the_endpoint() {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    assert_eq!(world.outcome(&Requirement::Fresh), "starts Forced");
    let sequence = world.state.last_sequence;
    assert!(hold::asking(&mut world.state, sequence));
    world.state.flight = None;
    assert!(!hold::asking(&mut world.state, sequence));
}
