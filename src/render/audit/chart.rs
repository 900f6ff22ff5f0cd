//! Charts as SVG, drawn here so that a page needs nothing from anywhere else.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use maud::{Markup, html};

use crate::audit::report::Days;

/// How many colours there are; the rest of the rules share one more.
pub(super) const COLOURS: usize = 8;
/// What the rest of the rules are called.
const REST: &str = "other rules";
/// How many bars fit.
const MOST_BARS: i64 = 62;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 10.0;

/// Denials over time, one bar a step, stacked by rule.
pub(super) struct Timeline {
    /// How many days a bar stands for.
    pub(super) step: i64,
    /// The rules that have a colour of their own, the most frequent first, and then the rest.
    pub(super) series: Vec<String>,
    bars: Vec<Bar>,
}

struct Bar {
    from: Date,
    counts: Vec<u64>,
}

impl Timeline {
    /// Spans the days from the first denial to the last.
    pub(super) fn of(days: &Days) -> Option<Self> {
        let (first, last) = (*days.keys().next()?, *days.keys().next_back()?);
        let span = i64::from((last - first).get_days()) + 1;
        let coarser = [1, 7, 28, 91, 364].into_iter().find(|step| span.div_ceil_by(*step) <= MOST_BARS);
        let step = coarser.unwrap_or_else(|| span.div_ceil_by(MOST_BARS));

        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for (rule, count) in days.values().flatten() {
            *totals.entry(rule).or_default() += count;
        }
        let mut rules: Vec<(&str, u64)> = totals.into_iter().collect();
        rules.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let has_rest = rules.len() > COLOURS;
        let mut series: Vec<String> =
            rules.iter().take(COLOURS).map(|(rule, _)| (*rule).to_owned()).collect();
        if has_rest {
            series.push(REST.to_owned());
        }

        let mut bars: Vec<Bar> = Vec::new();
        for number in 0..span.div_ceil_by(step) {
            let from = first.checked_add((number * step).days()).ok()?;
            bars.push(Bar { from, counts: vec![0; series.len()] });
        }
        for (date, counts) in days {
            let index = i64::from((*date - first).get_days()) / step;
            let Some(bar) = usize::try_from(index).ok().and_then(|index| bars.get_mut(index)) else {
                continue;
            };
            for (rule, count) in counts {
                let place = series.iter().position(|name| name == rule).unwrap_or(series.len() - 1);
                if let Some(slot) = bar.counts.get_mut(place) {
                    *slot += count;
                }
            }
        }
        Some(Self { step, series, bars })
    }

    pub(super) fn svg(&self) -> Markup {
        let total = |bar: &Bar| bar.counts.iter().sum::<u64>();
        let (most, tick) = scale(self.bars.iter().map(total).max().unwrap_or(0));
        let plot = HEIGHT - BOTTOM - TOP;
        let height = |count: u64| plot * count as f64 / most as f64;
        let slot = (WIDTH - LEFT) / self.bars.len() as f64;
        let width = (slot * 0.8).min(48.0);
        // Labels of about 70 units each.
        let every = (70.0 / slot).ceil().max(1.0) as usize;
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Rejections over time, by rule" {
                @for value in (0..=most).step_by(usize::try_from(tick).unwrap_or(1)) {
                    @let y = HEIGHT - BOTTOM - height(value);
                    line class="grid" x1=(LEFT) x2=(WIDTH) y1=(fixed(y)) y2=(fixed(y)) {}
                    text class="axis" x=(LEFT - 8.0) y=(fixed(y + 4.0)) text-anchor="end" { (value) }
                }
                @for (index, bar) in self.bars.iter().enumerate() {
                    @let x = LEFT + slot * index as f64 + (slot - width) / 2.0;
                    g {
                        title { (self.tip(bar)) }
                        rect class="hit" x=(fixed(LEFT + slot * index as f64)) y=(TOP) width=(fixed(slot)) height=(fixed(plot)) {}
                        @for (number, below, count) in stacked(&bar.counts) {
                            rect class=(format!("s{number}")) x=(fixed(x)) width=(fixed(width))
                                y=(fixed(HEIGHT - BOTTOM - height(below + count))) height=(fixed(height(count))) {}
                        }
                    }
                    @if index % every == 0 {
                        text class="axis" x=(fixed(x + width / 2.0)) y=(HEIGHT - 8.0) text-anchor="middle" {
                            (bar.from.strftime("%-d %b"))
                        }
                    }
                }
            }
        }
    }

    fn tip(&self, bar: &Bar) -> String {
        let mut lines = vec![match self.step {
            1 => bar.from.to_string(),
            step => format!("{step} days from {}", bar.from),
        }];
        let named = self.series.iter().zip(&bar.counts).filter(|(_, count)| **count > 0);
        lines.extend(named.map(|(rule, count)| format!("{rule}: {count}")));
        lines.join("\n")
    }
}

