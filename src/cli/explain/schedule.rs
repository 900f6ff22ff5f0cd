//! `plimsoll explain cron`: what a schedule means, when it fires next, and what policies say to it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::facts::NamespaceFacts;
use crate::object::duration::spell_duration;
use crate::object::schedule::{End, Field, Gap, Schedule, ScheduleError, zone};
use crate::object::{Kind, Object};
use crate::policy::load;
use crate::rules::{Check, Context, Singletons, rule};
use crate::verdict::{Action, Finding, Subject};

/// How many firings are shown.
const FIRINGS: usize = 10;
const RULE: &str = "cron-interval";

/// A schedule as somebody asked for it.
pub(super) struct Question {
    text: String,
    schedule: Schedule,
    zone_name: Option<String>,
    zone: TimeZone,
}

impl Question {
    /// Reads a schedule by the rules of the apiserver for a new CronJob.
    pub(super) fn of(words: &[String], time_zone: Option<&str>) -> anyhow::Result<Self> {
        let zone = match time_zone {
            Some(name) => zone(name).context("--time-zone")?,
            None => TimeZone::UTC,
        };
        let text = words.join(" ");
        let schedule = match Schedule::validate_create(&text, time_zone) {
            Ok(schedule) => schedule,
            Err(error @ ScheduleError::ZoneInSchedule) => bail!("{error}, or here into --time-zone"),
            Err(error) if words.len() > 1 => {
                bail!("{error}; put the schedule in quotes, or the shell makes file names of each *")
            }
            Err(error) => return Err(error).context(format!("{text:?} is no schedule")),
        };
        Ok(Self { text, schedule, zone_name: time_zone.map(str::to_owned), zone })
    }

    /// What it means, how often it runs, and when next.
    pub(super) fn answer(&self, now: Timestamp) -> String {
        let meaning = self.schedule.describe();
        let mut answer = match meaning.strip_prefix("never: ") {
            Some(why) => format!("{:?} never fires: {why}.\n", self.text),
            None => format!("{:?} runs {meaning}.\n", self.text),
        };
        let words = self.schedule.field_words();
        let width = words.iter().map(|field| field.text.chars().count()).max().unwrap_or(0).min(24);
        for field in words {
            let name = title(field.field);
            line(&mut answer, format_args!("  {name:12}  {:width$}  {}", field.text, field.words));
        }
        answer.push('\n');
        let gaps = self.schedule.gaps();
        let (Some(smallest), Some(largest)) = (gaps.min.apart(), gaps.max.apart()) else {
            answer.push_str(
                "The API server lets it in all the same. The CronJob controller starts nothing, ever, and only\n\
                 says so in an event, InvalidSchedule.\n",
            );
            return answer;
        };
        line(&mut answer, format_args!("Runs          {}", self.schedule.runs_per_day()));
        let between = |gap: Gap| gap.runs().map_or_else(String::new, |runs| format!(": {runs}"));
        line(&mut answer, format_args!("Smallest gap  {}{}", spell_duration(smallest), between(gaps.min)));
        if largest != smallest {
            line(&mut answer, format_args!("Largest gap   {}{}", spell_duration(largest), between(gaps.max)));
        }
        if self.schedule.spec().is_some() && self.zone.following(now).next().is_some() {
            answer.push_str("              (clocks that are moved change gaps; the firings below show it)\n");
        }
        answer.push('\n');
        self.firings(&mut answer, now);
        answer
    }

    fn firings(&self, answer: &mut String, now: Timestamp) {
        let of = match (self.schedule.every(), &self.zone_name) {
            // Time zones mean nothing to a delay.
            (Some(_), _) => "if it started now (the controller counts from the run before)".to_owned(),
            (None, Some(name)) => format!("in {name}"),
            (None, None) => "in UTC (without a timeZone it goes by the controller's own)".to_owned(),
        };
        line(answer, format_args!("Next firings {of}:"));
        let seconds = self.schedule.every().is_some_and(|delay| delay.as_secs() % 60 > 0);
        let format = if seconds { "%a %F %H:%M:%S %Z" } else { "%a %F %H:%M %Z" };
        let firings = self.schedule.next_firings(now, &self.zone, FIRINGS);
        for firing in &firings.firings {
            let note = firing.note().map_or_else(String::new, |note| format!("  ({note})"));
            line(answer, format_args!("  {}{note}", firing.at.strftime(format)));
        }
        if firings.end != End::Enough {
            line(answer, format_args!("  ({})", firings.end));
        }
    }

