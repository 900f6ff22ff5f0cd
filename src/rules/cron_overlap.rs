//! Runs of a CronJob don't pile up, and one that hangs doesn't hold up the others for good.
//!
//! What the controller does when a run is due (`syncCronJob` in
//! `pkg/controller/cronjob/cronjob_controllerv2.go`), each seen on a real one too
//! (`tests/e2e/schedules.rs`):
//!
//! * With `Forbid` it starts nothing while a Job is active (event `JobAlreadyActive`). Nothing but
//!   the Job's own end changes that, so a Job without a deadline that hangs stops the CronJob.
//! * As soon as that Job ends it starts the run that was missed last, at once and late, and none of
//!   those before it. `startingDeadlineSeconds` drops the late run too.
//! * With `Replace` it deletes the active Job, so a deadline beyond the next run never comes.
//! * After a pause (`suspend`, or a controller that was down) it starts one run, the last that was
//!   missed (`mostRecentScheduleTime` in `pkg/controller/cronjob/utils.go`), however many there
//!   were. More than 100 only bring the event `TooManyMissedTimes`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Parameter, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::duration::{format_duration, spell_duration};
use crate::object::schedule::Schedule;
use crate::object::{Body, CronJob, Intent};
use crate::policy::document::PolicyDuration;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct CronOverlap;

const NAME: &str = "cron-overlap";

const POLICY: &str = "spec.concurrencyPolicy";
const DEADLINE: &str = "spec.jobTemplate.spec.activeDeadlineSeconds";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Runs of a CronJob neither overlap within an hour nor hold each other up for good.",
    rationale: "`concurrencyPolicy: Allow` is the API's default: a run that is due starts whether or not the one \
        before it has ended. When a dependency is slow, a job that runs every five minutes piles up twelve Jobs an \
        hour, each of which makes the dependency slower.\n\n`Forbid` starts nothing while a Job is active. That \
        alone moves the problem: one run that hangs, on a socket without a timeout, stops all later ones until \
        somebody deletes it, and nobody hears of it but the event `JobAlreadyActive`. \
        `jobTemplate.spec.activeDeadlineSeconds` ends it. The one in the pod's spec doesn't: it starts anew with \
        each retry.\n\nA deadline beyond the next run doesn't do what it says. With `Forbid` a run that hangs \
        holds up others first; when it ends, the controller starts the last one that was missed, late, and drops \
        those before it. With `Replace` the next run deletes the one that is active, so the deadline never \
        comes.\n\nTwo things that are often feared need no rule: after a pause, however long, the controller \
        starts one run and not all that were missed, and more than a hundred of them only bring the event \
        `TooManyMissedTimes`.\n\nWith `fix: true` a concurrencyPolicy that the author left unset becomes `Forbid`, \
        and a deadline that is missing becomes the smallest gap between two runs. That ends runs which take longer \
        than the gap, so it is for namespaces in which none may. As in cron-interval, gaps leave out daylight \
        saving time, and a suspended CronJob is not judged until it is resumed.",
    bad: include_str!("cron_overlap/bad.yaml"),
    good: include_str!("cron_overlap/good.yaml"),
    parameters: &[Parameter {
        name: "below",
        default: "1h",
        summary: "The smallest gap between two runs from which on they may overlap.",
    }],
    action: Action::Warn,
    fix: Fix::OptIn,
    references: &[
        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#concurrency-policy",
        "https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup",
    ],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    below: PolicyDuration,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { below: PolicyDuration(Duration::from_secs(3_600)) }
    }
}

impl Rule for CronOverlap {
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
        // A schedule that can't be read is cron-interval's to tell.
        let Ok(schedule) = Schedule::parse_in_any_zone(&cron.schedule) else { return };
        let Some(apart) = schedule.min_gap().apart() else { return };
        let deadline = cron.job_template.spec.active_deadline_seconds;
        findings.extend(match (cron.concurrency_policy.as_deref(), deadline) {
            (None | Some("Allow"), _) => self.overlap(context, cron, apart),
            (Some("Forbid"), None) => Some(endless(context, apart)),
            (Some(policy @ ("Forbid" | "Replace")), Some(deadline)) => {
                too_long(context, policy, deadline, apart)
            }
            _ => None,
        });
    }
}

