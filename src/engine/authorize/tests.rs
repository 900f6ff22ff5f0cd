use serde_json::{Value, json};

use super::*;
use crate::engine::{Operation, judge, judge_authorized};
use crate::facts::{Fact, NamespaceFacts};
use crate::object::Object;
use crate::policy::load;
use crate::render;

const NOW: &str = "2026-12-01T12:00:00Z";
const WAIVER: &str = "waiver.plimsoll.dev/min-replicas";
const TEXT: &str = "{owner: a@example.com, reason: a restart is acceptable, expires: 2027-01-31}";

fn policies(spec: &Value) -> Vec<Policy> {
    let document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "shop"}, "spec": spec});
    load::from_texts(&[("shop.yaml".to_owned(), document.to_string())]).unwrap()
}

fn authorize() -> Vec<Policy> {
    policies(&json!({
        "rules": {"min-replicas": {}, "singleton": {}},
        "singletons": {"byAnnotation": true},
        "waivers": {"authorize": true},
    }))
}

fn web(replicas: i64, annotations: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"replicas": replicas, "strategy": {"type": "Recreate"}}})
}

fn waived(replicas: i64) -> Value {
    web(replicas, &json!({WAIVER: TEXT}))
}

/// What becomes of a request, and which rules were asked for before there was an answer.
struct Became {
    asked: Vec<&'static str>,
    denial: Option<String>,
    changes: Vec<WaiverChange>,
}

struct Case<'a> {
    policies: Vec<Policy>,
    kind: Kind,
    facts: NamespaceFacts,
    old: Option<&'a Value>,
    new: &'a Value,
}

impl<'a> Case<'a> {
    fn create(new: &'a Value) -> Self {
        let facts = NamespaceFacts::default();
        Self { policies: authorize(), kind: Kind::Deployment, facts, old: None, new }
    }

    fn update(old: &'a Value, new: &'a Value) -> Self {
        Self { old: Some(old), ..Self::create(new) }
    }

    fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    fn under(self, spec: &Value) -> Self {
        Self { policies: policies(spec), ..self }
    }

    /// Alice's request, with one answer to whatever is asked.
    fn judge(&self, permission: &Permission) -> Became {
        let (text, old) = (self.new.to_string(), self.old.map(Value::to_string));
        let request = Request {
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            kind: self.kind,
            namespace: "shop",
            user: "alice",
            groups: Vec::new(),
            manager: None,
            manifest: false,
            object: Object::read(self.kind, &text).unwrap(),
            old: old.as_deref().map(|old| Object::read(self.kind, old).unwrap()),
        };
        let now = NOW.parse().unwrap();
        let nobody = judge(&request, &self.policies, &self.facts, now);
        assert!(nobody.asks.is_empty(), "who judges what is there asks nobody");
        let first = judge_authorized(&request, &self.policies, &self.facts, &BTreeMap::new(), now);
        let answers = first.asks.iter().map(|rule| (*rule, permission.clone())).collect();
        let second = judge_authorized(&request, &self.policies, &self.facts, &answers, now);
        assert!(second.asks.is_empty(), "nobody is asked twice");
        let verdict = second.verdict;
        Became {
            asked: first.asks.into_iter().collect(),
            denial: (!verdict.allowed()).then(|| render::denial(&verdict)),
            changes: verdict.waivers,
        }
    }

    /// What alice is told who may waive nothing.
    fn refused(&self) -> String {
        let became = self.judge(&Permission::Denied(String::new()));
        became.denial.unwrap_or_else(|| panic!("let in: {}", self.new))
    }

    fn is_let_in_unasked(&self) {
        let became = self.judge(&Permission::Denied(String::new()));
        assert_eq!((became.asked.as_slice(), became.denial), ([].as_slice(), None), "{}", self.new);
    }
}

#[test]
fn a_waiver_counts_for_whoever_may_and_for_nobody_else() {
    let new = waived(1);
    let case = Case::create(&new);
    let granted = case.judge(&Permission::Allowed("RBAC: allowed by a role".to_owned()));
    assert_eq!((granted.asked.as_slice(), granted.denial), (["min-replicas"].as_slice(), None));
    let [change] = granted.changes.as_slice() else { panic!("one change") };
    assert_eq!(change.change, Change::Added);
    assert_eq!(change.note.owner, "a@example.com");
    assert_eq!(change.authorization, Some(Authorization::Allowed("RBAC: allowed by a role".to_owned())));
    insta::assert_snapshot!("refused", case.refused());
    let unknown = case.judge(&Permission::Unknown("connection refused".to_owned()));
    insta::assert_snapshot!("unknown", unknown.denial.unwrap());
}

/// What is stored counts from the next request on, so an unauthorised text must not get that far,
/// however little it does today.
#[test]
fn an_unauthorised_waiver_is_not_stored_even_where_nothing_needs_it() {
    insta::assert_snapshot!("not_stored", Case::create(&waived(2)).refused());
    let later = TEXT.replace("2027-01-31", "2028-01-31");
    Case::create(&web(2, &json!({WAIVER: later}))).refused();
    Case::create(&web(2, &json!({WAIVER: "no mapping yet"}))).refused();
    Case::update(&web(2, &json!({})), &waived(2)).refused();
}

