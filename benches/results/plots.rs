//! The plots in `benches/plots`.

use std::{fs, path::PathBuf};

use plotters::prelude::*;

use super::{Results, support::as_f64};

const SIZE: (u32, u32) = (900, 480);
const FONT: &str = "sans-serif";

/// A name, and its points.
type Series = (String, Vec<(f64, f64)>);

struct Lines {
    file: &'static str,
    title: &'static str,
    x: Axis,
    y: Axis,
}

#[derive(Clone, Copy)]
struct Axis {
    title: &'static str,
    /// Drawn by its decimal logarithm.
    log: bool,
}

pub(crate) fn write(results: &Results) {
    fs::create_dir_all(path("")).unwrap();
    hot_path(results);
    contention(results);
    burst(results);
    renewal(results);
    fleet(results);
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plots").join(name)
}

fn hot_path(results: &Results) {
    let Some(first) = results.hot_path.first() else { return };
    let ours = results.hot_path.iter().filter(|of| of.work == first.work);
    let ours = ours.map(|of| (of.name.clone(), of.x3));
    let peers = results.peers.hot_path.iter().map(|peer| (peer.name.clone(), peer.x3));
    let bars: Vec<_> = ours.chain(peers).collect();
    let title =
        format!("One signed call, {}: times a static header with a clone kept", first.work.request);
    draw_bars("hot_path.svg", &title, &bars);
}

fn contention(results: &Results) {
    let mut series = series(&results.contention, |of| (&of.name, as_f64(of.tasks), of.speedup));
    let peers = results.peers.contention.iter();
    series.extend(peers.filter_map(|of| Some((of.name.clone(), vec![(64.0, of.speedup?)]))));
    let (x, y) = (Axis { title: "tasks", log: true }, Axis { title: "times as fast", log: false });
    Lines { file: "contention.svg", title: "Two workers against one", x, y }.draw(&series);
}

fn burst(results: &Results) {
    let mut series =
        series(&results.burst, |of| (&of.name, as_f64(of.callers), of.ns_per_waiter / 1e3));
    let peers = results.peers.burst.iter();
    series.extend(
        peers.filter_map(|of| Some((of.name.clone(), vec![(1e3, of.ns_per_waiter? / 1e3)]))),
    );
    let (x, y) =
        (Axis { title: "callers", log: true }, Axis { title: "microseconds for each", log: true });
    Lines { file: "burst.svg", title: "A cold burst, from the end of the fetch", x, y }
        .draw(&series);
}

fn renewal(results: &Results) {
    let mut series = Vec::new();
    for of in &results.renewal {
        let mut refused = 0;
        let points = of.over_time.iter().enumerate().map(|(bucket, (_, seen))| {
            refused += seen;
            let milliseconds = bucket * usize::try_from(of.bucket_ms).unwrap();
            (as_f64(milliseconds) / 1e3, as_f64(usize::try_from(refused).unwrap()))
        });
        series.push((of.name.clone(), points.collect()));
    }
    let (x, y) = (Axis { title: "seconds", log: false }, Axis { title: "401s so far", log: false });
    Lines { file: "renewal.svg", title: "Renewals under load: 401s that callers see", x, y }
        .draw(&series);
}

fn fleet(results: &Results) {
    let series: Vec<_> =
        results.fleet.iter().map(|of| (of.name.clone(), of.waiting.clone())).collect();
    let x = Axis { title: "milliseconds since the holder asked for a token", log: false };
    let y = Axis { title: "requests without a response", log: false };
    let title = "One hand-over in a fleet of ten processes: requests under way or held";
    Lines { file: "fleet.svg", title, x, y }.draw(&series);
}

/// The figures of each contender, in the order in which they came.
fn series<F>(figures: &[F], point: impl Fn(&F) -> (&String, f64, f64)) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for figure in figures {
        let (name, x, y) = point(figure);
        match all.iter_mut().find(|series| series.0 == *name) {
            Some(series) => series.1.push((x, y)),
            None => all.push((name.clone(), vec![(x, y)])),
        }
    }
    all
}