/// Each count with its number and the sum of those below it.
fn stacked(counts: &[u64]) -> impl Iterator<Item = (usize, u64, u64)> {
    let mut below = 0;
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(number, count)| {
        below += count;
        (number, below - count, *count)
    })
}

/// Where the axis ends, and the distance between its lines: 1, 2 or 5 times a power of ten.
fn scale(most: u64) -> (u64, u64) {
    let mut tick = 1;
    let mut factors = [2, 5, 10].into_iter().cycle();
    let mut power = 1_u64;
    while most / tick >= 5 {
        let factor = factors.next().unwrap_or(10);
        tick = power.saturating_mul(factor);
        if factor == 10 {
            power = tick;
        }
    }
    let lines = (most / tick + u64::from(!most.is_multiple_of(tick))).max(1);
    (lines * tick, tick)
}

/// A coordinate, short.
pub(super) fn fixed(number: f64) -> String {
    format!("{number:.1}")
}

trait DivCeil {
    fn div_ceil_by(self, divisor: i64) -> i64;
}

impl DivCeil for i64 {
    /// Rounded up, for what is positive.
    fn div_ceil_by(self, divisor: i64) -> i64 {
        (self + divisor - 1) / divisor.max(1)
    }
}

/// Parts of a whole as one bar. Each has a class, which gives it its colour.
pub(super) fn parts(parts: &[(&'static str, u64)]) -> Markup {
    let total = parts.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
    let mut at = 0.0;
    let mut placed = Vec::new();
    for (class, count) in parts.iter().filter(|(_, count)| *count > 0) {
        let width = WIDTH * *count as f64 / total;
        placed.push((class, at, width));
        at += width;
    }
    html! {
        svg.parts viewBox=(format!("0 0 {WIDTH} 22")) preserveAspectRatio="none" role="img" aria-label="Waivers by state" {
            @for (class, x, width) in placed {
                rect class=(class) x=(fixed(x)) y="0" width=(fixed(width)) height="22" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_or_above_the_highest_bar_with_few_lines() {
        for most in [0, 1, 2, 4, 5, 7, 9, 10, 11, 49, 50, 51, 99, 100, 101, 12_345, u64::MAX / 4] {
            let (end, tick) = scale(most);
            assert!(end >= most && end > 0 && end / tick <= 6, "{most}: {end} by {tick}");
        }
        assert_eq!((scale(1), scale(7), scale(23), scale(120)), ((1, 1), (8, 2), (25, 5), (150, 50)));
    }

    #[test]
    fn long_times_get_coarser_bars_and_no_denial_is_lost() {
        let first: Date = "2026-01-01".parse().unwrap();
        for (span, step) in [(1, 1), (62, 1), (63, 7), (400, 7), (2_000, 91), (2_900_000, 46_775)] {
            let last = first.checked_add((span - 1).days()).unwrap();
            let mut days = Days::new();
            for date in [first, last] {
                let counts = (0..12).map(|number| (format!("rule-{number:02}"), 1)).collect();
                days.insert(date, counts);
            }
            let timeline = Timeline::of(&days).unwrap();
            assert_eq!(timeline.step, step, "{span} days");
            assert_eq!(timeline.series.len(), COLOURS + 1);
            let drawn: u64 = timeline.bars.iter().flat_map(|bar| &bar.counts).sum();
            assert_eq!(drawn, if span == 1 { 12 } else { 24 }, "{span} days");
        }
        assert!(Timeline::of(&Days::new()).is_none());
    }
}
