//! Figures as SVG: lines with bands, and intervals side by side. Colours and fonts come from the page's style sheet, so that figures follow
//! a light or dark theme. Libraries that write fixed colours cannot do that.

use maud::{Markup, html};

/// Width and height of a figure in its own units; the page scales it.
const SIZE: (f64, f64) = (400.0, 250.0);
/// The margins for the axes: left, right, top, bottom.
const ROOM: (f64, f64, f64, f64) = (52.0, 12.0, 12.0, 30.0);
/// The most points of a line. Longer ones are thinned out.
const POINTS: usize = 400;

/// A line, with a band around it if `band` is not empty.
pub(super) struct Line {
    /// The name in the legend.
    pub name: String,
    /// The number of its colour in the style sheet, from 1.
    pub colour: usize,
    /// Steps and values.
    pub points: Vec<(f64, f64)>,
    /// The lower and upper ends of the band, at the same steps.
    pub band: Vec<(f64, f64)>,
}

impl Line {
    pub fn new(name: &str, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            colour,
            points,
            band: Vec::new(),
        }
    }

    pub fn with_band(self, band: Vec<(f64, f64)>) -> Self {
        Self { band, ..self }
    }
}

/// How the ends of an axis are chosen.
enum End {
    /// At round numbers.
    Round,
    /// At the smallest and the largest value.
    Exact,
}

