//! Every door says the same of every fixture of `tests/rules`: `check` before it is applied, the
//! webhook while it is, `scan` once it has been let in.
//!
//! A control plane of its own, without controllers: autoscalers would change what the fixtures are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plimsoll::manifest;
use serde_json::{Value, json};

use super::controlplane::{ControlPlane, Options, Plimsoll, keda_crds, say};
use super::scan::{renamed, run_plimsoll};

/// What has no say about an object that is new to a cluster, with why.
const OTHERWISE: [(&str, &str); 8] = [
    ("\nold:", "a change; here everything is new"),
    ("scale:", "a scale, which no manifest asks for"),
    ("manager:", "somebody's request with traces of what was sent, which the manifests show themselves"),
    ("stored:", "about what lies in a cluster, which only a scan tells"),
    ("now:", "judged by a clock of its own"),
    ("expires:", "a waiver that ends by the fixtures' clock"),
    ("uid:", "about an owner by its uid, which the API server makes up"),
    ("kind: Pod\n", "a Pod, which check leaves alone"),
];

/// Fixtures that the API server itself refuses, so that no cluster ever holds them.
const REFUSED: [&str; 8] = [
    "cron-interval/time-zone-empty",
    "cron-interval/time-zone-in-other-letters",
    "cron-interval/time-zone-local",
    "cron-interval/unreadable",
    "cron-interval/zone-in-schedule",
    "cron-overlap/unreadable-schedule",
    "read-only-root-filesystem/twins",
    "tmp-volume/raw-device-elsewhere",
];

/// Where a scan says more: what is stored is below the floor of an autoscaler that isn't at work here,
/// and the next change of the workload would be told so.
const MORE_IN_A_SCAN: &str = "min-replicas/explicit-one-under-an-autoscaler";

/// Where `check` says less: it fills in the workload that is around, which was there before anybody did.
const LESS_IN_A_CHECK: &str = "spread/autoscaler";

/// As the author's own, so that it shows what was left out. What kubectl thinks of it first is no matter.
const APPLY: [&str; 5] = ["apply", "--server-side", "--validate=false", "-f", "-"];

/// The rule that no other door has.
const SCAN_ONLY: &str = "inactive-workload";

/// What is found: how it stands, the rule, the field.
type Found = BTreeSet<String>;

/// A fixture, in a namespace of its own where nothing but Audit is done, and in one where it counts.
struct Fixture {
    name: String,
    policy: Value,
    around: Vec<Value>,
    object: Value,
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let files = manifest::files::collect(&[root]).expect("the fixtures are there");
    let is_otherwise = |text: &str| OTHERWISE.iter().any(|(mark, _)| format!("\n{text}\n").contains(mark));
    files.iter().filter(|(_, text)| !is_otherwise(text)).map(|(path, text)| read(path, text)).collect()
}

fn read(path: &str, text: &str) -> Fixture {
    let documents = manifest::parse(path, text).expect("a fixture is YAML");
    let mut documents: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
    let mut names = Path::new(path).components().rev().map(|part| part.as_os_str().to_str().unwrap());
    let (file, rule) = (names.next().unwrap().trim_end_matches(".yaml"), names.next().unwrap());
    let settings = match documents[0].get("kind") {
        Some(_) => json!({}),
        None => documents.remove(0),
    };
    let by_default = || json!({"rules": {rule: {}}, "singletons": {"byAnnotation": true}});
    let policy = settings.get("policy").cloned().unwrap_or_else(by_default);
    let object = documents.pop().expect("a fixture has an object");
    Fixture { name: format!("{rule}/{file}"), policy, around: documents, object }
}

/// A set of namespaces, one for each fixture: `audit-7`.
struct Run<'f> {
    prefix: &'static str,
    fixtures: &'f [Fixture],
}

