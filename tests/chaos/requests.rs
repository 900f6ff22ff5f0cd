//! What people write: objects and changes, each known to be right or wrong by how it was made.

use serde_json::{Value, json};

/// Where something is written, and with it what holds there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Labelled production: the shipped policies govern.
    Governed,
    /// Governed by a policy of the cluster's alone: three replicas.
    Team,
    /// Governed by nobody.
    Free,
}

impl Place {
    /// What a namespace's name says of it.
    pub(crate) fn of(namespace: &str) -> Option<Self> {
        let kinds = [("gov-", Self::Governed), ("team-", Self::Team), ("free-", Self::Free)];
        kinds.into_iter().find(|(prefix, _)| namespace.starts_with(prefix)).map(|(_, place)| place)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Deployment,
    CronJob,
    Autoscaler,
    Budget,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Deployment, Self::CronJob, Self::Autoscaler, Self::Budget];

    /// Where the API server has them all, and those of a namespace.
    pub(crate) fn path(self, namespace: Option<&str>) -> String {
        let (version, plural) = match self {
            Self::Deployment => ("apps/v1", "deployments"),
            Self::CronJob => ("batch/v1", "cronjobs"),
            Self::Autoscaler => ("autoscaling/v2", "horizontalpodautoscalers"),
            Self::Budget => ("policy/v1", "poddisruptionbudgets"),
        };
        let namespace = namespace.map(|name| format!("namespaces/{name}/")).unwrap_or_default();
        format!("/apis/{version}/{namespace}{plural}")
    }
}

/// What must become of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    Pass,
    Deny,
    /// Right if what it lacks is filled in, and filling in may be skipped; what is stored has to be right.
    Either,
}

/// A kind of object that people make.
pub(crate) struct Shape {
    pub(crate) says: &'static str,
    pub(crate) kind: Kind,
    /// What becomes of it where the shipped policies govern.
    pub(crate) due: Due,
    pub(crate) make: fn(&str) -> Value,
}

const fn shape(says: &'static str, kind: Kind, due: Due, make: fn(&str) -> Value) -> Shape {
    Shape { says, kind, due, make }
}

use Due::{Deny, Either, Pass};
use Kind::{Autoscaler, Budget, CronJob, Deployment};

pub(crate) const SHAPES: [Shape; 25] = [
    shape("two replicas", Deployment, Pass, |name| deployment(name, 2)),
    shape("three replicas", Deployment, Pass, |name| deployment(name, 3)),
    shape("no replica", Deployment, Pass, |name| deployment(name, 0)),
    shape("one replica, waived", Deployment, Pass, |name| waived(deployment(name, 1), "min-replicas", 30)),
    shape("a singleton", Deployment, Pass, |name| singleton(name, 1)),
    shape("nothing but an image", Deployment, Either, |name| {
        let mut object = deployment(name, 2);
        object["spec"]["template"]["spec"] = json!({"containers": [{"name": "app", "image": "app"}]});
        object
    }),
    shape("one replica", Deployment, Deny, |name| deployment(name, 1)),
    shape("one replica, no longer waived", Deployment, Deny, |name| {
        waived(deployment(name, 1), "min-replicas", -60)
    }),
    shape("one replica, something else waived", Deployment, Deny, |name| {
        waived(deployment(name, 1), "cron-interval", 30)
    }),
    shape("one replica, a waiver without an owner", Deployment, Deny, |name| {
        let mut object = deployment(name, 1);
        object["metadata"]["annotations"] = json!({"waiver.plimsoll.dev/min-replicas":
            json!({"reason": "nobody answers for it", "expires": day(30)}).to_string()});
        object
    }),
    shape("a writable root", Deployment, Deny, |name| writable(deployment(name, 2), "/spec/template/spec")),
    shape("a singleton of two", Deployment, Deny, |name| singleton(name, 2)),
    shape("every hour", CronJob, Pass, |name| cron_job(name, "7 * * * *")),
    shape("every ten minutes", CronJob, Pass, |name| cron_job(name, "*/10 * * * *")),
    shape("every minute, suspended", CronJob, Pass, |name| {
        let mut object = cron_job(name, "* * * * *");
        object["spec"]["suspend"] = json!(true);
        object
    }),
    shape("every minute, waived", CronJob, Pass, |name| {
        waived(cron_job(name, "* * * * *"), "cron-interval", 30)
    }),
    shape("every minute", CronJob, Deny, |name| cron_job(name, "* * * * *")),
    shape("at 59 and at 0", CronJob, Deny, |name| cron_job(name, "0,59 * * * *")),
    shape("every two minutes, no longer waived", CronJob, Deny, |name| {
        waived(cron_job(name, "*/2 * * * *"), "cron-interval", -60)
    }),
    shape("a writable root", CronJob, Deny, |name| {
        writable(cron_job(name, "@daily"), "/spec/jobTemplate/spec/template/spec")
    }),
    shape("from two to five", Autoscaler, Pass, |name| autoscaler(name, &format!("{name}-target"), 2, 5)),
    shape("from one to five", Autoscaler, Deny, |name| autoscaler(name, &format!("{name}-target"), 1, 5)),
    shape("from two to three of a singleton", Autoscaler, Deny, |name| autoscaler(name, SOLO, 2, 3)),
    shape("one pod at a time", Budget, Pass, |name| budget(name, name, &json!({"maxUnavailable": 1}))),
    shape("no room for any", Budget, Deny, |name| budget(name, GUARDED, &json!({"minAvailable": 3}))),
];

