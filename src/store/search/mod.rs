//! An exhaustive search that shows that the steps keep their invariants.
//!
//! It runs the very functions of [`steps`](super::steps) between processes that do what the
//! protocol tells them. Each token of their endpoint kills the one before. The search tries every
//! order of wishes, 401s, steps, requests, and faults:
//!
//! - A process dies and starts again without a token, or loses its flight and lives on.
//! - A lease expires while its holder lives, also between its last check and its request.
//! - A request fails: before the endpoint sees it, without a sign, or after a token was issued. The
//!   holder tries again, or gives the lease back and leaves a back-off.
//! - The store loses its data, or a step takes effect and the process does not learn of that.
//! - A notice is late or lost, at any time and for each process. A request whose sender no longer
//!   waits is processed at any later time, or never.
//!
//! # Invariants
//!
//! 1. Fence and sequence of the value never decrease, and no process goes back to an older token.
//! 2. A lease ends by its owner, or by its age. Each has a fence of its own.
//! 3. One sequence is one token.
//! 4. A token is published under the newest fence alone.
//! 5. A request is sent by the holder of the lease alone, for a successor of the newest token. It
//!    is announced if it may kill a living token.
//! 6. Without faults there is one request for a wish, whatever the number of processes.
//! 7. From every state all processes can reach the living token, without another fault and without
//!    hearing of a change.
//!
//! A token that was killed by a request for its successor is not called alive. A lease ends the
//! back-off. Each fault makes at most two more requests, and a lost answer of the store makes none:
//! [`Faults::most_posts`](state::Faults::most_posts) is reached and never exceeded.
//!
//! # Bounds
//!
//! Two processes with every combination of up to three faults, and with up to two if a second token
//! comes to its time. Three processes with every combination of up to two faults. At the start all
//! processes have the token, all but one, or none. Together that is 14,738,316 states, which take
//! 20 seconds of a core and 0.1 GiB. `cargo test` stops after one fault and 62,115 states.
//!
//! ```text
//! STORE_SEARCH=large cargo test --release --lib store::search
//! ```
//!
//! Numbers are renamed in each state, because the steps only compare them, and so are processes.
//! A way through the states may therefore be of any length.
//!
//! A step and its compare-and-set are one event, because a step that finds another value is decided
//! again. Not in the search are different credentials, endpoints whose tokens overlap, and
//! processes that renew without the store.

mod event;
mod events;
mod explore;
mod invariants;
mod mutants;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};

use self::{
    events::STEPS,
    explore::explore,
    state::{Faults, Process, Shared, Stage, State},
};

/// How many states there are.
const LARGE: usize = 14_738_316;
const SMALL: usize = 62_115;

/// Returns the first state: processes with the token that lives, and others without any.
fn start(warm: usize, cold: usize, left: Faults) -> State {
    let mut state = State { left, ..State::default() };
    if warm > 0 {
        state.value = Shared { fence: 1, sequence: 1, token: 1, ..Shared::default() };
        state.wished = 1;
        state.living = 1;
        state.issued = 1;
    }
    for (place, process) in state.processes.iter_mut().enumerate().take(warm + cold) {
        *process = Process { stage: Stage::Idle, ..Process::default() };
        if place < warm {
            process.serves = 1;
            process.token = 1;
        }
    }
    state
}

/// Returns the first states of `processes` with each combination of `faults`: all have the token,
/// all but one, or none.
fn starts(processes: usize, faults: usize, renewals: u8) -> Vec<State> {
    let starts = |left: Faults| {
        let left = Faults { renewals, ..left };
        [0, 1, processes].map(|cold| start(processes - cold, cold, left))
    };
    Faults::combinations(faults).into_iter().flat_map(starts).collect()
}

/// Searches from each of the states, two at a time. Returns how many states were met.
fn search(starts: &[State]) -> usize {
    let (next, states) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(start) = starts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = explore(*start, &STEPS).unwrap_or_else(|way| panic!("{way}"));
            assert_eq!(found.posts, start.left.most_posts(), "{start:?}");
            states.fetch_add(found.states, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    states.into_inner()
}

#[test]
fn the_steps_keep_their_invariants() {
    let is_large = std::env::var("STORE_SEARCH").is_ok_and(|size| size == "large");
    let (two, renewing, three, expected) =
        if is_large { (3, 2, 2, LARGE) } else { (1, 0, 1, SMALL) };
    let mut all = Vec::new();
    all.extend((0..=two).flat_map(|faults| starts(2, faults, 0)));
    all.extend((0..=renewing).flat_map(|faults| starts(2, faults, 1)));
    all.extend((0..=three).flat_map(|faults| starts(3, faults, 0)));
    let states = search(&all);
    println!("{states} states from {} first ones", all.len());
    assert_eq!(states, expected, "and so it is to be written above");
}
