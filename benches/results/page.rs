//! `benches/RESULTS.md`.

use std::{fmt::Write, fs, thread};

use super::{
    Results,
    support::{
        figures::{HotPath, Work},
        rustc_version,
    },
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/");

pub(crate) fn write(results: &Results) {
    let mut page = String::from("# Results\n\n");
    page.push_str(&machine());
    page.push_str(&bars(results));
    page.push_str(&hot_path(results));
    page.push_str(&contention(results));
    page.push_str(&burst(results));
    page.push_str(&failures(results));
    page.push_str(&end_to_end(results));
    page.push_str(&renewal(results));
    page.push_str(&fleet(results));
    // Written by hand: what stands in the way of what was not met.
    if let Ok(notes) = fs::read_to_string(format!("{FOLDER}NOTES.md")) {
        page.push_str("## Notes\n\n");
        page.push_str(&notes);
    }
    fs::write(format!("{FOLDER}RESULTS.md"), page.trim_end().to_owned() + "\n").unwrap();
}

/// Where and how all of it was measured.
fn machine() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = cpu.map_or("a cpu without a name", |(_, name)| name);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    let (rustc, date) = (rustc_version(), jiff::Timestamp::now().strftime("%Y-%m-%d"));
    format!(
        "Made by `WRITE_RESULTS=1 cargo bench --features redis`; `cargo bench --bench <name>` runs one of the benches. With `cargo run \
         --release` in `benches/peers` before it, other crates are in the tables too. Absolute times differ from \
         machine to machine; the ratios are the point.\n\n\
         | | |\n|---|---|\n| machine | {cpu}, {cores} cores, load {load} at the end |\n| compiler | {rustc}, release \
         |\n| date | {date} |\n\n"
    )
}

fn bars(results: &Results) -> String {
    let rows = results.bars.iter().map(|bar| {
        let (relation, verdict) = (bar.relation(), bar.verdict());
        let verdict = if verdict.starts_with("NOT") {
            format!("**{}**", verdict.to_lowercase())
        } else {
            verdict.to_owned()
        };
        let case = if bar.case.is_empty() { String::new() } else { format!("; {}", bar.case) };
        vec![
            bar.name.clone(),
            format!("{}{case}", bar.what),
            format!("{relation} {}", bar.must),
            format!("{relation} {}", bar.aim),
            bar.shown(),
            verdict,
        ]
    });
    let mut section = table(
        "The bars",
        "",
        &["bar", "what", "must", "aim", "measured", "verdict"],
        rows.collect(),
    );
    for bench in &results.missing {
        let _ = writeln!(section, "`{bench}` has not run.\n");
    }
    section
}

fn hot_path(results: &Results) -> String {
    let mut works: Vec<&Work> = results.hot_path.iter().map(|of| &of.work).collect();
    works.dedup();
    let Some(&first) = works.first() else { return String::new() };
    let of_first = results.hot_path.iter().filter(|of| of.work == *first);
    let mut rows: Vec<_> = of_first.map(|of| hot_path_row(results, of)).collect();
    rows.extend(results.peers.hot_path.iter().map(|peer| {
        let figures = [peer.ns, peer.x2, peer.x3].map(|figure| format!("{figure:.2}"));
        let [ns, x2, x3] = figures;
        vec![peer.name.clone(), ns, x2, x3, format!("{:.0}", peer.allocations), "-".to_owned()]
    }));
    let mut section = table(
        "Hot path",
        &format!(
            "A valid token of {} bytes, {}. (2) is a static header, (3) a static header with a clone of the request \
             kept.\n\n![The hot path](plots/hot_path.svg)",
            first.token_length, first.request
        ),
        &["contender", "ns", "x(2)", "x(3)", "allocations", "instructions"],
        rows,
    );
    let (cold, warm): (Vec<&Work>, Vec<&Work>) = works.into_iter().partition(|work| work.cold);
    section.push_str(&hot_path_by_work(results, "", &warm));
    let text = "Requests that lie cold: they are made 256 at a time before they are signed, and the response has a body of \
                the type `Full<Bytes>`. (3) and (2) are measured in the same way.";
    section.push_str(&hot_path_by_work(results, text, &cold));
    section
}

