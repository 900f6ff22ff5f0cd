//! From turns to ratios.

use std::time::Duration;

use super::reviews::Case;

/// What one turn gave.
pub(crate) struct Figures {
    requests: usize,
    elapsed: Duration,
    busy: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Figures {
    pub(crate) fn new(mut latencies: Vec<Duration>, elapsed: Duration, busy: Duration) -> Self {
        latencies.sort_unstable();
        Self { requests: latencies.len(), elapsed, busy, latencies }
    }

    fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    fn busy_micros(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.requests as f64
    }

    fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let index =
            ((self.latencies.len() as f64 * quantile) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// Requests per second, the median of all turns.
pub(crate) fn rate(turns: &[Figures]) -> f64 {
    median(turns.iter().map(Figures::per_second).collect())
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 10]>,
}

impl Table {
    /// A case: Plimsoll, the floor, the floor again, the hard floor; at full load, at half of that, and one
    /// request after the other.
    pub(crate) fn add(
        &mut self,
        case: &Case,
        most: &[Vec<Figures>; 4],
        paced: &[Vec<Figures>; 4],
        alone: &[Vec<Figures>; 4],
    ) {
        let [ours, floor, again, hard] = most;
        let [ours_paced, floor_paced, ..] = paced;
        let [ours_alone, floor_alone, ..] = alone;
        let busy = |turns: &[Figures]| median(turns.iter().map(Figures::busy_micros).collect());
        self.rows.push([
            case.name.clone(),
            format!("{:.0}", rate(ours)),
            ratio(ours, floor, Figures::per_second),
            ratio(ours, hard, Figures::per_second),
            ratio(again, floor, Figures::per_second),
            format!("{:.0} / {:.0} / {:.0}", busy(ours), busy(floor), busy(hard)),
            ratio(ours_paced, floor_paced, Figures::p50),
            ratio(ours_paced, floor_paced, Figures::p99),
            format!("{:.0}", median(ours_alone.iter().map(Figures::p50).collect())),
            ratio(ours_alone, floor_alone, Figures::p50),
        ]);
    }

    /// Prints it as Markdown.
    pub(crate) fn print(&self) {
        let head = [
            "request",
            "requests/s",
            "of the floor",
            "of the hard floor",
            "floor to itself",
            "CPU µs a request (ours / floor / hard floor)",
            "p50 at half load, of the floor",
            "p99",
            "p50 of one connection, µs",
            "of the floor",
        ];
        println!("| {} |", head.join(" | "));
        println!("|{}|", head.map(|_| "---").join("|"));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
    }
}

/// The median of the rounds' ratios, with the least and the greatest.
fn ratio(ours: &[Figures], theirs: &[Figures], of: impl Fn(&Figures) -> f64) -> String {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}-{greatest:.2})", median(ratios))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
