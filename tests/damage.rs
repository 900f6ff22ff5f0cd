//! Damaged requests: whatever comes over the wire gets an answer, and no rule can be made to panic.
//!
//! The seeds are the fixtures of the rules, each under its own policy and with its own neighbours, so
//! that damage goes where a rule looks and not only where the parser does. `PLIMSOLL_DAMAGE` says how
//! many times each is damaged (15); for an hour of it, name a larger number.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll::audit::{AuditLog, Level, Record, Settings};
use plimsoll::facts::{Fact, Facts, Owner};
use plimsoll::manifest;
use plimsoll::metrics::Metrics;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::load;
use plimsoll::policy::reload::Policies;
use plimsoll::review::{AuditFailure, Phase, Review, Reviewer};
use plimsoll::rules::RULES;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Found by a scan alone, of what is stored.
const NEVER_AT_ADMISSION: [&str; 1] = ["inactive-workload"];

/// A request of a fixture, and the reviewer that has its policy and knows its neighbours.
struct Seed {
    name: String,
    review: Value,
    reviewer: Arc<Reviewer>,
    log: tempfile::NamedTempFile,
    _policy: tempfile::TempDir,
}

fn kind(object: &Value) -> Kind {
    let api_version = object["apiVersion"].as_str().unwrap();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Kind::from_group_kind(group, object["kind"].as_str().unwrap()).expect("it is read")
}

impl Seed {
    fn read(path: &Path) -> Self {
        let rule = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let documents = manifest::parse("fixture", &text).unwrap();
        let mut documents: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
        let mut settings = Map::new();
        if let Some(Value::Object(first)) = documents.first()
            && !first.contains_key("kind")
        {
            settings = first.clone();
            documents.remove(0);
        }
        let object = documents.pop().unwrap();
        let kind = kind(&object);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("shop").to_owned();
        let facts = Facts::default();
        facts.update(&namespace, |facts| {
            facts.insert(Fact::Namespace([("environment", "production")].into_iter().collect()));
            let scaled = settings.contains_key("scale").then_some(&object);
            for object in documents.iter().chain(scaled) {
                let (kind, text) = (self::kind(object), object.to_string());
                let read = Object::read(kind, &text).unwrap();
                let uid = read.metadata.uid.as_deref().unwrap_or_default().to_owned();
                let fact = Fact::project(&read);
                facts.insert(Fact::Owner(Owner { kind, name: read.display_name(), uid, text: text.clone() }));
                fact.into_iter().for_each(|fact| facts.insert(fact));
            }
        });
        let default = json!({"rules": {rule: {}}, "singletons": {"byAnnotation": true}});
        let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let policy = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
            "metadata": {"name": "production"}, "spec": settings.get("policy").unwrap_or(&default)});
        std::fs::write(folder.path().join("policy.yaml"), policy.to_string()).unwrap();
        let settings_of_log = Settings {
            file: Some(log.path().to_owned()),
            level: Level::All,
            copy_to_stdout: false,
            ..Settings::default()
        };
        let reviewer = Reviewer {
            policies: Policies::load(vec![folder.path().join("policy.yaml")]).unwrap(),
            facts: Arc::new(facts),
            live: None,
            audit: AuditLog::open(settings_of_log).unwrap(),
            audit_failure: AuditFailure::Allow,
            instance: "test".to_owned(),
            witness: None,
            metrics: Arc::new(Metrics::new("test")),
        };
        let name = format!("{rule}/{}", path.file_stem().unwrap().to_str().unwrap());
        let review = review(kind, &namespace, &object, &settings);
        Self { name, review, reviewer: Arc::new(reviewer), log, _policy: folder }
    }

    /// Sends bytes to both webhooks; whether both could read them.
    fn send(&self, runtime: &Runtime, body: &[u8]) -> bool {
        let sent: Option<Value> = serde_json::from_slice(body).ok();
        [Phase::Mutate, Phase::Validate].into_iter().all(|phase| {
            let deadline = Instant::now() + Duration::from_secs(30);
            let body = body.to_vec().into();
            let answer = runtime.block_on(Arc::clone(&self.reviewer).review(phase, body, deadline));
            let reply: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
            match answer.status.as_u16() {
                200 => {
                    // What isn't read may be no JSON at all: a number out of range, a broken character.
                    if let Some(sent) = &sent {
                        self.check(&sent["request"], &reply["response"]);
                    }
                    true
                }
                400 => {
                    assert!(reply["error"].as_str().is_some_and(|why| !why.is_empty()), "{}", self.name);
                    false
                }
                other => panic!("{}: {other}: {}", self.name, String::from_utf8_lossy(&answer.body)),
            }
        })
    }

    /// What an API server takes for an answer, and a user can read.
    fn check(&self, request: &Value, response: &Value) {
        let name = &self.name;
        assert_eq!(response["uid"], request["uid"], "{name}");
        let allowed = response["allowed"].as_bool().unwrap_or_else(|| panic!("{name}: {response}"));
        let message = response["status"]["message"].as_str();
        assert_eq!(allowed, message.is_none(), "{name}: a denial says why, nothing else has a status");
        let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for line in warnings.chain(message) {
            assert!(!line.is_empty(), "{name}");
            assert!(!line.chars().any(|c| c.is_control() && c != '\n'), "{name}: {line:?}");
        }
        if let Some(patch) = response["patch"].as_str() {
            let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
            json_patch::patch(&mut request["object"].clone(), &patch).expect("a patch applies");
        }
    }

    /// The rules that found something.
    fn rules(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a whole record"));
        records.flat_map(|record| record.findings.into_iter().map(|finding| finding.rule)).collect()
    }
}

