//! Reading policies, with errors that say where, what and how to mend it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use wildmatch::WildMatch;

use super::document::{self, API_VERSION, Document, OnUpdate, PolicyAction, WorkloadKind};
use super::{Exempt, Match, Policy, PolicyRule};
use crate::manifest::files::{CollectError, collect};
use crate::manifest::nearest::hint;
use crate::manifest::strict::StrictError;
use crate::manifest::{self, ManifestError, strict};
use crate::object::Kind;
use crate::rules::{Fix, RULES, Rule, Singleton, rule};
use crate::waiver::{Allow, Grant, Limits, Waiver, end_of};

/// The rules that fill in a volume at `/tmp`.
const READ_ONLY: &str = "read-only-root-filesystem";
const TMP: &str = "tmp-volume";

/// The shipped policies, by file name.
const EMBEDDED: &[(&str, &str)] = &[
    ("policies/authenticate.yaml", include_str!("../../policies/authenticate.yaml")),
    ("policies/booking-qs.yaml", include_str!("../../policies/booking-qs.yaml")),
    ("policies/honeydue.yaml", include_str!("../../policies/honeydue.yaml")),
    ("policies/imp.yaml", include_str!("../../policies/imp.yaml")),
    ("policies/production.yaml", include_str!("../../policies/production.yaml")),
    ("policies/signature.yaml", include_str!("../../policies/signature.yaml")),
];

/// Why policies could not be read: everything that is wrong with them, not only the first thing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory can't be read.
    #[error(transparent)]
    Files(#[from] CollectError),
    /// Documents are wrong.
    #[error("{}", Lines(.0))]
    Documents(Vec<ManifestError>),
    /// Objects of the cluster are wrong.
    #[error("{}", .0.join("; "))]
    Object(Vec<String>),
    /// There are none.
    #[error("found no InvariantPolicy in {0}")]
    None(String),
}

