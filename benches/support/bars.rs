//! The bars: what is promised of the figures. A bench prints how it stands to each of its own, and
//! leaves that and its figures in `target/bars` for the bench `results`.

use std::{fmt, fs, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A limit for a figure: what must hold, and what we aim at.
pub struct Bar {
    name: &'static str,
    what: &'static str,
    better: Better,
    must: f64,
    aim: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Better {
    Less,
    More,
}

const fn at_most(name: &'static str, what: &'static str, must: f64, aim: f64) -> Bar {
    Bar { name, what, better: Better::Less, must, aim }
}

const fn at_least(name: &'static str, what: &'static str, must: f64, aim: f64) -> Bar {
    Bar { name, what, better: Better::More, must, aim }
}

pub const P1: Bar =
    at_most("P1", "hot path with replay, over a static header with a clone kept", 0.90, 0.75);
/// P1 with requests that lie cold.
pub const P1_COLD: Bar = Bar { must: 0.95, ..P1 };
pub const P2: Bar = at_most("P2", "hot path without replay, over a static header", 1.32, 1.20);
/// P2 with requests that lie cold.
pub const P2_COLD: Bar = Bar { must: 1.40, ..P2 };
pub const P3_WITHOUT_REPLAY: Bar = at_most("P3", "allocations of a call without replay", 0.0, 0.0);
pub const P3_WITH_REPLAY: Bar = at_most("P3", "allocations of a call with replay", 0.0, 0.0);
pub const P4: Bar =
    at_least("P4", "speed-up by a second worker, over the bare service's", 0.98, 1.00);
pub const P5_FETCHES: Bar = at_most("P5", "fetches of a cold burst", 1.0, 1.0);
pub const P5_TIME: Bar =
    at_most("P5", "time per waiter of a cold burst, over the floor's", 1.15, 1.05);
/// P5 in a process that has had earlier bursts.
pub const P5_TIME_LIVED: Bar = Bar { must: 1.25, aim: 1.10, ..P5_TIME };
pub const P5_HEAP: Bar =
    at_most("P5", "heap per waiter of a cold burst, over the floor's", 1.15, 1.00);
pub const P6: Bar = at_least(
    "P6",
    "requests per second with the layer, over those with a static header",
    0.98,
    0.995,
);
pub const P7_SEEN: Bar = at_most("P7", "401s that a caller sees", 0.0, 0.0);
pub const P7_HOLD: Bar =
    at_most("P7", "longest hold, over drain bound and POST round trip", 1.05, 1.02);
pub const P8: Bar =
    at_most("P8", "bytes of the future beyond inner future and kept request", 32.0, 16.0);
pub const P9_POSTS: Bar = at_most("P9", "POSTs per renewal of a fleet of ten processes", 1.0, 1.0);
pub const P9_SEEN: Bar = at_most("P9", "401s that a caller in a fleet sees", 0.0, 0.0);
pub const P9_HOLD: Bar =
    at_most("P9", "hold of a fleet, p99, over grace and POST round trip", 1.5, 1.2);
pub const P10_TAKEOVER: Bar =
    at_most("P10", "take-over from a holder that is killed, over the lease", 1.4, 1.2);
pub const P10_COLD: Bar = at_most("P10", "POSTs of a cold start of ten processes", 1.0, 1.0);
pub const P13: Bar =
    at_most("P13", "instructions of a call whose token is shared, over one whose is not", 1.0, 1.0);

/// How a figure stands to its bar.
#[derive(Clone, Serialize, Deserialize)]
pub struct Measured {
    pub name: String,
    pub what: String,
    /// Of which work, if there is more than one.
    pub case: String,
    better: Better,
    pub must: f64,
    pub aim: f64,
    /// `None` if it could not be measured.
    pub value: Option<f64>,
}

impl Measured {
    pub fn relation(&self) -> &'static str {
        match self.better {
            Better::Less => "<=",
            Better::More => ">=",
        }
    }

    fn reaches(&self, limit: f64) -> bool {
        self.value.is_some_and(|value| match self.better {
            Better::Less => value <= limit,
            Better::More => value >= limit,
        })
    }

    /// The figure, if there is one.
    pub fn shown(&self) -> String {
        self.value.map_or("-".to_owned(), |value| format!("{value:.4}"))
    }

    pub fn verdict(&self) -> &'static str {
        if self.value.is_none() {
            "NOT MEASURED"
        } else if self.reaches(self.aim) {
            "met, and the aim"
        } else if self.reaches(self.must) {
            "met"
        } else {
            "NOT MET"
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, case, must, aim, .. } = self;
        let (relation, value, verdict) = (self.relation(), self.shown(), self.verdict());
        write!(
            f,
            "{name}  must {relation} {must:<5} aim {relation} {aim:<5} measured {value:<6} {verdict:16} {what}"
        )?;
        if case.is_empty() { Ok(()) } else { write!(f, "; {case}") }
    }
}

/// What one bench has found.
#[derive(Serialize, Deserialize)]
pub struct Report<F> {
    bench: String,
    pub bars: Vec<Measured>,
    pub figures: F,
}

impl<F> Report<F> {
    pub fn new(bench: &str, figures: F) -> Self {
        Self { bench: bench.to_owned(), bars: Vec::new(), figures }
    }

    /// Prints how `value` stands to `bar`.
    pub fn bar(&mut self, bar: &Bar, case: impl Into<String>, value: impl Into<Option<f64>>) {
        let &Bar { name, what, better, must, aim } = bar;
        let (name, what, case, value) =
            (name.to_owned(), what.to_owned(), case.into(), value.into());
        let measured = Measured { name, what, case, better, must, aim, value };
        println!("{measured}");
        self.bars.push(measured);
    }
}

impl<F: Serialize> Report<F> {
    pub fn write(&self) {
        let path = path(&self.bench);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_vec_pretty(self).unwrap()).unwrap();
    }
}

/// What is in `target/bars/<bench>.json`, if that bench has run.
pub fn read<T: DeserializeOwned>(bench: &str) -> Option<T> {
    let path = path(bench);
    let bytes = fs::read(&path).ok()?;
    Some(
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    )
}

/// For how many minutes `target/bars/<bench>.json` has been there.
pub fn minutes_old(bench: &str) -> u64 {
    let written = fs::metadata(path(bench)).and_then(|file| file.modified());
    written.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default().as_secs() / 60
}

fn path(bench: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/bars")
        .join(bench)
        .with_extension("json")
}