    /// What `cron-interval` says to it: with a minimum, or in each of the policies that have the rule.
    pub(super) fn verdicts(&self, minimum: &str, policies: &[PathBuf]) -> anyhow::Result<String> {
        let mut verdicts = "\n".to_owned();
        if policies.is_empty() {
            let rule = rule(RULE).context("cron-interval is a rule")?;
            let check = rule.configure(&json!({ "minimum": minimum }));
            let check = check.map_err(|error| anyhow!("--minimum: {}", error.problem))?;
            let finding = self.finding(check.as_ref())?;
            line(&mut verdicts, format_args!("{}", verdict(RULE, &format!("minimum {minimum}"), finding)));
            return Ok(verdicts);
        }
        for policy in load::from_paths(policies)? {
            for known in policy.rules.iter().filter(|known| known.meta.name == RULE) {
                let action = policy.action.min(known.action);
                if action > Action::Off {
                    let whose = format!("policy {}, {}", policy.name, action.as_str());
                    let finding = self.finding(known.check.as_ref())?;
                    line(&mut verdicts, format_args!("{}", verdict(RULE, &whose, finding)));
                }
            }
        }
        if verdicts.trim().is_empty() {
            verdicts.push_str("cron-interval is in none of these policies.\n");
        }
        Ok(verdicts)
    }

    /// The finding that a CronJob with this schedule would bring.
    fn finding(&self, check: &dyn Check) -> anyhow::Result<Option<Finding>> {
        let spec = json!({ "schedule": self.text, "timeZone": self.zone_name });
        let text = json!({ "metadata": { "name": "explained" }, "spec": spec }).to_string();
        let object = Object::read(Kind::CronJob, &text)?;
        let subject = Subject { kind: Kind::CronJob, namespace: String::new(), name: object.display_name() };
        let (singletons, facts) = (Singletons::default(), NamespaceFacts::default());
        let mut findings = Vec::new();
        check.check(&Context::new(&object, subject, None, &singletons, &facts), &mut findings);
        Ok(findings.into_iter().next())
    }
}

fn verdict(rule: &str, whose: &str, finding: Option<Finding>) -> String {
    match finding {
        None => format!("{rule} ({whose}): passes"),
        Some(finding) => format!("{rule} ({whose}): fails, needs {}. {}.", finding.needs, finding.remedy),
    }
}

fn title(field: Field) -> &'static str {
    match field {
        Field::Minute => "minute",
        Field::Hour => "hour",
        Field::DayOfMonth => "day of month",
        Field::Month => "month",
        Field::DayOfWeek => "day of week",
    }
}

fn line(answer: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string doesn't fail.
    let _ = writeln!(answer, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(schedule: &str, time_zone: Option<&str>, now: &str) -> String {
        let question = Question::of(&[schedule.to_owned()], time_zone).unwrap();
        let verdicts = question.verdicts("5m", &[]).unwrap();
        format!("{}{verdicts}", question.answer(now.parse().unwrap()))
    }

    #[test]
    fn what_a_stranger_reads() {
        let shown: Vec<String> = [
            ("*/7 * * * *", None, "2026-12-01T12:50:00Z"),
            ("30 2 * * *", Some("Europe/Berlin"), "2026-03-25T12:00:00Z"),
            ("30 1 * * 0", Some("America/New_York"), "2026-10-20T12:00:00Z"),
            ("0 0 13 * 5", None, "2026-12-01T12:00:00Z"),
            ("0 0 29 2 *", None, "2070-12-01T12:00:00Z"),
            ("0 0 30 2 *", None, "2026-12-01T12:00:00Z"),
            ("@every 30s", None, "2026-12-01T12:00:15Z"),
            ("@every 90m", Some("Europe/Berlin"), "2026-12-01T12:00:15Z"),
            ("0 0 30 12 *", Some("Pacific/Apia"), "2010-12-01T12:00:00Z"),
        ]
        .iter()
        .map(|(schedule, zone, now)| answer(schedule, *zone, now))
        .collect();
        insta::assert_snapshot!("explained_schedules", shown.join("\n---\n\n"));
    }
}
