//! CronJobs run no more often than allowed.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Parameter, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::Body;
use crate::object::duration::{format_duration, spell_duration};
use crate::object::schedule::Schedule;
use crate::policy::document::PolicyDuration;
use crate::verdict::{Action, Finding};

pub(super) struct CronInterval;

const NAME: &str = "cron-interval";

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
        Self { minimum: PolicyDuration(std::time::Duration::from_secs(300)) }
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
        let minimum = self.minimum.0;
        let mut finding = context.finding(NAME, "spec.schedule");
        finding.required = format_duration(minimum);
        finding.needs = format!("{} between two runs", spell_duration(minimum));
        let schedule = match Schedule::parse(&cron.schedule) {
            Ok(schedule) => schedule,
            // The apiserver refuses these; only a direct caller or an old store can bring one.
            Err(error) => {
                finding.severity = i64::MAX;
                finding.observed = cron.schedule.to_string();
                finding.says = format!("has a schedule that can't be read ({error})");
                finding.remedy = "Write five fields, minute hour day month weekday".to_owned();
                findings.push(finding);
                return;
            }
        };
        let gap = schedule.min_gap();
        let Some(apart) = gap.apart().filter(|apart| *apart < minimum) else { return };
        finding.severity = i64::try_from(apart.as_secs()).map_or(i64::MIN, |seconds| -seconds);
        finding.observed = format_duration(apart);
        let runs = schedule.runs_per_day().most;
        finding.says = format!("runs {:?}, {runs} times a day, {}", &*cron.schedule, gap.explain());
        finding.remedy = match schedule.nearest_passing(minimum) {
            Some(nearest) => format!("Set spec.schedule: {nearest:?}"),
            None => "Run it less often".to_owned(),
        };
        findings.push(finding);
    }
}
