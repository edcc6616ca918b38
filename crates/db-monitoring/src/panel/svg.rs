//! Draws plots and bars as SVG with classes in place of colours: the style sheet knows light and dark.

use std::fmt::Write as _;

use db_core::panel::human;
use maud::{Markup, html};

use super::Plot;

/// So many colours has the style sheet.
pub(crate) const COLOURS: usize = 12;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;
/// So many lines cross the plot, the lowest one included.
const LINES: u32 = 4;

/// Parts of a whole as one bar.
pub(crate) fn bar(parts: &[(usize, f64)]) -> Markup {
    let mut from = 0.0_f64;
    let parts: Vec<(usize, f64, f64)> = parts
        .iter()
        .map(|(colour, share)| {
            let width = (share * 100.0).clamp(0.0, 100.0 - from);
            let start = from;
            from += width;
            (colour % COLOURS, start, width)
        })
        .collect();
    html! {
        svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            @for (colour, start, width) in parts {
                rect class={ "c" (colour) } x=(round(start)) width=(round(width)) height="6" {}
            }
        }
    }
}

/// The plot as a picture of its own; a gap in the values is a gap in the line.
pub(crate) fn plot(plot: &Plot) -> Markup {
    let Some(frame) = Frame::of(plot) else { return html! {} };
    let layers = layers(plot);
    let label = format!("{}: {} series", plot.title, plot.series.len());
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
            @for line in 0..=LINES {
                @let at = frame.most * f64::from(line) / f64::from(LINES);
                @let y = round(frame.y(at));
                line.grid x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                text.axis x=(LEFT - 6.0) y=(y) dy="4" text-anchor="end" { (words(&plot.unit, at)) }
            }
            @for (at, anchor) in [(frame.from, "start"), (frame.to, "end")] {
                text.axis x=(round(frame.x(at))) y=(HEIGHT - 6.0) text-anchor=(anchor) { (moment(at)) }
            }
            @for (index, series) in plot.series.iter().enumerate().rev() {
                @let class = format!("c{}", series.colour % COLOURS);
                @if plot.stacked {
                    path class={ "area " (class) } d=(frame.area(&plot.times, &layers[index])) {}
                } @else {
                    path class={ "line " (class) } d=(frame.line(&plot.times, &series.values)) {}
                }
            }
            @if let Some((name, at)) = &plot.limit {
                @let y = round(frame.y(*at));
                line.limit x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                text.axis x=(WIDTH) y=(y - 4.0) text-anchor="end" { (name) }
            }
        }
    }
}

/// The edges of each layer: what lies below it, and that with it.
type Layer = Vec<(f64, f64)>;

fn layers(plot: &Plot) -> Vec<Layer> {
    let mut below = vec![0.0; plot.times.len()];
    plot.series
        .iter()
        .map(|series| {
            below
                .iter_mut()
                .enumerate()
                .map(|(index, sum)| {
                    let from = *sum;
                    *sum += series.values.get(index).copied().flatten().unwrap_or(0.0);
                    (from, *sum)
                })
                .collect()
        })
        .collect()
}

struct Frame {
    from: f64,
    to: f64,
    most: f64,
}

impl Frame {
    fn of(plot: &Plot) -> Option<Self> {
        let (from, to) = plot.range.or_else(|| Some((*plot.times.first()?, *plot.times.last()?)))?;
        let highest = if plot.stacked {
            layers(plot).last()?.iter().map(|edge| edge.1).fold(0.0, f64::max)
        } else {
            plot.series.iter().flat_map(|series| &series.values).copied().flatten().fold(0.0, f64::max)
        };
        let limit = plot.limit.as_ref().map_or(0.0, |limit| limit.1);
        let most = highest.max(limit).max(1e-9) * 1.08;
        Some(Frame { from, to: if to > from { to } else { from + 1.0 }, most })
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (at - self.from) / (self.to - self.from) * (WIDTH - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - value / self.most) * (HEIGHT - TOP - BOTTOM)
    }

    fn line(&self, times: &[f64], values: &[Option<f64>]) -> String {
        let (mut path, mut pen_is_down) = (String::new(), false);
        for (at, value) in times.iter().zip(values) {
            let Some(value) = value else {
                pen_is_down = false;
                continue;
            };
            let step = if pen_is_down { 'L' } else { 'M' };
            let _ = write!(path, "{step}{} {}", round(self.x(*at)), round(self.y(*value)));
            pen_is_down = true;
        }
        path
    }

    fn area(&self, times: &[f64], layer: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let there = times.iter().zip(layer).map(|(at, edge)| (*at, edge.1));
        let back = times.iter().zip(layer).rev().map(|(at, edge)| (*at, edge.0));
        for (index, (at, value)) in there.chain(back).enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{} {}", round(self.x(at)), round(self.y(value)));
        }
        path.push('Z');
        path
    }
}

/// Hour and minute of a moment, with its day: reports are read days later.
fn moment(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let stamp = human::stamp(std::time::UNIX_EPOCH + since);
    stamp.get(5..16).unwrap_or_default().replace('T', " ")
}

fn words(unit: &str, value: f64) -> String {
    match unit {
        "bytes" => human::bytes(value),
        "seconds" => human::seconds(value),
        "percent" => format!("{} %", human::number(value)),
        _ => human::number(value),
    }
}

/// A tenth of a pixel is enough, and shorter.
fn round(number: f64) -> f64 {
    if number.is_finite() { (number * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_on_each_other_and_a_gap_is_a_gap() {
        let of = Plot::new("load", "Load", "sessions")
            .over(vec![0.0, 1.0, 2.0])
            .series("CPU", 0, vec![Some(1.0), Some(2.0), None])
            .series("IO", 1, vec![Some(1.0), None, Some(3.0)])
            .limit("2 cores", 2.0)
            .stacked();
        assert_eq!(layers(&of)[1], [(1.0, 2.0), (2.0, 2.0), (0.0, 3.0)]);
        let frame = Frame::of(&of).unwrap();
        assert_eq!(frame.line(&of.times, &of.series[1].values).matches('M').count(), 2);
        let drawn = plot(&of).into_string();
        assert!(drawn.contains("2 cores") && !drawn.contains("style="), "{drawn}");
    }
}
