//! What may lie in the store, in a few lines that know nothing of Plimsoll's engine.

use serde_json::Value;

use crate::requests::{GUARDED, Kind, Place, SOLO};

/// What people write here that is further apart than five minutes.
const SELDOM: [&str; 4] = ["7 * * * *", "*/10 * * * *", "@daily", "11 */2 * * *"];

/// Why an object may not be there, if it may not.
pub(crate) fn fault(kind: Kind, object: &Value) -> Option<String> {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    let why = match (Place::of(namespace)?, kind) {
        (Place::Governed, Kind::Deployment) => deployment(object),
        (Place::Governed, Kind::CronJob) => cron_job(object),
        (Place::Governed, Kind::Autoscaler) => autoscaler(object),
        (Place::Governed, Kind::Budget) => budget(object),
        (Place::Team, Kind::Deployment) => {
            matches!(replicas(object), 1 | 2).then_some("a team's with fewer than three replicas")
        }
        (Place::Team | Place::Free, _) => None,
    }?;
    Some(format!("{kind:?} {namespace}/{name} is stored: {why}"))
}

/// Why a Namespace may not be as it is.
pub(crate) fn namespace_fault(object: &Value) -> Option<String> {
    let name = text(object, "/metadata/name");
    let is_labelled = text(object, "/metadata/labels/environment") == "production";
    (Place::of(name) == Some(Place::Governed) && !is_labelled).then(|| format!("{name} lost its label"))
}

fn deployment(object: &Value) -> Option<&'static str> {
    let count = replicas(object);
    if text(object, "/metadata/annotations/plimsoll.dev~1singleton") == "true" {
        if count > 1 || text(object, "/spec/strategy/type") != "Recreate" {
            return Some("a singleton that can run twice");
        }
    } else if count == 1 && !is_waived(object, "min-replicas") {
        return Some("one replica");
    }
    if text(object, "/metadata/name") == GUARDED && count < 3 {
        return Some("its budget has no room");
    }
    pod(object.pointer("/spec/template/spec")?)
}

fn cron_job(object: &Value) -> Option<&'static str> {
    let is_suspended = object.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let is_seldom = SELDOM.contains(&text(object, "/spec/schedule"));
    if !is_suspended && !is_seldom && !is_waived(object, "cron-interval") {
        return Some("too often");
    }
    pod(object.pointer("/spec/jobTemplate/spec/template/spec")?)
}

fn autoscaler(object: &Value) -> Option<&'static str> {
    let is_low = object.pointer("/spec/minReplicas").and_then(Value::as_u64).unwrap_or(1) < 2;
    let is_of_singleton = text(object, "/spec/scaleTargetRef/name") == SOLO;
    match (is_low, is_of_singleton) {
        (true, _) => Some("below two"),
        (_, true) => Some("it scales a singleton"),
        _ => None,
    }
}

fn budget(object: &Value) -> Option<&'static str> {
    let is_second = text(object, "/spec/selector/matchLabels/app") == GUARDED
        && text(object, "/metadata/name") != GUARDED;
    is_second.then_some("a second budget, without room")
}

fn pod(pod: &Value) -> Option<&'static str> {
    let scratch = |name: &str| {
        let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        volumes.iter().any(|volume| volume["name"] == name && volume["emptyDir"].is_object())
    };
    for container in pod["containers"].as_array()? {
        if container.pointer("/securityContext/readOnlyRootFilesystem") != Some(&Value::Bool(true)) {
            return Some("a writable root");
        }
        let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_tmp = |mount: &&Value| mount["mountPath"] == "/tmp";
        if !mounts.iter().find(is_tmp).and_then(|mount| mount["name"].as_str()).is_some_and(scratch) {
            return Some("no /tmp");
        }
    }
    None
}

fn is_waived(object: &Value, rule: &str) -> bool {
    let waiver = text(object, &format!("/metadata/annotations/waiver.plimsoll.dev~1{rule}"));
    let waiver: Value = serde_json::from_str(waiver).unwrap_or_default();
    let ends = waiver["expires"].as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok());
    waiver["owner"].is_string() && ends.is_some_and(|end| end > jiff::Timestamp::now())
}

fn replicas(object: &Value) -> u64 {
    object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