impl Run<'_> {
    fn namespace(&self, index: usize) -> String {
        format!("{}-{index}", self.prefix)
    }

    /// What the fixtures have, in the namespaces of this run.
    fn moved<'a>(&'a self, of: impl Fn(&'a Fixture) -> Vec<&'a Value> + 'a) -> Vec<Value> {
        let all = self.fixtures.iter().enumerate();
        let moved = all.flat_map(|(index, fixture)| {
            let namespace = self.namespace(index);
            of(fixture).into_iter().map(move |value| {
                let mut value = renamed(value, "shop", &namespace);
                value["metadata"]["namespace"] = namespace.as_str().into();
                if value["kind"] == "PersistentVolumeClaim" {
                    // The API server asks for a size, which is nobody's business here.
                    value["spec"]["resources"] = json!({"requests": {"storage": "1Gi"}});
                }
                value
            })
        });
        moved.collect()
    }

    fn namespaces(&self) -> Vec<Value> {
        let name = |index| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace(index)}});
        (0..self.fixtures.len()).map(name).collect()
    }

    fn policies(&self, action: Option<&str>) -> Vec<Value> {
        let all = self.fixtures.iter().enumerate();
        all.map(|(index, fixture)| {
            let namespace = self.namespace(index);
            let mut spec = renamed(&fixture.policy, "shop", &namespace);
            spec["match"]["namespaces"] = json!([namespace]);
            if let Some(action) = action {
                spec["action"] = action.into();
            }
            json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
                "metadata": {"name": namespace}, "spec": spec})
        })
        .collect()
    }

    /// What was found of the objects that the fixtures are about, by fixture.
    fn sort(&self, findings: impl IntoIterator<Item = (Value, Value)>) -> BTreeMap<&str, Found> {
        let mut sorted: BTreeMap<&str, Found> =
            self.fixtures.iter().map(|fixture| (fixture.name.as_str(), Found::new())).collect();
        let indexes: BTreeMap<String, usize> =
            (0..self.fixtures.len()).map(|index| (self.namespace(index), index)).collect();
        for (resource, finding) in findings {
            let namespace = resource["namespace"].as_str().unwrap_or_default();
            let Some(fixture) = indexes.get(namespace).map(|index| &self.fixtures[*index]) else { continue };
            let is_about = |field: &str, of: &Value| resource[field] == *of;
            let object = &fixture.object;
            if !is_about("kind", &object["kind"])
                || !is_about("name", &object["metadata"]["name"])
                || finding["rule"] == SCAN_ONLY
            {
                continue;
            }
            let text = |field: &str| finding[field].as_str().unwrap_or_default();
            let word = if text("state") == "New" { text("action") } else { text("state") };
            let line = format!("{word} {} at {}: {}", text("rule"), text("path"), text("observed"));
            sorted.get_mut(fixture.name.as_str()).unwrap().insert(line);
        }
        sorted
    }
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The findings of a report, each with its object.
fn reported(plane: &ControlPlane, args: &[&str]) -> Vec<(Value, Value)> {
    let (_, run) = run_plimsoll(plane, "admin", args);
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"));
    assert_eq!(report["errors"], json!([]), "{args:?}");
    let findings = report["findings"].as_array().expect("findings").iter();
    findings.map(|finding| (finding["resource"].clone(), finding.clone())).collect()
}

/// The findings of the audit log, each with its object.
fn recorded(plimsoll: &Plimsoll) -> Vec<(Value, Value)> {
    let records = plimsoll.records().into_iter();
    let creations = records.filter(|record| record["operation"] == "CREATE");
    let findings = creations.flat_map(|record| {
        let findings = record["findings"].as_array().cloned().unwrap_or_default();
        findings.into_iter().map(move |finding| (record["resource"].clone(), finding))
    });
    findings.collect()
}