/// What an API server would ask.
fn review(kind: Kind, namespace: &str, object: &Value, settings: &Map<String, Value>) -> Value {
    let scale = |replicas: &Value| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": object["metadata"]["name"], "namespace": namespace},
            "spec": {"replicas": replicas}})
    };
    let before = object["spec"].get("replicas").cloned().unwrap_or_else(|| json!(1));
    let (new, old) = match settings.get("scale") {
        Some(replicas) => (scale(replicas), scale(&before)),
        None => (object.clone(), settings.get("old").cloned().unwrap_or_default()),
    };
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": kind.group(), "version": kind.version(), "kind": kind.as_str()},
        "resource": {"group": kind.group(), "version": kind.version(), "resource": kind.plural()},
        "subResource": if settings.contains_key("scale") { "scale" } else { "" },
        "name": object["metadata"]["name"],
        "namespace": if kind == Kind::Namespace { "" } else { namespace },
        "operation": operation,
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
        "dryRun": false,
        "options": {"fieldManager": settings.get("manager").cloned().unwrap_or_else(|| json!("kubectl"))},
    }})
}

fn seeds() -> Vec<Seed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let folders = std::fs::read_dir(root).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().map(|path| Seed::read(path)).collect()
}

/// What does the damage, the same in every run.
struct Damage(TestRng);

impl Damage {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    /// Spoils some fields of the object, and sometimes of the rest.
    fn fields(&mut self, review: &mut Value) {
        for _ in 0..=self.below(3) {
            let root = if self.below(8) == 0 { "" } else { "/request/object" };
            let mut places = Vec::new();
            pointers(review.pointer(root).unwrap_or(&Value::Null), root, &mut places);
            let Some(place) = places.get(self.below(places.len())).cloned() else { continue };
            let Some(field) = review.pointer_mut(&place) else { continue };
            *field = self.spoilt(field);
        }
    }

    /// Something else in place of a value, near to it as often as far from it.
    fn spoilt(&mut self, value: &Value) -> Value {
        match (self.below(14), value) {
            (0..=4, Value::String(text)) => self.text(text).into(),
            (0..=4, Value::Number(number)) => {
                let near = number.as_i64().unwrap_or_default();
                let others = [
                    near.wrapping_add(1),
                    near.wrapping_sub(1),
                    0,
                    -1,
                    i64::from(i32::MAX),
                    i64::MAX,
                    i64::MIN,
                    1 << 53,
                ];
                others[self.below(others.len())].into()
            }
            (0..=2, Value::Array(list)) => {
                let mut list = list.clone();
                list.extend(list.clone());
                list.into()
            }
            (3..=4, Value::Object(map)) => {
                let keep = self.below(map.len().max(1));
                map.iter()
                    .enumerate()
                    .filter(|(at, _)| *at != keep)
                    .map(|(_, (k, v))| (k.clone(), v.clone()))
                    .collect()
            }
            (5, _) => Value::Null,
            (6, _) => json!("\u{0}\u{1b}[31m\u{202e}\u{85}\u{2028}\r\n"),
            (7, _) => json!(1e300),
            (8, _) => json!([value]),
            (9, _) => json!({ "x": value, "": [] }),
            (10, _) => json!(true),
            (11, _) => json!("ü".repeat(70_000)),
            (12, _) => (0..100).fold(value.clone(), |inner, _| json!([inner])),
            _ => json!({}),
        }
    }

