//! [`Doubts`]: decides whether a 401 speaks against the token or against the resource that sent it.
//! Pure.
//!
//! At an exclusive endpoint a renewal kills the token that everybody uses, so a renewal for a
//! resource that refuses every token hurts the callers of all others. The rules come from a
//! simulation. They are tried in this order:
//!
//! 1. A route that refused the successor of a token that it had refused is remembered, for 30
//!    seconds at first and 10 minutes at last. Its 401s are its callers', at once.
//! 2. A token that is younger than the policy's `propagation_delay` may not be known everywhere.
//!    The request is sent again with it, up to five times.
//! 3. A route that has asked for this token's renewal, or for that of an earlier token, and refuses
//!    the newer one too is remembered from now on.
//! 4. A request that was sent with two tokens asks for no third.
//! 5. The first refused request of a route is the probe: it is sent again with the same token. The
//!    others of its route wait for what it finds. If it is accepted, all of them are sent again.
//!    If it is refused, or another route refuses the token meanwhile, the token is renewed.
//!
//! An acceptance by another route acquits nobody. It may come from a cache, a public resource or
//! from before the token died.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    clock,
    endpoint::Rotation,
    route::{self, Route},
};

/// The number of routes that are remembered, and of those that have asked for a renewal.
const ROUTES: usize = 64;

/// How long a route is remembered when it first refuses a successor.
const FIRST_PERIOD: Duration = Duration::from_secs(30);

/// The factor from one period of a route to the next.
const GROWTH: u32 = 4;

const LAST_PERIOD: Duration = Duration::from_secs(600);

/// How long requests wait for the probe of their route.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pauses before a request is sent again with a token that is young.
const YOUNG: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How long a route is kept that is not heard of. While any is kept, the route of each response
/// that accepts a token is looked at.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// How long the routes of requests that are not kept are noted after a refusal of an unknown route.
const TRACED: Duration = Duration::from_secs(3600);

/// How often a route is probed in one doubt if the token has survived a doubt before.
const PROBES: u8 = 3;

/// The unit of the pauses between the probes of a doubt: two of it before the second, three before
/// the third.
const BETWEEN_PROBES: Duration = Duration::from_millis(50);

/// The memory of the routes, and the doubt in progress.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// The routes that refuse every token.
    remembered: Vec<Remembered>,
    /// The routes that asked for the renewal of a token, and that token.
    suspected: Vec<Suspected>,
    open: Option<Doubt>,
    last_id: u64,
    /// The route whose acceptance of the current token came first.
    reference: Option<Route>,
    /// How many doubts the current token has survived.
    survived: u32,
    /// The end of the time in which requests that are not kept note their routes. It starts when
    /// one of unknown route is refused.
    traced_until: Option<Instant>,
    /// The current token was refused, and not renewed for that. It is not probed until a resource
    /// accepts it.
    condemned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    route: Route,
    /// The newest token that the route refused.
    sequence: u64,
    until: Instant,
    period: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Suspected {
    route: Route,
    sequence: u64,
    since: Instant,
}

/// A doubt in progress.
#[derive(Debug)]
pub(crate) struct Doubt {
    id: u64,
    started: Instant,
    /// The route that is probed.
    route: Route,
}

/// A refusal of the current token, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) route: Option<Route>,
    pub(crate) sequence: u64,
    /// How long the token has been in use.
    pub(crate) age: Duration,
    /// A resource has accepted the token.
    pub(crate) accepted: bool,
    pub(crate) sends: Sends,
    /// The request can be sent again.
    pub(crate) resendable: bool,
}

/// The sends of one request, as far as the rules ask for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sends {
    /// With how many tokens after the first one.
    pub(crate) replays: u8,
    /// How often with a token that was young.
    pub(crate) pauses: u8,
    /// How often as a probe.
    pub(crate) probes: u8,
    /// It was sent again with the token that had refused it, because of a doubt.
    pub(crate) again: bool,
    /// The doubt whose probe it is.
    pub(crate) probe: Option<u64>,
    /// The end of its patience with probes, once it has waited for one.
    pub(crate) patience: Option<Instant>,
}

