//! What a set of policies would change against the one in force.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::render::counted;
use crate::render::report::Entry;

/// A finding is the same if it is of the same rule at the same place of the same object.
type Key<'d> = (&'d str, &'d str, &'d str, &'d str, &'d str);

/// From the worst to the least; absent is better than any.
const ORDER: [&str; 5] = ["Deny", "Existing", "Warn", "Waived", "Audit"];

/// The differences, in the order of their objects.
#[derive(Debug, Serialize)]
pub(super) struct Diff<'d> {
    schema: &'static str,
    changes: Vec<Change<'d>>,
    unchanged: usize,
}

#[derive(Debug, Serialize)]
struct Change<'d> {
    /// How it stands under the policies in force; absent if they don't have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'static str>,
    /// How it would stand; absent if it would be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'static str>,
    finding: &'d Entry,
}

impl<'d> Diff<'d> {
    pub(super) fn of(before: &'d [Entry], after: &'d [Entry]) -> Self {
        let mut pairs: BTreeMap<Key<'_>, (Option<&Entry>, Option<&Entry>)> = BTreeMap::new();
        for entry in before {
            pairs.entry(key(entry)).or_default().0 = Some(entry);
        }
        for entry in after {
            pairs.entry(key(entry)).or_default().1 = Some(entry);
        }
        let all = pairs.len();
        let changes: Vec<_> = pairs
            .into_values()
            .filter_map(|(before, after)| {
                let (was, is) = (before.map(Entry::word), after.map(Entry::word));
                (was != is).then_some(Change { before: was, after: is, finding: after.or(before)? })
            })
            .collect();
        Self { schema: "plimsoll.dev/scan-diff/v1", unchanged: all - changes.len(), changes }
    }

    /// Whether a finding that fails would be new, or stand worse than it does.
    pub(super) fn fails(&self) -> bool {
        let rank = |word: Option<&'static str>| {
            word.and_then(|word| ORDER.iter().position(|known| *known == word)).unwrap_or(ORDER.len())
        };
        self.changes.iter().any(|change| {
            change.after.is_some() && change.finding.fails && rank(change.after) < rank(change.before)
        })
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let (mut new, mut gone, mut changed) = (0, 0, 0);
        for Change { before, after, finding } in &self.changes {
            let (sign, state) = match (before, after) {
                (None, Some(after)) => {
                    new += 1;
                    ('+', (*after).to_owned())
                }
                (Some(before), None) => {
                    gone += 1;
                    ('-', (*before).to_owned())
                }
                (Some(before), Some(after)) => {
                    changed += 1;
                    ('~', format!("{before} -> {after}"))
                }
                (None, None) => continue,
            };
            writeln!(out, "{sign} {state} {}", finding.message)?;
        }
        writeln!(
            out,
            "{} would be new, {gone} gone, {changed} stand otherwise; {} unchanged.",
            counted(new, "finding", "findings"),
            self.unchanged
        )
    }
}

fn key(entry: &Entry) -> Key<'_> {
    let resource = &entry.resource;
    (&resource.namespace, &resource.kind, &resource.name, &entry.rule, &entry.place)
}
