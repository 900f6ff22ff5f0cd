//! CronJobs run no more often than allowed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Parameter, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::duration::{format_duration, spell_duration};
use crate::object::schedule::{Gap, Schedule, ScheduleError, ZoneError, zone};
use crate::object::{Body, CronJob};
use crate::policy::document::PolicyDuration;
use crate::verdict::{Action, Finding};

pub(super) struct CronInterval;

const NAME: &str = "cron-interval";

/// The longest schedule or time zone that a message quotes, in characters.
const LONGEST_QUOTE: usize = 100;

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "The smallest gap between two runs of a CronJob is at least a minimum.",
    rationale: "A CronJob that runs every minute makes 1,440 Jobs and Pods a day, each of them scheduled, pulled, started \
        and garbage-collected; nobody notices for years. The gap is computed exactly, over the whole calendar, with the \
        parser that Kubernetes uses (robfig/cron), bit by bit: `59,0 * * * *` runs twice within a minute though it looks \
        hourly, and `*/7` has a gap of 4 minutes at the turn of the hour.\n\nDaylight saving time is left out: when clocks \
        go back, a weekly job at 01:30 runs twice within an hour, and a rule that counted this would forbid weekly jobs. A \
        suspended CronJob is not judged until it is resumed.",
    bad: include_str!("cron_interval/bad.yaml"),
    good: include_str!("cron_interval/good.yaml"),
    parameters: &[Parameter { name: "minimum", default: "5m", summary: "The smallest gap that is allowed." }],
    action: Action::Deny,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax"],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    minimum: PolicyDuration,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { minimum: PolicyDuration(Duration::from_secs(300)) }
    }
}

impl Rule for CronInterval {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Body::CronJob(cron) = &context.object.body else { return };
        if cron.suspend {
            return;
        }
        findings.extend(self.gap(context, cron));
        findings.extend(time_zone(context, cron));
    }
}

impl Parameters {
    fn gap(&self, context: &Context<'_>, cron: &CronJob<'_>) -> Option<Finding> {
        let minimum = self.minimum.0;
        let text = quoted(&cron.schedule);
        let mut finding = context.finding(NAME, "spec.schedule");
        finding.required = format_duration(minimum);
        finding.needs = format!("{} between two runs", spell_duration(minimum));
        let schedule = match Schedule::parse_in_any_zone(&cron.schedule) {
            // On an update the apiserver puts up with `TZ` where it was before
            // (`validateScheduleFormat` in `pkg/apis/batch/validation/validation.go`).
            Ok(_) if context.manifest && cron.schedule.contains("TZ") => Err(ScheduleError::ZoneInSchedule),
            parsed => parsed,
        };
        let schedule = match schedule {
            Ok(schedule) => schedule,
            // The apiserver refuses these; only a manifest, a direct caller or an old store has one.
            Err(error) => {
                // Not what is worse than any gap: what can't be read never runs.
                finding.place = "spec.schedule, unreadable".to_owned();
                finding.observed = text;
                finding.says = format!("has a schedule that can't be read ({error})");
                finding.needs = "a schedule that Kubernetes can read".to_owned();
                finding.remedy = match error {
                    ScheduleError::ZoneInSchedule => "Take TZ out of spec.schedule and set spec.timeZone",
                    _ => "Write spec.schedule as five fields, minute hour day month weekday",
                }
                .to_owned();
                return Some(finding);
            }
        };
        let gap = schedule.min_gap();
        let apart = gap.apart().filter(|apart| *apart < minimum)?;
        finding.severity = i64::try_from(apart.as_secs()).map_or(i64::MIN, |seconds| -seconds);
        finding.observed = format_duration(apart);
        let runs = schedule.runs_per_day().most;
        let times = if runs == 1 { "time" } else { "times" };
        let told = gap.explain();
        finding.says = match gap {
            Gap::Between { .. } => {
                format!("runs {text}, {runs} {times} a day, the closest two {told}")
            }
            // A job is named after its minute, so the second one in a minute is never made.
            _ if apart < Duration::from_secs(60) => {
                format!("is due {text}, {told}, which makes up to one job a minute")
            }
            _ => format!("runs {text}, {runs} {times} a day, {told}"),
        };
        finding.remedy = match schedule.nearest_passing(minimum) {
            Some(nearest) => format!("Set spec.schedule: {nearest:?}"),
            None => "Run it less often".to_owned(),
        };
        Some(finding)
    }
}

/// What is wrong with the time zone. The gap doesn't depend on it, but whether a job ever starts
/// does: `syncCronJob` (`pkg/controller/cronjob/cronjob_controllerv2.go`) starts none in a zone that
/// its tables lack. Those tables are not ours, so what they may know only warns.
fn time_zone(context: &Context<'_>, cron: &CronJob<'_>) -> Option<Finding> {
    let name = cron.time_zone.as_deref()?;
    let error = zone(name).err()?;
    let mut finding = context.finding(NAME, "spec.timeZone");
    finding.observed = quoted(name);
    finding.required = "a time zone".to_owned();
    finding.needs = "a time zone that exists".to_owned();
    finding.remedy = "Set spec.timeZone to a name such as Europe/Berlin, or leave it out".to_owned();
    let quoted = quoted(name);
    match error {
        ZoneError::Case { known, .. } => {
            // In a request it has passed an apiserver whose files don't tell letters apart.
            finding.ceiling = if context.manifest { Action::Deny } else { Action::Warn };
            finding.says = format!("has the time zone {quoted}, which Kubernetes knows as {known:?} only");
            finding.remedy = format!("Set spec.timeZone: {known}");
        }
        ZoneError::Unknown(_) => {
            finding.ceiling = Action::Warn;
            finding.says =
                format!("may never start a job: its time zone {quoted} is unknown to Plimsoll's tables");
        }
        error => finding.says = format!("has no time zone that Kubernetes accepts ({error})"),
    }
    Some(finding)
}

/// A text of the author's, in quotes and no longer than a line.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