struct Lines<'a>(&'a [ManifestError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The shipped policies.
///
/// # Errors
/// Never in a tested build: a test loads them.
pub fn embedded() -> Result<Vec<Policy>, LoadError> {
    from_texts(&shipped())
}

/// The shipped policies as texts, each with its name.
pub(super) fn shipped() -> Vec<(String, String)> {
    EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// The policies in files and directories.
///
/// # Errors
/// When something can't be read, is no policy, or isn't right.
pub fn from_paths(paths: &[PathBuf]) -> Result<Vec<Policy>, LoadError> {
    from_texts(&texts(paths)?)
}

/// The texts in files and directories that hold a policy at least.
pub(super) fn texts(paths: &[PathBuf]) -> Result<Vec<(String, String)>, LoadError> {
    let files = collect(paths)?;
    if from_texts(&files)?.is_empty() {
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(LoadError::None(paths.join(", ")));
    }
    Ok(files)
}

/// The policies in files and directories, or the shipped ones if none are named.
///
/// # Errors
/// As [`from_paths`].
pub fn from_paths_or_shipped(paths: &[PathBuf]) -> Result<Vec<Policy>, LoadError> {
    if paths.is_empty() { embedded() } else { from_paths(paths) }
}

/// The policies in texts, each with the name of where it comes from.
///
/// # Errors
/// When a document can't be read, is no policy, or isn't right.
pub fn from_texts(files: &[(String, String)]) -> Result<Vec<Policy>, LoadError> {
    let mut errors = Vec::new();
    let mut policies: Vec<Policy> = Vec::new();
    let mut named: HashMap<String, String> = HashMap::new();
    for (name, text) in files {
        let documents = match manifest::parse(name, text) {
            Ok(documents) => documents,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        // Tests may lie beside what they test.
        let is_policy =
            |found: &manifest::Document| found.value.get("kind") != Some(&document::TEST_KIND.into());
        for document in documents.into_iter().filter(is_policy) {
            match compile(&document.value) {
                Ok(policy) => match named.insert(policy.name.clone(), name.clone()) {
                    Some(other) => {
                        let problem = format!("policy {:?} is already defined in {other}", policy.name);
                        errors.push(document.error_at("/metadata/name", problem));
                    }
                    None => policies.push(policy),
                },
                Err(faults) => {
                    let mut wrong: Vec<_> =
                        faults.into_iter().map(|fault| fault.in_file(&document)).collect();
                    wrong.sort_by_key(|error| (error.position.line, error.position.column));
                    errors.extend(wrong);
                }
            }
        }
    }
    if errors.is_empty() { Ok(policies) } else { Err(LoadError::Documents(errors)) }
}

/// Something wrong in a policy, before anybody knows where that is written.
#[derive(Debug)]
enum Fault {
    /// At a JSON pointer.
    At(String, String),
    /// What reading it said.
    Strict(StrictError),
}

impl Fault {
    /// With the line of the file.
    fn in_file(self, source: &manifest::Document) -> ManifestError {
        match self {
            Self::At(pointer, problem) => source.error_at(&pointer, problem),
            Self::Strict(error) => source.error(&error),
        }
    }

    /// With the path in the object.
    fn in_object(self) -> String {
        let (pointer, problem) = match self {
            Self::At(pointer, problem) => (pointer, problem),
            Self::Strict(error) => (error.pointer, error.problem.to_string()),
        };
        let path: Vec<String> = manifest::segments(&pointer).into_iter().flatten().collect();
        if path.is_empty() { problem } else { format!("{}: {problem}", path.join(".")) }
    }
}

/// The policy of an `InvariantPolicy` object of a cluster. Without `since` it counts from the object's
/// creation.
///
/// # Errors
/// Everything that is wrong with it, each with the path in the object.
pub fn resource(object: &Value) -> Result<Policy, Vec<String>> {
    let mut policy =
        compile(object).map_err(|faults| faults.into_iter().map(Fault::in_object).collect::<Vec<_>>())?;
    let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    policy.since = policy.since.or_else(|| created?.parse().ok());
    Ok(policy)
}

fn compile(source: &Value) -> Result<Policy, Vec<Fault>> {
    let document: Document = strict::from_value(source).map_err(|error| vec![Fault::Strict(error)])?;
    let mut errors = Vec::new();
    if document.api_version != API_VERSION {
        let problem = format!("expected apiVersion {API_VERSION}, found {:?}", document.api_version);
        errors.push(Fault::At("/apiVersion".to_owned(), problem));
    }
    if document.kind != document::KIND {
        errors.push(Fault::At(
            "/kind".to_owned(),
            format!("expected kind {}, found {:?}", document::KIND, document.kind),
        ));
    }
    let spec = document.spec;
    let mut rules = Vec::new();
    let size = tmp_size(&spec.rules);
    for (name, entry) in spec.rules {
        let at = format!("/spec/rules/{}", name.replace('~', "~0").replace('/', "~1"));
        match rule(&name) {
            Some(known) => {
                match configure(known, with_tmp_size(&name, entry.unwrap_or_default(), size.as_ref()), &at) {
                    Ok(rule) => rules.push(rule),
                    Err(wrong) => {
                        errors.extend(wrong.into_iter().map(|(at, problem)| Fault::At(at, problem)));
                    }
                }
            }
            None => errors.push(Fault::At(at, unknown_rule(&name))),
        }
    }
    rules.sort_by_key(|entry| RULES.iter().position(|rule| rule.meta().name == entry.meta.name));
    let since = spec.since.as_deref().map(start_of).transpose().unwrap_or_else(|problem| {
        errors.push(Fault::At("/spec/since".to_owned(), problem));
        None
    });
    let limits = Limits {
        allow: spec.waivers.allow,
        require: spec.waivers.require,
        max_duration: spec.waivers.max_duration.0,
        expiry_warning: spec.waivers.expiry_warning.0,
        grace: spec.waivers.grace.0,
        authorize: spec.waivers.authorize,
    };
    if let Allow::Rules(names) = &limits.allow {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| rule(name).is_none()) {
            errors.push(Fault::At(format!("/spec/waivers/allow/{index}"), unknown_rule(name)));
        }
    }
    let mut grants = Vec::new();
    for (index, grant) in spec.waivers.grants.into_iter().enumerate() {
        match compile_grant(grant) {
            Ok(grant) => grants.push(grant),
            Err((field, problem)) => {
                errors.push(Fault::At(format!("/spec/waivers/grants/{index}/{field}"), problem));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let globs = |names: Vec<String>| names.iter().map(|name| WildMatch::new(name)).collect();
    Ok(Policy {
        name: document.metadata.name,
        matching: Match {
            namespace_selector: spec.matching.namespace_selector.map(Into::into),
            namespaces: globs(spec.matching.namespaces),
            exclude_namespaces: globs(spec.matching.exclude_namespaces),
            object_selector: spec.matching.object_selector.map(Into::into),
        },
        action: spec.action.0,
        ratchet: spec.on_update == OnUpdate::Ratchet,
        since,
        exempt: Exempt { users: spec.exempt.users, groups: spec.exempt.groups },
        rules,
        singletons: spec.singletons.workloads.into_iter().map(singleton).collect(),
        singletons_by_annotation: spec.singletons.by_annotation,
        waivers: limits,
        grants,
    })
}

/// The size of `/tmp` that a policy names at `tmp-volume`, if it is one.
fn tmp_size(rules: &BTreeMap<String, Option<Map<String, Value>>>) -> Option<Value> {
    let size = rules.get(TMP)?.as_ref()?.get("sizeLimit").filter(|size| !size.is_null())?;
    rule(TMP)?.configure(&json!({ "sizeLimit": size })).ok()?;
    Some(size.clone())
}

/// Both rules fill in the same volume, whichever comes first, so one size is enough for the two.
fn with_tmp_size(name: &str, mut entry: Map<String, Value>, size: Option<&Value>) -> Map<String, Value> {
    if let (READ_ONLY, Some(size)) = (name, size) {
        entry.entry("tmpSizeLimit").or_insert_with(|| size.clone());
    }
    entry
}

/// A policy's entry for a rule: the keys that all rules share, and the rule's own parameters.
fn configure(
    rule: &dyn Rule,
    mut entry: Map<String, Value>,
    at: &str,
) -> Result<PolicyRule, Vec<(String, String)>> {
    let meta = rule.meta();
    let mut errors = Vec::new();
    let mut take = |key: &str| entry.remove(key).filter(|value| !value.is_null());
    let action =
        take("action").map(|value| strict::from_value::<PolicyAction>(&value).map(|a| a.0)).transpose();
    let action = action.unwrap_or_else(|error| {
        errors.push((format!("{at}/action"), format!("{}: action: {}", meta.name, error.problem)));
        None
    });
    let fix = match take("fix") {
        None => meta.fix == Fix::Always,
        Some(Value::Bool(true)) if meta.fix == Fix::Never => {
            errors.push((format!("{at}/fix"), format!("{} can't fill anything in", meta.name)));
            false
        }
        Some(Value::Bool(fix)) => fix,
        Some(_) => {
            errors.push((format!("{at}/fix"), format!("{}: fix: expected true or false", meta.name)));
            false
        }
    };
    let unknown: Vec<String> =
        entry.keys().filter(|key| !meta.parameters.iter().any(|p| p.name == key.as_str())).cloned().collect();
    for key in unknown {
        entry.remove(&key);
        let names = meta.parameters.iter().map(|parameter| parameter.name).chain(["action", "fix"]);
        let problem = format!("unknown parameter {key:?} of {}; {}", meta.name, hint(&key, names));
        errors.push((format!("{at}/{key}"), problem));
    }
    match rule.configure(&Value::Object(entry)) {
        Ok(check) if errors.is_empty() => {
            Ok(PolicyRule { meta, action: action.unwrap_or(meta.action), fix, check })
        }
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push((format!("{at}{}", error.pointer), format!("{}: {error}", meta.name)));
            Err(errors)
        }
    }
}

fn compile_grant(grant: document::Grant) -> Result<Grant, (&'static str, String)> {
    if rule(&grant.rule).is_none() {
        return Err(("rule", unknown_rule(&grant.rule)));
    }
    let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
    let kind = Kind::ALL.iter().copied().find(|kind| kind.as_str() == grant.kind);
    let kind =
        kind.ok_or_else(|| ("kind", format!("unknown kind {:?}; {}", grant.kind, hint(&grant.kind, kinds))))?;
    let expires = end_of(&grant.expires).map_err(|problem| ("expires", problem))?;
    let waiver = Waiver {
        owner: Some(grant.owner),
        reason: Some(grant.reason),
        expires: Some(grant.expires),
        ticket: grant.ticket,
        ..Waiver::default()
    };
    Ok(Grant { rule: grant.rule, kind, namespace: grant.namespace, name: grant.name, waiver, expires })
}

fn singleton(workload: document::SingletonWorkload) -> Singleton {
    let kind = match workload.kind {
        WorkloadKind::Deployment => Kind::Deployment,
        WorkloadKind::ReplicaSet => Kind::ReplicaSet,
        WorkloadKind::StatefulSet => Kind::StatefulSet,
    };
    let document::SingletonWorkload { namespace, name, reason, .. } = workload;
    Singleton { kind, namespace, name, reason }
}

fn unknown_rule(name: &str) -> String {
    format!("unknown rule {name:?}; {}", hint(name, RULES.iter().map(|rule| rule.meta().name)))
}

/// The instant that `since` names: a date means its beginning, UTC.
fn start_of(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let date = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
    date.map(|zoned| zoned.timestamp())
        .map_err(|_| format!("expected a date such as 2026-12-01 or an instant, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        from_texts(&[("prod.yaml".to_owned(), text.to_owned())]).unwrap_err().to_string()
    }

    fn policy(rules: &str) -> String {
        format!(
            "apiVersion: {API_VERSION}\nkind: InvariantPolicy\nmetadata:\n  name: p\nspec:\n  rules:\n{rules}"
        )
    }

    #[test]
    fn the_shipped_policies_load() {
        let policies = embedded().unwrap();
        assert!(policies.iter().any(|policy| policy.name == "production"));
        assert!(policies.iter().all(|policy| !policy.rules.is_empty()));
    }

    #[test]
    fn off_needs_no_quotes() {
        let text = policy("    singleton: {action: Off}\n");
        let policies = from_texts(&[("prod.yaml".to_owned(), text)]).unwrap();
        assert_eq!(policies[0].rules[0].action, crate::verdict::Action::Off);
    }

    #[test]
    fn errors_name_the_place_and_the_nearest_name() {
        let one = policy("    singleton: {}\n");
        let wrong = [
            policy("    min-replica: {minimum: 2}\n"),
            policy("    min-replicas: {minimun: 2}\n    cron-interval:\n      minimum: 5\n"),
            policy("    cron-interval: {minimum: 5}\n    tmp-volume: {action: Warn, fix: 1}\n"),
            policy("    singleton: {action: on}\n"),
            policy("    tmp-volume: {sizeLimit: banana}\n    min-replicas: {minimum: 0}\n"),
            policy("    read-only-root-filesystem: {tmpSizeLimit: 0Mi}\n"),
            policy("    singleton: {action: deny, fix: maybe}\n    disruption-budget: {fix: true}\n"),
            one.replace("  rules:", "  mach: {}\n  rules:"),
            one.replace(
                "  rules:",
                "  since: soon\n  waivers: {allow: [tmp-volumes], maxDuration: 90}\n  rules:",
            ),
            one.replace("kind: InvariantPolicy", "kind: ConfigMap"),
            format!("{one}---\n{one}"),
            "just text".to_owned(),
        ];
        let texts: Vec<String> = wrong.iter().map(|text| errors(text)).collect();
        insta::assert_snapshot!("policy_errors", texts.join("\n\n"));
    }
}
