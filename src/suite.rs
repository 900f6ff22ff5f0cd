//! Tests of policies: requests, and what is to become of them.
//!
//! A `PolicyTest` document holds cases; each is judged by the engine that answers the webhook, first
//! filled in, then judged, with nothing but what the case says for a cluster. No I/O: `plimsoll test`
//! reads the files.

mod compare;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::{self, Operation, Request};
use crate::facts::{Fact, NamespaceFacts};
use crate::manifest::strict::StrictError;
use crate::manifest::{Document, ManifestError, strict};
use crate::object::{Kind, Object, nullable};
use crate::policy::Policy;
use crate::policy::document::{API_VERSION, TEST_KIND};
use crate::verdict::{Judged, Verdict};

/// A file of tests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "PolicyTest")]
pub struct Suite {
    /// `plimsoll.dev/v1alpha1`
    pub api_version: String,
    /// `PolicyTest`
    pub kind: String,
    /// Files and directories of policies, relative to this file; without them the shipped ones are used.
    #[serde(default, deserialize_with = "nullable")]
    pub policies: Vec<String>,
    /// The time at which the cases play, RFC 3339; waivers and `since` are judged by it.
    pub now: String,
    /// What else is in the cluster in every case, whatever its namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub cluster: Vec<Value>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A request, and what is to become of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// The object as its author wrote it.
    pub object: Value,
    /// The object before, which makes the request an update.
    #[serde(default)]
    pub old: Option<Value>,
    /// The replicas that a request to `scale` asks of the object, which is there as it stands.
    #[serde(default)]
    pub scale: Option<i64>,
    /// What is done: `CREATE`, `UPDATE` or `DELETE`; by default what `old` and `scale` suggest.
    #[serde(default)]
    pub operation: Option<String>,
    /// Who asks.
    #[serde(default, deserialize_with = "nullable")]
    pub user: String,
    /// Their groups.
    #[serde(default, deserialize_with = "nullable")]
    pub groups: Vec<String>,
    /// Another time than the file's.
    #[serde(default)]
    pub now: Option<String>,
    /// What is in the cluster beside what the file says.
    #[serde(default, deserialize_with = "nullable")]
    pub cluster: Vec<Value>,
    /// What is to become of it. What isn't named isn't looked at.
    pub expect: Expected,
}

/// What is to become of a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// Whether it is let in.
    #[serde(default)]
    pub decision: Option<Decision>,
    /// All findings, in any order; an empty list expects none.
    #[serde(default)]
    pub findings: Option<Vec<ExpectedFinding>>,
    /// Fields of the object after what was filled in, as far as they matter. Lists are compared item by
    /// item, and `null` expects a field to be absent.
    #[serde(default)]
    pub stored: Option<Value>,
    /// The JSON Patch of what is filled in, operation by operation; an empty list expects nothing.
    #[serde(default)]
    pub patch: Option<Vec<Value>>,
    /// Texts that warnings contain which belong to no finding.
    #[serde(default, deserialize_with = "nullable")]
    pub notices: Vec<String>,
}

/// The answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Decision {
    Allowed,
    Denied,
}

/// A finding, as far as it matters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedFinding {
    /// The rule.
    pub rule: String,
    /// `Deny`, `Warn` or `Audit`.
    #[serde(default)]
    pub action: Option<String>,
    /// `New`, `Existing`, `Waived` or `Fixed`.
    #[serde(default)]
    pub state: Option<String>,
    /// The field.
    #[serde(default)]
    pub path: Option<String>,
    /// The container.
    #[serde(default)]
    pub container: Option<String>,
    /// A part of the message.
    #[serde(default)]
    pub message: Option<String>,
}

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// Where the case is, and what is not as expected, in lines; none if it passed.
    pub failure: Option<(ManifestError, Vec<String>)>,
}

/// What became of a request.
struct Answer {
    verdict: Verdict,
    filled: Verdict,
    stored: Value,
}

impl Suite {
    /// Reads a document; `None` if it is of another kind.
    ///
    /// # Errors
    /// When it is no right test.
    pub fn read(document: &Document) -> Result<Option<Self>, ManifestError> {
        if document.value.get("kind").and_then(Value::as_str) != Some(TEST_KIND) {
            return Ok(None);
        }
        let suite: Self = strict::from_value(&document.value).map_err(|error| document.error(&error))?;
        if suite.api_version != API_VERSION {
            let problem = format!("expected apiVersion {API_VERSION}, found {:?}", suite.api_version);
            return Err(document.error_at("/apiVersion", problem));
        }
        if suite.cases.is_empty() {
            return Err(document.error_at("/cases", "expected at least one case"));
        }
        Ok(Some(suite))
    }

