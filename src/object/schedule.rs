//! Cron schedules exactly as Kubernetes reads them.
//!
//! A CronJob's schedule is read by `cron.ParseStandard` of robfig/cron v3, with habits that other
//! readers of cron expressions do not share: 7 is no Sunday, ranges do not wrap around, `,` is a
//! valid field, `*-foo` is `*`, `*/90` in the minutes is hourly, and two restricted day fields
//! mean either, unless one of them has a star. This module follows it to the letter, and adds what
//! it lacks: the smallest and largest gap between two runs in closed form ([`Schedule::gaps`]),
//! the schedule in words ([`Schedule::describe`]), the nearest schedule that respects a limit
//! ([`Schedule::nearest_passing`]), and errors that say how to mend them.
//!
//! It needs nothing but `jiff`, keeps no state, reads no clock, and every loop in it is bounded.
//! Reading takes time in proportion to the text; gaps and firings take microseconds.
//!
//! ```
//! # use plimsoll::object::schedule::Schedule;
//! let schedule = Schedule::parse("59,0 * * * *")?;
//! assert_eq!(schedule.describe(), "at 0 and 59 minutes past every hour");
//! assert_eq!(
//!     schedule.min_gap().explain(),
//!     "59 minutes past and on the hour: 1 minute apart",
//! );
//! # Ok::<(), plimsoll::object::schedule::ScheduleError>(())
//! ```

mod days;
mod error;
mod every;
mod field;
mod firings;
mod gap;
mod names;
mod nearest;
#[cfg(test)]
mod properties;
mod spec;
mod walk;
mod words;
mod zone;

use std::{fmt, str::FromStr, time::Duration};

use jiff::tz::TimeZone;

use self::error::excerpt;
pub use self::{
    error::{FieldProblem, ScheduleError},
    every::EveryError,
    field::{Field, Set},
    firings::{End, Firing, Firings, Skipped, Turn},
    gap::{Detail, Gap, Gaps, Moment, RunsPerDay},
    spec::Spec,
    words::FieldWords,
    zone::{ZoneError, zone},
};

/// A schedule that the CronJob controller can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    source: String,
    kind: Kind,
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Five fields, or a descriptor that stands for five fields.
    Spec(Spec),
    /// `@every`, with whole seconds.
    Every(Duration),
}