/// A row for each contender, with a cell for each of these works.
fn hot_path_by_work(results: &Results, text: &str, works: &[&Work]) -> String {
    let figures: Vec<_> = results.hot_path.iter().filter(|of| works.contains(&&of.work)).collect();
    let rows = pivot(
        &figures,
        |of| (&of.name, of.work.token_length),
        |of| format!("{:.0} ({:.2}, {:.2})", of.ns, of.x2, of.x3),
    );
    let titles = works.iter().map(|of| format!("{}, token {}", of.request, of.token_length));
    table("", text, &titles_with("ns (x(2), x(3))", &titles.collect::<Vec<_>>()), rows)
}

fn hot_path_row(results: &Results, of: &HotPath) -> Vec<String> {
    let allocations = results.allocations.iter().flat_map(|allocations| &allocations.hot_path);
    let mut allocations = allocations.filter(|count| {
        count.name == of.name
            && count.work == of.work.request
            && count.token_length == of.work.token_length
    });
    let allocations =
        allocations.next().map_or("-".to_owned(), |count| count.allocations.to_string());
    let counted = match &*of.name {
        "(2) static header" => "static",
        "(3) static header, clone kept" => "kept",
        "tower-reauth" => "ours",
        "tower-reauth, no replay" => "ours-without-replay",
        _ => "",
    };
    let mut counts = results.instructions.iter().filter(|count| count.name == counted);
    let instructions = counts.next().map_or("-".to_owned(), |count| format!("{:.0}", count.count));
    let [ns, x2, x3] = [of.ns, of.x2, of.x3].map(|figure| format!("{figure:.2}"));
    vec![of.name.clone(), ns, x2, x3, allocations, instructions]
}

fn contention(results: &Results) -> String {
    let mut rows: Vec<_> = pivot(
        &results.contention,
        |of| (&of.name, of.tasks),
        |of| format!("{:.2} ({:.0} ns)", of.speedup, of.ns_two_workers),
    );
    let (titles, rest) = titles_of(&results.contention, |of| of.tasks);
    rows.extend(results.peers.contention.iter().map(|peer| {
        let at_64 = |tasks: &usize| if *tasks == 64 { shown(peer.speedup, 2) } else { "-".into() };
        std::iter::once(peer.name.clone()).chain(rest.iter().map(at_64)).collect()
    }));
    let text = "How many times as fast two workers are as one, by the number of tasks, and what a call takes with two: of the \
                fastest fortieth of the rounds, those without others on the second core.\n\n\
                ![Contention](plots/contention.svg)";
    table("Contention", text, &titles_with("tasks", &titles), rows)
}