    /// Runs every case by policies.
    ///
    /// # Errors
    /// When a case can't be run: an object can't be read, or it expects nothing.
    pub fn run(&self, document: &Document, policies: &[Policy]) -> Result<Vec<Outcome>, ManifestError> {
        let now = time(&self.now, "/now").map_err(|error| document.error(&error))?;
        let mut outcomes = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            let at = format!("/cases/{index}");
            let result =
                self.judge(case, policies, now).map_err(|error| document.error(&error.under(&at)))?;
            if case.expect.is_empty() {
                return Err(document.error_at(&format!("{at}/expect"), "expected at least one expectation"));
            }
            let lines = compare::differences(&case.expect, &result.verdict, &result.filled, &result.stored);
            let failure =
                (!lines.is_empty()).then(|| (document.error_at(&format!("{at}/name"), &case.name), lines));
            outcomes.push(Outcome { name: case.name.clone(), failure });
        }
        Ok(outcomes)
    }

    fn judge(&self, case: &Case, policies: &[Policy], now: Timestamp) -> Result<Answer, StrictError> {
        let kind = kind(&case.object, "/object")?;
        let name = |field: &str| {
            let value = case.object.pointer(&format!("/metadata/{field}"));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let namespace = match (kind, name("namespace")) {
            (Kind::Namespace, _) => name("name"),
            (_, namespace) if namespace.is_empty() => "default".to_owned(),
            (_, namespace) => namespace,
        };
        let now = case.now.as_deref().map_or(Ok(now), |now| time(now, "/now"))?;
        let mut around: Vec<(&Value, String)> = Vec::new();
        around.extend(self.cluster.iter().map(|object| (object, String::new())));
        let own = case.cluster.iter().enumerate();
        around.extend(own.map(|(index, object)| (object, format!("/cluster/{index}"))));
        // What is changed is there before.
        around.extend(case.old.as_ref().map(|old| (old, "/old".to_owned())));
        around.extend(case.scale.map(|_| (&case.object, "/object".to_owned())));
        let facts = facts(&around, &namespace)?;

        let scale = |replicas: &Value| {
            let metadata = json!({"name": name("name"), "namespace": namespace});
            json!({"metadata": metadata, "spec": {"replicas": replicas}})
        };
        let (object, old) = match case.scale {
            Some(replicas) => {
                let before = case.object.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(1));
                (scale(&json!(replicas)), Some(scale(&before)))
            }
            None => (case.object.clone(), case.old.clone()),
        };
        let operation = match (case.operation.as_deref(), &old) {
            (None, None) | (Some("CREATE"), _) => Operation::Create,
            (None, Some(_)) | (Some("UPDATE"), _) => Operation::Update,
            (Some("DELETE"), _) => Operation::Delete,
            (Some(other), _) => {
                let problem = format!("expected CREATE, UPDATE or DELETE, found {other:?}");
                return Err(StrictError::other("/operation", problem));
            }
        };
        let old = old.map(|old| old.to_string());
        let request = |text: &str| -> Result<(Verdict, Verdict), StrictError> {
            let read = |text, at: &str| {
                let object = match case.scale {
                    Some(_) => Object::read_scale(kind, text),
                    None => Object::read(kind, text),
                };
                object.map_err(|error| StrictError::other(at, error))
            };
            let request = Request {
                operation,
                kind,
                namespace: &namespace,
                user: &case.user,
                groups: case.groups.iter().map(String::as_str).collect(),
                manager: None,
                manifest: case.scale.is_none(),
                object: read(text, "/object")?,
                old: old.as_deref().map(|old| read(old, "/old")).transpose()?,
            };
            let filled = engine::fill_in(&request, policies, &facts, now).verdict;
            Ok((filled, engine::judge(&request, policies, &facts, now).verdict))
        };
        let (filled, _) = request(&object.to_string())?;
        let mut stored = object;
        json_patch::patch(&mut stored, &filled.patch)
            .map_err(|error| StrictError::other("/object", format!("failed to fill it in: {error}")))?;
        let (_, verdict) = request(&stored.to_string())?;
        Ok(Answer { verdict, filled, stored })
    }
}

impl Expected {
    fn is_empty(&self) -> bool {
        let Self { decision, findings, stored, patch, notices } = self;
        decision.is_none() && findings.is_none() && stored.is_none() && patch.is_none() && notices.is_empty()
    }
}

/// What a namespace's objects say of it.
fn facts(objects: &[(&Value, String)], namespace: &str) -> Result<NamespaceFacts, StrictError> {
    let mut facts = NamespaceFacts::default();
    for (value, at) in objects {
        let kind = kind(value, at)?;
        let field = if kind == Kind::Namespace { "name" } else { "namespace" };
        let own = value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or("default");
        if own != namespace {
            continue;
        }
        let text = value.to_string();
        let object = Object::read(kind, &text).map_err(|error| StrictError::other(at.as_str(), error))?;
        if let Some(fact) = Fact::project(&object) {
            facts.insert(fact);
        }
    }
    Ok(facts)
}

fn kind(object: &Value, at: &str) -> Result<Kind, StrictError> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    Kind::from_group_kind(group, kind).ok_or_else(|| {
        let problem = format!("expected an object that Plimsoll judges, found {version:?} {kind:?}");
        StrictError::other(at, problem)
    })
}

fn time(text: &str, at: &str) -> Result<Timestamp, StrictError> {
    text.parse().map_err(|_| {
        StrictError::other(at, format!("expected a time such as 2026-12-01T12:00:00Z, found {text:?}"))
    })
}

/// All findings of a request: those of the answer and those that were filled in.
fn findings<'v>(verdict: &'v Verdict, filled: &'v Verdict) -> impl Iterator<Item = &'v Judged> {
    verdict.findings.iter().chain(&filled.findings)
}
