//! `--fix`: what admission would fill in, written down where Git can see it.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;
use similar::TextDiff;

use crate::cli::print;
use crate::manifest::{ManifestError, edit};
use crate::offline::{Judgement, Manifest};

/// Where what is missing is filled in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Fix {
    /// In the files; what came from standard input is printed.
    InPlace,
    /// In a diff, for `patch` and `git apply`.
    Diff,
    /// In the `patches` of a kustomization.
    Kustomize,
    /// In the manifests as they are printed.
    Print,
}

/// What there is to write.
#[derive(Default)]
pub(super) struct Fixes {
    /// The files that change, with their new texts.
    files: Vec<(String, String)>,
    /// What goes to standard output.
    printed: String,
    /// What can't be written.
    pub(super) errors: Vec<ManifestError>,
}

/// Works out what to write. Files come in the order of the manifests.
pub(super) fn fixes(
    how: Fix,
    files: &[(String, String)],
    manifests: &[Manifest],
    judgements: &[Judgement],
) -> Fixes {
    let mut fixes = Fixes::default();
    let all: Vec<_> = manifests.iter().zip(judgements).collect();
    let mut rest = all.as_slice();
    for (name, text) in files {
        let end = rest.iter().position(|(manifest, _)| *manifest.document.source != **name);
        let (here, others) = rest.split_at(end.unwrap_or(rest.len()));
        rest = others;
        let changed = here.iter().filter(|(_, judgement)| !judgement.filled.patch.is_empty());
        if how == Fix::Kustomize {
            changed.for_each(|(manifest, judgement)| fixes.printed += &kustomize(manifest, judgement));
            continue;
        }
        let changes: Vec<_> =
            changed.map(|(manifest, judgement)| (&manifest.document, &judgement.stored)).collect();
        let new = match changes.as_slice() {
            [] => text.clone(),
            changes => {
                let (new, errors) = edit::rewrite(changes);
                fixes.errors.extend(errors);
                new
            }
        };
        match how {
            Fix::Diff => fixes.printed += &diff(name, text, &new),
            Fix::InPlace if name != "-" => {
                if new != *text {
                    fixes.files.push((name.clone(), new));
                }
            }
            _ => {
                if !(fixes.printed.is_empty() || new.starts_with("---")) {
                    fixes.printed += "---\n";
                }
                fixes.printed += &new;
                if !new.ends_with('\n') {
                    fixes.printed.push('\n');
                }
            }
        }
    }
    if how == Fix::Kustomize && !fixes.printed.is_empty() {
        fixes.printed.insert_str(0, "patches:\n");
    }
    fixes
}

impl Fixes {
    /// Writes it all, and says which files changed.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        for (name, text) in &self.files {
            fs::write(name, text).with_context(|| format!("failed to write {name}"))?;
            print::note(format_args!("{name}: filled in what was missing"));
        }
        print::plain(&self.printed)
    }
}

impl Fix {
    /// Whether standard output is for manifests or patches, so that the report must go elsewhere.
    pub(super) fn prints(self, files: &[(String, String)]) -> bool {
        self != Self::InPlace || files.iter().any(|(name, _)| name == "-")
    }
}

fn diff(name: &str, old: &str, new: &str) -> String {
    let path = name.trim_start_matches("./").trim_start_matches('/');
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().header(&format!("a/{path}"), &format!("b/{path}")).to_string()
}

/// An entry of a kustomization's `patches`: its target, and the operations of the JSON patch, each of
/// which is YAML as it is.
fn kustomize(manifest: &Manifest, judgement: &Judgement) -> String {
    let kind = manifest.kind;
    let field = |name: &str| manifest.document.value.pointer(&format!("/metadata/{name}"));
    let mut target = json!({"group": kind.group(), "version": kind.version(), "kind": kind.as_str()});
    if let Some(target) = target.as_object_mut() {
        target.extend(
            ["name", "namespace"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), field(name)?.clone()))),
        );
    }
    let mut entry = format!("- target: {target}\n  patch: |-\n");
    for operation in &judgement.filled.patch {
        let _ = writeln!(entry, "    - {}", json!(operation));
    }
    entry
}
