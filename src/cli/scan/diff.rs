//! What a set of policies would change against the one in force.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::survey::{Outlook, Standing};
use crate::cli::counted;
use crate::object::Kind;

/// A finding is the same if it is of the same rule at the same place of the same object.
type Key<'d> = (&'d str, Kind, &'d str, &'d str, &'d str);

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
    before: Option<Outlook>,
    /// How it would stand; absent if it would be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Outlook>,
    finding: &'d Standing,
}

impl<'d> Diff<'d> {
    pub(super) fn of(before: &'d [Standing], after: &'d [Standing]) -> Self {
        let mut pairs: BTreeMap<Key<'_>, (Option<&Standing>, Option<&Standing>)> = BTreeMap::new();
        for standing in before {
            pairs.entry(key(standing)).or_default().0 = Some(standing);
        }
        for standing in after {
            pairs.entry(key(standing)).or_default().1 = Some(standing);
        }
        let all = pairs.len();
        let changes: Vec<_> = pairs
            .into_values()
            .filter_map(|(before, after)| {
                let (was, is) = (before.map(|b| b.outlook), after.map(|a| a.outlook));
                (was != is).then_some(Change { before: was, after: is, finding: after.or(before)? })
            })
            .collect();
        Self { schema: "plimsoll.dev/scan-diff/v1", unchanged: all - changes.len(), changes }
    }

    /// The findings that would be new, or worse than they are.
    pub(super) fn added(&self) -> impl Iterator<Item = &Standing> {
        let is_worse = |change: &&Change<'_>| match (change.before, change.after) {
            (None, Some(_)) => true,
            (Some(before), Some(after)) => after < before,
            (_, None) => false,
        };
        self.changes.iter().filter(is_worse).map(|change| change.finding)
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
                    ('+', after.as_str().to_owned())
                }
                (Some(before), None) => {
                    gone += 1;
                    ('-', before.as_str().to_owned())
                }
                (Some(before), Some(after)) => {
                    changed += 1;
                    ('~', format!("{} -> {}", before.as_str(), after.as_str()))
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

fn key(standing: &Standing) -> Key<'_> {
    (&standing.namespace, standing.kind, &standing.name, standing.rule, &standing.path)
}