/// What people make where the cluster's policy wants three replicas.
pub(crate) const TEAM: [Shape; 4] = [
    shape("a team's four replicas", Deployment, Pass, |name| deployment(name, 4)),
    shape("a team's three replicas", Deployment, Pass, |name| {
        writable(deployment(name, 3), "/spec/template/spec")
    }),
    shape("a team's two replicas", Deployment, Deny, |name| deployment(name, 2)),
    shape("a team's two replicas, no longer waived", Deployment, Deny, |name| {
        waived(deployment(name, 2), "min-replicas", -60)
    }),
];

/// A change of an object that is there.
pub(crate) struct Change {
    pub(crate) says: &'static str,
    /// The shapes that it can be made to.
    pub(crate) of: &'static [&'static str],
    pub(crate) due: Due,
    pub(crate) subresource: &'static str,
    pub(crate) patch: fn() -> Value,
}

const fn change(
    says: &'static str,
    of: &'static [&'static str],
    due: Due,
    subresource: &'static str,
    patch: fn() -> Value,
) -> Change {
    Change { says, of, due, subresource, patch }
}

const PLAIN: &[&str] = &["two replicas", "three replicas"];
const WAIVED: &[&str] = &["one replica, waived"];
const ALONE: &[&str] = &["a singleton"];
const CRONS: &[&str] = &["every hour", "every ten minutes"];
const SCALED: &[&str] = &["from two to five"];
const TEAMS: &[&str] = &["a team's four replicas", "a team's three replicas"];