/// The circumstances of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) propagation_delay: Duration,
    /// The last renewals in a row were made for refusals of tokens that had just been issued:
    /// somebody else asks for tokens too.
    pub(crate) duel: bool,
    pub(crate) rotation: Rotation,
    /// New requests are held, and the request for the next token has not been sent.
    pub(crate) draining: bool,
    /// Other requests are in flight with the token.
    pub(crate) others: bool,
}

/// The consequence of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The 401 is its caller's.
    Return,
    /// The request is sent again with the same token after this pause.
    Pause(Duration),
    /// The request is sent again with the same token after this pause, as the probe of this doubt.
    Probe { id: u64, after: Duration },
    /// The request waits for the probe of this doubt, until then at most.
    Wait { id: u64, until: Instant },
    /// The request waits for the newer token that is about to be asked for. `is_dead` says that the
    /// token is refused where it was accepted first, so nothing is left to protect.
    Drained { is_dead: bool },
    /// The token is to be renewed.
    Renew,
}

impl Doubts {
    /// Decides what follows from the refusal of the current token.
    pub(crate) fn refused(
        &mut self,
        refused: &Refused,
        circumstances: &Circumstances,
        now: Instant,
    ) -> Decision {
        let Refused { route, sequence, age, accepted, sends, resendable } = *refused;
        if route.is_none() {
            self.traced_until = Some(clock::later(now, TRACED));
        }
        if route.is_some_and(|route| self.is_remembered(route, sequence, now)) {
            return Decision::Return;
        }
        let is_young = age < circumstances.propagation_delay || sends.pauses > 0;
        if is_young && !circumstances.duel && !circumstances.propagation_delay.is_zero() {
            if !resendable {
                return Decision::Return;
            }
            if let Some(pause) = YOUNG.get(usize::from(sends.pauses)) {
                return Decision::Pause(*pause);
            }
        }
        if let Some(route) = route
            && self.has_refused_before(route, sequence, sends)
        {
            self.remember(route, sequence, now);
            return Decision::Return;
        }
        if sends.replays > 0 {
            return Decision::Return;
        }
        if circumstances.draining {
            self.suspect(route.filter(|_| accepted), sequence, now);
            let is_dead = route.is_some() && route == self.reference;
            return Decision::Drained { is_dead };
        }
        self.doubt(refused, circumstances, now)
    }

    /// Decides what a refusal means for the doubt in progress, or opens one.
    fn doubt(
        &mut self,
        refused: &Refused,
        circumstances: &Circumstances,
        now: Instant,
    ) -> Decision {
        let Refused { route, accepted, sends, resendable, .. } = *refused;
        // Nobody has waited for a probe that takes so long.
        self.open.take_if(|open| now >= clock::later(open.started, PATIENCE));
        if let Some(open) = &self.open {
            if route != Some(open.route) {
                return Decision::Renew;
            }
            if sends.probe != Some(open.id) {
                let until = sends.patience.unwrap_or(clock::later(open.started, PATIENCE));
                let is_over = now >= until;
                return if is_over {
                    Decision::Renew
                } else {
                    Decision::Wait { id: open.id, until }
                };
            }
            if sends.probes < PROBES && self.survived > 0 {
                let after = BETWEEN_PROBES * u32::from(sends.probes + 1);
                return Decision::Probe { id: open.id, after };
            }
            return Decision::Renew;
        }
        if sends.again && circumstances.others {
            return Decision::Return;
        }
        // A renewal at an overlapping endpoint hurts nobody.
        let is_worth_it = circumstances.rotation == Rotation::Exclusive && accepted;
        let can_probe = is_worth_it && !self.condemned && resendable && !sends.again;
        let Some(route) = route.filter(|_| can_probe) else { return Decision::Renew };
        self.last_id += 1;
        self.open = Some(Doubt { id: self.last_id, started: now, route });
        Decision::Probe { id: self.last_id, after: Duration::ZERO }
    }

    /// Ends the doubt in progress.
    pub(crate) fn end(&mut self) -> Option<Doubt> {
        self.open.take()
    }

    /// Ends the doubt if it is this one: its probe was accepted, or its probe is gone.
    pub(crate) fn end_if(&mut self, id: u64) -> Option<Doubt> {
        self.open.take_if(|open| open.id == id)
    }

    /// Notes that a doubt was for nothing.
    pub(crate) fn clear(&mut self) {
        self.survived = self.survived.saturating_add(1);
    }