fn burst(results: &Results) -> String {
    let cell = |ns: f64| format!("{ns:.0}");
    let mut rows = pivot(&results.burst, |of| (&of.name, of.callers), |of| cell(of.ns_per_waiter));
    let heaps = results.allocations.iter().flat_map(|allocations| &allocations.burst);
    for row in &mut rows {
        let fetches =
            results.burst.iter().filter(|of| of.name == row[0]).map(|of| of.fetches).max();
        let mut lived = results.burst.iter().filter(|of| of.name == row[0]);
        row.push(shown(lived.find_map(|of| of.ns_per_waiter_lived), 0));
        let heap = heaps.clone().rfind(|heap| heap.name == row[0]);
        row.push(heap.map_or("-".to_owned(), |heap| cell(heap.bytes_per_waiter)));
        row.push(fetches.unwrap_or_default().to_string());
    }
    let (mut titles, callers) = titles_of(&results.burst, |of| of.callers);
    rows.extend(results.peers.burst.iter().map(|peer| {
        let at_1000 =
            |of: &usize| if *of == 1000 { shown(peer.ns_per_waiter, 0) } else { "-".into() };
        let cells = callers.iter().map(at_1000);
        let rest = [None, peer.heap_per_waiter, peer.fetches].map(|figure| shown(figure, 0));
        std::iter::once(peer.name.clone()).chain(cells).chain(rest).collect()
    }));
    titles.extend(["10000, lived", "bytes per waiter", "fetches"].map(str::to_owned));
    let text = "Callers that come before there is a token: nanoseconds for each, from the end of the fetch until the last \
                of them is done. \"Lived\" is in a process that has had earlier bursts.\n\n![A cold burst](plots/burst.svg)";
    table("Cold burst", text, &titles_with("callers", &titles), rows)
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

fn failures(results: &Results) -> String {
    let rows = results.peers.failures.iter().map(|of| {
        let figures = [of.leader_dropped_fetches, of.leader_parked_served, of.fetch_fails_fetches];
        let figures = figures.into_iter().chain([of.fetch_fails_ms]).map(|figure| shown(figure, 0));
        std::iter::once(of.name.clone()).chain(figures).collect()
    });
    let titles = [
        "contender",
        "leader dropped: fetches",
        "leader parked: callers served",
        "fetch fails: fetches",
        "ms until the last answer",
    ];
    let mut section = table("When things go wrong", "100 callers.", &titles, rows.collect());
    let rows = results.peers.unreachable.iter().map(|of| vec![of.name.clone(), of.why.clone()]);
    section.push_str(&table("", "Not measured:", &["crate", "why"], rows.collect()));
    section
}

fn end_to_end(results: &Results) -> String {
    let rows = results.end_to_end.iter().map(|of| {
        let [ratio, to_static] = [of.ratio, of.to_static].map(|ratio| format!("{ratio:.3}"));
        let rate = format!("{:.0}", of.requests_per_second);
        vec![of.protocol.clone(), of.name.clone(), rate, ratio, to_static]
    });
    let titles = ["protocol", "contender", "requests per second", "of the client alone", "of (2)"];
    table(
        "hyper against axum over loopback",
        "A header costs on the wire and in the server, whoever puts it on: (2) shows that.",
        &titles,
        rows.collect(),
    )
}

fn renewal(results: &Results) -> String {
    let rows = results.renewal.iter().map(|of| {
        let hold = of.longest_hold_ms.map_or("-".to_owned(), |hold| format!("{hold:.1}"));
        let counts =
            [of.requests, of.renewals, of.seen_401s, of.wire_401s].map(|count| count.to_string());
        let times = [hold, format!("{:.1}", of.longest_post_ms), format!("{:.1}", of.p99_ms)];
        std::iter::once(of.name.clone()).chain(counts).chain(times).collect()
    });
    let titles = [
        "load",
        "requests",
        "renewals",
        "401s seen",
        "401s on the wire",
        "longest hold, ms",
        "longest POST, ms",
        "p99, ms",
    ];
    table("Renewals under load", "![Renewals](plots/renewal.svg)", &titles, rows.collect())
}

fn fleet(results: &Results) -> String {
    let rows = results.fleet.iter().map(|of| {
        let counts = [of.renewals, of.posts, of.seen_401s, of.wire_401s, of.cold_posts];
        let counts = counts.map(|count| count.to_string());
        let times = [of.hold_p50_ms, of.hold_p99_ms, of.hold_floor_ms].map(|ms| format!("{ms:.1}"));
        let takeover = format!("{:.0}, {:.0}", of.takeover_ms, of.longest_takeover_ms);
        let first = [of.name.clone(), of.requests.to_string()];
        first.into_iter().chain(counts).chain(times).chain([takeover]).collect()
    });
    let titles = [
        "store",
        "requests",
        "renewals",
        "POSTs",
        "401s seen",
        "401s on the wire",
        "POSTs of a cold start",
        "hold p50, ms",
        "p99, ms",
        "grace and longest POST, ms",
        "take-over, longest, ms",
    ];
    let text = "Ten processes of four callers each. After the renewals, each next holder is killed once its request for a token \
                has arrived. A take-over ends when all others have a new token. The lease is 1 s.\n\n\
                ![One hand-over](plots/fleet.svg)";
    table("A fleet", text, &titles, rows.collect())
}

/// A row for each contender, with a cell for each of its sizes.
fn pivot<F>(
    figures: &[F],
    key: impl Fn(&F) -> (&String, usize),
    cell: impl Fn(&F) -> String,
) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for figure in figures {
        let name = key(figure).0;
        match rows.iter_mut().find(|row| row[0] == *name) {
            Some(row) => row.push(cell(figure)),
            None => rows.push(vec![name.clone(), cell(figure)]),
        }
    }
    rows
}

fn titles_of<F>(figures: &[F], size: impl Fn(&F) -> usize) -> (Vec<String>, Vec<usize>) {
    let mut sizes: Vec<usize> = figures.iter().map(size).collect();
    sizes.dedup();
    (sizes.iter().map(ToString::to_string).collect(), sizes)
}

fn titles_with<'a>(first: &'a str, rest: &'a [String]) -> Vec<&'a str> {
    std::iter::once(first).chain(rest.iter().map(|title| &**title)).collect()
}

/// A section; nothing if there are no rows.
fn table(title: &str, text: &str, titles: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut section = String::new();
    if !title.is_empty() {
        let _ = writeln!(section, "## {title}\n");
    }
    if !text.is_empty() {
        let _ = writeln!(section, "{text}\n");
    }
    let _ = writeln!(section, "| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        let _ = writeln!(section, "| {} |", row.join(" | "));
    }
    section.push('\n');
    section
}
