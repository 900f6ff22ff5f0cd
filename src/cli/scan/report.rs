//! What a scan found, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::survey::{Notice, Outlook, Standing, Survey};
use crate::cli::counted;
use crate::object::Kind;
use crate::policy::Policy;
use crate::rules::RULES;

/// A whole scan. Its JSON is this document.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    pub(super) time: Timestamp,
    pub(super) cluster: String,
    pub(super) policies: Vec<String>,
    pub(super) objects: Objects,
    /// How many findings there are of each state.
    pub(super) summary: BTreeMap<&'static str, usize>,
    pub(super) findings: Vec<Standing>,
    pub(super) notices: Vec<Notice>,
}

#[derive(Debug, Serialize)]
pub(super) struct Objects {
    /// How many were looked at.
    pub(super) judged: usize,
    /// How many of them a policy applies to.
    pub(super) governed: usize,
    /// How many would have their next change denied.
    pub(super) denied: usize,
}

impl Report {
    pub(super) fn new(cluster: &str, policies: &[Policy], survey: Survey<'_>, time: Timestamp) -> Self {
        let Survey { mut findings, mut notices, judged, governed, .. } = survey;
        findings.sort_by(|a, b| key(a).cmp(&key(b)));
        notices.sort_by(|a, b| (&a.namespace, a.kind, &a.name).cmp(&(&b.namespace, b.kind, &b.name)));
        let denied: BTreeSet<_> = findings
            .iter()
            .filter(|standing| standing.outlook == Outlook::Deny)
            .map(|standing| (&standing.namespace, standing.kind, &standing.name))
            .collect();
        let objects = Objects { judged, governed, denied: denied.len() };
        let of = |outlook: Outlook| findings.iter().filter(|standing| standing.outlook == outlook).count();
        Self {
            schema: "plimsoll.dev/scan/v1",
            time,
            cluster: cluster.to_owned(),
            policies: policies.iter().map(|policy| policy.name.clone()).collect(),
            objects,
            summary: Outlook::ALL.into_iter().map(|outlook| (outlook.as_str(), of(outlook))).collect(),
            findings,
            notices,
        }
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        for standing in &self.findings {
            let fills_in = if standing.fills_in { " (A new one would be filled in.)" } else { "" };
            writeln!(out, "{:<8} {}{fills_in}", standing.outlook.as_str(), standing.message)?;
        }
        for Notice { kind, namespace, name, message } in &self.notices {
            writeln!(out, "{:<8} {kind} {namespace}/{name}: {message}", "Notice")?;
        }
        self.table(out)?;
        let Objects { judged, governed, denied } = self.objects;
        writeln!(
            out,
            "{} judged by {}, {} of them under any. {}.",
            counted(judged, "object", "objects"),
            counted(self.policies.len(), "policy", "policies"),
            governed,
            match denied {
                0 => "None would have its next change denied".to_owned(),
                1 => "1 would have its next change denied".to_owned(),
                more => format!("{more} would have their next change denied"),
            }
        )
    }

    /// How many findings of each rule stand how.
    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let mut counts: BTreeMap<usize, (&str, [usize; 5])> = BTreeMap::new();
        for standing in &self.findings {
            let (_, row) = counts.entry(position(standing.rule)).or_insert((standing.rule, [0; 5]));
            for (outlook, count) in Outlook::ALL.into_iter().zip(row) {
                *count += usize::from(outlook == standing.outlook);
            }
        }
        let width = counts.values().map(|(rule, _)| rule.len()).max().unwrap_or_default();
        write!(out, "\n{:width$}", "")?;
        for outlook in Outlook::ALL {
            write!(out, "  {:>8}", outlook.as_str())?;
        }
        writeln!(out)?;
        for (rule, row) in counts.values() {
            write!(out, "{rule:width$}")?;
            for count in row {
                write!(out, "  {count:>8}")?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }
}

/// By namespace and object, then in the order of the rules.
fn key(standing: &Standing) -> (&str, Kind, &str, usize, &str) {
    let Standing { namespace, kind, name, rule, path, .. } = standing;
    (namespace, *kind, name, position(rule), path)
}

fn position(rule: &str) -> usize {
    RULES.iter().position(|known| known.meta().name == rule).unwrap_or(RULES.len())
}
