//! The options that say which records are asked for.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use wildmatch::WildMatch;

use crate::audit::filter::Filter;
use crate::audit::{self, State};
use crate::object::duration::parse_duration;

/// Names take `*` and `?`; several of an option, or several in one with commas, mean any of them.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// From this date (UTC) or instant on, or for so long until now: 2026-11-21, 2026-11-21T10:00:00Z, 24h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this instant, or to the end of this date.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What was answered.
    #[arg(long, value_enum, ignore_case = true)]
    decision: Option<Decision>,
    /// How a finding stands.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    state: Vec<Stand>,
    /// Rules that found something.
    #[arg(long, value_delimiter = ',')]
    rule: Vec<String>,
    /// Policies that applied.
    #[arg(long, value_delimiter = ',')]
    policy: Vec<String>,
    /// Namespaces.
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Users.
    #[arg(long, value_delimiter = ',')]
    user: Vec<String>,
    /// Kinds, of the object or of the workload that it acts on.
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
    /// Names of objects, or of the workloads that they act on.
    #[arg(long, value_delimiter = ',')]
    name: Vec<String>,
    /// Replicas that answered.
    #[arg(long, value_delimiter = ',')]
    instance: Vec<String>,
    /// Leave out dry runs.
    #[arg(long)]
    no_dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Decision {
    Denied,
    Allowed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stand {
    New,
    Existing,
    Waived,
    Fixed,
}

impl Ask {
    /// The question; times are relative to `now`.
    pub(super) fn filter(&self, now: Timestamp) -> anyhow::Result<Filter> {
        let time = |text: &Option<String>, name: &str, is_end: bool| {
            let read = text.as_deref().map(|text| time(text, now, is_end));
            read.transpose().with_context(|| format!("--{name}"))
        };
        Ok(Filter {
            since: time(&self.since, "since", false)?,
            until: time(&self.until, "until", true)?,
            decision: self.decision.map(|decision| match decision {
                Decision::Denied => audit::Decision::Denied,
                Decision::Allowed => audit::Decision::Allowed,
            }),
            only_real: self.no_dry_run,
            rules: patterns(&self.rule),
            states: self.state.iter().map(|state| state.state()).collect(),
            namespaces: patterns(&self.namespace),
            users: patterns(&self.user),
            kinds: self.kind.clone(),
            names: patterns(&self.name),
            policies: patterns(&self.policy),
            instances: patterns(&self.instance),
        })
    }

    /// Whether nothing says from when on.
    pub(super) fn since_is_open(&self) -> bool {
        self.since.is_none()
    }

    /// The options as they were given, for a report's head.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                words.push(format!("--{name} {}", values.join(",")));
            }
        };
        add("since", self.since.iter().cloned().collect());
        add("until", self.until.iter().cloned().collect());
        add("decision", self.decision.iter().map(|decision| format!("{decision:?}")).collect());
        add("state", self.state.iter().map(|state| format!("{state:?}")).collect());
        add("rule", self.rule.clone());
        add("policy", self.policy.clone());
        add("namespace", self.namespace.clone());
        add("user", self.user.clone());
        add("kind", self.kind.clone());
        add("name", self.name.clone());
        add("instance", self.instance.clone());
        words
    }
}

impl Stand {
    fn state(self) -> State {
        match self {
            Self::New => State::New,
            Self::Existing => State::Existing,
            Self::Waived => State::Waived,
            Self::Fixed => State::Fixed,
        }
    }
}

fn patterns(texts: &[String]) -> Vec<WildMatch> {
    texts.iter().map(|text| WildMatch::new(text)).collect()
}

/// An instant; a date is its beginning, or its end where an end is asked for; a duration counts back.
fn time(text: &str, now: Timestamp, is_end: bool) -> anyhow::Result<Timestamp> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    if let Ok(date) = text.parse::<Date>() {
        let date = if is_end { date.tomorrow()? } else { date };
        return Ok(date.to_zoned(TimeZone::UTC)?.timestamp());
    }
    let back: Duration = parse_duration(text).map_err(|_| {
        anyhow!("expected a date (2026-11-21), an instant (2026-11-21T10:00:00Z) or a duration (24h, 7d), found {text:?}")
    })?;
    Ok(now.checked_sub(SignedDuration::try_from(back)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_beginning_for_since_and_its_end_for_until() {
        let now: Timestamp = "2026-11-21T15:30:00Z".parse().unwrap();
        let read = |text, is_end| time(text, now, is_end).unwrap().to_string();
        assert_eq!(read("2026-11-21", false), "2026-11-21T00:00:00Z");
        assert_eq!(read("2026-11-21", true), "2026-11-22T00:00:00Z");
        assert_eq!(read("2026-11-21T10:00:00+01:00", true), "2026-11-21T09:00:00Z");
        assert_eq!(read("36h", false), "2026-11-20T03:30:00Z");
        assert_eq!(read("7d", true), "2026-11-14T15:30:00Z");
        let error = time("yesterday", now, false).unwrap_err().to_string();
        assert!(error.ends_with("found \"yesterday\""), "{error}");
    }
}
