//! Who may waive, from the review's bytes to its answer; and that every door sees a waiver alike.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{Timestamp, ToSpan};
use plimsoll::admission::UserInfo;
use plimsoll::audit::{AuditLog, Settings};
use plimsoll::engine::Permission;
use plimsoll::engine::waivers::{Holder, Register, WaiverState};
use plimsoll::facts::{Facts, NamespaceFacts, Reference};
use plimsoll::metrics::Metrics;
use plimsoll::object::{Kind, Labels};
use plimsoll::policy::load;
use plimsoll::policy::reload::Policies;
use plimsoll::review::{AuditFailure, Live, Phase, Reading, Review, Reviewer};
use plimsoll::verdict::Subject;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deployment;

const WAIVER: &str = "waiver.plimsoll.dev/min-replicas";

/// The answer to one review under one policy, and the records of it.
fn judged(spec: &Value, live: Option<Arc<dyn Live>>, request: &Value) -> (Value, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit");
    let settings = Settings { file: Some(log.clone()), copy_to_stdout: false, ..Settings::default() };
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, document(spec)).unwrap();
    let reviewer = Arc::new(Reviewer {
        policies: Policies::load(vec![policy]).unwrap(),
        facts: Arc::new(Facts::default()),
        live,
        audit: AuditLog::open(settings).unwrap(),
        audit_failure: AuditFailure::Allow,
        instance: "test".to_owned(),
        witness: None,
        metrics: Arc::new(Metrics::new("test")),
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let answer = runtime.block_on(reviewer.review(Phase::Validate, review.to_string().into(), end));
    let records = std::fs::read_to_string(log).unwrap();
    let records = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (serde_json::from_slice(&answer.body).unwrap(), records)
}

fn request(resource: &str, operation: &str, object: &Value) -> Value {
    json!({"uid": "u", "operation": operation, "namespace": "shop", "name": object["metadata"]["name"],
        "resource": {"group": "apps", "version": "v1", "resource": resource}, "object": object})
}

fn document(spec: &Value) -> String {
    json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "shop"}, "spec": spec})
    .to_string()
}

fn authorize() -> Value {
    json!({"rules": {"min-replicas": {}}, "waivers": {"authorize": true}})
}

fn waiver(end: Timestamp) -> String {
    format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}")
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::now().checked_add((days * 24).hours()).unwrap()
}

fn waived(replicas: i64, text: &str) -> Value {
    let mut object = deployment(replicas);
    object["metadata"]["annotations"] = json!({WAIVER: text});
    object
}

fn message(body: &Value) -> String {
    body["response"]["status"]["message"].as_str().unwrap_or_else(|| panic!("let in: {body}")).to_owned()
}

/// An authorizer that knows who asks; it never answers those whom it doesn't know.
struct Authorizer;

impl Live for Authorizer {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: &'a BTreeSet<Reference>,
        facts: &'a NamespaceFacts,
        _: Duration,
    ) -> BoxFuture<'a, Reading> {
        Box::pin(async { Reading { facts: facts.clone(), failed: BTreeMap::new() } })
    }

    fn may_waive<'a>(
        &'a self,
        user: &'a UserInfo<'a>,
        namespace: &'a str,
        rule: &'static str,
    ) -> BoxFuture<'a, Permission> {
        let scopes =
            user.extra.iter().flat_map(|(key, values)| values.iter().map(move |v| format!("{key}={v}")));
        let scopes: Vec<String> = scopes.collect();
        let seen = format!("{} {} {scopes:?} {namespace} {rule}", &*user.username, &*user.uid);
        Box::pin(async move {
            match seen.as_str() {
                r#"alice 7 ["scope=waive"] shop min-replicas"# => Permission::Allowed(seen),
                _ => std::future::pending().await,
            }
        })
    }
}

#[test]
fn the_whole_user_is_asked_for_and_the_record_says_who_granted_what() {
    let mut create = request("deployments", "CREATE", &waived(1, &waiver(in_days(30))));
    create["userInfo"] = json!({"username": "alice", "uid": "7", "extra": {"scope": ["waive"]}});
    let (body, records) = judged(&authorize(), Some(Arc::new(Authorizer)), &create);
    assert_eq!(body["response"]["allowed"], json!(true), "{body}");
    let change = &records[0]["waivers"][0];
    assert_eq!((&records[0]["user"]["name"], &change["change"]), (&json!("alice"), &json!("Added")));
    assert_eq!((&change["authorization"], &change["annotation"]), (&json!("Allowed"), &json!(WAIVER)));
    assert_eq!(change["waiver"]["owner"], "a@example.com");
    assert_eq!(body["response"]["auditAnnotations"]["waivers"], format!("{WAIVER} Added"));
}

#[test]
fn an_answer_that_does_not_come_is_no_leave() {
    let create = request("deployments", "CREATE", &waived(1, &waiver(in_days(30))));
    let (body, records) = judged(&authorize(), Some(Arc::new(Authorizer)), &create);
    let silent = message(&body);
    assert!(silent.contains("could not be asked: the API server did not answer in time"), "{silent}");
    assert_eq!(records[0]["waivers"][0]["authorization"], "Unknown");
    let (body, _) = judged(&authorize(), None, &create);
    let alone = message(&body);
    assert!(alone.contains("could not be asked: Plimsoll looks at no cluster"), "{alone}");
}