impl Schedule {
    /// Reads a schedule as `cron.ParseStandard` does, `TZ=` and `CRON_TZ=` prefixes included.
    ///
    /// That is what a stored CronJob may hold. What the apiserver lets in is less:
    /// [`Schedule::validate_create`] and [`Schedule::validate_update`].
    ///
    /// # Errors
    ///
    /// Says where, what, and how to mend it.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.is_empty() {
            return Err(ScheduleError::Empty);
        }
        let (zone, rest) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            None => (None, text),
            Some(prefixed) => {
                // The first blank ends the zone; a tab does not.
                let alone = || ScheduleError::ZoneAlone(excerpt(text));
                let (name, rest) = prefixed.split_once(' ').ok_or_else(alone)?;
                (zone::of_prefix(name)?, rest.trim())
            }
        };
        Ok(Self { source: text.to_owned(), kind: times(rest)?, zone })
    }

    /// Reads a schedule whose `TZ=` prefix may name a zone that our tables lack. Gaps and runs per
    /// day don't depend on it; firings would.
    ///
    /// # Errors
    ///
    /// As [`Schedule::parse`], but for the zone.
    pub fn parse_in_any_zone(text: &str) -> Result<Self, ScheduleError> {
        match (Self::parse(text), text.split_once(' ')) {
            (Err(ScheduleError::Zone(_)), Some((_, rest))) => {
                Ok(Self { source: text.to_owned(), kind: times(rest.trim())?, zone: None })
            }
            (parsed, _) => parsed,
        }
    }

    /// Reads a schedule and time zone that a CronJob is created with.
    ///
    /// # Errors
    ///
    /// Refuses what the apiserver refuses on create: schedules that can't be read, `TZ` anywhere
    /// in a schedule, and names that are no time zones. One error may be ours alone,
    /// [`ZoneError::Unknown`], for a zone that only the apiserver's image knows; gaps don't depend
    /// on the zone, and [`Schedule::as_controller_reads`] tells them all the same.
    pub fn validate_create(schedule: &str, time_zone: Option<&str>) -> Result<Self, ScheduleError> {
        if schedule.contains("TZ") {
            return Err(ScheduleError::ZoneInSchedule);
        }
        let parsed = Self::parse(schedule)?;
        let zone = time_zone.map(zone).transpose()?;
        Ok(Self { zone, ..parsed })
    }

    /// Reads a schedule and time zone that a CronJob is changed to.
    ///
    /// `TZ` is put up with where the old schedule had it, but not together with a time zone; and a
    /// time zone that stays as it is is not looked at again. Where such a zone does not exist the
    /// schedule that is returned does without; the controller starts nothing.
    ///
    /// # Errors
    ///
    /// Refuses what the apiserver refuses on update.
    pub fn validate_update(
        schedule: &str,
        time_zone: Option<&str>,
        old_schedule: &str,
        old_time_zone: Option<&str>,
    ) -> Result<Self, ScheduleError> {
        if schedule.contains("TZ") {
            if !old_schedule.contains("TZ") {
                return Err(ScheduleError::ZoneInSchedule);
            }
            if time_zone.is_some() {
                return Err(ScheduleError::ZoneTwice);
            }
        }
        Self::parse(schedule)?;
        if time_zone != old_time_zone {
            time_zone.map(zone).transpose()?;
        }
        Self::as_controller_reads(schedule, time_zone)
    }

    /// Reads a stored schedule and time zone as the CronJob controller does.
    ///
    /// It puts the time zone in front of the schedule, which lets a few schedules pass that the
    /// apiserver would refuse (` @daily`, with a blank in front); leaves out a zone that does not
    /// exist; and goes by the schedule where that mentions `TZ` itself (`formatSchedule` in
    /// `pkg/controller/cronjob/cronjob_controllerv2.go`). A `timeZone` that does not exist makes it
    /// start nothing at all, whatever the schedule (`syncCronJob`, event `UnknownTimeZone`).
    ///
    /// # Errors
    ///
    /// Where the controller can't read it, and so never starts a job.
    pub fn as_controller_reads(schedule: &str, time_zone: Option<&str>) -> Result<Self, ScheduleError> {
        let zone = match time_zone {
            Some(name) if !schedule.contains("TZ") => zone::of_prefix(name).ok(),
            _ => None,
        };
        match zone {
            // What follows a zone is trimmed.
            Some(zone) => Self::parse_trimmed(schedule, zone),
            None => Self::parse(schedule),
        }
    }

    fn parse_trimmed(schedule: &str, zone: Option<TimeZone>) -> Result<Self, ScheduleError> {
        let parsed = Self::parse(schedule.trim())?;
        Ok(Self { source: schedule.to_owned(), zone, ..parsed })
    }

    /// The schedule as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The zone it is read in; none where that is up to the machine the controller runs on.
    #[must_use]
    pub const fn zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }

    /// The five fields; none for `@every`.
    #[must_use]
    pub const fn spec(&self) -> Option<&Spec> {
        match &self.kind {
            Kind::Spec(spec) => Some(spec),
            Kind::Every(_) => None,
        }
    }

    /// The delay of `@every`: whole seconds, at least one.
    ///
    /// Jobs are named after the minute they are due, so less than a minute never makes more than
    /// one job a minute.
    #[must_use]
    pub const fn every(&self) -> Option<Duration> {
        match self.kind {
            Kind::Spec(_) => None,
            Kind::Every(delay) => Some(delay),
        }
    }

    /// The smallest and the largest gap between two runs, without daylight saving time.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        match &self.kind {
            Kind::Spec(spec) => Gaps::of(spec),
            Kind::Every(delay) => Gaps::even(*delay),
        }
    }

    /// The smallest gap between two runs; see [`Schedule::gaps`].
    #[must_use]
    pub fn min_gap(&self) -> Gap {
        self.gaps().min
    }

    /// The largest gap between two runs; see [`Schedule::gaps`].
    #[must_use]
    pub fn max_gap(&self) -> Gap {
        self.gaps().max
    }

    /// Whether there is no time at all at which it fires, as for `0 0 30 2 *`.
    #[must_use]
    pub fn never_fires(&self) -> bool {
        match &self.kind {
            Kind::Spec(spec) => !spec.fires(),
            Kind::Every(_) => false,
        }
    }

    /// How often it runs on a day on which it runs, and on average.
    #[must_use]
    pub fn runs_per_day(&self) -> RunsPerDay {
        match &self.kind {
            Kind::Spec(spec) => RunsPerDay::of(spec),
            Kind::Every(delay) => RunsPerDay::every(*delay),
        }
    }

    /// `TZ=… ` with its blank, where the schedule has it.
    fn prefix(&self) -> Option<&str> {
        let prefixed = self.source.starts_with("TZ=") || self.source.starts_with("CRON_TZ=");
        self.source.split_inclusive(' ').next().filter(|_| prefixed)
    }
}

/// What stands after the zone, if there is one.
fn times(text: &str) -> Result<Kind, ScheduleError> {
    if text.starts_with('@') { descriptor(text) } else { Spec::parse(text).map(Kind::Spec) }
}

/// What a word that begins with `@` stands for.
fn descriptor(text: &str) -> Result<Kind, ScheduleError> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let delay = text
                .strip_prefix("@every ")
                .ok_or_else(|| ScheduleError::UnknownDescriptor(excerpt(text)))?;
            let refused = |problem| ScheduleError::Every { text: excerpt(delay), problem };
            return every::parse(delay).map(Kind::Every).map_err(refused);
        }
    };
    Spec::parse(fields).map(Kind::Spec)
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}
