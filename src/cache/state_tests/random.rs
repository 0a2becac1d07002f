//! Drives the state at random.

use proptest::{collection::vec, prelude::*};

use super::*;

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
