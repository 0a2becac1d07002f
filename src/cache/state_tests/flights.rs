//! Tables of what flights, back-off and holds do.

use super::*;

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

#[test]
fn a_flight_that_was_called_off_or_given_up_may_not_ask_the_endpoint() {
    let mut world = World::with_token(Rotation::Exclusive, 10);
    assert_eq!(world.outcome(&Requirement::Fresh), "starts Forced");
    let sequence = world.state.last_sequence;
    assert!(hold::asking(&mut world.state, sequence));
    world.state.flight = None;
    assert!(!hold::asking(&mut world.state, sequence));
}
