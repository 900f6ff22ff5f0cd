//! Sums over records: by rule, namespace, user, object or day.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::filter::Filter;
use super::record::{Decision, Finding, Record};
use crate::verdict::{Action, State};

/// How many keys are told apart. Users name objects, so their number is nobody's to promise.
const MOST_KEYS: usize = 20_000;
/// The key of what comes beyond that.
const OTHERS: &str = "(others)";
/// The key of what has none.
const NONE: &str = "-";

/// What is summed up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum By {
    /// By rule; a request with findings of several rules counts for each.
    Rule,
    /// By namespace.
    Namespace,
    /// By user.
    User,
    /// By the object, or by the workload that it acts on.
    Object,
    /// By day, UTC.
    Day,
}

impl By {
    /// The name as the command line spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::Object => "object",
            Self::Day => "day",
        }
    }
}

/// What became of a request, or of one finding in it; the first that holds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It was refused.
    Denied,
    /// A waiver let it in.
    Waived,
    /// It was let in with a warning.
    Warned,
    /// What its author left out was filled in.
    Filled,
    /// It was let in, and only the log knows why that is of note: a finding under `Audit`, an exempt user.
    Noted,
    /// Nothing was found.
    Clean,
}

impl Outcome {
    /// Of a whole request.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        match record.decision {
            Decision::Denied => Self::Denied,
            Decision::Allowed if record.exempt => Self::Noted,
            Decision::Allowed => record.findings.iter().map(Self::of_finding).min().unwrap_or(Self::Clean),
        }
    }

    /// Of one finding.
    #[must_use]
    pub fn of_finding(finding: &Finding) -> Self {
        match (finding.state, finding.action) {
            (State::Waived, _) => Self::Waived,
            (State::Fixed, _) => Self::Filled,
            (_, Action::Audit | Action::Off) => Self::Noted,
            (State::New, Action::Deny) => Self::Denied,
            (State::New | State::Existing, _) => Self::Warned,
        }
    }
}

/// How many requests had which outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Refused.
    pub denied: u64,
    /// Let in by a waiver.
    pub waived: u64,
    /// Let in with a warning.
    pub warned: u64,
    /// Filled in.
    pub filled_in: u64,
    /// Of note to the log alone.
    pub noted: u64,
    /// Nothing found.
    pub clean: u64,
    /// Dry runs, which are in none of the others.
    pub dry_runs: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome, dry_run: bool) {
        let count = match outcome {
            _ if dry_run => &mut self.dry_runs,
            Outcome::Denied => &mut self.denied,
            Outcome::Waived => &mut self.waived,
            Outcome::Warned => &mut self.warned,
            Outcome::Filled => &mut self.filled_in,
            Outcome::Noted => &mut self.noted,
            Outcome::Clean => &mut self.clean,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.denied + self.waived + self.warned + self.filled_in + self.noted + self.clean + self.dry_runs
    }
}

/// One line of a table of sums.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The rule, namespace, user, object or day.
    pub key: String,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// When something of it was last refused in earnest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_denied: Option<Timestamp>,
}

/// Sums by one key.
#[derive(Clone, Debug)]
pub struct Sums {
    by: By,
    rows: HashMap<String, Row>,
    /// Over all requests; by rule, its rows may add up to more.
    pub total: Counts,
}

impl Sums {
    /// None yet.
    #[must_use]
    pub fn new(by: By) -> Self {
        Self { by, rows: HashMap::new(), total: Counts::default() }
    }

    /// What is summed up.
    #[must_use]
    pub fn by(&self) -> By {
        self.by
    }

    /// Counts a record; by rule, those of its findings that `filter` asks for.
    pub fn add(&mut self, record: &Record, filter: &Filter) {
        let outcome = Outcome::of(record);
        self.total.add(outcome, record.dry_run);
        let key = match self.by {
            By::Rule => return self.add_rules(record, filter),
            By::Namespace => record.resource.namespace.clone().unwrap_or_else(|| NONE.to_owned()),
            By::User => record.user.name.clone(),
            By::Object => object(record),
            By::Day => day(record.time),
        };
        self.count(&key, outcome, record);
    }

    /// A request counts once for each of its rules, by the strongest of the rule's findings.
    fn add_rules(&mut self, record: &Record, filter: &Filter) {
        let mut outcomes: Vec<(&str, Outcome)> = Vec::new();
        for finding in record.findings.iter().filter(|finding| filter.wants_finding(finding)) {
            let outcome = Outcome::of_finding(finding);
            match outcomes.iter_mut().find(|(rule, _)| *rule == finding.rule) {
                Some((_, strongest)) => *strongest = outcome.min(*strongest),
                None => outcomes.push((&finding.rule, outcome)),
            }
        }
        for (rule, outcome) in outcomes {
            self.count(rule, outcome, record);
        }
    }

    fn count(&mut self, key: &str, outcome: Outcome, record: &Record) {
        let is_new = !self.rows.contains_key(key);
        let key = if is_new && self.rows.len() >= MOST_KEYS { OTHERS } else { key };
        let row = || Row { key: key.to_owned(), counts: Counts::default(), last_denied: None };
        let row = self.rows.entry(key.to_owned()).or_insert_with(row);
        row.counts.add(outcome, record.dry_run);
        if outcome == Outcome::Denied && !record.dry_run {
            row.last_denied = row.last_denied.max(Some(record.time));
        }
    }

    /// Days in order; anything else by denials, then by waivers, then by how much there is of it.
    #[must_use]
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by(|a, b| {
            let weight = |row: &Row| (row.counts.denied, row.counts.waived, row.counts.total());
            let by_weight =
                if self.by == By::Day { std::cmp::Ordering::Equal } else { weight(b).cmp(&weight(a)) };
            by_weight.then_with(|| a.key.cmp(&b.key))
        });
        rows
    }
}

/// The workload that a request acts on, else the object itself.
#[must_use]
pub fn object(record: &Record) -> String {
    let resource = &record.resource;
    let (kind, namespace, name) = match &record.workload {
        Some(workload) => (&workload.kind, workload.namespace.as_str(), &workload.name),
        None => (&resource.kind, resource.namespace.as_deref().unwrap_or_default(), &resource.name),
    };
    // A Namespace is said to be in itself.
    if namespace.is_empty() || kind == "Namespace" {
        format!("{kind} {name}")
    } else {
        format!("{kind} {namespace}/{name}")
    }
}

/// The day of an instant, UTC.
#[must_use]
pub fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).date().to_string()
}