impl Axis {
    fn place(self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    fn label(self, place: f64) -> String {
        let value = if self.log { 10_f64.powf(place) } else { place };
        if value.abs() < 10.0 && !(self.log && value >= 1.0) {
            format!("{value:.1}")
        } else {
            format!("{value:.0}")
        }
    }
}

impl Lines {
    fn draw(&self, series: &[Series]) {
        let places = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().map(|(x, y)| (self.x.place(*x), self.y.place(*y))).collect()
        };
        let all: Vec<_> = series.iter().flat_map(|(_, points)| places(points)).collect();
        if all.is_empty() {
            return;
        }
        let bounds = |of: fn(&(f64, f64)) -> f64| {
            let ends = all
                .iter()
                .map(of)
                .fold((0.0, f64::MIN), |(a, b), it| (f64::min(a, it), f64::max(b, it)));
            ends.0..ends.1 + (ends.1 - ends.0) * 0.05
        };
        let (mut width, height) = (bounds(|(x, _)| *x), bounds(|(_, y)| *y));
        let last = width.end;
        // The names stand there.
        width.end += (width.end - width.start) * 0.35;
        let file = path(self.file);
        let root = SVGBackend::new(&file, SIZE).into_drawing_area();
        root.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, (FONT, 20))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d(width, height)
            .unwrap();
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(8)
            .y_labels(8)
            .x_desc(self.x.title)
            .y_desc(self.y.title)
            .x_label_formatter(&|place| {
                if *place > last { String::new() } else { self.x.label(*place) }
            })
            .y_label_formatter(&|place| self.y.label(*place))
            .draw()
            .unwrap();
        for (index, (name, points)) in series.iter().enumerate() {
            let style = colour(name, index).stroke_width(if is_ours(name) { 4 } else { 2 });
            let points = places(points);
            let marks = if points.len() > 10 { &[] } else { &points[..] };
            let marks = marks.iter().map(|point| Circle::new(*point, 3, style.filled()));
            chart.draw_series(marks).unwrap();
            chart
                .draw_series(LineSeries::new(points, style))
                .unwrap()
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE.mix(0.8));
        labels.label_font((FONT, 13)).draw().unwrap();
        root.present().unwrap();
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("tower-reauth")
}

/// Ours stand out.
fn colour(name: &str, index: usize) -> RGBColor {
    const OTHERS: [RGBColor; 8] = [
        RGBColor(120, 120, 120),
        RGBColor(200, 120, 40),
        RGBColor(80, 150, 70),
        RGBColor(150, 90, 160),
        RGBColor(180, 60, 60),
        RGBColor(140, 110, 50),
        RGBColor(60, 150, 150),
        RGBColor(210, 130, 170),
    ];
    match name {
        "tower-reauth" => RGBColor(0, 80, 180),
        _ if is_ours(name) => RGBColor(90, 165, 225),
        _ => OTHERS[index % OTHERS.len()],
    }
}

/// A horizontal bar for each, the shortest on top.
fn draw_bars(file: &str, title: &str, bars: &[(String, f64)]) {
    let mut bars = bars.to_vec();
    bars.sort_by(|a, b| b.1.total_cmp(&a.1));
    let longest = bars.first().map_or(1.0, |bar| bar.1);
    let rows = as_f64(bars.len());
    let file = path(file);
    let height = 80 + 32 * u32::try_from(bars.len()).unwrap();
    let root = SVGBackend::new(&file, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20))
        .margin(10)
        .margin_left(20)
        .x_label_area_size(25)
        .build_cartesian_2d(0.0..longest * 1.5, 0.0..rows)
        .unwrap();
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .disable_y_axis()
        .draw()
        .unwrap();
    for (row, (name, value)) in bars.iter().enumerate() {
        let colour = if is_ours(name) { colour(name, 0) } else { RGBColor(170, 170, 170) };
        let (bottom, top) = (as_f64(row) + 0.15, as_f64(row) + 0.85);
        chart
            .draw_series([Rectangle::new([(0.0, bottom), (*value, top)], colour.filled())])
            .unwrap();
        let label = format!("{name}: {value:.2}");
        let place = (value + longest * 0.01, top - 0.1);
        chart.draw_series([Text::new(label, place, (FONT, 14))]).unwrap();
    }
    root.present().unwrap();
}
