//! What really is: which token is alive, what each request for a token meets, and what callers got.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use tokio::{sync::mpsc, time::Instant};
use tower_reauth::store::{MemoryStore, Name, Swap, TokenStore};

use super::{figures::Figures, link::Link};

/// The name under which the processes share their token.
pub(super) fn name() -> Name {
    Name::new("payments").unwrap()
}

/// The revision of the first value, above every wall clock, so that a seed plays the same whenever
/// it is played.
const FIRST: u64 = 1 << 49;

/// A moment in the life of a renewal, as the process that renews comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// It has taken the lease.
    Leased,
    /// It is about to ask the endpoint.
    Asks,
    /// The endpoint has its request, and the token in use has died of it.
    Issued,
    /// It has the response.
    Answered,
    /// The others have the token.
    Published,
}

impl Point {
    pub(super) const ALL: [Self; 5] =
        [Self::Leased, Self::Asks, Self::Issued, Self::Answered, Self::Published];
}

/// What a request for a token meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Post {
    /// It takes so long. The token in use dies when it arrives, or `late`, just before the answer.
    Takes { time: Duration, late: bool },
    /// It fails, and nothing is issued.
    Fails,
    /// It is never answered. If a token is issued, it is lost.
    Lost { issues: bool },
    /// It arrives only when nobody waits for its answer any longer.
    Strays(Duration),
}

/// What callers got.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pub(super) answered: u64,
    /// 401s of requests that can be sent again.
    pub(super) seen: u64,
    /// 401s of the others.
    pub(super) seen_unrepeatable: u64,
    pub(super) errors: u64,
    /// How long those waited that waited at all.
    pub(super) delays: Vec<Duration>,
}

pub(super) struct World {
    pub(super) started: Instant,
    pub(super) figures: Figures,
    pub(super) lifetime: Duration,
    /// Events are printed.
    talks: bool,
    state: Mutex<State>,
    /// Tells that a process has stopped at the [`Trap`].
    stopped: mpsc::UnboundedSender<usize>,
}

pub(super) struct State {
    rng: Rng,
    /// All that has happened, and when.
    trace: DefaultHasher,
    /// `None` while the store is down.
    store: Option<MemoryStore>,
    /// When each token was issued, by number from 1.
    pub(super) issued: Vec<Instant>,
    /// When each request for a token was sent.
    pub(super) posts: Vec<Instant>,
    /// When each operation of the store began.
    pub(super) operations: Vec<Instant>,
    /// The notices that processes got.
    pub(super) notices: u64,
    /// What the next requests for tokens meet. The last one stays.
    pub(super) script: Vec<Post>,
    /// Requests for tokens meet a fault with this chance.
    pub(super) post_faults: f64,
    /// All faults that they meet are this one.
    pub(super) same_fault: Option<Post>,
    /// Resources refuse a token that is alive with this chance.
    pub(super) refuses: f64,
    /// Those refusals.
    pub(super) refusals: u64,
    /// The longest time for which a request with a good token may be held.
    pub(super) hold_bound: Duration,
    /// When the last fault ends that no healing ends.
    pub(super) fault_ends: Instant,
    /// Requests for tokens that met a fault.
    pub(super) faulty_posts: u64,
    pub(super) trap: Option<Trap>,
    /// The points that processes have come to, with their moments.
    pub(super) points: Vec<(Point, Instant)>,
    /// 401s that resources answered.
    pub(super) wire: u64,
    pub(super) calls: Calls,
    /// Nothing is wrong any longer, or never was.
    pub(super) calm: bool,
    /// Until then a renewal may cost 401s, because nobody is held for it: a fault has left the
    /// token suspect for all, and a fault is not over before the renewal of that.
    unannounced: Instant,
    /// 401s in the calm, apart from those.
    pub(super) unexpected: u64,
    pub(super) wrong: Vec<String>,
}

/// What happens to the process that comes to this point first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    pub(super) point: Point,
    /// It stands still for so long. Without a time it stops for good.
    pub(super) pause: Option<Duration>,
    /// How many of those that come to it later meet the same.
    pub(super) more: u32,
}

