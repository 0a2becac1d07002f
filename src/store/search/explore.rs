//! The search: all states in the order of their distance, and the way to the first that is broken.

use std::{
    fmt::Write as _,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};

use super::{
    event::Event,
    events::{Events, Steps},
    invariants::{check_event, check_state},
    state::State,
};

/// The result of a search that found no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) states: usize,
    /// The most requests that were sent on any way.
    pub(super) posts: u8,
}

/// All states that were met.
struct Search {
    states: Vec<State>,
    /// The state before, and the event between.
    reached: Vec<(u32, Option<Event>)>,
    /// The places of states by their hashes; open addressing.
    table: Vec<u32>,
    /// The states that the processes can count on to come next, of one state after another.
    nexts: Vec<u32>,
    /// The ends of each state's part of them.
    ends: Vec<u32>,
}

const FREE: u32 = u32::MAX;

/// Searches from `first`.
///
/// # Errors
///
/// Returns the invariant that does not hold, with the shortest way there.
pub(super) fn explore(first: State, steps: &Steps) -> Result<Found, String> {
    let mut search = Search {
        states: Vec::new(),
        reached: Vec::new(),
        table: vec![FREE; 1 << 10],
        ends: Vec::new(),
        nexts: Vec::new(),
    };
    search.insert(first.canonical(), 0, None);
    let mut events = Vec::new();
    let mut at = 0;
    while let Some(state) = search.states.get(at).copied() {
        let from = u32::try_from(at).expect("fewer than 2^32 states");
        check_state(&state, &first).map_err(|broken| search.way_to(broken, from))?;
        Events::collect(steps, state, &mut events);
        for (event, next) in events.drain(..) {
            let checked = check_event(&first, &state, event, &next);
            let place = search.insert(next.canonical(), from, Some(event));
            checked.map_err(|broken| search.way_to(&format!("{broken}; {event:?}"), from))?;
            if event.kind.is_certain() && place != from {
                search.nexts.push(place);
            }
        }
        search.ends.push(u32::try_from(search.nexts.len()).expect("fewer than 2^32 events"));
        at += 1;
    }
    if let Some(stuck) = search.stuck() {
        return Err(search.way_to("7: all processes reach the living token", stuck));
    }
    let posts = search.states.iter().map(|state| state.posts).max().unwrap_or_default();
    Ok(Found { states: search.states.len(), posts })
}

impl Search {
    /// Returns the place of a state, which it gets if it is new.
    fn insert(&mut self, state: State, from: u32, event: Option<Event>) -> u32 {
        if self.states.len() * 2 >= self.table.len() {
            self.table = vec![FREE; self.table.len() * 2];
            for place in 0..self.states.len() {
                let slot = self.slot(&self.states[place]);
                self.table[slot] = u32::try_from(place).expect("fewer than 2^32 states");
            }
        }
        let slot = self.slot(&state);
        if self.table[slot] == FREE {
            self.table[slot] = u32::try_from(self.states.len()).expect("fewer than 2^32 states");
            self.states.push(state);
            self.reached.push((from, event));
        }
        self.table[slot]
    }

    /// Returns the slot of a state, or the free one that it is to have.
    fn slot(&self, state: &State) -> usize {
        let mask = self.table.len() - 1;
        let hash = BuildHasherDefault::<Fast>::default().hash_one(state);
        let mut slot = usize::try_from(hash >> 20).unwrap_or_default() & mask;
        while self.table[slot] != FREE && self.states[self.table[slot] as usize] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Returns the first state from which no good one is in reach.
    fn stuck(&self) -> Option<u32> {
        let mut is_fine: Vec<bool> = self.states.iter().map(State::is_good).collect();
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            // Good states mostly come late.
            for place in (0..is_fine.len()).rev() {
                if is_fine[place] {
                    continue;
                }
                let start = place.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
                let nexts = &self.nexts[start..self.ends[place] as usize];
                is_fine[place] = nexts.iter().any(|next| is_fine[*next as usize]);
                has_changed |= is_fine[place];
            }
        }
        let stuck = is_fine.iter().position(|is_fine| !is_fine)?;
        u32::try_from(stuck).ok()
    }

    /// Returns the way to a state as text. Each state has names of its own for its processes, and
    /// an event has those of the state before it.
    fn way_to(&self, broken: &str, mut place: u32) -> String {
        let mut way = Vec::new();
        while let (from, Some(event)) = self.reached[place as usize] {
            way.push((event, self.states[place as usize]));
            place = from;
        }
        let mut text = format!("{broken}\n");
        for (event, state) in way.into_iter().rev() {
            let _ = writeln!(text, "{:?} {}\n    {state:?}", event.kind, event.at);
        }
        text
    }
}

/// A hash that is fast, and good enough for small numbers.
#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, number: isize) {
        // The number of an enum's variant.
        self.write_u8(number.to_le_bytes()[0]);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