#[test]
fn a_status_is_judged_by_what_it_declares_and_by_nothing_else() {
    let text = waiver(in_days(30));
    let mut update = request("deployments", "UPDATE", &waived(2, &text));
    update["subResource"] = json!("status");
    update["oldObject"] = deployment(2);
    let (body, _) = judged(&authorize(), None, &update);
    assert!(message(&body).contains("unauthorized-waiver"), "{body}");
    // Taken away where it is needed.
    let mut update = request("deployments", "UPDATE", &deployment(1));
    update["subResource"] = json!("status");
    update["oldObject"] = waived(1, &text);
    let (body, _) = judged(&authorize(), None, &update);
    assert!(message(&body).contains("this change takes its waiver away"), "{body}");
    update["oldObject"] = deployment(1);
    let (body, _) = judged(&authorize(), None, &update);
    assert_eq!(body["response"]["allowed"], json!(true), "{body}");
}

/// A waiver that slips in while the rest can't be read would count once it can.
#[test]
fn what_cannot_be_read_gets_no_waiver() {
    let mut unreadable = deployment(2);
    unreadable["spec"]["replicas"] = json!("two");
    let mut waived = unreadable.clone();
    waived["metadata"]["annotations"] = json!({WAIVER: waiver(in_days(30))});
    let mut update = request("deployments", "UPDATE", &waived);
    update["oldObject"] = unreadable;
    let (body, _) = judged(&authorize(), None, &update);
    assert!(message(&body).contains("can't be read"), "{body}");
}

/// What `plimsoll check` says of the finding: `Deny`, `Waived`…
fn checked(spec: &Value, object: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (policy, manifest) = (folder.path().join("policy.yaml"), folder.path().join("web.yaml"));
    std::fs::write(&policy, document(spec)).unwrap();
    std::fs::write(&manifest, object.to_string()).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = check.arg("check").arg(&manifest).arg("--policies").arg(&policy).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(" min-replicas: "));
    line.map_or_else(String::new, |line| line.split(' ').nth(1).unwrap().to_owned())
}

/// How the list of all waivers has it.
fn listed(spec: &Value, object: &Value) -> WaiverState {
    let policies = load::from_texts(&[("policy".to_owned(), document(spec))]).unwrap();
    let subject = Subject { kind: Kind::Deployment, namespace: "shop".to_owned(), name: "web".to_owned() };
    let needed = HashSet::from([(subject.clone(), "min-replicas")]);
    let needed = if object["spec"]["replicas"] == 1 { needed } else { HashSet::new() };
    let annotations: Labels = serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap();
    let (labels, namespaces) = (Labels::default(), BTreeMap::new());
    let register = Register {
        policies: &policies,
        namespaces: &namespaces,
        needed: Some(&needed),
        now: Timestamp::now(),
    };
    register.list([Holder { subject, labels: &labels, annotations: &annotations }])[0].state
}

#[test]
fn the_webhook_check_and_the_list_agree_on_every_state() {
    let spec = json!({"rules": {"min-replicas": {}}});
    let emergency = |end| waiver(end).replace('}', ", emergency: true}");
    let soon = Timestamp::now().checked_add(6.hours()).unwrap();
    let no_owner = format!("{{reason: internal tool only, expires: {}}}", in_days(30));
    let unknown_field = waiver(in_days(30)).replace('}', ", until: x}");
    let date = in_days(60).to_zoned(jiff::tz::TimeZone::UTC).date();
    let by_date = format!("{{owner: a@example.com, reason: internal tool only, expires: {date}}}");
    let cases = [
        (1, waiver(in_days(60)), WaiverState::Active, "Waived"),
        (1, by_date, WaiverState::Active, "Waived"),
        (1, waiver(in_days(5)), WaiverState::Expiring, "Waived"),
        (1, emergency(soon), WaiverState::Expiring, "Waived"),
        (1, waiver(in_days(-1)), WaiverState::Expired, "Deny"),
        (1, waiver(in_days(-60)), WaiverState::Expired, "Deny"),
        (1, waiver(in_days(400)), WaiverState::Invalid, "Deny"),
        (1, emergency(in_days(2)), WaiverState::Invalid, "Deny"),
        (1, no_owner, WaiverState::Invalid, "Deny"),
        (1, unknown_field, WaiverState::Invalid, "Deny"),
        (1, "true".to_owned(), WaiverState::Invalid, "Deny"),
        (2, waiver(in_days(60)), WaiverState::Unneeded, ""),
        (2, waiver(in_days(-60)), WaiverState::Unneeded, ""),
        (2, waiver(in_days(400)), WaiverState::Invalid, ""),
    ];
    for (replicas, text, state, finding) in cases {
        let object = waived(replicas, &text);
        let (body, records) = judged(&spec, None, &request("deployments", "CREATE", &object));
        assert_eq!(body["response"]["allowed"], json!(finding != "Deny"), "{text}: {body}");
        let recorded = &records[0]["findings"][0];
        let seen = match recorded["state"].as_str() {
            Some("New") => recorded["action"].as_str().unwrap(),
            other => other.unwrap_or_default(),
        };
        assert_eq!((seen, checked(&spec, &object).as_str()), (finding, finding), "{text}");
        assert_eq!(listed(&spec, &object), state, "{text}");
    }
}
