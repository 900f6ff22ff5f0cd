//! Schedules on a real apiserver, and what the real CronJob controller does when runs are missed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use serde_json::{Value, json};

use super::{SOON, Stage, stage};
use crate::controlplane::wait_until;

const CASES: &str = include_str!("../data/cron-cases.json");
/// How many there are: a case that is dropped must be noticed.
const COUNT: usize = 146;
/// The smallest gap that the shipped policy allows, in seconds.
const MINIMUM: u64 = 300;

/// A CronJob with a spec of one's own laid over.
fn cron_job(name: &str, spec: &Value) -> Value {
    let container = json!({"name": "app", "image": "app:1"});
    let pod = json!({"restartPolicy": "Never", "containers": [container]});
    let mut object = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}},
    });
    json_patch::merge(&mut object, &json!({"spec": spec}));
    object
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// What the apiserver lets in Plimsoll can judge, and what it refuses isn't stored by our fault.
#[test]
fn every_case_gets_the_verdict_that_its_gap_demands() {
    let stage = stage();
    let namespace = stage.production("cases");
    let file: Value = serde_json::from_str(CASES).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), COUNT, "cases were dropped or added");
    let name = |index: usize| format!("case-{index:03}");
    let objects = cases.iter().enumerate().map(|(index, case)| {
        cron_job(&name(index), &json!({"schedule": case["schedule"], "timeZone": case["timeZone"]}))
    });
    let create = ["create", "--dry-run=server", "--validate=false", "-n", &namespace, "-f", "-"];
    let run = stage.plane.kubectl_stdin("alice", &create, &list(&objects.collect::<Vec<_>>()));

    let (mut admitted, mut denied, mut invalid) = (0, 0, 0);
    for (index, case) in cases.iter().enumerate() {
        let name = name(index);
        let told = format!("{name}: {} in {}", case["schedule"], case["timeZone"]);
        let is_admitted = run.stdout.contains(&format!("cronjob.batch/{name} created"));
        let is_invalid = run.stderr.contains(&format!("CronJob.batch \"{name}\" is invalid"));
        let denial = format!("denied the request: cron-interval: CronJob {namespace}/{name} ");
        let is_denied = run.stderr.contains(&denial);
        assert_eq!(
            [is_admitted, is_invalid, is_denied].iter().filter(|is| **is).count(),
            1,
            "one answer to {told}\n{run}"
        );
        if case["validOnCreate"] == true {
            let demanded = case["minGapSecondsUTC"].as_u64().is_some_and(|gap| gap < MINIMUM);
            assert!(!is_invalid, "the apiserver takes {told}");
            assert_eq!(is_denied, demanded, "{told}");
        } else {
            assert!(!is_admitted, "nobody takes {told}");
        }
        admitted += usize::from(is_admitted);
        denied += usize::from(is_denied);
        invalid += usize::from(is_invalid);
    }
    println!("{COUNT} cases: {admitted} admitted, {denied} denied by Plimsoll, {invalid} invalid");
    assert!(admitted > 40 && denied > 10 && invalid > 40, "{admitted} {denied} {invalid}");
}

