//! The next firing, found the way the CronJob controller finds it.
//!
//! The controller's library walks from field to field: to a month that matches, to a day in it, to
//! an hour, to a minute, and back to the month whenever a field wraps around. Where clocks are
//! moved this walk has habits of its own, and they are what happens in a cluster, so it is
//! followed step by step: a wall-clock time that is skipped does not run, one that comes twice
//! runs twice, and five years without a firing end the search. It differs in one point: theirs
//! walks forever over a calendar day that a zone left out; ours notices that it stands still.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};

use super::spec::Spec;

/// More steps than any walk that arrives: days and months of six years, and some hours and
/// minutes at the end.
const MOST_STEPS: u32 = 20_000;

/// How a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// At a firing.
    At(Timestamp),
    /// Nowhere within five years, or at the end of the calendar.
    Nowhere,
    /// It stands still before a calendar day that the zone left out.
    Stuck(Date),
}

/// The instant of a walk in seconds since 1970, and the wall clock of the zone at that instant.
struct Walk<'a> {
    unix: i64,
    wall: DateTime,
    zone: &'a TimeZone,
    steps_left: u32,
    /// Whether the smaller fields have been set to their beginning.
    added: bool,
}

/// Why a walk goes no further.
enum Halt {
    EndOfCalendar,
    Still(Date),
}

enum Pass {
    Arrived,
    WrappedAround,
}

/// The first firing after an instant.
pub(super) fn next(spec: &Spec, after: Timestamp, zone: &TimeZone) -> Arrival {
    go(spec, after, zone).0
}

/// The first firing after an instant, and how many steps are left of those that a walk may take.
fn go(spec: &Spec, after: Timestamp, zone: &TimeZone) -> (Arrival, u32) {
    let second = after.as_nanosecond().div_euclid(1_000_000_000);
    // The range of a timestamp is far within 64 bits.
    let unix = i64::try_from(second).unwrap_or(i64::MAX).saturating_add(1);
    let mut walk = Walk { unix, wall: DateTime::MIN, zone, steps_left: MOST_STEPS, added: false };
    let arrival = match walk.search(spec) {
        Ok(true) => Timestamp::from_second(walk.unix).map_or(Arrival::Nowhere, Arrival::At),
        Ok(false) | Err(Halt::EndOfCalendar) => Arrival::Nowhere,
        Err(Halt::Still(day)) => Arrival::Stuck(day),
    };
    (arrival, walk.steps_left)
}

/// How many steps the walk to the first firing takes.
#[cfg(test)]
pub(super) fn steps(spec: &Spec, after: Timestamp, zone: &TimeZone) -> u32 {
    MOST_STEPS - go(spec, after, zone).1
}

impl Walk<'_> {
    fn search(&mut self, spec: &Spec) -> Result<bool, Halt> {
        self.set(self.unix)?;
        let last_year = self.wall.year().saturating_add(5);
        while self.wall.year() <= last_year {
            if let Pass::Arrived = self.pass(spec)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// From the largest field to the smallest, until all match or one wraps around.
    fn pass(&mut self, spec: &Spec) -> Result<Pass, Halt> {
        while !spec.months.contains(self.wall.month().unsigned_abs().into()) {
            self.begin(self.wall.date().first_of_month().at(0, 0, 0, 0))?;
            self.skip_to_next_month()?;
            if self.wall.month() == 1 {
                return Ok(Pass::WrappedAround);
            }
        }
        while !spec.matches_day(self.wall.date()) {
            self.begin(self.wall.date().at(0, 0, 0, 0))?;
            self.skip_to_next_day()?;
            if self.wall.day() == 1 {
                return Ok(Pass::WrappedAround);
            }
        }
        while !spec.hours.contains(self.wall.hour().unsigned_abs().into()) {
            self.begin(self.wall.date().at(self.wall.hour(), 0, 0, 0))?;
            self.advance(3_600)?;
            if self.wall.hour() == 0 {
                return Ok(Pass::WrappedAround);
            }
        }
        while !spec.minutes.contains(self.wall.minute().unsigned_abs().into()) {
            // Here whole minutes of the instant count, not of the wall clock: they differ where
            // an offset has seconds, as before standard time.
            if !self.added {
                self.added = true;
                self.set(self.unix - self.unix.rem_euclid(60))?;
            }
            self.advance(60)?;
            if self.wall.minute() == 0 {
                return Ok(Pass::WrappedAround);
            }
        }
        while self.wall.second() != 0 {
            self.added = true;
            self.advance(1)?;
            if self.wall.second() == 0 {
                return Ok(Pass::WrappedAround);
            }
        }
        Ok(Pass::Arrived)
    }

    fn set(&mut self, unix: i64) -> Result<(), Halt> {
        let instant = Timestamp::from_second(unix).map_err(|_| Halt::EndOfCalendar)?;
        self.unix = unix;
        self.wall = self.zone.to_datetime(instant);
        Ok(())
    }

    /// Sets the smaller fields to their beginning, the first time something is added.
    fn begin(&mut self, wall: DateTime) -> Result<(), Halt> {
        if self.added {
            return Ok(());
        }
        self.added = true;
        self.set(self.instant(wall)?)
    }

    fn advance(&mut self, seconds: i64) -> Result<(), Halt> {
        self.count_step()?;
        self.set(self.unix + seconds)
    }

    fn skip_to_next_month(&mut self) -> Result<(), Halt> {
        let days = i64::from(self.wall.day()) - 1;
        let next = self.wall.first_of_month().checked_add(1.month());
        // A day beyond the end of that month runs over into the one after.
        self.go_to(next.and_then(|first| first.checked_add(days.days())))
    }

    fn skip_to_next_day(&mut self) -> Result<(), Halt> {
        let (before, left) = (self.unix, self.wall.date());
        self.go_to(self.wall.checked_add(1.day()))?;
        // Where midnight is left out the clock now shows 1, or 23 of the day before.
        match i64::from(self.wall.hour()) {
            0 => {}
            hour if hour > 12 => self.set(self.unix + (24 - hour) * 3_600)?,
            hour => self.set(self.unix - hour * 3_600)?,
        }
        if self.unix == before {
            return Err(Halt::Still(left.saturating_add(1.day())));
        }
        Ok(())
    }

    fn go_to(&mut self, wall: Result<DateTime, jiff::Error>) -> Result<(), Halt> {
        self.count_step()?;
        self.set(self.instant(wall.map_err(|_| Halt::EndOfCalendar)?)?)
    }

    fn count_step(&mut self) -> Result<(), Halt> {
        self.steps_left = match self.steps_left.checked_sub(1) {
            Some(left) => left,
            None => return Err(Halt::Still(self.wall.date())),
        };
        Ok(())
    }

    /// The instant of a wall-clock time, chosen as Go's `time.Date` chooses where there is none or
    /// where there are two.
    fn instant(&self, wall: DateTime) -> Result<i64, Halt> {
        let as_utc = Offset::UTC.to_timestamp(wall).map_err(|_| Halt::EndOfCalendar)?;
        let guess = self.zone.to_offset(as_utc);
        if guess == Offset::UTC {
            return Ok(as_utc.as_second());
        }
        let guessed = as_utc.as_second() - i64::from(guess.seconds());
        let instant = Timestamp::from_second(guessed).map_err(|_| Halt::EndOfCalendar)?;
        let offset = self.zone.to_offset(instant);
        Ok(as_utc.as_second() - i64::from(offset.seconds()))
    }
}
