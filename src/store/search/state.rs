//! [`State`]: the shared value, the endpoint and the processes, as small as the search needs them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde_json::Map;

use crate::store::value::{Head, Lease, SharedCooldown, SharedGate, TokenState, Value};

/// The length of a lease, and of every back-off.
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// The owner of a lease that nobody knows of, because its process has died.
pub(super) const GONE: u8 = 9;

/// Bytes of tokens, by their identity.
static TOKENS: [u8; 32] = {
    let mut tokens = [0; 32];
    let mut id = 0;
    while id < 32 {
        tokens[id as usize] = id;
        id += 1;
    }
    tokens
};

/// A [`Value`] whose numbers are small.
#[expect(clippy::struct_excessive_bools, reason = "they are the fields of a value")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shared {
    pub(super) fence: u8,
    pub(super) sequence: u8,
    /// The identity of the token; 0 if there is none.
    pub(super) token: u8,
    /// The owner of the lease: 0 for none, else the process' place + 1, or [`GONE`].
    pub(super) owner: u8,
    pub(super) hold: bool,
    pub(super) over: bool,
    /// 0 alive, 1 suspect, 2 dead.
    pub(super) state: u8,
    pub(super) takeover: bool,
    pub(super) stray: bool,
    pub(super) gate: bool,
    pub(super) early: bool,
}

/// The state of the world.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) value: Shared,
    /// The value has been as it is for longer than a lease or a back-off lasts.
    pub(super) old: bool,
    /// The number of the token that has become due.
    pub(super) wished: u8,
    /// The token that the endpoint issued last, which is the only one that lives.
    pub(super) living: u8,
    /// The fence under which the living token was asked for.
    pub(super) issued: u8,
    /// The fences of requests that are on their way, and whose senders no longer wait. Sorted.
    pub(super) late: [u8; 3],
    pub(super) processes: [Process; 3],
    /// The requests that were sent.
    pub(super) posts: u8,
    pub(super) left: Faults,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) stage: Stage,
    /// The number of its newest token; 0 if it has none.
    pub(super) serves: u8,
    /// The identity of that token.
    pub(super) token: u8,
    /// That token was refused.
    pub(super) refused: bool,
    /// The floor of its wish.
    pub(super) floor: u8,
    pub(super) forced: bool,
    /// The fence of its lease.
    pub(super) fence: u8,
    /// Its lease was confirmed less than half a lease ago.
    pub(super) fresh: bool,
    /// The worst outcome of its requests: 0 not issued, 1 unknown, 2 issued.
    pub(super) fate: u8,
    pub(super) post: Post,
}

/// The position of a process in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// There is no such process.
    #[default]
    Absent,
    /// It serves, or has no token and no caller.
    Idle,
    /// It has made a wish, and not asked the store yet.
    Entering,
    /// It holds its callers, because another process has the lease.
    Waiting,
    /// It has the lease.
    Granted,
    /// It has checked the lease, and its request is about to be sent.
    Sending,
    /// It waits for the response.
    Out,
    /// It has a token.
    Publishing,
    /// Its request has failed.
    Leaving,
}

/// The request of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Post {
    #[default]
    None,
    OnItsWay,
    /// The endpoint has issued this token.
    Answered(u8),
}

/// How many faults may still occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    /// A process dies and is started again, without a token.
    pub(super) crashes: u8,
    /// A process loses its flight, and lives on.
    pub(super) drops: u8,
    /// A lease expires although its holder lives.
    pub(super) expiries: u8,
    /// A request fails.
    pub(super) failures: u8,
    /// The store forgets the value.
    pub(super) losses: u8,
    /// A step takes effect, and its process does not learn of that.
    pub(super) lost: u8,
    /// No fault: a later token than the first one comes to its time too.
    pub(super) renewals: u8,
}

impl Shared {
    pub(super) fn value(self) -> Value {
        let head = Head {
            fence: self.fence.into(),
            lease: (self.owner > 0).then(|| Lease {
                owner: self.owner.into(),
                hold: self.hold,
                takeover: self.over,
            }),
            sequence: self.sequence.into(),
            state: [TokenState::Alive, TokenState::Suspect, TokenState::Dead]
                [usize::from(self.state)],
            takeover: self.takeover,
            stray: self.stray,
            gate: self.gate.then(gate),
            cooldown: cooldown(self.early),
            others: Map::new(),
            ..Head::default()
        };
        Value { head, token: token(self.token) }
    }

