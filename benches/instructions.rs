//! Instructions of one call, counted by valgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench --bench instructions` counts, and compares with `benches/instructions.txt`; with
//! `-- --check` it fails if there are more, with `-- --store` it stores what it has counted. It
//! runs itself under valgrind, as `instructions NAME CALLS PLACE`.

mod support;

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    hint::black_box,
    process::{Command, ExitCode},
};

use http::Request;
use support::{
    Body, Noop,
    bars::{P13, Report},
    call,
    figures::Instructions,
    get, layer, rustc_version, secret, shared_layer, static_header, with_header,
};
use tower::Layer;

/// The first makes requests and nothing else: what the others count beyond it is theirs.
const NAMES: [&str; 7] = [
    "requests",
    "static",
    "kept",
    "ours",
    "ours-without-replay",
    "shared",
    "shared-without-replay",
];

/// What is compared: ours with its limits, and each of ours as it is.
const RATIOS: [(&str, &str); 4] = [
    ("ours", "static"),
    ("ours", "kept"),
    ("ours-without-replay", "static"),
    ("ours-without-replay", "kept"),
];
const OURS: [&str; 2] = ["ours", "ours-without-replay"];
const SHARED: [&str; 2] = ["shared", "shared-without-replay"];

/// The same build counts the same to a thousandth. A patch release of a dependency, or another
/// place for a function, moves the counts by one or two hundredths; what is more comes from a
/// change of ours.
const TOLERANCE: f64 = 0.03;

/// The places of the heap that are tried, and the bytes from one to the next.
const PLACES: usize = 4;
const BETWEEN_PLACES: usize = 1040;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

type Counts = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [name, calls, place] = &*arguments
        && let (Ok(calls), Ok(place)) = (calls.parse(), place.parse::<usize>())
    {
        // What comes after it lies elsewhere.
        let _before = black_box(vec![1_u8; place * BETWEEN_PLACES + 1]);
        run(name, calls);
        return ExitCode::SUCCESS;
    }
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is missing, so NO INSTRUCTIONS ARE COUNTED and nothing is guarded");
        return ExitCode::SUCCESS;
    }
    let counts = count_all();
    if has("--store") {
        store(&counts);
        return ExitCode::SUCCESS;
    }
    let grown = compare(&counts) || costs_a_store(&counts);
    if grown && has("--check") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is counted.
fn run(name: &str, calls: usize) {
    let token = secret(200);
    let value = static_header(&token);
    match name {
        "requests" => repeat(calls, |request| drop(black_box(request))),
        "static" => {
            let mut service = with_header(Noop, &value);
            repeat(calls, |request| call(&mut service, request));
        }
        "kept" => {
            let mut service = with_header(Noop, &value);
            repeat(calls, |request| {
                let clone = black_box(request.clone());
                call(&mut service, request);
                drop(black_box(clone));
            });
        }
        "ours" => {
            let mut service = layer(&token).layer(Noop);
            repeat(calls, |request| call(&mut service, request));
        }
        "ours-without-replay" => {
            let mut service = layer(&token).without_replay().layer(Noop);
            repeat(calls, |request| call(&mut service, request));
        }
        "shared" => {
            let mut service = shared_layer(&token).layer(Noop);
            repeat(calls, |request| call(&mut service, request));
        }
        "shared-without-replay" => {
            let mut service = shared_layer(&token).without_replay().layer(Noop);
            repeat(calls, |request| call(&mut service, request));
        }
        _ => panic!("one of {NAMES:?}"),
    }
}

fn repeat(calls: usize, mut work: impl FnMut(Request<Body>)) {
    for _ in 0..calls {
        work(get(4));
    }
}

