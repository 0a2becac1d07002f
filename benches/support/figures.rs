//! What the benches measure, as it goes from each of them to `results`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The work that each contender does on the hot path.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub request: String,
    pub token_length: usize,
    /// The requests are out of the first-level cache when they are signed.
    pub cold: bool,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, token of {} bytes", self.request, self.token_length)?;
        if self.cold { f.write_str(", requests that lie cold") } else { Ok(()) }
    }
}

/// One contender at one work on the hot path.
#[derive(Clone, Serialize, Deserialize)]
pub struct HotPath {
    pub name: String,
    pub work: Work,
    pub ns: f64,
    /// As a multiple of a static header.
    pub x2: f64,
    /// As a multiple of a static header with a clone kept.
    pub x3: f64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Contention {
    pub name: String,
    pub tasks: usize,
    pub ns_one_worker: f64,
    pub ns_two_workers: f64,
    pub speedup: f64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Burst {
    pub name: String,
    pub callers: usize,
    pub fetches: usize,
    pub ns_per_waiter: f64,
    /// The same in a process that has had earlier bursts, if it was measured.
    pub ns_per_waiter_lived: Option<f64>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Allocations {
    pub hot_path: Vec<CallAllocations>,
    pub burst: Vec<BurstHeap>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct CallAllocations {
    pub name: String,
    pub work: String,
    pub token_length: usize,
    pub allocations: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct BurstHeap {
    pub name: String,
    pub callers: usize,
    pub bytes_per_waiter: f64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct EndToEnd {
    pub name: String,
    pub protocol: String,
    pub requests_per_second: f64,
    /// Over those of the client alone.
    pub ratio: f64,
    /// Over those with a static header: what the header costs on the wire and in the server is not
    /// the layer's.
    pub to_static: f64,
}

/// One load through several renewals.
#[derive(Clone, Serialize, Deserialize)]
pub struct Renewal {
    pub name: String,
    pub requests: u64,
    pub renewals: u64,
    pub seen_401s: u64,
    pub wire_401s: u64,
    pub longest_hold_ms: Option<f64>,
    pub longest_post_ms: f64,
    pub p99_ms: f64,
    /// Requests and 401s that callers saw, in each of the buckets of time.
    pub over_time: Vec<(u64, u64)>,
    pub bucket_ms: u64,
}

/// A fleet on one kind of store, through several renewals and then with holders that are killed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Fleet {
    pub name: String,
    pub processes: usize,
    pub requests: usize,
    pub renewals: u64,
    /// Without that of the cold start.
    pub posts: u64,
    pub seen_401s: u64,
    /// Before the first holder is killed.
    pub wire_401s: u64,
    pub hold_p50_ms: f64,
    pub hold_p99_ms: f64,
    /// The grace and the longest request for a token.
    pub hold_floor_ms: f64,
    /// From the kill until all others have a new token: the median, and the longest.
    pub takeover_ms: f64,
    pub longest_takeover_ms: f64,
    pub cold_posts: u64,
    /// How many requests have no response, by the milliseconds since the holder asked for a token.
    pub waiting: Vec<(f64, f64)>,
}

/// What the package `benches/peers` leaves behind.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Peers {
    pub hot_path: Vec<PeerHotPath>,
    pub contention: Vec<PeerContention>,
    pub burst: Vec<PeerBurst>,
    pub failures: Vec<PeerFailures>,
    pub unreachable: Vec<Unreachable>,
}

#[derive(Deserialize)]
pub struct PeerHotPath {
    pub name: String,
    pub ns: f64,
    pub x2: f64,
    pub x3: f64,
    pub allocations: f64,
}

/// What can't be measured of a peer is `None`.
#[derive(Deserialize)]
pub struct PeerContention {
    pub name: String,
    pub speedup: Option<f64>,
}

#[derive(Deserialize)]
pub struct PeerBurst {
    pub name: String,
    pub fetches: Option<f64>,
    pub ns_per_waiter: Option<f64>,
    pub heap_per_waiter: Option<f64>,
}

#[derive(Deserialize)]
pub struct PeerFailures {
    pub name: String,
    pub leader_dropped_fetches: Option<f64>,
    pub leader_parked_served: Option<f64>,
    pub fetch_fails_fetches: Option<f64>,
    pub fetch_fails_ms: Option<f64>,
}

#[derive(Deserialize)]
pub struct Unreachable {
    pub name: String,
    pub why: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Instructions {
    pub name: String,
    pub count: f64,
    pub x2: f64,
    pub x3: f64,
}