/// What the runs disagree about, fixture by fixture.
#[track_caller]
fn assert_same(one: (&str, &BTreeMap<&str, Found>), other: (&str, &BTreeMap<&str, Found>)) {
    let differ: Vec<String> = one
        .1
        .iter()
        .filter(|(name, found)| other.1[**name] != **found)
        .map(|(name, found)| format!("{name}\n  {}: {found:?}\n  {}: {:?}", one.0, other.0, other.1[*name]))
        .collect();
    assert!(differ.is_empty(), "{} fixtures:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn every_door_says_the_same_of_every_fixture() {
    let plane = ControlPlane::start(Options {
        controller_manager: false,
        // Without these it refuses one field and forgets another.
        apiserver_args: vec![
            "--allow-privileged=true".to_owned(),
            "--feature-gates=MaxUnavailableStatefulSet=true".to_owned(),
        ],
        heard: Some(super::while_down::heard),
        ..Options::default()
    })
    .unwrap();
    let plane = &plane;
    let crds = keda_crds().unwrap();
    let crds = ["apply", "--server-side", "-f", crds.to_str().unwrap()];
    plane.kubectl("admin", &crds).expect_ok("KEDA's definitions");

    let (refused, fixtures): (Vec<_>, Vec<_>) =
        fixtures().into_iter().partition(|fixture| REFUSED.contains(&fixture.name.as_str()));
    let (audit, deny) =
        (Run { prefix: "audit", fixtures: &fixtures }, Run { prefix: "deny", fixtures: &fixtures });
    let write = |name: &str, text: &str| -> PathBuf {
        let path = plane.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let lines = |values: Vec<Value>| values.iter().map(|v| format!("---\n{v}\n")).collect::<String>();
    let text = lines(audit.policies(Some("Audit"))) + &lines(deny.policies(None));
    let policies = write("fixtures.yaml", &text);
    let policies = policies.to_str().unwrap();

    // What else is in the cluster is there before anybody judges.
    let around = |run: &Run<'_>| run.moved(|fixture| fixture.around.iter().collect());
    let objects = |run: &Run<'_>| run.moved(|fixture| vec![&fixture.object]);
    for run in [&audit, &deny] {
        plane.kubectl_stdin("admin", &APPLY, &list(&run.namespaces())).expect_ok("namespaces");
        plane.kubectl_stdin("admin", &APPLY, &list(&around(run))).expect_ok("what is around");
    }
    let production = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/production.yaml");
    let program = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
    let plimsoll = Plimsoll::start(plane, program, &["--policies", policies, production]).unwrap();
    plimsoll.register(plane, &[], &say).unwrap();

    let none = Run { prefix: "refused", fixtures: &refused };
    plane.kubectl_stdin("admin", &APPLY, &list(&none.namespaces())).expect_ok("namespaces");
    let run = plane.kubectl_stdin("admin", &APPLY, &list(&objects(&none)));
    let words = [" is invalid: ", ": duplicate entries for key "];
    let told = run.stderr.lines().filter(|line| words.iter().any(|words| line.contains(words))).count();
    assert_eq!(told, REFUSED.len(), "{run}");

    // Through the webhook: under Audit all are let in, and where it counts nothing is stored.
    let create = |run: &Run<'_>, more: &[&str]| {
        let args = [&APPLY[..], more].concat();
        plane.kubectl_stdin("admin", &args, &list(&objects(run)))
    };
    create(&audit, &[]).expect_ok("Audit lets everything in");
    create(&deny, &["--dry-run=server"]);
    let recorded = recorded(&plimsoll);

    for run in [&audit, &deny] {
        let manifests = write(&format!("{}.json", run.prefix), &list(&[around(run), objects(run)].concat()));
        let check = ["check", manifests.to_str().unwrap(), "--policies", policies, "--output", "json"];
        let checked = run.sort(reported(plane, &check));
        let mut answered = run.sort(recorded.clone());
        if run.prefix == "deny" {
            assert_eq!(answered.insert(LESS_IN_A_CHECK, Found::new()).map(|found| found.len()), Some(1));
        }
        assert_same(("check", &checked), ("serve", &answered));
        if run.prefix == "audit" {
            let scan = ["scan", "--policies", policies, "--output", "json"];
            let mut scanned = run.sort(reported(plane, &scan));
            assert_eq!(scanned.insert(MORE_IN_A_SCAN, Found::new()).map(|found| found.len()), Some(1));
            assert_same(("check", &checked), ("scan", &scanned));
            let found = checked.values().filter(|found| !found.is_empty()).count();
            assert!(fixtures.len() > 150 && found > 90, "{found} of {} find something", fixtures.len());
        }
    }
}
