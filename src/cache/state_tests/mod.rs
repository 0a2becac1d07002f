//! Drives the state by tables and at random, without a lock, a runtime or a wait.

#![expect(unused_must_use, reason = "no core carries these effects out")]

use std::time::Duration;

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

mod flights;
mod random;
mod refusals;

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