/// An axis, which maps values to coordinates.
struct Axis {
    ticks: Vec<f64>,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// Values further from 0 are not drawn, so that sums and rounded ends of an axis stay finite.
const LARGEST: f64 = 1e300;

/// Whether a value can be drawn.
fn can_be_drawn(value: f64) -> bool {
    value.abs() <= LARGEST
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, end: End, from: f64, to: f64) -> Self {
        let drawn = values.filter(|&value| can_be_drawn(value));
        let low = drawn.clone().fold(f64::INFINITY, f64::min);
        let high = drawn.fold(f64::NEG_INFINITY, f64::max);
        let size = low.abs().max(high.abs());
        // A single value, or values that are too close to tell apart, get a margin that is visible beside them.
        let margin = (size * 1e-3).max(0.5);
        let (low, high) = if high - low > (size * 1e-9).max(1e-300) {
            (low, high)
        } else if low.is_finite() {
            (low - margin, high + margin)
        } else {
            (0.0, 1.0)
        };
        let step = round_step((high - low) / 4.0);
        let (low, high) = match end {
            End::Round => ((low / step).floor() * step, (high / step).ceil() * step),
            End::Exact => (low, high),
        };
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        let ticks = (first as i64..=last as i64).map(|index| step * index as f64);
        Self {
            ticks: ticks.collect(),
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let enough = steps.into_iter().find(|&round| round >= step * 0.999);
    enough.unwrap_or(10.0 * power)
}

/// Formats a tick's number as short as the distance of the ticks allows.
fn tick(value: f64, ticks: &[f64]) -> String {
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    if value.abs() >= 1e7 || (step < 1e-6 && value != 0.0) {
        return format!("{value:.3e}");
    }
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.digits$}");
    let mut digits = text.trim_start_matches('-').chars();
    if digits.all(|digit| digit == '0' || digit == '.') {
        return "0".to_owned();
    }
    text
}

/// A figure of lines over optimiser steps.
pub(super) fn lines(title: &str, unit: &str, lines: &[Line]) -> Markup {
    lines_along("optimiser step", title, unit, lines)
}

/// A figure of lines. `along` names the x axis; its last word stands in the titles of the points.
pub(super) fn lines_along(along: &str, title: &str, unit: &str, lines: &[Line]) -> Markup {
    let (left, right, top, bottom) = ROOM;
    let all = || lines.iter().flat_map(|line| &line.points);
    let ends = lines.iter().flat_map(|line| &line.band);
    let x = Axis::new(all().map(|point| point.0), End::Exact, left, SIZE.0 - right);
    let values = all()
        .map(|point| point.1)
        .chain(ends.flat_map(|end| [end.0, end.1]));
    let y = Axis::new(values, End::Round, SIZE.1 - bottom, top);
    let described = lines.iter().map(|line| line.name.as_str());
    let described = format!("{title}: {}", described.collect::<Vec<_>>().join(", "));
    html! {
        figure {
            figcaption { (title) @if !unit.is_empty() { " " span.unit { "(" (unit) ")" } } }
            svg viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label=(described) {
                (grid(&x, &y, along))
                @for line in lines { (drawn(line, &x, &y, along)) }
            }
            @if lines.len() > 1 {
                ul.legend { @for line in lines { li { span class={ "key c" (line.colour) } {} (line.name) } } }
            }
        }
    }
}

fn grid(x: &Axis, y: &Axis, along: &str) -> Markup {
    html! {
        @for &value in &y.ticks {
            line.grid x1=(x.from) x2=(x.to) y1=(at(y.place(value))) y2=(at(y.place(value))) {}
            text.tick x=(x.from - 6.0) y=(at(y.place(value) + 4.0)) text-anchor="end" { (tick(value, &y.ticks)) }
        }
        @if y.low < 0.0 && y.high > 0.0 { line.zero x1=(x.from) x2=(x.to) y1=(at(y.place(0.0))) y2=(at(y.place(0.0))) {} }
        @for &value in &x.ticks {
            text.tick x=(at(x.place(value))) y=(SIZE.1 - 14.0) text-anchor="middle" { (tick(value, &x.ticks)) }
        }
        text.tick x=(x.to) y=(SIZE.1 - 2.0) text-anchor="end" { (along) }
    }
}

fn drawn(line: &Line, x: &Axis, y: &Axis, along: &str) -> Markup {
    let place_is = along.rsplit(' ').next().unwrap_or(along);
    let stride = line.points.len().div_ceil(POINTS).max(1);
    let last = line.points.len().saturating_sub(1);
    let kept: Vec<usize> = (0..line.points.len())
        .filter(|index| index % stride == 0 || *index == last)
        .filter(|&index| can_be_drawn(line.points[index].1))
        .collect();
    let place = |step: f64, value: f64| format!("{},{}", at(x.place(step)), at(y.place(value)));
    let path: Vec<String> = kept
        .iter()
        .map(|&index| place(line.points[index].0, line.points[index].1))
        .collect();
    let both = || {
        let both = line.points.iter().zip(&line.band);
        both.filter(|(_, end)| can_be_drawn(end.0) && can_be_drawn(end.1))
    };
    let upper = both().map(|(point, end)| place(point.0, end.1));
    let lower = both().rev().map(|(point, end)| place(point.0, end.0));
    let around: Vec<String> = upper.chain(lower).collect();
    html! {
        @if !around.is_empty() { polygon class={ "band c" (line.colour) } points=(around.join(" ")) {} }
        polyline class={ "line c" (line.colour) } points=(path.join(" ")) {}
        @if kept.len() <= 30 {
            @for &index in &kept {
                @let (step, value) = line.points[index];
                circle class={ "dot c" (line.colour) } cx=(at(x.place(step))) cy=(at(y.place(value))) r="2.6" {
                    title { (line.name) ", " (place_is) " " (step) ": " (value) }
                }
            }
        }
    }
}

/// A figure of points and the line `intercept + slope x` through them. `along` names the x axis.
pub(super) fn scatter(
    title: &str,
    along: &str,
    points: &[(f64, f64)],
    (intercept, slope): (f64, f64),
) -> Markup {
    let (left, right, top, bottom) = ROOM;
    let xs = points.iter().map(|point| point.0);
    let x = Axis::new(xs, End::Round, left, SIZE.0 - right);
    let line = [x.low, x.high].map(|x| intercept + slope * x);
    let ys = points.iter().map(|point| point.1).chain(line);
    let y = Axis::new(ys, End::Round, SIZE.1 - bottom, top);
    let drawn = points
        .iter()
        .filter(|(x, y)| can_be_drawn(*x) && can_be_drawn(*y));
    html! {
        figure {
            figcaption { (title) }
            svg viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label={ (title) ", along " (along) } {
                (grid(&x, &y, along))
                @for (across, up) in drawn {
                    circle class="dot c3" cx=(at(x.place(*across))) cy=(at(y.place(*up))) r="2.6" { title { (across) ", " (up) } }
                }
                line.line.c1 x1=(at(x.from)) x2=(at(x.to)) y1=(at(y.place(line[0]))) y2=(at(y.place(line[1]))) {}
            }
        }
    }
}

/// A row of a figure of intervals.
pub(super) struct Row {
    /// The label.
    pub name: String,
    /// The estimate with its lower and upper end.
    pub value: (f64, f64, f64),
    /// The number of its colour in the style sheet, from 1.
    pub colour: usize,
}

/// A figure of estimates with their intervals, one below the other, with 0 marked.
pub(super) fn intervals(title: &str, unit: &str, rows: &[Row]) -> Markup {
    intervals_around(title, unit, None, rows)
}

/// The same, with a band from -`margin` to `margin`.
pub(super) fn intervals_around(
    title: &str,
    unit: &str,
    margin: Option<f64>,
    rows: &[Row],
) -> Markup {
    let margin = margin.filter(|&margin| can_be_drawn(margin));
    let height = 30.0 + 34.0 * rows.len() as f64;
    let ends = rows
        .iter()
        .flat_map(|row| [row.value.1, row.value.2, row.value.0]);
    let band = margin.into_iter().flat_map(|margin| [-margin, margin]);
    let ends = ends.chain([0.0]).chain(band);
    let x = Axis::new(ends, End::Round, 14.0, SIZE.0 - 14.0);
    html! {
        figure {
            figcaption { (title) @if !unit.is_empty() { " " span.unit { "(" (unit) ")" } } }
            svg viewBox={ "0 0 " (SIZE.0) " " (height) } role="img" aria-label=(title) {
                @for &value in &x.ticks {
                    line.grid x1=(at(x.place(value))) x2=(at(x.place(value))) y1="4" y2=(height - 22.0) {}
                    text.tick x=(at(x.place(value))) y=(height - 6.0) text-anchor="middle" { (tick(value, &x.ticks)) }
                }
                @if let Some(margin) = margin {
                    rect class="band c3" x=(at(x.place(-margin))) width=(at(x.place(margin) - x.place(-margin))) y="4" height=(height - 26.0) { title { "less than " (margin) } }
                }
                line.zero x1=(at(x.place(0.0))) x2=(at(x.place(0.0))) y1="4" y2=(height - 22.0) {}
                @for (index, row) in rows.iter().enumerate() {
                    @let y = 16.0 + 34.0 * index as f64;
                    text.label x="16" y=(y) { (row.name) }
                    line class={ "line c" (row.colour) } x1=(at(x.place(row.value.1))) x2=(at(x.place(row.value.2))) y1=(y + 9.0) y2=(y + 9.0) {}
                    circle class={ "dot c" (row.colour) } cx=(at(x.place(row.value.0))) cy=(y + 9.0) r="4" {
                        title { (row.name) ": " (row.value.0) " [" (row.value.1) ", " (row.value.2) "]" }
                    }
                }
            }
        }
    }
}

/// A figure of bars from 0 to `whole`, in groups of two: before and after.
pub(super) fn before_and_after(title: &str, whole: f64, rows: &[(String, f64, f64)]) -> Markup {
    let height = 20.0 + 52.0 * rows.len() as f64;
    let ends = [0.0, whole].into_iter();
    let x = Axis::new(ends, End::Exact, 14.0, SIZE.0 - 60.0);
    html! {
        figure {
            figcaption { (title) }
            svg viewBox={ "0 0 " (SIZE.0) " " (height) } role="img" aria-label=(title) {
                @for (index, (name, before, after)) in rows.iter().enumerate() {
                    @let y = 14.0 + 52.0 * index as f64;
                    text.label x="14" y=(y) { (name) }
                    @for (value, colour, y) in [(*before, 3, y + 5.0), (*after, 1, y + 19.0)] {
                        rect class={ "bar c" (colour) } x=(x.from) y=(y) height="12" width=(at((x.place(value.clamp(0.0, whole)) - x.from).max(0.0))) {}
                        text.tick x=(at(x.place(value.clamp(0.0, whole)) + 5.0)) y=(y + 10.0) { (format!("{value:.3}")) }
                    }
                }
            }
            ul.legend { li { span.key.c3 {} "before" } li { span.key.c1 {} "after" } }
        }
    }
}

/// Formats a coordinate with as many digits as are visible.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_values_give_an_axis_with_a_few_ticks(values in proptest::collection::vec(any::<f64>(), 0..4), near in 0u64..4, round in any::<bool>()) {
            // Includes neighbouring floating-point numbers, which differ as little as possible.
            let mut values = values;
            let last = values.last().copied();
            values.extend(last.map(|value| f64::from_bits(value.to_bits() ^ near)));
            let end = if round { End::Round } else { End::Exact };
            let axis = Axis::new(values.iter().copied(), end, 0.0, 100.0);
            prop_assert!(axis.low.is_finite() && axis.high.is_finite() && axis.low < axis.high);
            prop_assert!(axis.ticks.len() <= 12, "{:?}", axis.ticks);
            for &value in values.iter().filter(|&&value| can_be_drawn(value)) {
                let place = axis.place(value);
                prop_assert!((-1e-6..=100.0 + 1e-6).contains(&place), "{value} is at {place}");
            }
            for &value in &axis.ticks {
                prop_assert!(tick(value, &axis.ticks).len() <= 16);
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out_of_lines_and_bands() {
        let points = vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::MAX), (3.0, 2.0)];
        let band = vec![
            (0.5, 1.5),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
            (1.0, 3.0),
        ];
        let line = Line::new("loss", 1, points).with_band(band);
        let svg = lines("title", "", &[line]).into_string();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
