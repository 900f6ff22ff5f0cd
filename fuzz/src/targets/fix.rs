use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use super::super::fixtures::has_twins;
use plimsoll::manifest::{self, Document, edit};
use plimsoll::offline::{Manifest, judge};
use plimsoll::policy::{Policy, load};
use serde_json::Value;

/// Manifests through `check --fix`: what is filled in is written, reads as it should, and once written
/// there is nothing more to fill in.
pub fn fix(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((fixed, errors)) = fix_once(text) else { return };
    let (again, _) = fix_once(&fixed).expect("what is written can be read");
    assert!(errors || again == fixed, "first\n{fixed}\nand then\n{again}");
}

/// The text with what was filled in, and whether some of it couldn't be written.
fn fix_once(text: &str) -> Option<(String, bool)> {
    let documents = manifest::parse("a.yaml", text).ok()?;
    if documents.iter().any(|document| has_twins(&document.value)) {
        return None;
    }
    let manifests: Vec<_> =
        documents.into_iter().filter_map(|document| Manifest::of(document, "imp")).collect();
    let now = super::NOW.parse().unwrap();
    let judgements = judge(&manifests, policies(), now, &AtomicUsize::new(0));
    let changes: Vec<(&Document, &Value)> = manifests
        .iter()
        .zip(&judgements)
        .filter(|(_, judgement)| !judgement.filled.patch.is_empty())
        .map(|(manifest, judgement)| (&manifest.document, &judgement.stored))
        .collect();
    match changes.as_slice() {
        [] => Some((text.to_owned(), false)),
        changes => {
            let (new, errors) = edit::rewrite(changes);
            Some((new, !errors.is_empty()))
        }
    }
}

/// The baseline for everybody, and the shipped policies.
fn policies() -> &'static [Policy] {
    static POLICIES: OnceLock<Vec<Policy>> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let baseline = include_str!("../../../policies/production.yaml");
        let all = baseline.replace("name: production", "name: everybody");
        let everybody = manifest::parse("a.yaml", &all).unwrap().remove(0).value;
        let mut everybody = everybody;
        everybody["spec"]["match"] = serde_json::json!({});
        let mut policies = load::embedded().unwrap();
        policies.extend(load::from_texts(&[("a.yaml".to_owned(), everybody.to_string())]).unwrap());
        policies
    })
}