fn count_all() -> Counts {
    let per_call = |name| (count(name, 6000) - count(name, 1000)) / 5000.0;
    let requests = per_call(NAMES[0]);
    let counts: Counts =
        NAMES[1..].iter().map(|name| ((*name).to_owned(), per_call(name) - requests)).collect();
    let mut report = Report::new("instructions", Vec::new());
    for name in &NAMES[1..] {
        let count = counts[*name];
        let (x2, x3) = (count / counts["static"], count / counts["kept"]);
        println!("  {name:30} {count:7.0} instructions  {x2:5.2} x(2)  {x3:5.2} x(3)");
        report.figures.push(Instructions { name: (*name).to_owned(), count, x2, x3 });
    }
    for (alone, shared) in OURS.into_iter().zip(SHARED) {
        report.bar(&P13, alone, Some(ratio(&counts, shared, alone)));
    }
    report.write();
    counts
}

/// The instructions of this program with so many calls: the least of a few runs. How often a lease
/// is freshened goes by the time. `memcmp` takes four more where what it compares lies across the
/// end of a page, so the heap begins at another place in each run.
fn count(name: &str, calls: usize) -> f64 {
    (0..PLACES).map(|place| count_once(name, calls, place)).fold(f64::INFINITY, f64::min)
}

fn count_once(name: &str, calls: usize, place: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args([name, &calls.to_string(), &place.to_string()])
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
    let collected = messages.lines().find_map(|line| line.split_once("Collected : "));
    collected.unwrap_or_else(|| panic!("{messages}")).1.trim().parse().unwrap()
}

/// Whether a call costs more where the token is shared.
fn costs_a_store(counts: &Counts) -> bool {
    OURS.iter().zip(SHARED).any(|(alone, shared)| {
        let more = ratio(counts, shared, alone) > 1.0;
        println!("  {shared:30} {:7.1} instructions more", counts[shared] - counts[*alone]);
        more
    })
}

/// A ratio in thousandths, which is what two runs of one build differ by.
fn ratio(counts: &Counts, of: &str, over: &str) -> f64 {
    (counts[of] / counts[over] * 1000.0).round() / 1000.0
}

/// Whether there are more than before.
fn compare(now: &Counts) -> bool {
    let Ok(text) = fs::read_to_string(BASELINE) else {
        println!("nothing is stored to compare with; `-- --store` stores");
        return false;
    };
    let mut same_compiler = false;
    let mut before = Counts::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        same_compiler |= line == rustc_version();
        if let Some((name, count)) = line.rsplit_once(' ')
            && let Ok(count) = count.parse()
        {
            before.insert(name.to_owned(), count);
        }
    }
    let mut grown = false;
    for (of, over) in RATIOS {
        grown |=
            has_grown(&format!("{of} / {over}"), now[of] / now[over], before[of] / before[over]);
    }
    if same_compiler {
        for of in OURS {
            grown |= has_grown(of, now[of], before[of]);
        }
    } else {
        println!(
            "counted with {}, stored with another compiler: only ratios are compared",
            rustc_version()
        );
    }
    grown
}

fn has_grown(what: &str, now: f64, before: f64) -> bool {
    let grown = now > before * (1.0 + TOLERANCE);
    let verdict = if grown {
        "MORE than stored"
    } else if now < before * (1.0 - TOLERANCE) {
        "less than stored: store it"
    } else {
        "as stored"
    };
    println!("  {what:30} {now:9.3}, stored {before:9.3}: {verdict}");
    grown
}

fn store(counts: &Counts) {
    let mut text = String::from(
        "# Instructions of one GET with 4 headers, beyond making the request. `static` and `kept` \
         are the limits (2) and (3).\n\
         # Stored by `cargo bench --bench instructions -- --store`, compared by \
         `.ci/instructions`. Raise them only with a\n\
         # reason that is worth it, in the commit.\n",
    );
    text.push_str(&rustc_version());
    text.push('\n');
    for (name, count) in counts {
        let _ = writeln!(text, "{name} {count:.0}");
    }
    fs::write(BASELINE, text).unwrap();
}