    /// Notes that the token `sequence` is renewed for refusals by these routes.
    pub(crate) fn renewing(
        &mut self,
        doubt: Option<&Doubt>,
        route: Option<Route>,
        sequence: u64,
        now: Instant,
    ) {
        self.suspect(doubt.map(|doubt| doubt.route), sequence, now);
        self.suspect(route, sequence, now);
    }

    /// Notes that a token that was refused is not renewed.
    pub(crate) fn condemn(&mut self) {
        self.condemned = true;
    }

    /// Starts over for a new token.
    pub(crate) fn adopted(&mut self, now: Instant) {
        (self.reference, self.survived, self.condemned) = (None, 0, false);
        self.remembered.retain(|it| now < clock::later(it.until, FORGOTTEN));
        self.suspected.retain(|it| now < clock::later(it.since, FORGOTTEN));
    }

    /// Takes in that a route has accepted the current token.
    pub(crate) fn accepted(&mut self, route: Option<Route>) {
        self.condemned = false;
        let Some(route) = route else { return };
        self.reference.get_or_insert(route);
        self.remembered.retain(|it| it.route != route);
        self.suspected.retain(|it| it.route != route);
    }

    /// Returns the [bits](Route::bit) of the routes whose acceptances matter, all of them if every
    /// acceptance does. [`TRACED`](route::TRACED) is set if the routes of refusals do.
    pub(crate) fn watched(&self, now: Instant) -> u64 {
        if self.condemned {
            return route::EVERY_ROUTE | route::TRACED;
        }
        let is_traced = self.traced_until.is_some_and(|until| now < until);
        let trace = if is_traced { route::TRACED } else { 0 };
        let remembered = self.remembered.iter().map(|it| it.route);
        let suspected = self.suspected.iter().map(|it| it.route);
        remembered.chain(suspected).fold(trace, |bits, route| bits | route.bit())
    }

    /// Returns whether `route` is known to refuse every token. A token that it has not refused yet
    /// prolongs the memory.
    fn is_remembered(&mut self, route: Route, sequence: u64, now: Instant) -> bool {
        let Some(it) = self.remembered.iter_mut().find(|it| it.route == route) else {
            return false;
        };
        if it.sequence != sequence {
            it.grow(sequence, now);
            return true;
        }
        now < it.until
    }

    /// Returns whether `route` asked for the renewal that has brought this token, and so refuses
    /// the successor too.
    fn has_refused_before(&mut self, route: Route, sequence: u64, sends: Sends) -> bool {
        let before = self.suspected.len();
        let refused =
            |it: &Suspected| it.route == route && (it.sequence != sequence || sends.replays > 0);
        self.suspected.retain(|it| !refused(it));
        self.suspected.len() < before
    }

    fn remember(&mut self, route: Route, sequence: u64, now: Instant) {
        if let Some(it) = self.remembered.iter_mut().find(|it| it.route == route) {
            it.grow(sequence, now);
            return;
        }
        if self.remembered.len() >= ROUTES {
            let oldest = self.remembered.iter().enumerate().min_by_key(|(_, it)| it.until);
            if let Some((index, _)) = oldest {
                self.remembered.swap_remove(index);
            }
        }
        let (period, until) = (FIRST_PERIOD, clock::later(now, FIRST_PERIOD));
        self.remembered.push(Remembered { route, sequence, until, period });
    }

    fn suspect(&mut self, route: Option<Route>, sequence: u64, now: Instant) {
        let Some(route) = route else { return };
        self.suspected.retain(|it| it.route != route);
        if self.suspected.len() >= ROUTES {
            let oldest = self.suspected.iter().enumerate().min_by_key(|(_, it)| it.since);
            if let Some((index, _)) = oldest {
                self.suspected.swap_remove(index);
            }
        }
        self.suspected.push(Suspected { route, sequence, since: now });
    }
}

impl Remembered {
    fn grow(&mut self, sequence: u64, now: Instant) {
        self.period = (self.period * GROWTH).min(LAST_PERIOD);
        (self.sequence, self.until) = (sequence, clock::later(now, self.period));
    }
}

#[cfg(test)]
#[path = "doubt_tests.rs"]
mod tests;