impl Parameters {
    /// Runs that may overlap.
    fn overlap(&self, context: &Context<'_>, cron: &CronJob<'_>, apart: Duration) -> Option<Finding> {
        let below = self.below.0;
        if apart >= below {
            return None;
        }
        let deadline = cron.job_template.spec.active_deadline_seconds;
        let intent = context.intent(&["spec", "concurrencyPolicy"], cron.concurrency_policy.is_some());
        let mut finding = context.finding(NAME, POLICY);
        finding.severity = -seconds(apart);
        finding.observed = format!("Allow, {} apart", format_duration(apart));
        finding.required = format!("Forbid or Replace below {}", format_duration(below));
        finding.says = format!(
            "lets runs overlap that are due {} apart (concurrencyPolicy Allow{})",
            spell_duration(apart),
            if intent == Intent::Unset { ", the default" } else { "" }
        );
        finding.needs = format!("Forbid or Replace for runs less than {} apart", spell_duration(below));
        finding.remedy = match deadline {
            Some(deadline) if deadline <= seconds(apart) => format!("Set {POLICY}: Forbid"),
            _ => format!("Set {POLICY}: Forbid and {DEADLINE}: {} or less", seconds(apart)),
        };
        // A deadline of the author's that is longer than the gap would make Forbid skip runs: that is
        // for people to decide.
        if intent == Intent::Unset && deadline.is_none_or(|deadline| deadline <= seconds(apart)) {
            finding.fix.push(Edit::SetText(pointer(POLICY), "Forbid".to_owned()));
            if deadline.is_none() {
                finding.fix.push(Edit::SetInteger(pointer(DEADLINE), seconds(apart)));
            }
        }
        Some(finding)
    }
}

/// Forbid without a deadline. The API has no default for it, so what is absent is unset.
fn endless(context: &Context<'_>, apart: Duration) -> Finding {
    let mut finding = context.finding(NAME, DEADLINE);
    finding.severity = i64::MAX;
    finding.observed = "unset".to_owned();
    finding.required = at_most(apart);
    finding.says = "never starts again once a run hangs (concurrencyPolicy Forbid, no deadline)".to_owned();
    finding.needs = "a deadline for each run".to_owned();
    finding.remedy = format!("Set {DEADLINE}: {} or less, the time to the next run", seconds(apart));
    finding.fix.push(Edit::SetInteger(pointer(DEADLINE), seconds(apart)));
    finding
}

/// A deadline beyond the next run.
fn too_long(context: &Context<'_>, policy: &str, deadline: i64, apart: Duration) -> Option<Finding> {
    let beyond = deadline.checked_sub(seconds(apart)).filter(|beyond| *beyond > 0)?;
    let allowed = spell_duration(Duration::from_secs(deadline.unsigned_abs()));
    let next = spell_duration(apart);
    let mut finding = context.finding(NAME, DEADLINE);
    finding.severity = beyond;
    finding.observed = deadline.to_string();
    finding.required = at_most(apart);
    finding.says = if policy == "Forbid" {
        format!(
            "gives a run {allowed}, so that one that hangs holds up the next, due after {next} (concurrencyPolicy Forbid)"
        )
    } else {
        format!("gives a run {allowed}, but the next one ends it after {next} (concurrencyPolicy Replace)")
    };
    finding.needs = format!("a deadline of {next} at most");
    finding.remedy = format!("Set {DEADLINE}: {} or less", seconds(apart));
    Some(finding)
}

fn at_most(apart: Duration) -> String {
    format!("at most {}", seconds(apart))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The JSON pointer of a path without lists.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}