    /// A text with a character more, less or other than before; or what is special somewhere.
    fn text(&mut self, text: &str) -> String {
        const SPECIAL: [&str; 16] = [
            "",
            "0",
            "-1",
            "100%",
            "101%",
            "-0%",
            "1e9",
            "9223372036854775808",
            "1Ki",
            "0.5m",
            "*/0 * * * *",
            "CRON_TZ=Nowhere/Never 0 0 31 2 *",
            "@every 1ns",
            "2026-02-30",
            "{owner: [",
            "owner: &a [*a]",
        ];
        let mut characters: Vec<char> = text.chars().collect();
        let at = self.below(characters.len());
        match self.below(4) {
            0 if !characters.is_empty() => drop(characters.remove(at)),
            1 => characters.insert(at, ['*', '/', '%', '\n', '\u{0}', 'é', '-', '9'][self.below(8)]),
            2 if !characters.is_empty() => characters.truncate(at),
            _ => return SPECIAL[self.below(SPECIAL.len())].to_owned(),
        }
        characters.into_iter().collect()
    }

    /// Changes, drops or repeats some bytes.
    fn bytes(&mut self, body: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(body.len());
            match self.below(4) {
                0 => body.truncate(at),
                1 => body.insert(at, self.below(256) as u8),
                2 if at < body.len() => body[at] = self.below(256) as u8,
                _ => {
                    let to = (at + self.below(64)).min(body.len());
                    let again = body[at..to].to_vec();
                    body.splice(at..at, again);
                }
            }
        }
    }
}

/// Every pointer into a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", escape(k)), all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all));
        }
        _ => {}
    }
}

#[test]
fn damaged_requests_are_answered_and_damage_reaches_every_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let times = std::env::var("PLIMSOLL_DAMAGE").ok().and_then(|times| times.parse().ok()).unwrap_or(15);
    let mut damage = Damage(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut reached, mut read, mut sent) = (BTreeMap::<String, usize>::new(), 0_u32, 0_u32);
    for seed in seeds() {
        for time in 0..times {
            let mut review = seed.review.clone();
            damage.fields(&mut review);
            let mut body = review.to_string().into_bytes();
            if time % 8 == 0 {
                damage.bytes(&mut body);
            }
            read += u32::from(seed.send(&runtime, &body));
            sent += 1;
        }
        for rule in seed.rules() {
            *reached.entry(rule).or_default() += 1;
        }
    }
    println!(
        "{sent} damaged requests, {read} of them could be read; fixtures that reached a rule: {reached:#?}"
    );
    let missed = RULES.iter().map(|rule| rule.meta().name);
    let missed: Vec<_> =
        missed.filter(|rule| !NEVER_AT_ADMISSION.contains(rule) && !reached.contains_key(*rule)).collect();
    assert!(missed.is_empty(), "no damaged request broke {missed:?}");
}

#[test]
fn damaged_policies_are_refused_with_their_place_or_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let times = std::env::var("PLIMSOLL_DAMAGE").ok().and_then(|times| times.parse().ok()).unwrap_or(15) * 10;
    let mut damage = Damage(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for path in files.filter(|path| path.is_file()) {
        let text = std::fs::read(&path).unwrap();
        for _ in 0..times {
            let mut damaged = text.clone();
            damage.bytes(&mut damaged);
            let damaged = String::from_utf8_lossy(&damaged).into_owned();
            match load::from_texts(&[("policy.yaml".to_owned(), damaged)]) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("policy.yaml"), "{error}");
                }
            }
        }
    }
    println!("{refused} damaged policies refused, {taken} taken");
    assert!(refused > 0 && taken > 0, "damage that always or never shows says nothing");
}
