//! What really is: which token is alive, what is on the wire; and what was seen to be wrong.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use http::StatusCode;
use tower_reauth::{BoxError, Counters, Error};

/// What the endpoint does to one request for a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    StatusBefore(u16),
    ResetBefore,
    HangBefore,
    /// 200 with the page of whatever stands in front of the endpoint.
    PageBefore,
    ResetAfter,
    StatusAfter(u16),
    EmptyAfter,
    GarbageAfter,
    HangAfter,
}

pub(crate) struct World {
    /// Faults of the network and the endpoint; without them, nobody may see anything of a renewal.
    pub(crate) stormy: bool,
    /// How wrong the servers' clocks are, in seconds.
    pub(crate) skew: i64,
    lifetime: u64,
    /// While it storms, one in so many requests for a token meets a fault; with 1, all of them.
    one_in: u32,
    /// The fault is that it refuses the credentials.
    refuses: bool,
    /// A route refuses every token.
    pub(crate) forbids: bool,
    /// The credentials come late, by up to so many milliseconds.
    late: u64,
    /// The resource thinks for up to so many milliseconds before it checks a token.
    thinks: u64,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    calm: bool,
    /// When each token ends, by its number from 0, on the simulation's clock.
    ends: Vec<Duration>,
    /// The one that is alive.
    alive: Option<usize>,
    /// The newest that the client has received.
    received: Option<usize>,
    requests_on_the_wire: usize,
    /// When the request for a token that is on the wire was sent.
    asked: Duration,
    /// When the credentials for it were asked for, which is when a hold begins.
    source_asked: Option<Duration>,
    /// When a request for a token ended without one. The token in use may be dead since then.
    lost: Option<Duration>,
    /// When a resource has accepted the token after that.
    accepted: Option<Duration>,
    posts: u64,
    /// Refreshes that a caller has asked for.
    forced: u64,
    unauthorized: u64,
    wrong: Vec<String>,
}

pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl World {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let stormy = rng.u32(0..5) != 0;
        let skew = [0, 0, 3600, -3600, 7 * 86400][rng.usize(0..5)];
        let state = State {
            rng: rng.fork(),
            calm: !stormy,
            ends: Vec::new(),
            alive: None,
            received: None,
            requests_on_the_wire: 0,
            asked: Duration::ZERO,
            source_asked: None,
            lost: None,
            accepted: None,
            posts: 0,
            forced: 0,
            unauthorized: 0,
            wrong: Vec::new(),
        };
        let one_in = [3, 3, 3, 1][rng.usize(0..4)];
        let refuses = one_in == 1 && rng.bool();
        let lifetime = rng.u64(6..30);
        let late = [0, 0, 200, 3000][rng.usize(0..4)];
        Self {
            stormy,
            skew,
            lifetime,
            one_in,
            refuses,
            forbids: rng.u32(0..3) == 0,
            // In fine weather nobody may see anything of it, so it is less than a hold.
            late: if stormy { late } else { late.min(200) },
            // Less than a drain, which is short for a token that is.
            thinks: if lifetime > 20 { 500 } else { 0 },
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn calm_down(&self) {
        self.lock().calm = true;
    }

    // ---- The servers' side.

    /// A fault, and how long the endpoint thinks before it answers.
    pub(crate) fn draw_fault(&self) -> (Fault, Duration) {
        let mut state = self.lock();
        let thinks = Duration::from_millis(state.rng.u64(0..40));
        if state.calm || state.rng.u32(0..self.one_in) != 0 {
            return (Fault::None, thinks);
        }
        if self.refuses {
            return (Fault::StatusBefore(401), thinks);
        }
        let status = [400, 401, 409, 429, 500, 502, 503, 504][state.rng.usize(0..8)];
        let fault = match state.rng.u32(0..10) {
            0 | 1 => Fault::StatusBefore(status),
            2 => Fault::ResetBefore,
            3 => Fault::ResetAfter,
            4 => Fault::StatusAfter([500, 502, 504][state.rng.usize(0..3)]),
            5 => Fault::EmptyAfter,
            6 => Fault::GarbageAfter,
            7 => Fault::HangBefore,
            8 => Fault::PageBefore,
            _ => Fault::HangAfter,
        };
        (fault, thinks)
    }

    /// Issues a token, which kills the one before it. Its number, and when it ends on the servers'
    /// clock.
    pub(crate) fn issue(&self) -> (usize, std::time::SystemTime) {
        let mut state = self.lock();
        // Whole seconds, as dates have them.
        let end = Duration::from_secs(now().as_secs() + self.lifetime);
        state.ends.push(end);
        let number = state.ends.len() - 1;
        state.alive = Some(number);
        (number, super::wall(self.skew) + end.saturating_sub(now()))
    }

    /// How long the resource thinks before it checks a token.
    pub(crate) fn draw_check(&self) -> Duration {
        let thinks = self.thinks;
        Duration::from_millis(if thinks == 0 { 0 } else { self.lock().rng.u64(0..thinks) })
    }

    /// Whether the resource accepts this token now.
    pub(crate) fn accepts(&self, token: Option<usize>) -> bool {
        let state = self.lock();
        token.is_some_and(|token| state.alive == Some(token) && now() < state.ends[token])
    }

    // ---- The client's side of the wire.

    pub(crate) fn asks_for_a_token(&self) -> OnTheWire<'_> {
        let mut state = self.lock();
        state.posts += 1;
        state.requests_on_the_wire += 1;
        state.asked = now();
        let received = state.received;
        if state.requests_on_the_wire > 1 {
            state.wrong.push(format!("{:?}: two requests for a token on the wire", now()));
        }
        OnTheWire { world: self, received }
    }

    /// Takes in that the credentials are asked for. Returns how long they take.
    pub(crate) fn asks_for_credentials(&self) -> Duration {
        let mut state = self.lock();
        state.source_asked.get_or_insert_with(now);
        let late = if state.calm { self.late.min(200) } else { self.late };
        Duration::from_millis(if late == 0 { 0 } else { state.rng.u64(0..late) })
    }

    /// A 401 has reached the client. One for a request whose caller has gone reaches nobody: what
    /// was sent may arrive when the token has been replaced, since nobody waits for it.
    pub(crate) fn is_refused(&self) {
        self.lock().unauthorized += 1;
    }

    /// A request that was sent then has been accepted.
    pub(crate) fn is_accepted(&self, sent: Duration) {
        let mut state = self.lock();
        if state.lost.is_some_and(|lost| sent > lost) {
            state.accepted.get_or_insert_with(now);
        }
    }

    pub(crate) fn forces(&self) {
        self.lock().forced += 1;
    }

    pub(crate) fn receives(&self, token: usize) {
        let mut state = self.lock();
        state.received = Some(token);
        state.lost = None;
    }

    /// What must hold whenever a request to a resource leaves the client.
    pub(crate) fn sends(&self, token: Option<usize>) {
        let mut state = self.lock();
        let wrong = match token {
            None => "unsigned".into(),
            Some(token) if now() >= state.ends[token] => {
                format!("token {token}, which ended at {:?}", state.ends[token])
            }
            Some(token) if state.received != Some(token) => {
                format!("token {token}, though {:?} was received", state.received)
            }
            Some(token) if state.requests_on_the_wire > 0 && state.holds() => {
                format!("token {token}, while its successor was being asked for")
            }
            Some(_) => return,
        };
        state.wrong.push(format!("{:?}: a request was sent with {wrong}", now()));
    }

    pub(crate) fn answered(&self, answer: &Result<StatusCode, Error>) {
        let fine = matches!(answer, Ok(StatusCode::OK));
        if !self.stormy && !fine {
            self.lock().wrong.push(format!("{:?}: {answer:?} in fine weather", now()));
        }
    }

    pub(crate) fn answered_by_the_mean_one(&self, answer: &Result<StatusCode, Error>) {
        if !self.stormy && !matches!(answer, Ok(StatusCode::UNAUTHORIZED)) {
            let wrong = format!("{:?}: {answer:?} where every token is refused", now());
            self.lock().wrong.push(wrong);
        }
    }

    pub(crate) fn check_posts(&self, counters: &Counters) {
        let mut state = self.lock();
        let (posts, unauthorized, seconds) = (state.posts, state.unauthorized, now().as_secs());
        // An attempt whose credentials come too late sends nothing.
        let lost = counters.token_requests.checked_sub(posts);
        if lost.is_none_or(|lost| lost > 0 && self.late == 0) {
            state.wrong.push(format!(
                "{posts} requests for tokens, and {} counted",
                counters.token_requests
            ));
        }
        // A renewal is due when 75 % of the usable lifetime have passed; a failing endpoint is
        // asked once a second at most.
        let bound =
            if self.stormy { 10 + seconds } else { 2 + seconds * 10 / (self.lifetime - 1) / 7 };
        // A route that refuses every token costs two or three, until it is remembered.
        let bound = bound + state.forced + if self.forbids { 3 } else { 0 };
        if posts > bound {
            state
                .wrong
                .push(format!("{posts} requests for tokens in {seconds} s, {bound} at most"));
        }
        if !self.stormy && unauthorized > 0 {
            state.wrong.push(format!("{unauthorized} requests were answered 401 in fine weather"));
        }
    }

    pub(crate) fn verdict(&self) -> Result<(), BoxError> {
        let state = self.lock();
        match state.wrong.first() {
            None if state.requests_on_the_wire > 0 => {
                Err("a request for a token is left on the wire".into())
            }
            None => Ok(()),
            Some(first) => Err(format!("{first} ({} in all)", state.wrong.len()).into()),
        }
    }
}

impl State {
    /// Whether requests have to be held back while a token is asked for: for a second at most, and
    /// not if the token in use may be dead already. A refresh that began with such a token holds
    /// nobody to its end.
    fn holds(&self) -> bool {
        let is_in_doubt =
            self.lost.is_some() && self.accepted.is_none_or(|accepted| now() < accepted + DOUBT);
        now() < self.source_asked.unwrap_or(self.asked) + HOLD && !is_in_doubt
    }
}

/// The bound of a hold, less a tick of the simulation.
const HOLD: Duration = Duration::from_millis(980);

/// The longest refresh: its drain and its attempts.
const DOUBT: Duration = Duration::from_secs(8);

/// A request for a token, from its send to its answer or its end.
pub(crate) struct OnTheWire<'a> {
    world: &'a World,
    /// The newest token when it was sent.
    received: Option<usize>,
}

impl Drop for OnTheWire<'_> {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        state.requests_on_the_wire -= 1;
        state.source_asked = None;
        if state.received == self.received {
            (state.lost, state.accepted) = (Some(now()), None);
        }
    }
}
