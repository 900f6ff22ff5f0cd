//! Everything that an answer takes, with the policies and neighbours of every fixture and the shipped
//! policies beside them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll::audit::{AuditLog, Level, Settings};
use plimsoll::facts::{Fact, Facts, Owner};
use plimsoll::metrics::Metrics;
use plimsoll::object::Object;
use plimsoll::policy::reload::Policies;
use plimsoll::review::{AuditFailure, Phase, Review, Reviewer};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::fixtures::{Fixture, files, has_twins, kind};

/// A reviewer and what it runs on.
pub struct House {
    pub reviewer: Arc<Reviewer>,
    pub runtime: Runtime,
    _policies: tempfile::TempDir,
}

impl House {
    /// Opens one that records into a file.
    pub fn open(fixtures: &[Fixture], log: &Path) -> Self {
        let facts = Facts::default();
        let folder = tempfile::tempdir().unwrap();
        let mut policies = files("policies", "yaml");
        policies.retain(|path| path.parent().is_some_and(|folder| folder.ends_with("policies")));
        for fixture in fixtures {
            facts.update(&fixture.namespace, |facts| {
                facts.insert(Fact::Namespace([("environment", "production")].into_iter().collect()));
                for object in &fixture.neighbours {
                    let (kind, text) = (kind(object).expect("it is read"), object.to_string());
                    let read = Object::read(kind, &text).unwrap();
                    let uid = read.metadata.uid.as_deref().unwrap_or_default().to_owned();
                    let fact = Fact::project(&read);
                    facts.insert(Fact::Owner(Owner {
                        kind,
                        name: read.display_name(),
                        uid,
                        text: text.clone(),
                    }));
                    fact.into_iter().for_each(|fact| facts.insert(fact));
                }
            });
            let path = folder.path().join(format!("{}.yaml", fixture.namespace));
            std::fs::write(&path, fixture.policy.to_string()).unwrap();
            policies.push(path);
        }
        let settings = Settings {
            file: Some(log.to_owned()),
            level: Level::All,
            copy_to_stdout: false,
            ..Settings::default()
        };
        let reviewer = Reviewer {
            policies: Policies::load(policies).unwrap(),
            facts: Arc::new(facts),
            live: None,
            audit: AuditLog::open(settings).unwrap(),
            audit_failure: AuditFailure::Allow,
            instance: "test".to_owned(),
            witness: None,
            metrics: Arc::new(Metrics::new("test")),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { reviewer: Arc::new(reviewer), runtime, _policies: folder }
    }

    /// Sends bytes to both webhooks, as an API server does; whether both could read them.
    pub fn send(&self, body: &[u8]) -> bool {
        let sent: Option<Value> = serde_json::from_slice(body).ok();
        let [mutated, validated] = [Phase::Mutate, Phase::Validate].map(|phase| {
            let response = self.ask(phase, body)?;
            // What isn't read may be no JSON at all: a number out of range, a broken character.
            if let Some(sent) = &sent {
                check(&sent["request"], &response);
            }
            Some(response)
        });
        let (Some(mutated), Some(validated)) = (mutated, validated) else { return false };
        if let Some(mut sent) = sent
            && !has_twins(&sent)
            && let Some(object) = patched(&sent["request"], &mutated)
        {
            sent["request"]["object"] = object;
            let body = sent.to_string();
            let again = self.ask(Phase::Mutate, body.as_bytes()).expect("a patched review is one");
            assert!(again.get("patch").is_none(), "filling in twice: {again}");
            let then = self.ask(Phase::Validate, body.as_bytes()).expect("a patched review is one");
            assert!(
                then["allowed"] == true || validated["allowed"] == false,
                "what was filled in is refused: {then}"
            );
        }
        true
    }

    fn ask(&self, phase: Phase, body: &[u8]) -> Option<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let body = body.to_vec().into();
        let answer = self.runtime.block_on(Arc::clone(&self.reviewer).review(phase, body, deadline));
        read_answer(answer.status.as_u16(), &answer.body)
    }
}

/// The response in an answer; `None` if it says that there was no review in the request.
pub fn read_answer(status: u16, body: &[u8]) -> Option<Value> {
    let mut reply: Value = serde_json::from_slice(body).expect("an answer is JSON");
    match status {
        200 => Some(reply["response"].take()),
        400 => {
            assert!(reply["error"].as_str().is_some_and(|why| !why.is_empty()), "{reply}");
            None
        }
        other => panic!("{other}: {reply}"),
    }
}

/// What an API server takes for an answer, and a user can read.
pub fn check(request: &Value, response: &Value) {
    // serde takes a list for a struct.
    if !request.is_object() {
        return;
    }
    let uid = request["uid"].as_str().unwrap_or_default();
    assert_eq!(response["uid"], uid);
    let allowed = response["allowed"].as_bool().unwrap_or_else(|| panic!("{response}"));
    let message = response["status"]["message"].as_str();
    assert_eq!(allowed, message.is_none(), "a denial says why, nothing else has a status");
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for line in warnings.chain(message) {
        assert!(!line.is_empty());
        assert!(!line.chars().any(|c| c.is_control() && c != '\n'), "{line:?}");
    }
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "neither comes alone");
    patched(request, response);
}

/// The object after the patch of a response, if there is one.
fn patched(request: &Value, response: &Value) -> Option<Value> {
    let patch: json_patch::Patch =
        serde_json::from_slice(&STANDARD.decode(response["patch"].as_str()?).unwrap()).unwrap();
    let mut object = request["object"].clone();
    json_patch::patch(&mut object, &patch).expect("a patch applies");
    Some(object)
}
