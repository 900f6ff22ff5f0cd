//! The next firings in a time zone, with what the moving of clocks does to them.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp, ToSpan, Zoned,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::{
    Kind, Schedule,
    spec::Spec,
    walk::{self, Arrival},
};

/// Clocks are moved at most this often between two firings we look at: twice a year in most
/// zones, four times where Ramadan is observed, for a little over five years.
const MOST_MOVES: usize = 64;

/// The next firings of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firings {
    /// In ascending order.
    pub firings: Vec<Firing>,
    /// Why there are no more of them.
    pub end: End,
}

/// One firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// When, in the zone in which the schedule is read.
    pub at: Zoned,
    /// Set when the wall clock shows this time twice: the schedule runs at both.
    pub repeated: Option<Turn>,
    /// Set when clocks were moved forward since the firing before, over times at which it would
    /// have run.
    pub skipped: Option<Skipped>,
    /// Set when this is not a day on which the schedule runs, and the controller runs it all the
    /// same: its library forgets to look at the date again where clocks went forward over midnight.
    pub stray: bool,
}

/// Which of the two times at which a wall clock shows the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The earlier one.
    First,
    /// The later one.
    Second,
}

/// Runs that did not happen because the wall clock never showed their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first such time.
    pub first: DateTime,
    /// How many there were.
    pub runs: u32,
}

/// Why a list of firings ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As many were found as were asked for.
    Enough,
    /// The schedule never fires at all.
    NeverFires,
    /// The controller looks five years ahead and no further; there may be later firings that it
    /// never gets to see.
    GivesUp,
    /// The zone left out this calendar day, and the controller's library loops forever when it
    /// looks for a firing across it.
    Stalls(Date),
}

impl Schedule {
    /// The next `count` firings after an instant.
    ///
    /// A zone of the schedule's own (`TZ=`, or the `timeZone` it was validated with) goes before
    /// `zone`, as it does in the controller. Times are found exactly as the controller finds them;
    /// each search is bounded, so a `count` of ten costs microseconds, whatever the schedule.
    ///
    /// ```
    /// # use jiff::{Timestamp, tz::TimeZone};
    /// # use plimsoll::object::schedule::Schedule;
    /// let schedule = Schedule::parse("TZ=Europe/Berlin 30 2 * * *")?;
    /// let saturday: Timestamp = "2026-03-28T12:00:00Z".parse()?;
    /// let next = schedule.next_firings(saturday, &TimeZone::UTC, 1);
    /// assert_eq!(next.firings[0].at.to_string(), "2026-03-30T02:30:00+02:00[Europe/Berlin]");
    /// assert!(next.firings[0].skipped.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn next_firings(&self, after: Timestamp, zone: &TimeZone, count: usize) -> Firings {
        let zone = self.zone().unwrap_or(zone);
        let mut firings = Vec::new();
        let mut last = after;
        if self.never_fires() {
            return Firings { firings, end: End::NeverFires };
        }
        while firings.len() < count {
            let arrival = match &self.kind {
                Kind::Spec(spec) => walk::next(spec, last, zone),
                Kind::Every(delay) => delayed(last, *delay),
            };
            let at = match arrival {
                Arrival::At(at) => at,
                Arrival::Nowhere => return Firings { firings, end: End::GivesUp },
                Arrival::Stuck(day) => return Firings { firings, end: End::Stalls(day) },
            };
            firings.push(self.firing(last, at, zone));
            last = at;
        }
        Firings { firings, end: End::Enough }
    }

    fn firing(&self, last: Timestamp, at: Timestamp, zone: &TimeZone) -> Firing {
        let zoned = at.to_zoned(zone.clone());
        match &self.kind {
            Kind::Every(_) => Firing { at: zoned, repeated: None, skipped: None, stray: false },
            Kind::Spec(spec) => Firing {
                repeated: turn(at, zoned.datetime(), zone),
                skipped: skipped(spec, last, at, zone),
                stray: !spec.matches(zoned.datetime()),
                at: zoned,
            },
        }
    }
}

fn delayed(last: Timestamp, delay: std::time::Duration) -> Arrival {
    // The next firing is on the whole second.
    let second = last.as_nanosecond().div_euclid(1_000_000_000);
    let next = i64::try_from(second).ok().and_then(|s| s.checked_add_unsigned(delay.as_secs()));
    let next = next.and_then(|second| Timestamp::from_second(second).ok());
    next.map_or(Arrival::Nowhere, Arrival::At)
}

fn turn(at: Timestamp, wall: DateTime, zone: &TimeZone) -> Option<Turn> {
    let both = zone.to_ambiguous_timestamp(wall);
    match both.offset() {
        jiff::tz::AmbiguousOffset::Fold { before, .. } => {
            let first = before.to_timestamp(wall).is_ok_and(|first| first == at);
            Some(if first { Turn::First } else { Turn::Second })
        }
        _ => None,
    }
}

/// The runs lost between two firings where clocks were moved forward.
fn skipped(spec: &Spec, last: Timestamp, at: Timestamp, zone: &TimeZone) -> Option<Skipped> {
    let moves = zone.following(last).take_while(|m| m.timestamp() <= at).take(MOST_MOVES);
    let mut lost: Option<Skipped> = None;
    for moved in moves {
        let before = zone.to_offset(moved.timestamp() - SignedDuration::from_secs(1));
        let minutes = (moved.offset().seconds() - before.seconds()) / 60;
        let start = before.to_datetime(moved.timestamp());
        // Nothing is skipped where clocks go back. No zone ever skipped more than a day.
        for minute in 0..minutes.min(1_440) {
            let Ok(wall) = start.checked_add(minute.minutes()) else { break };
            if spec.matches(wall) {
                lost.get_or_insert(Skipped { first: wall, runs: 0 }).runs += 1;
            }
        }
    }
    lost
}

impl Firing {
    /// What to tell about it, if anything.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let skipped = self.skipped.map(|skipped| {
            let first = skipped.first.strftime("%H:%M on %-d %B %Y");
            match skipped.runs {
                1 => format!("{first} was skipped, because clocks went forward over it"),
                runs => {
                    format!("{runs} runs from {first} on were skipped, because clocks went forward over them")
                }
            }
        });
        let repeated = self.repeated.map(|turn| match turn {
            Turn::First => "clocks go back: this time comes twice, and it runs twice".to_owned(),
            Turn::Second => "the second run at this time, because clocks went back".to_owned(),
        });
        let stray = self.stray.then(|| {
            "not its day: the controller runs it because clocks went forward over midnight".to_owned()
        });
        let notes: Vec<String> = skipped.into_iter().chain(repeated).chain(stray).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enough => f.write_str("and so on"),
            Self::NeverFires => f.write_str("it never fires"),
            Self::GivesUp => {
                f.write_str("nothing for five years after that, which is where the controller stops looking")
            }
            Self::Stalls(day) => write!(
                f,
                "the time zone left out {}, over which the controller would search forever",
                day.strftime("%-d %B %Y")
            ),
        }
    }
}