    pub(super) fn of(value: &Value) -> Self {
        let number = |wide: u64| u8::try_from(wide).expect("numbers are small");
        let head = &value.head;
        let lease = head.lease;
        Self {
            fence: number(head.fence),
            sequence: number(head.sequence),
            token: value.token.first().copied().unwrap_or_default(),
            owner: lease.map_or(0, |lease| number(lease.owner)),
            hold: lease.is_some_and(|lease| lease.hold),
            over: lease.is_some_and(|lease| lease.takeover),
            state: match head.state {
                TokenState::Alive => 0,
                TokenState::Suspect => 1,
                TokenState::Dead => 2,
            },
            takeover: head.takeover,
            stray: head.stray,
            gate: head.gate.is_some(),
            early: head.cooldown.early > 0,
        }
    }
}

pub(super) fn token(id: u8) -> Bytes {
    if id == 0 { Bytes::new() } else { Bytes::from_static(&TOKENS[id.into()..=id.into()]) }
}

/// Returns a back-off that lasts as long as a lease.
pub(super) fn gate() -> SharedGate {
    SharedGate { kind: String::new(), status: None, pause_ms: 1000, credentials: None }
}

pub(super) fn cooldown(early: bool) -> SharedCooldown {
    SharedCooldown { early: early.into(), ..SharedCooldown::default() }
}

impl Faults {
    pub(super) const NONE: Self =
        Self { crashes: 0, drops: 0, expiries: 0, failures: 0, losses: 0, lost: 0, renewals: 0 };

    pub(super) fn are_none(self) -> bool {
        self == Self { renewals: self.renewals, ..Self::NONE }
    }

    /// Returns the most requests that these faults make of one.
    ///
    /// A fault makes two more at most: the one that takes the place of what was lost, and another
    /// after that, if the lost one is processed late and kills the token. An answer of the store
    /// that is lost makes none.
    pub(super) fn most_posts(self) -> u8 {
        let faults = self.crashes + self.drops + self.expiries + self.failures + self.losses;
        1 + self.renewals + 2 * faults
    }

    /// Returns all combinations of `count` faults.
    pub(super) fn combinations(count: usize) -> Vec<Self> {
        let kinds: [fn(&mut Self) -> &mut u8; 6] = [
            |faults| &mut faults.crashes,
            |faults| &mut faults.drops,
            |faults| &mut faults.expiries,
            |faults| &mut faults.failures,
            |faults| &mut faults.losses,
            |faults| &mut faults.lost,
        ];
        // Each with the first kind that may be added, so that none comes twice.
        let mut all = vec![(Self::NONE, 0)];
        for _ in 0..count {
            let more = |(faults, first): (Self, usize)| {
                kinds.iter().enumerate().skip(first).map(move |(kind, of)| {
                    let mut faults = faults;
                    *of(&mut faults) += 1;
                    (faults, kind)
                })
            };
            all = all.into_iter().flat_map(more).collect();
        }
        all.into_iter().map(|(faults, _)| faults).collect()
    }
}

impl Process {
    /// Returns whether it can't serve: its token was refused, or there is none.
    pub(super) fn needs(&self) -> bool {
        self.refused || self.serves == 0
    }

    /// Returns whether it may have a lease, and goes on by itself.
    pub(super) fn flies(&self) -> bool {
        !matches!(self.stage, Stage::Absent | Stage::Idle | Stage::Waiting)
    }

    /// Ends its flight.
    pub(super) fn idle(&mut self) {
        *self = Self {
            stage: Stage::Idle,
            serves: self.serves,
            token: self.token,
            refused: self.refused,
            ..Self::default()
        };
    }

    /// Makes a wish for the successor of its token.
    pub(super) fn wish(&mut self, forced: bool) {
        self.idle();
        self.stage = Stage::Entering;
        self.floor = self.serves;
        self.forced = forced;
    }

    /// Waits for the lease of another, with the wish that it has.
    pub(super) fn join(&mut self) {
        let (floor, forced) = (self.floor, self.forced);
        self.idle();
        self.stage = Stage::Waiting;
        self.floor = floor;
        self.forced = forced;
    }
}

