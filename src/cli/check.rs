//! `plimsoll check`: judges manifests as admission would, with the other manifests as the cluster.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

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
    text: String,
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
    let facts = facts(&manifests)?;
    let nothing = NamespaceFacts::default();
    let now = Timestamp::now();
    let (mut failures, mut others, mut ungoverned) = (0, 0, 0);
    let mut count = |fails: bool| if fails { failures += 1 } else { others += 1 };
    for manifest in &manifests {
        let facts = facts.get(&manifest.namespace).unwrap_or(&nothing);
        let verdict = manifest.judge(&policies, facts, now)?;
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
    Ok(if failures > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
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
        Some(Self { document, kind, namespace, text })
    }

    /// A finding with where its field is written.
    fn line(&self, judged: &Judged) -> String {
        let pointer = format!("/{}", judged.finding.path.replace('.', "/"));
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

    fn read(&self) -> anyhow::Result<Object<'_>> {
        Object::read(self.kind, &self.text).map_err(|error| self.document.error_at("", error).into())
    }

    /// As admission: what is new and fixable is filled in, then the result is judged.
    fn judge(&self, policies: &[Policy], facts: &NamespaceFacts, now: Timestamp) -> anyhow::Result<Verdict> {
        let filled = engine::fill_in(&self.request(&self.text)?, policies, facts, now).verdict;
        let mut value = self.document.value.clone();
        json_patch::patch(&mut value, &filled.patch)?;
        let text = value.to_string();
        let mut verdict = engine::judge(&self.request(&text)?, policies, facts, now).verdict;
        verdict.findings.extend(filled.findings);
        Ok(verdict)
    }

    fn request<'a>(&'a self, text: &'a str) -> anyhow::Result<Request<'a>> {
        self.read()?;
        let object = Object::read(self.kind, text).map_err(|error| self.document.error_at("", error))?;
        Ok(Request {
            operation: Operation::Create,
            kind: self.kind,
            namespace: &self.namespace,
            user: "",
            groups: Vec::new(),
            manager: None,
            manifest: true,
            object,
            old: None,
        })
    }
}

/// What the manifests say of the cluster, by namespace.
fn facts(manifests: &[Manifest]) -> anyhow::Result<HashMap<String, NamespaceFacts>> {
    let mut facts: HashMap<String, NamespaceFacts> = HashMap::new();
    for manifest in manifests {
        if let Some(fact) = Fact::project(&manifest.read()?) {
            facts.entry(manifest.namespace.clone()).or_default().insert(fact);
        }
    }
    Ok(facts)
}

fn fails(judged: &Judged, fail_on: FailOn) -> bool {
    match fail_on {
        FailOn::Deny => judged.denies(),
        FailOn::Warn => judged.state == State::New && judged.action >= Action::Warn,
    }
}
