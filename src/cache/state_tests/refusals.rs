//! Tables of what refusals do, of tokens that are good, suspect or withheld.

use super::*;

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
