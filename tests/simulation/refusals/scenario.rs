//! The parts of a scenario: its calls, its resources, and what it may cost.

use std::ops::Range;

pub(super) const HOUR: f64 = 3600.0;

#[derive(Clone)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// In seconds, as all times here.
    pub(super) end: f64,
    pub(super) streams: Vec<Stream>,
    /// When the token in use dies for real.
    pub(super) kills: &'static [f64],
    /// How often another process asks for a token with the same id.
    pub(super) foreign_every: Option<f64>,
    /// When the endpoint refuses connections.
    pub(super) down: Option<Range<f64>>,
    /// How many caches there are with one id.
    pub(super) clients: usize,
    pub(super) expected: Expected,
    /// How much further its 401s may be off with one seed, as a fraction, because they depend on
    /// when kills and renewals meet. It shrinks with the root of the number of seeds.
    pub(super) chance: f64,
    /// A debug build has time for it.
    pub(super) is_short: bool,
}

/// What a scenario comes to in the simulation of the rules alone, on average.
#[derive(Clone, Copy, Default)]
pub(super) struct Expected {
    /// Requests for tokens.
    pub(super) posts: f64,
    /// The 401s that callers of healthy resources see.
    pub(super) unauthorized: f64,
    /// The errors that they see, as long as the endpoint is down.
    pub(super) errors: f64,
    /// The 401s that the other callers see, where that is of interest.
    pub(super) others_unauthorized: Option<f64>,
    /// How long it takes after a real kill: the median, and the longest.
    pub(super) recovery: Option<(f64, f64)>,
}

/// One kind of calls. Its resource stands for itself, so streams with one path may differ.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) client: usize,
    /// Its resource accepts whatever is alive.
    pub(super) healthy: bool,
    pub(super) arrivals: Arrivals,
    /// Between two calls.
    pub(super) gap: f64,
    /// How long the resource thinks.
    pub(super) thinks: f64,
    /// The resource checks the token after it has thought.
    pub(super) checks_late: bool,
    /// Its requests can be sent again.
    pub(super) replays: bool,
    pub(super) answers: Answers,
    pub(super) origin: Origin,
    pub(super) path: &'static str,
    /// How many paths there are below that.
    pub(super) slugs: u32,
}

/// How calls come, and how long their resource thinks.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arrivals {
    /// One caller calls again when it has been answered. The resource always thinks as long.
    OneByOne,
    /// Both vary by chance, around their means.
    ByChance,
}

/// How a resource answers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Answers {
    Normal,
    /// It refuses every token.
    Never,
    /// It refuses this share of its requests.
    Flaky(f64),
    /// Its replicas know of a token at once, after 0.3 s and after 1.5 s.
    Replicas,
    /// Its clock is behind, and it does not accept what was issued in its future.
    Behind(f64),
    /// It remembers for so long that it accepted a token.
    Cached(f64),
    /// It needs no token.
    Always,
    /// It has nothing there, and says so to everybody.
    NotFound,
    /// It refuses every token until then.
    From(f64),
    /// It refuses every token meanwhile.
    Outside(Window),
    /// The same, and what was issued meanwhile is refused ever after.
    OutsideAndOf(Window),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) from: f64,
    pub(super) to: f64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Origin {
    Own,
    Other,
}

impl Window {
    pub(super) fn contains(self, time: f64) -> bool {
        (self.from..self.to).contains(&time)
    }
}

impl Origin {
    pub(super) fn uri(self) -> &'static str {
        match self {
            Self::Own => "https://api.example.com",
            Self::Other => "https://other.example.com",
        }
    }
}

impl Stream {
    /// Ten callers at once with requests of a second, which can't be sent again.
    pub(super) fn ten() -> Vec<Self> {
        let one = Self {
            client: 0,
            healthy: true,
            arrivals: Arrivals::OneByOne,
            gap: 0.0,
            thinks: 1.0,
            checks_late: false,
            replays: false,
            answers: Answers::Normal,
            origin: Origin::Own,
            path: "accounts",
            slugs: 0,
        };
        vec![one; 10]
    }

    /// Ten such callers of a resource that checks the token at the end of the second.
    pub(super) fn ten_late() -> Vec<Self> {
        Self::ten().into_iter().map(|it| Self { checks_late: true, ..it }).collect()
    }

    /// Calls of a healthy resource.
    pub(super) fn open(rate: f64, thinks: f64, path: &'static str) -> Self {
        let template = Self::ten()[0];
        let (arrivals, gap) = (Arrivals::ByChance, 1.0 / rate);
        Self { arrivals, gap, thinks, replays: true, path, ..template }
    }

    /// Calls of a resource that refuses every token.
    pub(super) fn refused(gap: f64) -> Self {
        let open = Self::open(1.0 / gap, 0.02, "reports");
        Self { healthy: false, answers: Answers::Never, ..open }
    }

    /// Calls of a thousand such resources, whose paths are words.
    pub(super) fn slugs(gap: f64) -> Self {
        Self { slugs: 1000, ..Self::refused(gap) }
    }

    pub(super) fn answers(self, answers: Answers) -> Self {
        Self { answers, ..self }
    }

    pub(super) fn healthy(self) -> Self {
        Self { healthy: true, ..self }
    }

    pub(super) fn thinks(self, thinks: f64) -> Self {
        Self { thinks, ..self }
    }

    pub(super) fn uri(&self, slug: Option<u32>) -> String {
        let uri = format!("{}/{}", self.origin.uri(), self.path);
        let Some(mut slug) = slug else { return uri };
        let letters = [(); 3].map(|()| {
            let letter = b'a' + u8::try_from(slug % 26).unwrap();
            slug /= 26;
            char::from(letter)
        });
        format!("{uri}/{}", String::from_iter(letters))
    }
}

impl Scenario {
    pub(super) fn new(
        name: &'static str,
        posts: f64,
        unauthorized: f64,
        streams: Vec<Stream>,
    ) -> Self {
        Self {
            name,
            end: HOUR,
            streams,
            kills: &[],
            foreign_every: None,
            down: None,
            clients: 1,
            expected: Expected { posts, unauthorized, ..Expected::default() },
            chance: 0.0,
            is_short: false,
        }
    }

    /// With one more stream.
    pub(super) fn and(mut self, stream: Stream) -> Self {
        self.streams.push(stream);
        self
    }

    /// With kills at these times, and recoveries that take so long.
    pub(super) fn kills(mut self, kills: &'static [f64], median: f64, longest: f64) -> Self {
        self.kills = kills;
        self.expected.recovery = Some((median, longest));
        self
    }

    /// With one kill, and an end soon after.
    pub(super) fn one_kill(self, median: f64, longest: f64) -> Self {
        Self { end: 390.0, ..self }.kills(&[100.0], median, longest)
    }

    pub(super) fn down(mut self, errors: f64) -> Self {
        self.down = Some(1000.0..1600.0);
        self.expected.errors = errors;
        self
    }

    /// With so many 401s of the other callers.
    pub(super) fn others(mut self, unauthorized: f64) -> Self {
        self.expected.others_unauthorized = Some(unauthorized);
        self
    }

    pub(super) fn by_chance(self) -> Self {
        Self { chance: 0.6, ..self }
    }

    pub(super) fn short(self) -> Self {
        Self { is_short: true, ..self }
    }
}
