//! Manifests judged as admission would judge them, each with the others as the cluster.
//!
//! First everything is filled in as `/mutate` would, since what admission stores is what others meet;
//! then everything is judged as `/validate` would. No I/O: `check` and `test` read the files.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use json_patch::PatchOperation;
use serde_json::Value;

use crate::engine::{self, Request};
use crate::facts::{Fact, NamespaceFacts};
use crate::manifest::{Document, ManifestError};
use crate::object::{Kind, Object};
use crate::policy::Policy;
use crate::verdict::Verdict;

/// One manifest of a kind that Plimsoll reads.
#[derive(Debug)]
pub struct Manifest {
    /// As written.
    pub document: Document,
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; for a Namespace its own name.
    pub namespace: String,
    /// As JSON.
    text: String,
}

/// What became of a manifest.
#[derive(Debug)]
pub struct Judgement {
    /// What `/mutate` would fill in; its findings are `Fixed`.
    pub filled: Verdict,
    /// The manifest after that.
    pub stored: Value,
    /// What `/validate` would say then, or why the manifest can't be read.
    pub verdict: Result<Verdict, ManifestError>,
}

impl Manifest {
    /// Documents of other kinds are none of Plimsoll's business. `namespace` is what those get that
    /// name none.
    pub fn of(document: Document, namespace: &str) -> Option<Self> {
        let text = |field: &str| document.value.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        // Admission is asked about Pods only where the chart's value says so.
        let kind = Kind::from_group_kind(group, text("kind")).filter(|&kind| kind != Kind::Pod)?;
        let metadata = |field: &str| {
            let value = document.value.get("metadata").and_then(|metadata| metadata.get(field));
            value.and_then(Value::as_str).filter(|text| !text.is_empty())
        };
        let namespace = match kind {
            Kind::Namespace => metadata("name").unwrap_or_default(),
            _ => metadata("namespace").unwrap_or(namespace),
        };
        let (namespace, text) = (namespace.to_owned(), document.value.to_string());
        Some(Self { document, kind, namespace, text })
    }

    /// The manifest as JSON.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn request<'a>(&'a self, text: &'a str) -> Result<Request<'a>, ManifestError> {
        let object = Object::read(self.kind, text).map_err(|error| {
            let pointer = format!("/{}", error.path.replace(['.', '['], "/").replace(']', ""));
            self.document.error_at(&pointer, error)
        })?;
        Ok(Request { manifest: true, ..Request::create(self.kind, &self.namespace, object) })
    }
}

/// Judges all manifests. `done` counts up to twice their number.
pub fn judge(
    manifests: &[Manifest],
    policies: &[Policy],
    now: Timestamp,
    done: &AtomicUsize,
) -> Vec<Judgement> {
    let nothing = NamespaceFacts::default();
    let raw = facts(manifests.iter().map(|manifest| (manifest, manifest.text.as_str())));
    let filled = in_parallel(manifests, |manifest| {
        let facts = raw.get(&manifest.namespace).unwrap_or(&nothing);
        // What can't be read is left as it is, and told when it is judged.
        let filled = manifest
            .request(&manifest.text)
            .map(|request| engine::fill_in(&request, policies, facts, now).verdict);
        let mut filled = filled.unwrap_or_default();
        let stored = patched(&manifest.document.value, &filled.patch).unwrap_or_else(|| {
            filled = Verdict::default();
            manifest.document.value.clone()
        });
        done.fetch_add(1, Ordering::Relaxed);
        let text = stored.to_string();
        (filled, stored, text)
    });
    let texts = manifests.iter().zip(&filled).map(|(manifest, (.., text))| (manifest, text.as_str()));
    let stored = facts(texts.clone());
    let both: Vec<(&Manifest, &str)> = texts.collect();
    let verdicts = in_parallel(&both, |(manifest, text)| {
        let facts = stored.get(&manifest.namespace).unwrap_or(&nothing);
        let verdict =
            manifest.request(text).map(|request| engine::judge(&request, policies, facts, now).verdict);
        done.fetch_add(1, Ordering::Relaxed);
        verdict
    });
    let all = filled.into_iter().zip(verdicts);
    all.map(|((filled, stored, _), verdict)| Judgement { filled, stored, verdict }).collect()
}

/// The object after a patch; `None` if it doesn't apply, which a patch made for it always does.
fn patched(object: &Value, patch: &[PatchOperation]) -> Option<Value> {
    let mut object = object.clone();
    json_patch::patch(&mut object, patch).ok()?;
    Some(object)
}

/// What manifests, each with a text to read it as, say of the cluster, by namespace.
pub fn facts<'m>(
    manifests: impl Iterator<Item = (&'m Manifest, &'m str)>,
) -> HashMap<String, NamespaceFacts> {
    let mut facts: HashMap<String, NamespaceFacts> = HashMap::new();
    for (manifest, text) in manifests {
        let object = Object::read(manifest.kind, text).ok();
        if let Some(fact) = object.and_then(|object| Fact::project(&object)) {
            facts.entry(manifest.namespace.clone()).or_default().insert(fact);
        }
    }
    facts
}

/// Applies a function to each item, on every core, and keeps the order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], apply: impl Fn(&T) -> R + Sync) -> Vec<R> {
    /// Fewer than this take less time than starting threads does.
    const FEW: usize = 32;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len() / FEW + 1);
    if threads == 1 {
        return items.iter().map(apply).collect();
    }
    // Small shares, so that nobody waits for the one with the largest files.
    let shares = Mutex::new(items.chunks(FEW / 2).enumerate());
    let next = || shares.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some((index, share)) = next() {
            done.push((index, share.iter().map(&apply).collect::<Vec<R>>()));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_on_many_threads() {
        let numbers: Vec<usize> = (0..1000).collect();
        assert_eq!(in_parallel(&numbers, |n| n * 2), numbers.iter().map(|n| n * 2).collect::<Vec<_>>());
    }
}
