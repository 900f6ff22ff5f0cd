use super::*;
use crate::engine::{Operation, Request, judge};
use crate::facts::{Fact, NamespaceFacts};
use crate::object::Object;
use crate::policy::load;

const NOW: &str = "2026-12-01T12:00:00Z";

fn policies(more: &str) -> Vec<Policy> {
    let text = format!(
        "{{apiVersion: plimsoll.dev/v1alpha1, kind: InvariantPolicy, metadata: {{name: shop}},
           spec: {{match: {{namespaceSelector: {{matchLabels: {{tier: shop}}}}}}, rules: {{min-replicas: {{}}, cron-interval: {{}}}}{more}}}}}"
    );
    load::from_texts(&[("shop.yaml".to_owned(), text)]).unwrap()
}

fn subject(kind: Kind, name: &str) -> Subject {
    Subject { kind, namespace: "shop".to_owned(), name: name.to_owned() }
}

fn map(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn shop() -> BTreeMap<String, Labels> {
    BTreeMap::from([("shop".to_owned(), map(&[("tier", "shop")]))])
}

fn waiver(expires: &str) -> String {
    format!("{{owner: a@example.com, reason: a restart is acceptable, expires: {expires}}}")
}

/// The list of one Deployment's annotations, a line each.
fn list(policies: &[Policy], annotations: &[(&str, &str)], needed: Option<&[&'static str]>) -> Vec<String> {
    let needed = needed.map(|rules| {
        rules.iter().map(|rule| (subject(Kind::Deployment, "web"), *rule)).collect::<HashSet<_>>()
    });
    let now = NOW.parse().unwrap();
    let register = Register { policies, namespaces: &shop(), needed: needed.as_ref(), now };
    let (labels, annotations) = (Labels::default(), map(annotations));
    let holder =
        Holder { subject: subject(Kind::Deployment, "web"), labels: &labels, annotations: &annotations };
    let listed = register.list([holder]);
    let line = |listed: &Listed| {
        let days = listed.days_left(now).map_or_else(|| "-".to_owned(), |days| days.to_string());
        let remark = listed.remark.as_deref().unwrap_or_default();
        format!("{} {} {} {days} {remark}", listed.state, listed.rule, listed.subject).trim().to_owned()
    };
    listed.iter().map(line).collect()
}

fn state(expires: &str, needed: Option<&[&'static str]>) -> String {
    let text = waiver(expires);
    list(&policies(""), &[("waiver.plimsoll.dev/min-replicas", &text)], needed).concat()
}

#[test]
fn each_state_is_told_by_the_clock_and_by_need() {
    let needed: Option<&[&str]> = Some(&["min-replicas"]);
    assert_eq!(state("2027-01-31", needed), "Active min-replicas Deployment shop/web 61");
    assert_eq!(state("2026-12-02", needed), "Expiring min-replicas Deployment shop/web 1");
    assert_eq!(state("2026-11-30", needed), "Expired min-replicas Deployment shop/web -1");
    let too_long = state("2028-01-31", needed);
    assert!(too_long.starts_with("Invalid") && too_long.contains("lasts longer than 90d"), "{too_long}");
    let other: Option<&[&str]> = Some(&["cron-interval"]);
    assert!(state("2027-01-31", other).ends_with("the object keeps the rule"));
    assert!(state("2026-11-30", other).starts_with("Unneeded"), "it only has to go");
    assert!(state("2027-01-31", None).starts_with("Active"), "nobody knows what is needed");
}

#[test]
fn what_no_policy_has_is_unneeded_and_what_is_no_rule_is_invalid() {
    let text = waiver("2027-01-31");
    let lines = list(&policies(""), &[("waiver.plimsoll.dev/spread", &text)], None);
    assert_eq!(lines, ["Unneeded spread Deployment shop/web 61 no policy that applies has the rule"]);
    let lines = list(&policies(""), &[("waiver.plimsoll.dev/min-replica", &text)], None);
    assert!(lines[0].starts_with("Invalid min-replica"), "{lines:?}");
    assert!(lines[0].ends_with("did you mean waiver.plimsoll.dev/min-replicas?"), "{lines:?}");
}

#[test]
fn a_namespace_that_nobody_knows_leaves_it_open_what_applies() {
    let (policies, text) = (policies(""), waiver("2027-01-31"));
    let now = NOW.parse().unwrap();
    let register = Register { policies: &policies, namespaces: &BTreeMap::new(), needed: None, now };
    let (labels, annotations) = (Labels::default(), map(&[("waiver.plimsoll.dev/spread", &text)]));
    let holder = Holder { subject: subject(Kind::CronJob, "x"), labels: &labels, annotations: &annotations };
    assert_eq!(register.list([holder])[0].state, WaiverState::Active);
}

#[test]
fn singletons_by_annotation_stand_beside_the_waivers() {
    let annotation = [("plimsoll.dev/singleton", "holds the lock")];
    let allowed = policies(", singletons: {byAnnotation: true}");
    assert_eq!(list(&allowed, &annotation, None), ["Active singleton Deployment shop/web -"]);
    let lines = list(&policies(""), &annotation, None);
    assert!(lines[0].starts_with("Invalid singleton"), "{lines:?}");
    assert!(list(&allowed, &[("plimsoll.dev/singleton", "false")], None).is_empty());
}

#[test]
fn the_sooner_it_ends_the_higher_it_stands() {
    let granted = policies(
        ", waivers: {grants: [{rule: min-replicas, kind: Deployment, namespace: shop, name: redis,
            owner: b@example.com, reason: one node is all there is, expires: 2026-12-03}]}",
    );
    let (late, soon) = (waiver("2027-01-31"), waiver("2026-12-02"));
    let annotations = [
        ("waiver.plimsoll.dev/cron-interval", late.as_str()),
        ("waiver.plimsoll.dev/min-replicas", soon.as_str()),
        ("plimsoll.dev/singleton", "true"),
    ];
    let lines = list(&granted, &annotations, None);
    let rules: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(rules, ["min-replicas", "min-replicas", "cron-interval", "singleton"]);
    assert!(lines[1].starts_with("Expiring min-replicas Deployment shop/redis 2"), "{lines:?}");
}

/// What a request asks for is the key by which the list knows what is needed.
#[test]
fn an_autoscaler_needs_the_waiver_of_its_target() {
    let text = waiver("2027-01-31");
    let target = serde_json::json!({"metadata": {"name": "web", "namespace": "shop",
        "annotations": {"waiver.plimsoll.dev/min-replicas": text}}, "spec": {"replicas": 2}})
    .to_string();
    let scaler =
        serde_json::json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"minReplicas": 1,
        "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}})
        .to_string();
    let mut facts = NamespaceFacts::default();
    facts.labels = Some(map(&[("tier", "shop")]));
    facts.insert(Fact::project(&Object::read(Kind::Deployment, &target).unwrap()).unwrap());
    let request = |kind, text| Request {
        operation: Operation::Create,
        kind,
        namespace: "shop",
        user: "alice",
        groups: Vec::new(),
        manager: None,
        manifest: false,
        object: Object::read(kind, text).unwrap(),
        old: None,
    };
    let policies = policies("");
    let ask = |kind, text| judge(&request(kind, text), &policies, &facts, NOW.parse().unwrap()).waivers;
    assert_eq!(ask(Kind::Deployment, &target), HashSet::new(), "2 replicas need none");
    let needed = HashSet::from([(subject(Kind::Deployment, "web"), "min-replicas")]);
    assert_eq!(ask(Kind::HorizontalPodAutoscaler, &scaler), needed);
}
