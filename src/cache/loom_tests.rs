//! Models of the cache between threads. [loom](https://docs.rs/loom) runs them in all
//! interleavings:
//!
//! ```text
//! RUSTFLAGS="--cfg tower_reauth_loom" cargo test --release --lib loom
//! ```
//!
//! The cache itself runs: slot, state, core, task, and the futures of its callers. `crate::sync`
//! replaces what the cache stands on:
//!
//! - The reference counts of leases are modelled with the memory orderings of the standard
//!   library's `Arc`. So is the atomic number in a lease.
//! - `arc-swap`, the mutex, the cell that is set once and the oneshot channel are models of their
//!   contracts. The model of `arc-swap` says that a store takes effect at one moment, and that a
//!   loaded value lives on.
//! - A task is a thread. Shutting a runtime down and aborting a task are not modelled.
//! - Time stands still, so no timeout ends a wait. A waiter that nobody wakes is a deadlock, which
//!   fails the model.
//! - Tokio's `Notify` and the `Shared` of `futures` are the real ones. Each of their operations is
//!   one step to loom.
//! - A thread loses the processor where it could have gone on at most [`PREEMPTIONS`] times, unless
//!   `LOOM_MAX_PREEMPTIONS` says otherwise.

use std::{
    future::poll_fn,
    sync::{
        Arc, LazyLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use loom::thread;
use tokio::{runtime::Runtime, time::advance};

use super::{
    super::{
        TokenCache, TokenFuture,
        broadcast::Broadcast,
        lease::Lease,
        state::{Drain, Flight, Requirement, Stage},
    },
    *,
};
use crate::{
    endpoint::{IssuedToken, Rotation, TokenEndpoint},
    error::Kind,
    sync::{self, Mutex, block_on},
    token::{Times, Windows, schedule::schedule},
};

/// Models of the slot alone.
#[path = "loom_slot_tests.rs"]
mod slot;

const PREEMPTIONS: usize = 3;

/// In seconds. With the default policy, renewed from 236 s on, and held back from 271 s on.
const LIFETIME: u64 = 300;

/// Runs a model with Tokio's clock standing still.
fn model(model: impl Fn() + Send + Sync + 'static) {
    // One model runs at a time, because they share the runtime. They need its clock and its name.
    static RUNTIME: LazyLock<std::sync::Mutex<Runtime>> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(advance(Duration::from_secs(2 * LIFETIME)));
        runtime.into()
    });
    let runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _context = runtime.enter();
    let runs = Arc::new(AtomicU64::new(0));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    println!("{} runs", runs.load(Relaxed));
}

fn token(sequence: u64, age: Duration) -> AccessToken {
    let lifetime = Duration::from_secs(LIFETIME);
    let schedule = schedule(lifetime, &Windows::default(), 0.5);
    let times = Times {
        sent: clock::Moment { at: clock::now() - age, slept: clock::slept() },
        lifetime,
        schedule,
    };
    AccessToken::new("Bearer", &format!("token-{sequence}"), sequence, times).unwrap()
}

fn fresh(sequence: u64) -> AccessToken {
    token(sequence, Duration::ZERO)
}

/// The other side: which tokens are alive, and which are in use.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Ledger>>);

#[derive(Default)]
struct Ledger {
    requests: u64,
    /// Tokens up to this one are dead.
    dead: u64,
    in_use: u64,
}

impl Server {
    /// A request that is signed with the lease, from its start to its end.
    fn serve(&self, lease: sync::Arc<Lease>) {
        let mut ledger = self.0.lock().unwrap();
        assert!(lease.token.sequence() > ledger.dead, "a request was signed with a dead token");
        ledger.in_use += 1;
        drop(ledger);
        self.0.lock().unwrap().in_use -= 1;
        drop(lease);
    }

    /// Kills all tokens up to this one.
    fn kill(&self, sequence: u64) {
        let mut ledger = self.0.lock().unwrap();
        assert_eq!(ledger.in_use, 0, "a token died under a request");
        ledger.dead = sequence;
    }

    fn requests(&self) -> u64 {
        self.0.lock().unwrap().requests
    }
}

/// Each request for a token kills the one before.
struct Endpoint {
    server: Server,
    /// The number of the token before the first that it issues.
    last: u64,
    fails: bool,
}