#[test]
fn only_the_very_text_that_was_there_needs_no_leave() {
    Case::update(&waived(1), &waived(1)).is_let_in_unasked();
    Case::update(&waived(1), &waived(0)).is_let_in_unasked();
    for text in [format!("{TEXT} "), TEXT.replace("2027-01-31", "2027-01-30"), TEXT.replace("a@", "b@")] {
        Case::update(&waived(1), &web(1, &json!({WAIVER: text}))).refused();
    }
}

#[test]
fn taking_a_waiver_away_needs_no_leave() {
    Case::update(&waived(2), &web(2, &json!({}))).is_let_in_unasked();
    let new = web(1, &json!({}));
    let (old, became) = (waived(1), Permission::Denied(String::new()));
    let became = Case::update(&old, &new).judge(&became);
    assert!(became.asked.is_empty());
    assert_eq!(became.changes[0].change, Change::Removed);
    insta::assert_snapshot!("taken_away", became.denial.unwrap());
}

#[test]
fn an_emergency_needs_no_leave_unless_it_is_a_long_one() {
    let emergency = |expires: &str| json!({WAIVER: format!("{{owner: a@example.com, reason: the pool is full, expires: {expires}, emergency: true}}")});
    let new = web(1, &emergency("2026-12-02T06:00:00Z"));
    Case::create(&new).is_let_in_unasked();
    let became = Case::create(&new).judge(&Permission::Denied(String::new()));
    assert_eq!(became.changes[0].authorization, Some(Authorization::Emergency));
    // It would count as soon as its end is near enough.
    Case::create(&web(2, &emergency("2026-12-03T06:00:00Z"))).refused();
}

#[test]
fn a_declared_singleton_needs_leave_as_a_waiver_does() {
    let declared = |text: &str| web(1, &json!({"plimsoll.dev/singleton": text}));
    insta::assert_snapshot!("singleton", Case::create(&declared("holds the lock")).refused());
    Case::update(&declared("true"), &declared("true")).is_let_in_unasked();
    Case::update(&declared("true"), &declared("since I say so")).refused();
    Case::create(&web(2, &json!({"plimsoll.dev/singleton": "false"}))).is_let_in_unasked();
}

/// A waiver can lie in wait where no policy looks; joining the policy is when it is asked for.
#[test]
fn what_joins_a_policy_has_its_waivers_asked_for() {
    let spec = json!({"match": {"objectSelector": {"matchLabels": {"tier": "web"}}},
        "rules": {"min-replicas": {}}, "waivers": {"authorize": true}});
    let labelled = |object: Value, labels: Value| {
        let mut object = object;
        object["metadata"]["labels"] = labels;
        object
    };
    let (out, joined) = (labelled(waived(2), json!({})), labelled(waived(2), json!({"tier": "web"})));
    Case::create(&out).under(&spec).is_let_in_unasked();
    Case::update(&out, &joined).under(&spec).refused();
    Case::update(&joined, &joined).under(&spec).is_let_in_unasked();

    let spec = json!({"match": {"namespaceSelector": {"matchLabels": {"tier": "web"}}},
        "rules": {"protected-namespace": {}}, "waivers": {"authorize": true}});
    let text = json!({"waiver.plimsoll.dev/protected-namespace": TEXT});
    let namespace =
        |labels: Value| json!({"metadata": {"name": "shop", "labels": labels, "annotations": text}});
    let (out, joined) = (namespace(json!({})), namespace(json!({"tier": "web"})));
    Case::update(&out, &joined).under(&spec).of(Kind::Namespace).refused();
    Case::create(&joined).under(&spec).of(Kind::Namespace).refused();
    Case::update(&joined, &out).under(&spec).of(Kind::Namespace).is_let_in_unasked();
}

/// It was asked for when the workload got it.
#[test]
fn an_autoscaler_takes_its_targets_waiver_as_it_is() {
    let scaler = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"minReplicas": 1,
        "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    let mut case = Case::create(&scaler).of(Kind::HorizontalPodAutoscaler);
    let target = waived(2).to_string();
    case.facts.insert(Fact::project(&Object::read(Kind::Deployment, &target).unwrap()).unwrap());
    case.is_let_in_unasked();
    let mut with_its_own = scaler.clone();
    with_its_own["metadata"]["annotations"] = json!({WAIVER: TEXT});
    Case::create(&with_its_own).of(Kind::HorizontalPodAutoscaler).refused();
}

#[test]
fn only_policies_that_have_the_rule_ask_and_each_as_it_acts() {
    let other = json!({"rules": {"singleton": {}}, "waivers": {"authorize": true}});
    Case::create(&waived(2)).under(&other).is_let_in_unasked();
    let trial = json!({"action": "Warn", "rules": {"min-replicas": {}}, "waivers": {"authorize": true}});
    let new = waived(1);
    let became = Case::create(&new).under(&trial).judge(&Permission::Denied(String::new()));
    assert_eq!((became.asked.as_slice(), became.denial), (["min-replicas"].as_slice(), None));
}
