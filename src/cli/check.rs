//! `plimsoll check`: judges manifests as admission would, with the other manifests as the cluster.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

use super::counted;
use crate::engine::{self, Operation, Request};
use crate::facts::{Fact, NamespaceFacts};
use crate::manifest::{self, Document};
use crate::object::{Kind, Object};
use crate::policy::{Policy, load};
use crate::render;
use crate::verdict::{Action, Judged, State, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and directories of manifests; `-` reads standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Files and directories of policies; without them the shipped ones are used.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// The weakest action that fails the check.
    #[arg(long, value_enum, default_value_t = FailOn::Deny)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum FailOn {
    Deny,
    Warn,
}

/// One manifest of a kind that Plimsoll reads, with its JSON text.
struct Manifest {
    document: Document,
    kind: Kind,
    namespace: String,
    /// As it would be stored.
    text: String,
    /// What was filled in.
    filled: Vec<Judged>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let policies =
        if args.policies.is_empty() { load::embedded()? } else { load::from_paths(&args.policies)? };
    let mut manifests = Vec::new();
    for (name, text) in manifest::files::collect(&args.paths)? {
        for document in manifest::parse(&name, &text)? {
            manifests.extend(Manifest::of(document));
        }
    }
    let now = Timestamp::now();
    let nothing = NamespaceFacts::default();
    // What admission would store is what others meet, so everything is filled in before anything is judged.
    let raw = facts(&manifests);
    for manifest in &mut manifests {
        let facts = raw.get(&manifest.namespace).unwrap_or(&nothing);
        manifest.fill_in(&policies, facts, now)?;
    }
    let facts = facts(&manifests);
    let mut unreadable = false;
    let (mut failures, mut others, mut ungoverned) = (0, 0, 0);
    let mut count = |fails: bool| if fails { failures += 1 } else { others += 1 };
    for manifest in &manifests {
        let facts = facts.get(&manifest.namespace).unwrap_or(&nothing);
        let verdict = match manifest.judge(&policies, facts, now) {
            Ok(verdict) => verdict,
            Err(error) => {
                unreadable = true;
                eprintln!("{error}");
                continue;
            }
        };
        ungoverned += usize::from(verdict.policies.is_empty());
        for judged in &verdict.findings {
            count(fails(judged, args.fail_on));
            println!("{}", manifest.line(judged));
        }
        for notice in &verdict.notices {
            count(args.fail_on == FailOn::Warn);
            println!("{}: Warn {}", manifest.place("/metadata/annotations"), render::sanitise(notice));
        }
    }
    eprintln!(
        "{} judged by {}: {failures} that fail, {others} others",
        counted(manifests.len(), "object", "objects"),
        counted(policies.len(), "policy", "policies")
    );
    if ungoverned > 0 {
        eprintln!(
            "{} under no policy. A policy that selects namespaces by label needs the Namespace among the manifests.",
            counted(ungoverned, "object is", "objects are")
        );
    }
    Ok(match (unreadable, failures) {
        (true, _) => ExitCode::from(super::FAILED),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(1),
    })
}

/// The JSON pointer of a path as people write it, in which a list's item goes by its name:
/// `spec.containers[web].image`. It ends where the path leaves the object.
fn pointer(value: &Value, path: &str) -> String {
    let mut pointer = String::new();
    let mut at = value;
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (field, tail) = rest.split_at(end);
        let (step, tail) = match tail.strip_prefix('[').and_then(|tail| tail.split_once(']')) {
            _ if !field.is_empty() => (field.to_owned(), tail),
            Some((name, tail)) => {
                let is_it = |item: &Value| item.get("name").and_then(Value::as_str) == Some(name);
                let index = at.as_array().and_then(|items| items.iter().position(is_it));
                (index.map_or_else(|| name.to_owned(), |index| index.to_string()), tail)
            }
            None => break,
        };
        let _ = write!(pointer, "/{}", step.replace('~', "~0").replace('/', "~1"));
        at = value.pointer(&pointer).unwrap_or(&Value::Null);
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    pointer
}