#[test]
fn a_paused_cron_job_is_judged_when_it_is_resumed() {
    let stage = stage();
    let namespace = stage.production("resumed");
    let paused = cron_job("tick", &json!({"schedule": "* * * * *", "suspend": true}));
    let kubectl = |args: &[&str]| stage.plane.kubectl("alice", &[args, &["-n", &namespace]].concat());
    let create = ["create", "-n", &namespace, "-f", "-"];
    stage.plane.kubectl_stdin("alice", &create, &paused.to_string()).expect_ok("nothing runs while paused");
    let patch = |spec: &str| kubectl(&["patch", "cronjob", "tick", "--type=merge", "-p", spec]);
    let message = patch(r#"{"spec":{"suspend":false}}"#).expect_refused("every minute is too often");
    assert!(message.contains("runs \"* * * * *\", 1440 times a day"), "{message}");
    patch(r#"{"spec":{"suspend":null}}"#).expect_refused("leaving suspend out resumes too");
    patch(r#"{"spec":{"schedule":"*/5 * * * *","suspend":false}}"#).expect_ok("every five minutes is fine");
}

/// CronJobs in a namespace that no policy governs, before the eyes of the real controller.
struct Controller {
    stage: &'static Stage,
    namespace: String,
}

impl Controller {
    fn kubectl(&self, args: &[&str]) -> String {
        let args = [args, &["-n", &self.namespace]].concat();
        self.stage.plane.kubectl("admin", &args).expect_ok("admin may do that")
    }

    /// Applies one merge patch to several CronJobs.
    fn patch(&self, names: &[&str], more: &[&str], patch: &Value) {
        let patch = patch.to_string();
        self.kubectl(&[&["patch", "cronjob"], names, more, &["--type=merge", "-p", &patch]].concat());
    }

    /// Makes CronJobs believe that they last ran so many hours ago.
    fn set_back(&self, names: &[&str], hours: i64) {
        let then = Timestamp::now() - SignedDuration::from_hours(hours);
        let then = then.strftime("%FT%H:%M:%SZ").to_string();
        self.patch(names, &["--subresource=status"], &json!({"status": {"lastScheduleTime": then}}));
    }

    fn items(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kind, "-o", "json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The names of the Jobs of a CronJob.
    fn jobs(&self, cron_job: &str) -> BTreeSet<String> {
        let jobs = self.items("jobs");
        let of = jobs.iter().filter(|job| job["metadata"]["ownerReferences"][0]["name"] == cron_job);
        of.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn active(&self, cron_job: &str) -> usize {
        self.stage.get(&self.namespace, "cronjob", cron_job)["status"]["active"]
            .as_array()
            .map_or(0, Vec::len)
    }

    /// Whether there is an event with this reason about a CronJob.
    fn has_event(&self, cron_job: &str, reason: &str) -> bool {
        let is = |event: &Value| event["involvedObject"]["name"] == cron_job && event["reason"] == reason;
        self.items("events").iter().any(is)
    }

    fn wait_for_event(&self, cron_job: &str, reason: &str) {
        wait_until(&format!("{reason} of {cron_job}"), SOON, || self.has_event(cron_job, reason));
    }
}

/// The facts that `src/rules/cron_overlap.rs` states. Every schedule is hourly and due some minutes
/// ago, so nothing becomes due while the test runs, however long that takes.
#[test]
fn what_the_controller_does_about_missed_runs() {
    let stage = stage();
    let controller = Controller { stage, namespace: stage.plane.namespace("missed", &[]) };
    let minutes_ago = |minutes: i64| -> Zoned {
        (Timestamp::now() - SignedDuration::from_mins(minutes)).to_zoned(TimeZone::UTC)
    };
    let (due, before) = (minutes_ago(3), minutes_ago(4));
    let hourly = |at: &Zoned| json!(format!("{} * * * *", at.minute()));
    let job = |name: &str, at: &Zoned| format!("{name}-{}", at.timestamp().as_second().div_euclid(60));

    let specs = [
        ("many", json!({})),
        ("few", json!({})),
        ("many-within-a-deadline", json!({"startingDeadlineSeconds": 7_200})),
        ("allow", json!({})),
        ("replace", json!({"concurrencyPolicy": "Replace"})),
        ("forbid", json!({"concurrencyPolicy": "Forbid"})),
        ("forbid-dropping", json!({"concurrencyPolicy": "Forbid"})),
        (
            "forbid-ending",
            json!({"concurrencyPolicy": "Forbid", "failedJobsHistoryLimit": 10,
                "jobTemplate": {"spec": {"activeDeadlineSeconds": 1}}}),
        ),
    ];
    let names = specs.each_ref().map(|(name, _)| *name);
    let mut objects: Vec<Value> = Vec::new();
    for (name, spec) in &specs {
        let mut all = json!({"schedule": hourly(&due), "timeZone": "UTC", "suspend": true});
        json_patch::merge(&mut all, spec);
        objects.push(cron_job(name, &all));
    }
    objects.push(cron_job("never", &json!({"schedule": "0 0 30 2 *"})));
    let create = ["create", "-n", &controller.namespace, "-f", "-"];
    stage.plane.kubectl_stdin("admin", &create, &list(&objects)).expect_ok("no policy governs them");
    controller.set_back(&names, 200);
    controller.set_back(&["few"], 5);
    assert!(controller.items("jobs").is_empty(), "nothing starts while it is suspended");
    controller.patch(&names, &[], &json!({"spec": {"suspend": false}}));

    // One run starts, at once, however many were missed: the last one.
    for name in names {
        controller.wait_for_event(name, "SuccessfulCreate");
        assert_eq!(controller.jobs(name), BTreeSet::from([job(name, &due)]));
        // That event comes before the one above, from the same recorder.
        let too_many = controller.has_event(name, "TooManyMissedTimes");
        assert_eq!(too_many, !matches!(name, "few" | "many-within-a-deadline"), "{name}");
    }
    controller.wait_for_event("never", "InvalidSchedule");
    assert!(controller.jobs("never").is_empty());

    // Their pods are never scheduled: those Jobs hang. A deadline ends one of them, without a kubelet.
    let again = ["allow", "replace", "forbid", "forbid-dropping", "forbid-ending"];
    for name in again {
        let expected = usize::from(name != "forbid-ending");
        wait_until(&format!("{name} to be settled"), SOON, || controller.active(name) == expected);
    }
    let ended = stage.get(&controller.namespace, "job", &job("forbid-ending", &due));
    let failed = ended["status"]["conditions"].as_array().unwrap();
    assert!(failed.iter().any(|condition| condition["reason"] == "DeadlineExceeded"), "{ended}");

    // Another run is due: at the minute before, since what is due next is an hour away.
    controller.patch(&again, &[], &json!({"spec": {"schedule": hourly(&before)}}));
    controller.set_back(&again, 200);
    let jobs_become = |name: &str, at: &[&Zoned]| {
        let expected: BTreeSet<String> = at.iter().map(|at| job(name, at)).collect();
        wait_until(&format!("{name} to have {expected:?}"), SOON, || controller.jobs(name) == expected);
    };
    jobs_become("allow", &[&due, &before]);
    jobs_become("replace", &[&before]);
    jobs_become("forbid-ending", &[&due, &before]);
    for name in ["forbid", "forbid-dropping"] {
        controller.wait_for_event(name, "JobAlreadyActive");
        assert_eq!(controller.jobs(name), BTreeSet::from([job(name, &due)]));
    }

    // The run that Forbid held up starts late, unless it is too late.
    controller.patch(&["forbid-dropping"], &[], &json!({"spec": {"startingDeadlineSeconds": 30}}));
    for name in ["forbid", "forbid-dropping"] {
        controller.kubectl(&["delete", "job", &job(name, &due)]);
    }
    jobs_become("forbid", &[&before]);
    wait_until("the Job to be missed", SOON, || controller.active("forbid-dropping") == 0);
    assert!(controller.jobs("forbid-dropping").is_empty());
}
