use super::*;

/// The rules at a moment that only the test advances, at an exclusive endpoint.
struct World {
    doubts: Doubts,
    now: Instant,
    /// The sequence number of the current token, and since when it is in use.
    token: (u64, Instant),
    circumstances: Circumstances,
}

const BAD: &str = "/forbidden";
const GOOD: &str = "/accounts/1";

fn at(path: &str) -> Route {
    Route::new("GET", "https", "api.example.com", path)
}

impl World {
    fn new() -> Self {
        let now = clock::now();
        let circumstances = Circumstances {
            propagation_delay: Duration::from_secs(2),
            duel: false,
            rotation: Rotation::Exclusive,
            draining: false,
            others: true,
        };
        let mut world = Self { doubts: Doubts::default(), now, token: (0, now), circumstances };
        world.renew();
        world
    }

    /// Brings a token that the good route accepts, and lets it age.
    fn renew(&mut self) {
        self.token = (self.token.0 + 1, self.now);
        self.doubts.adopted(self.now);
        self.doubts.accepted(Some(at(GOOD)));
        self.advance(10.0);
    }

    fn advance(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn refuse(&mut self, path: &str, sends: Sends) -> Decision {
        let refused = Refused {
            route: Some(at(path)),
            sequence: self.token.0,
            age: self.now - self.token.1,
            accepted: true,
            sends,
            resendable: true,
        };
        self.doubts.refused(&refused, &self.circumstances, self.now)
    }

    /// Has the token renewed for a refusal by this route, and refused again by it.
    fn refuse_successor(&mut self, path: &str) -> Decision {
        let probe = self.refuse(path, Sends::default());
        assert!(matches!(probe, Decision::Probe { .. }), "{probe:?}");
        let doubt = self.doubts.end();
        self.doubts.renewing(doubt.as_ref(), None, self.token.0, self.now);
        self.renew();
        self.refuse(path, Sends { replays: 1, ..Sends::default() })
    }
}

fn probe_of(decision: Decision) -> (u64, Sends) {
    let Decision::Probe { id, after } = decision else { panic!("{decision:?}") };
    assert_eq!(after, Duration::ZERO);
    (id, Sends { probes: 1, again: true, probe: Some(id), ..Sends::default() })
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_route_probes_and_the_others_wait() {
    let mut world = World::new();
    let (id, probe) = probe_of(world.refuse(BAD, Sends::default()));
    let until = world.now + PATIENCE;
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Wait { id, until });
    assert_eq!(world.refuse(BAD, probe), Decision::Renew);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_another_route_ends_the_doubt() {
    let mut world = World::new();
    probe_of(world.refuse(BAD, Sends::default()));
    assert_eq!(world.refuse(GOOD, Sends::default()), Decision::Renew);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_survived_a_doubt_is_probed_three_times() {
    let mut world = World::new();
    let (id, _) = probe_of(world.refuse(BAD, Sends::default()));
    assert!(world.doubts.end_if(id).is_some());
    world.doubts.clear();
    let (id, mut probe) = probe_of(world.refuse(BAD, Sends::default()));
    for pause in [100, 150] {
        let after = Duration::from_millis(pause);
        assert_eq!(world.refuse(BAD, probe), Decision::Probe { id, after });
        probe.probes += 1;
    }
    assert_eq!(world.refuse(BAD, probe), Decision::Renew);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_probed_is_renewed_or_returned() {
    let again = Sends { again: true, ..Sends::default() };
    let mut world = World::new();
    assert_eq!(world.refuse(BAD, again), Decision::Return, "its doubt is over");
    world.circumstances.others = false;
    assert_eq!(world.refuse(BAD, again), Decision::Renew, "and nobody is hurt");
    world.doubts.condemn();
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Renew);
    world.doubts.accepted(None);
    probe_of(world.refuse(BAD, Sends::default()));
    world.doubts.end();
    world.circumstances.rotation = Rotation::Overlapping;
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Renew);
}

#[tokio::test(start_paused = true)]
async fn a_young_token_is_tried_five_times_unless_there_is_a_duel() {
    let mut world = World::new();
    world.token.1 = world.now;
    let mut sends = Sends::default();
    for pause in [50, 150, 300, 500, 1000] {
        let pause = Duration::from_millis(pause);
        assert_eq!(world.refuse(BAD, sends), Decision::Pause(pause));
        sends.pauses += 1;
        world.advance(pause.as_secs_f64());
    }
    assert!(matches!(world.refuse(BAD, sends), Decision::Probe { .. }));
    world.doubts.end();
    world.token.1 = world.now;
    world.circumstances.duel = true;
    assert!(matches!(world.refuse(BAD, Sends::default()), Decision::Probe { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_route_is_remembered_for_longer_each_time_up_to_ten_minutes() {
    let mut world = World::new();
    assert_eq!(world.refuse_successor(BAD), Decision::Return);
    for period in [30, 120, 480, 600, 600] {
        let remembered = world.doubts.remembered[0];
        assert_eq!(remembered.period.as_secs(), period);
        assert_eq!(remembered.until - world.now, remembered.period);
        world.advance(3000.0);
        // A token that came by itself.
        world.renew();
        assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_is_probed_again_when_its_period_is_over() {
    let mut world = World::new();
    assert_eq!(world.refuse_successor(BAD), Decision::Return);
    world.advance(29.9);
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return);
    world.advance(0.2);
    probe_of(world.refuse(BAD, Sends::default()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_by_itself_prolongs_the_memory() {
    let mut world = World::new();
    assert_eq!(world.refuse_successor(BAD), Decision::Return);
    world.advance(3000.0);
    world.renew();
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return);
    world.advance(119.0);
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return);
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_by_the_route_alone_forgets_it() {
    let mut world = World::new();
    world.refuse_successor(BAD);
    assert_ne!(world.doubts.watched(world.now) & at(BAD).bit(), 0);
    world.doubts.accepted(Some(at(GOOD)));
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return);
    world.doubts.accepted(Some(at(BAD)));
    assert_eq!(world.doubts.watched(world.now), 0);
    probe_of(world.refuse(BAD, Sends::default()));
}

#[tokio::test(start_paused = true)]
async fn sixty_four_routes_are_remembered_and_the_oldest_goes() {
    let mut world = World::new();
    let path = |number: usize| format!("/{}", "x".repeat(number));
    for number in 1..=65 {
        world.doubts.remember(at(&path(number)), world.token.0, world.now);
        world.advance(0.1);
    }
    probe_of(world.refuse(&path(1), Sends::default()));
    assert_eq!(world.refuse(&path(2), Sends::default()), Decision::Return);
    assert_eq!(world.doubts.remembered.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn while_requests_are_drained_the_reference_says_that_the_token_is_dead() {
    let mut world = World::new();
    world.circumstances.draining = true;
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Drained { is_dead: false });
    assert_eq!(world.refuse(GOOD, Sends::default()), Decision::Drained { is_dead: true });
    world.circumstances.draining = false;
    world.renew();
    assert_eq!(world.refuse(BAD, Sends::default()), Decision::Return, "it was noted");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_route_has_the_others_traced_for_an_hour() {
    let mut world = World::new();
    assert_eq!(world.doubts.watched(world.now), 0);
    let refused = Refused {
        route: None,
        sequence: 1,
        age: Duration::from_secs(10),
        accepted: true,
        sends: Sends::default(),
        resendable: false,
    };
    let decision = world.doubts.refused(&refused, &world.circumstances, world.now);
    assert_eq!(decision, Decision::Renew);
    assert_eq!(world.doubts.watched(world.now), route::TRACED);
    world.advance(3601.0);
    assert_eq!(world.doubts.watched(world.now), 0);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_not_heard_of_is_forgotten() {
    let mut world = World::new();
    world.refuse_successor(BAD);
    world.advance(3590.0);
    world.renew();
    assert_ne!(world.doubts.watched(world.now), 0);
    world.advance(100.0);
    world.renew();
    assert_eq!(world.doubts.watched(world.now), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_too_long_holds_up_no_other_doubt() {
    let mut world = World::new();
    probe_of(world.refuse(BAD, Sends::default()));
    world.advance(2.0);
    probe_of(world.refuse("/other", Sends::default()));
}

#[tokio::test(start_paused = true)]
async fn a_request_has_the_patience_for_one_probe() {
    let mut world = World::new();
    let (id, _) = probe_of(world.refuse(BAD, Sends::default()));
    let until = world.now + PATIENCE;
    let sends = Sends { patience: Some(until), ..Sends::default() };
    world.advance(1.5);
    assert!(world.doubts.end_if(id).is_some());
    let (id, _) = probe_of(world.refuse(BAD, Sends::default()));
    assert_eq!(world.refuse(BAD, sends), Decision::Wait { id, until });
    world.advance(1.0);
    assert_eq!(world.refuse(BAD, sends), Decision::Renew);
}