impl Manifest {
    /// Documents of other kinds are none of Plimsoll's business.
    fn of(document: Document) -> Option<Self> {
        let text = |field: &str| document.value.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let kind = Kind::from_group_kind(group, text("kind"))?;
        let metadata = |field: &str| {
            let value = document.value.get("metadata").and_then(|metadata| metadata.get(field));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let namespace = match kind {
            Kind::Namespace => metadata("name"),
            _ => Some(metadata("namespace"))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
        };
        let text = document.value.to_string();
        Some(Self { document, kind, namespace, text, filled: Vec::new() })
    }

    /// A finding with where its field is written.
    fn line(&self, judged: &Judged) -> String {
        let pointer = pointer(&self.document.value, &judged.finding.path);
        let state = match judged.state {
            State::New => judged.action.as_str(),
            state => state.as_str(),
        };
        format!("{}: {state} {}", self.place(&pointer), render::standing(judged))
    }

    fn place(&self, pointer: &str) -> String {
        match self.document.position(pointer) {
            Some(position) => format!("{}:{position}", self.document.source),
            None => self.document.source.to_string(),
        }
    }

    /// As /mutate: what is new and fixable is filled in. What can't be read is left as it is.
    fn fill_in(&mut self, policies: &[Policy], facts: &NamespaceFacts, now: Timestamp) -> anyhow::Result<()> {
        let Ok(request) = self.request() else { return Ok(()) };
        let filled = engine::fill_in(&request, policies, facts, now).verdict;
        let mut value = self.document.value.clone();
        json_patch::patch(&mut value, &filled.patch)?;
        self.text = value.to_string();
        self.filled = filled.findings;
        Ok(())
    }

    /// As /validate, after what was filled in.
    fn judge(&self, policies: &[Policy], facts: &NamespaceFacts, now: Timestamp) -> anyhow::Result<Verdict> {
        let mut verdict = engine::judge(&self.request()?, policies, facts, now).verdict;
        verdict.findings.extend(self.filled.iter().cloned());
        Ok(verdict)
    }

    fn request(&self) -> anyhow::Result<Request<'_>> {
        let object = Object::read(self.kind, &self.text);
        Ok(Request {
            operation: Operation::Create,
            kind: self.kind,
            namespace: &self.namespace,
            user: "",
            groups: Vec::new(),
            manager: None,
            manifest: true,
            object: object.map_err(|error| {
                let pointer = format!("/{}", error.path.replace(['.', '['], "/").replace(']', ""));
                self.document.error_at(&pointer, error)
            })?,
            old: None,
        })
    }
}

/// What the manifests say of the cluster, by namespace.
fn facts(manifests: &[Manifest]) -> HashMap<String, NamespaceFacts> {
    let mut facts: HashMap<String, NamespaceFacts> = HashMap::new();
    for manifest in manifests {
        let object = Object::read(manifest.kind, &manifest.text).ok();
        if let Some(fact) = object.and_then(|object| Fact::project(&object)) {
            facts.entry(manifest.namespace.clone()).or_default().insert(fact);
        }
    }
    facts
}

fn fails(judged: &Judged, fail_on: FailOn) -> bool {
    match fail_on {
        FailOn::Deny => judged.denies(),
        FailOn::Warn => judged.state == State::New && judged.action >= Action::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_place_by_names() {
        let value = serde_json::json!({"metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"containers": [{"name": "a"}, {"name": "web", "image": "x"}]}});
        assert_eq!(pointer(&value, "spec.containers[web].image"), "/spec/containers/1/image");
        assert_eq!(pointer(&value, "metadata.annotations[a.b/c]"), "/metadata/annotations/a.b~1c");
        assert_eq!(pointer(&value, "spec.containers[gone].image"), "/spec/containers/gone/image");
    }
}