impl State {
    /// Returns whether nothing may go wrong now.
    pub(super) fn is_calm(&self) -> bool {
        self.calm && Instant::now() > self.unannounced
    }

    /// Counts a 401.
    pub(super) fn refused(&mut self) {
        self.wire += 1;
        self.unexpected += u64::from(self.is_calm());
    }
}

impl World {
    pub(super) async fn new(
        figures: Figures,
        lifetime: Duration,
        mut rng: Rng,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<usize>) {
        let (stopped, stops) = mpsc::unbounded_channel();
        let now = Instant::now();
        let state = State {
            rng: rng.fork(),
            trace: DefaultHasher::new(),
            store: Some(empty(FIRST).await),
            issued: Vec::new(),
            posts: Vec::new(),
            operations: Vec::new(),
            notices: 0,
            script: vec![Post::Takes { time: figures.post, late: false }],
            post_faults: 0.0,
            same_fault: None,
            refuses: 0.0,
            refusals: 0,
            hold_bound: HOLD_BOUND,
            fault_ends: now,
            faulty_posts: 0,
            trap: None,
            points: Vec::new(),
            wire: 0,
            calls: Calls::default(),
            calm: false,
            unannounced: now,
            unexpected: 0,
            wrong: Vec::new(),
        };
        let talks = std::env::var_os("FLEET_SEED").is_some();
        let state = Mutex::new(state);
        let world = Self { started: now, figures, lifetime, talks, state, stopped };
        (Arc::new(world), stops)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng, &Figures) -> T) -> T {
        let mut state = self.lock();
        self.started.elapsed().hash(&mut state.trace);
        draw(&mut state.rng, &self.figures)
    }

    /// Notes something that must not be.
    pub(super) fn wrong(&self, what: &str) {
        let wrong = format!("{:.3} s: {what}", self.started.elapsed().as_secs_f64());
        self.lock().wrong.push(wrong);
    }

    /// Takes in what happens, and prints it if one seed is played again.
    pub(super) fn tell(&self, what: &str) {
        let at = self.started.elapsed();
        (at, what).hash(&mut self.lock().trace);
        if self.talks {
            println!("{:9.3} s  {what}", at.as_secs_f64());
        }
    }

    /// Returns a number that two plays have in common in which the same has happened at the same
    /// moments.
    pub(super) fn trace(&self) -> u64 {
        self.lock().trace.finish()
    }

    // ---- The store.

    pub(super) fn store(&self) -> Option<MemoryStore> {
        self.lock().store.clone()
    }

    /// Stops the store. Returns what starts it again.
    pub(super) fn stop_store(&self) -> Option<MemoryStore> {
        self.lock().store.take()
    }

    pub(super) fn start_store(&self, store: MemoryStore) {
        self.lock().store = Some(store);
    }

    /// Returns a store that has lost its data. Its numbers are those of a wall clock.
    pub(super) async fn empty_store(&self) -> MemoryStore {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        empty(FIRST + passed).await
    }

    /// Takes in that a process has changed the shared value.
    pub(super) fn changed(&self, link: &Link, value: &[u8]) {
        let head = head(value);
        self.tell(&format!("{} writes {head}", link.process));
        if head["lease"]["hold"] == false && head["state"] == "suspect" {
            self.lock().unannounced = Instant::now() + Duration::from_secs(1);
        }
        self.comes_to(
            if head.get("lease").is_some() { Point::Leased } else { Point::Published },
            link,
        );
    }

    /// Springs the trap if it lies at this point.
    pub(super) fn comes_to(&self, point: Point, link: &Link) {
        let mut state = self.lock();
        state.points.push((point, Instant::now()));
        let Some(trap) = state.trap.take_if(|trap| trap.point == point) else { return };
        state.trap = trap.more.checked_sub(1).map(|more| Trap { more, ..trap });
        if let Some(pause) = trap.pause {
            state.fault_ends = state.fault_ends.max(Instant::now() + pause);
        }
        drop(state);
        self.tell(&format!("{} falls into {trap:?}", link.process));
        let mut weather = link.weather();
        if let Some(pause) = trap.pause {
            weather.paused = weather.paused.max(Instant::now() + pause);
        } else {
            weather.dead = true;
            let _ = self.stopped.send(link.process);
        }
    }

    // ---- Tokens.

    /// Returns the number of the token that was issued last; 0 if there is none.
    pub(super) fn newest(&self) -> usize {
        self.lock().issued.len()
    }

    pub(super) fn is_alive(&self, token: usize) -> bool {
        let state = self.lock();
        let is_newest = token > 0 && token == state.issued.len();
        is_newest && state.issued[token - 1].elapsed() < self.lifetime
    }

    /// Returns whether a token was alive at this moment, which has passed, and not about to expire.
    pub(super) fn was_good(&self, token: usize, at: Instant) -> bool {
        let state = self.lock();
        let usable = self.lifetime.mul_f64(0.95);
        let has_died = state.issued.get(token).is_some_and(|next| *next <= at);
        let issued = token.checked_sub(1).and_then(|index| state.issued.get(index));
        issued.is_some_and(|issued| *issued <= at && at - *issued < usable) && !has_died
    }

    /// Returns whether a resource accepts a token that is alive, which it may refuse without a
    /// reason.
    pub(super) fn accepts(&self) -> bool {
        let mut state = self.lock();
        let refuses = state.refuses > 0.0 && state.rng.f64() < state.refuses;
        state.refusals += u64::from(refuses);
        !refuses
    }

    /// Issues a token to somebody outside of the fleet.
    pub(super) fn issue_elsewhere(&self) {
        self.lock().faulty_posts += 1;
        let number = self.issue();
        self.tell(&format!("token-{number} is issued to somebody else"));
    }

    pub(super) fn issue(&self) -> usize {
        let mut state = self.lock();
        state.issued.push(Instant::now());
        state.issued.len()
    }

    /// Returns what the next request for a token meets.
    pub(super) fn next_post(&self) -> Post {
        let mut state = self.lock();
        let now = Instant::now();
        state.posts.push(now);
        let script = if state.script.len() > 1 { state.script.remove(0) } else { state.script[0] };
        if state.rng.f64() >= state.post_faults {
            return script;
        }
        state.faulty_posts += 1;
        let rng = &mut state.rng;
        let long = Duration::from_millis(rng.u64(100..4000));
        let kind = rng.u32(0..6);
        if let Some(post) = state.same_fault {
            state.fault_ends = state.fault_ends.max(now + ATTEMPT);
            return post;
        }
        let rng = &mut state.rng;
        let (post, ends) = match kind {
            0 | 1 => (Post::Takes { time: long, late: rng.bool() }, long),
            2 => (Post::Fails, Duration::ZERO),
            3 => (Post::Lost { issues: true }, ATTEMPT),
            4 => (Post::Lost { issues: false }, ATTEMPT),
            _ => (Post::Strays(ATTEMPT + long), ATTEMPT + long),
        };
        state.fault_ends = state.fault_ends.max(now + ends.max(ATTEMPT));
        post
    }
}

/// The grace, the bound of a hold, and the silence after which all requests follow the first one.
const HOLD_BOUND: Duration = Duration::from_millis(50 + 1000 + 100 + 50);

/// How long an attempt at a token may take where requests for tokens meet faults.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);

/// Returns the fields of a shared value.
pub(super) fn head(value: &[u8]) -> serde_json::Value {
    let head = value.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(head).unwrap()
}

/// Returns a store with an empty value of this revision.
async fn empty(revision: u64) -> MemoryStore {
    let store = MemoryStore::new();
    let week = Duration::from_secs(7 * 24 * 3600);
    let swap = store.compare_and_set(&name(), 0, revision, b"{\"v\":1}\n", week).await.unwrap();
    assert_eq!(swap, Swap::Done);
    store
}