impl State {
    /// Returns the age of the value.
    pub(super) fn age(&self) -> Duration {
        if self.old { LEASE } else { Duration::ZERO }
    }

    /// Returns the process that has the lease, if it lives.
    pub(super) fn holder(&self) -> Option<&Process> {
        self.processes.get(usize::from(self.value.owner).wrapping_sub(1))
    }

    /// Returns whether all processes serve the living token.
    pub(super) fn is_good(&self) -> bool {
        self.processes.iter().all(|process| {
            process.stage == Stage::Absent
                || process.stage == Stage::Idle && !process.needs() && process.token == self.living
        })
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut u8> {
        let processes = self
            .processes
            .iter_mut()
            .flat_map(|process| [&mut process.serves, &mut process.floor, &mut process.fence]);
        [&mut self.value.fence, &mut self.value.sequence, &mut self.wished, &mut self.issued]
            .into_iter()
            .chain(&mut self.late)
            .chain(processes)
    }

    fn tokens(&mut self) -> impl Iterator<Item = &mut u8> {
        let processes = self.processes.iter_mut().flat_map(|process| {
            let answered = match &mut process.post {
                Post::Answered(token) => Some(token),
                Post::None | Post::OnItsWay => None,
            };
            answered.into_iter().chain([&mut process.token])
        });
        [&mut self.value.token, &mut self.living].into_iter().chain(processes)
    }

    /// Returns a number that is greater than all there are.
    pub(super) fn next_number(mut self) -> u8 {
        self.numbers().map(|number| *number).max().unwrap_or_default() + 1
    }

    /// Issues a token to a request that was sent under `fence`. It kills all others.
    pub(super) fn issue(&mut self, fence: u8) -> u8 {
        let newest = self.tokens().map(|token| *token).max().unwrap_or_default();
        self.living = newest + 1;
        self.issued = fence;
        self.living
    }

    /// Leaves the request of a process without somebody who waits for its response.
    pub(super) fn abandon(&mut self, process: usize) {
        if self.processes[process].post == Post::OnItsWay {
            assert_eq!(self.late[0], 0, "there are more late requests than the state has room for");
            self.late[0] = self.processes[process].fence;
            self.late.sort_unstable();
        }
        self.processes[process].post = Post::None;
    }

    /// Renames numbers, tokens and processes, so that states that differ in names alone are one.
    /// The steps compare numbers, and do nothing else with them.
    pub(super) fn canonical(mut self) -> Self {
        self.old &= self.value.owner > 0 || self.value.gate;
        let mut mask = self.numbers().fold(0_u32, |mask, number| mask | 1 << *number) & !1;
        self.numbers().for_each(|number| *number = rank(mask, *number));
        mask = self.tokens().fold(0, |mask, token| mask | 1 << *token) & !1;
        self.tokens().for_each(|token| *token = rank(mask, *token));
        let owner = usize::from(self.value.owner);
        let mut named = [0, 1, 2].map(|place| (self.processes[place], place + 1 == owner));
        named.sort_unstable();
        self.processes = named.map(|(process, _)| process);
        if let Some(place) = named.iter().position(|(_, is_owner)| *is_owner) {
            self.value.owner = u8::try_from(place).expect("three of them") + 1;
        }
        self
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, living, issued, late, posts, .. } = self;
        let marks = [value.hold, value.over, value.takeover, value.stray, value.gate, self.old];
        let marks = marks.map(u8::from);
        write!(f, "fence {} token {}/{}", value.fence, value.sequence, value.token)?;
        write!(
            f,
            " state {} lease {} hold,over,takeover,stray,gate,old {marks:?}",
            value.state, value.owner
        )?;
        write!(f, " | living {issued}/{living} late {late:?} posts {posts}")?;
        for Process { stage, serves, token, refused, floor, fence, fresh, fate, post, .. } in
            self.processes
        {
            write!(f, "\n      {stage:?} {serves}/{token}")?;
            if stage > Stage::Idle || refused {
                let marks = [refused, fresh].map(u8::from);
                write!(f, " refused,fresh {marks:?} floor {floor} fence {fence} {fate} {post:?}")?;
            }
        }
        Ok(())
    }
}

fn rank(mask: u32, number: u8) -> u8 {
    let upto = mask & (u32::MAX >> (31 - number));
    u8::try_from(upto.count_ones()).expect("at most 32")
}
