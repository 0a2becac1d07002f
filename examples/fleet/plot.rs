//! Two runs side by side, as an SVG: 401s and waits over time.

use std::fmt::Write;

use crate::report::Run;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 440.0;
/// The left edges of the two columns.
const COLUMNS: [f64; 2] = [70.0, 530.0];
const COLUMN: f64 = 410.0;
/// The lower edges of the two rows.
const ROWS: [f64; 2] = [200.0, 390.0];
const ROW: f64 = 130.0;

const WIRE: &str = "#f2a65a";
const SEEN: &str = "#b3261e";
const WAIT: &str = "#2f6f9f";
const INK: &str = "#222222";

/// A bar of a chart: when, and how high.
type Bar = (f64, f64);

/// One chart: where it stands, and its scale.
struct Chart {
    left: f64,
    bottom: f64,
    seconds: f64,
    highest: f64,
}

/// Draws the run with the store at the left, and the one without at the right.
pub(crate) fn draw(shared: &Run, alone: &Run) -> String {
    let runs = [shared, alone];
    let seconds = runs.map(|run| run.took.as_secs_f64()).into_iter().fold(1.0, f64::max);
    let highest = |of: fn(&Run) -> Vec<Bar>| {
        round_up(runs.iter().flat_map(|run| of(run)).map(|(_, value)| value).fold(1.0, f64::max))
    };
    let scales = [highest(wire), highest(waits)];
    let mut svg = head();
    for ((run, left), name) in
        runs.into_iter().zip(COLUMNS).zip(["with a shared store", "without a store"])
    {
        let title = format!(
            "{} processes {name}: {} 401s seen, {} POSTs",
            run.processes, run.seen, run.posts
        );
        text(&mut svg, (left + COLUMN / 2.0, 30.0), "middle", 15, &title);
        let chart = |row: usize| Chart { left, bottom: ROWS[row], seconds, highest: scales[row] };
        chart(0).draw(&mut svg, "401s per 0.1 s", &[(wire(run), WIRE), (seen(run), SEEN)]);
        chart(1).draw(&mut svg, "longest request, ms", &[(waits(run), WAIT)]);
        text(&mut svg, (left + COLUMN / 2.0, ROWS[1] + 34.0), "middle", 12, "seconds");
    }
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn head() -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" fill=\"{INK}\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    )
}

fn legend(svg: &mut String) {
    for (left, colour, name) in [
        (COLUMNS[0] + 130.0, WIRE, "401s on the wire"),
        (COLUMNS[0] + 260.0, SEEN, "401s seen by callers"),
    ] {
        rect(svg, (left, 54.0), (10.0, 10.0), colour);
        text(svg, (left + 15.0, 64.0), "start", 12, name);
    }
}

impl Chart {
    fn draw(&self, svg: &mut String, name: &str, series: &[(Vec<Bar>, &str)]) {
        let (left, bottom) = (self.left, self.bottom);
        for part in 0..=2_u32 {
            let y = bottom - ROW * f64::from(part) / 2.0;
            let value = self.highest * f64::from(part) / 2.0;
            line(svg, (left, y), (left + COLUMN, y));
            text(svg, (left - 6.0, y + 4.0), "end", 11, &format!("{value}"));
        }
        let mut second = 0.0;
        while second <= self.seconds {
            let x = self.x(second);
            text(svg, (x, bottom + 16.0), "middle", 11, &format!("{second}"));
            second += round_up(self.seconds / 8.0);
        }
        text(svg, (left, bottom - ROW - 6.0), "start", 12, name);
        if series.iter().all(|(bars, _)| bars.is_empty()) {
            text(svg, (left + COLUMN / 2.0, bottom - ROW / 4.0 + 4.0), "middle", 12, "none");
        }
        for (bars, colour) in series {
            for (at, value) in bars {
                let height = ROW * value / self.highest;
                rect(svg, (self.x(*at), bottom - height), (2.0, height), colour);
            }
        }
    }

    fn x(&self, second: f64) -> f64 {
        self.left + COLUMN * second / self.seconds
    }
}

fn wire(run: &Run) -> Vec<Bar> {
    growth(run.samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.wire)))
}

fn seen(run: &Run) -> Vec<Bar> {
    growth(run.samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.seen)))
}

fn waits(run: &Run) -> Vec<Bar> {
    let bars = run.samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.wait_ms));
    bars.filter(|(_, value)| *value > 0.0).collect()
}

/// Returns by how much a number grew between two samples, where it did.
fn growth(numbers: impl Iterator<Item = (f64, u64)>) -> Vec<Bar> {
    let mut before = 0;
    let bars = numbers.map(|(at, number)| {
        let grown = number.saturating_sub(before);
        before = number;
        (at, grown as f64)
    });
    bars.filter(|(_, value)| *value > 0.0).collect()
}

/// Returns the next round number.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"{colour}\"/>"
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, content: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">\
         {content}</text>"
    );
}