impl TokenEndpoint for Endpoint {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let requests = {
            let mut ledger = self.server.0.lock().unwrap();
            ledger.requests += 1;
            ledger.requests
        };
        if self.fails {
            return Err(refused());
        }
        self.server.kill(self.last + requests - 1);
        Ok(IssuedToken::new("x").expires_in(Duration::from_secs(LIFETIME)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

fn refused() -> AuthError {
    AuthError::new(Kind::Rejected, "no token was issued, and none died")
}

/// A cache without a token.
fn empty(server: &Server, fails: bool) -> TokenCache {
    TokenCache::new(Endpoint { server: server.clone(), last: 0, fails })
}

/// A cache with this token, its first.
fn with(server: &Server, token: AccessToken) -> TokenCache {
    let cache = TokenCache::new(Endpoint { server: server.clone(), last: 1, fails: false });
    let core = cache.handle().core();
    core.lock().state.last_sequence = 1;
    complete(core, 1, Ok(token));
    cache
}

fn complete(core: &Core, sequence: u64, result: Result<AccessToken, AuthError>) {
    let arrival = Arrival::default();
    core.complete(
        sequence,
        &Completion { result, fate: Fate::NotIssued, panicked: false, arrival },
    );
}

/// Enters a flight that nobody drives: the model takes its steps itself.
fn enter(core: &Core, sequence: u64) {
    let overdue = clock::now() + Duration::from_secs(LIFETIME);
    let mut locked = core.lock();
    locked.state.last_sequence = sequence;
    locked.state.flight = Some(Flight {
        sequence,
        stage: Stage::Serving,
        drain: Drain::Open,
        overdue,
        hold_timed_out: false,
        suspects: false,
    });
}

fn newer_than(cache: &TokenCache, old: AccessToken) -> TokenFuture {
    cache.requiring(Requirement::NewerThan(old))
}

/// Another thread that makes this request, if there is a token for it.
fn reader(cache: &TokenCache, server: &Server) -> thread::JoinHandle<()> {
    let (cache, server) = (cache.clone(), server.clone());
    thread::spawn(move || {
        if let Some(lease) = cache.handle().lease() {
            server.serve(lease);
        }
    })
}

#[test]
fn a_moment_is_idle_only_if_no_lease_is_out_and_none_can_be_had() {
    model(|| {
        let server = Server::default();
        let cache = with(&server, fresh(1));
        enter(cache.handle().core(), 2);
        let readers = [reader(&cache, &server), reader(&cache, &server)];
        if cache.handle().core().hold_if_idle(2) {
            server.kill(1);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_drain_waits_for_the_leases_from_before_a_renewal_that_failed() {
    model(|| {
        let server = Server::default();
        let cache = with(&server, fresh(1));
        let core = cache.handle().core();
        let readers = [reader(&cache, &server), reader(&cache, &server)];
        enter(core, 2);
        // Its drain has timed out, so it was not waited for.
        assert!(core.hold(2).is_some());
        complete(core, 2, Err(refused()));
        enter(core, 3);
        for gone in core.hold(3).unwrap() {
            let _ = block_on(gone);
        }
        server.kill(1);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_moment_is_idle_only_if_no_lease_is_out_from_before_a_renewal_that_failed() {
    model(|| {
        let server = Server::default();
        let cache = with(&server, fresh(1));
        let core = cache.handle().core();
        let readers = [reader(&cache, &server), reader(&cache, &server)];
        enter(core, 2);
        assert!(core.hold(2).is_some());
        complete(core, 2, Err(refused()));
        enter(core, 3);
        if core.hold_if_idle(3) {
            server.kill(1);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn while_a_newer_token_lands_a_reader_gets_the_one_or_the_other_and_never_none() {
    model(|| {
        let cache = with(&Server::default(), fresh(1));
        let readers = [(); 2].map(|()| {
            let cache = cache.clone();
            thread::spawn(move || {
                // From the slot, not from the state behind it.
                let read = || {
                    cache
                        .handle()
                        .core()
                        .slot
                        .lease()
                        .expect("a token is being served")
                        .token
                        .sequence()
                };
                let (first, second) = (read(), read());
                assert!(1 <= first && first <= second && second <= 2, "{first} {second}");
            })
        });
        enter(cache.handle().core(), 2);
        complete(cache.handle().core(), 2, Ok(fresh(2)));
        assert_eq!(cache.current().unwrap().sequence(), 2);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn callers_without_a_token_start_one_flight_and_all_get_what_it_brings() {
    model(|| {
        let server = Server::default();
        let cache = empty(&server, false);
        let other = cache.clone();
        let other = thread::spawn(move || block_on(other.token()).unwrap().sequence());
        assert_eq!(block_on(cache.token()).unwrap().sequence(), 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(server.requests(), 1);
    });
}

#[test]
fn a_waiter_that_comes_while_the_value_is_set_gets_it() {
    model(|| {
        let broadcast = Broadcast::new();
        let mut listener = broadcast.listen(false);
        let waiter = thread::spawn(move || {
            block_on(poll_fn(|cx| listener.poll(cx).map(Option::<&u8>::copied)))
        });
        broadcast.end(1);
        assert_eq!(waiter.join().unwrap(), Some(1));
    });
}

#[test]
fn callers_without_a_token_share_the_error_of_one_flight_and_so_do_those_that_come_after_it() {
    model(|| {
        let server = Server::default();
        let cache = empty(&server, true);
        let other = cache.clone();
        let other = thread::spawn(move || block_on(other.token()).unwrap_err().to_string());
        assert_eq!(block_on(cache.token()).unwrap_err().to_string(), refused().to_string());
        assert_eq!(other.join().unwrap(), refused().to_string());
        assert_eq!(server.requests(), 1);
    });
}

#[test]
fn a_forced_renewal_kills_the_token_under_no_request() {
    model(|| {
        let server = Server::default();
        let cache = with(&server, fresh(1));
        let reader = reader(&cache, &server);
        assert_eq!(block_on(cache.refresh()).unwrap().sequence(), 2);
        assert_eq!(server.requests(), 1);
        reader.join().unwrap();
    });
}

#[test]
fn a_renewal_that_is_due_kills_the_token_under_no_request() {
    model(|| {
        let server = Server::default();
        let old = token(1, Duration::from_secs(250));
        let cache = with(&server, old.clone());
        let reader = reader(&cache, &server);
        if let Some(lease) = cache.handle().lease() {
            server.serve(lease);
        }
        // Now somebody waits for it, and it is no longer put off to a idle moment.
        assert_eq!(block_on(newer_than(&cache, old)).unwrap().sequence(), 2);
        assert_eq!(server.requests(), 1);
        reader.join().unwrap();
    });
}