pub(crate) const CHANGES: [Change; 22] = [
    change("another image", PLAIN, Pass, "", || image("app:2", true)),
    change("a label", PLAIN, Pass, "", || json!({"metadata": {"labels": {"example.com/of": "note"}}})),
    change("to four", PLAIN, Pass, "", || json!({"spec": {"replicas": 4}})),
    change("scaled to five", PLAIN, Pass, "/scale", || json!({"spec": {"replicas": 5}})),
    change("scaled to two", PLAIN, Pass, "/scale", || json!({"spec": {"replicas": 2}})),
    change("to one", PLAIN, Deny, "", || json!({"spec": {"replicas": 1}})),
    change("scaled to one", PLAIN, Deny, "/scale", || json!({"spec": {"replicas": 1}})),
    change("root made writable", PLAIN, Deny, "", || image("app:3", false)),
    change("scaled to one, waived", WAIVED, Pass, "/scale", || json!({"spec": {"replicas": 1}})),
    change("scaled to three, waived", WAIVED, Pass, "/scale", || json!({"spec": {"replicas": 3}})),
    change("a singleton scaled to two", ALONE, Deny, "/scale", || json!({"spec": {"replicas": 2}})),
    change("a singleton scaled to none", ALONE, Pass, "/scale", || json!({"spec": {"replicas": 0}})),
    change("a singleton scaled to one", ALONE, Pass, "/scale", || json!({"spec": {"replicas": 1}})),
    change("a singleton set to two", ALONE, Deny, "", || json!({"spec": {"replicas": 2}})),
    change("another hour", CRONS, Pass, "", || json!({"spec": {"schedule": "11 */2 * * *"}})),
    change("to every minute", CRONS, Deny, "", || json!({"spec": {"schedule": "* * * * *"}})),
    change("resumed", &["every minute, suspended"], Deny, "", || json!({"spec": {"suspend": false}})),
    change("to six", SCALED, Pass, "", || json!({"spec": {"maxReplicas": 6}})),
    change("from one", SCALED, Deny, "", || json!({"spec": {"minReplicas": 1}})),
    change(
        "a budget of none",
        &["one pod at a time"],
        Deny,
        "",
        || json!({"spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": GUARDED}}}}),
    ),
    change("a team's scaled to two", TEAMS, Deny, "/scale", || json!({"spec": {"replicas": 2}})),
    change("a team's to five", TEAMS, Pass, "", || json!({"spec": {"replicas": 5}})),
];

/// A Deployment that stands there all the time with three replicas and a budget that needs two of them.
pub(crate) const GUARDED: &str = "guarded";
/// A singleton that stands there all the time.
pub(crate) const SOLO: &str = "solo";

pub(crate) fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod("app:1", true)},
        },
    })
}

pub(crate) fn singleton(name: &str, replicas: u32) -> Value {
    let mut object = deployment(name, replicas);
    object["metadata"]["annotations"] = json!({"plimsoll.dev/singleton": "true"});
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    object
}

pub(crate) fn budget(name: &str, app: &str, room: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": room,
    });
    object["spec"]["selector"] = json!({"matchLabels": {"app": app}});
    object
}

/// The team's policy; `more` differs from edit to edit and changes nothing that is denied.
pub(crate) fn policy(minimum: u32, more: &Value) -> Value {
    let mut rules = json!({"min-replicas": {"minimum": minimum}});
    if let (Some(rules), Some(more)) = (rules.as_object_mut(), more.as_object()) {
        rules.extend(more.clone());
    }
    json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy", "metadata": {"name": "team"},
        "spec": {"match": {"namespaces": ["team-*"]}, "action": "Deny", "rules": rules},
    })
}

fn pod(image: &str, is_read_only: bool) -> Value {
    json!({
        "containers": [{
            "name": "app", "image": image,
            "securityContext": {"readOnlyRootFilesystem": is_read_only},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    })
}

fn image(image: &str, is_read_only: bool) -> Value {
    json!({"spec": {"template": {"spec": pod(image, is_read_only)}}})
}

fn cron_job(name: &str, schedule: &str) -> Value {
    let mut pod = pod("app:1", true);
    pod["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {
            "schedule": schedule, "concurrencyPolicy": "Replace",
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
        },
    })
}

fn autoscaler(name: &str, target: &str, min: u32, max: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": min, "maxReplicas": max,
        },
    })
}

fn writable(mut object: Value, pod: &str) -> Value {
    let pod = object.pointer_mut(pod).expect("a pod");
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(false);
    object
}

/// With a waiver until so many days from now. No clock jumps as far.
fn waived(mut object: Value, rule: &str, days: i64) -> Value {
    let waiver =
        json!({"owner": "team@example.com", "reason": "a test that can't wait", "expires": day(days)});
    object["metadata"]["annotations"] = json!({format!("waiver.plimsoll.dev/{rule}"): waiver.to_string()});
    object
}

fn day(from_now: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * from_now)).to_string()
}
