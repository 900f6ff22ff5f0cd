//! Which records somebody asks for.

use jiff::Timestamp;
use wildmatch::WildMatch;

use super::record::{Decision, Finding, Record};
use crate::verdict::State;

/// A question to the log. What is left empty asks for everything; of several values any will do.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// What was answered.
    pub decision: Option<Decision>,
    /// Whether dry runs are left out.
    pub only_real: bool,
    /// Rules, by name or with `*` and `?`.
    pub rules: Vec<WildMatch>,
    /// How a finding stands.
    pub states: Vec<State>,
    /// Namespaces, by name or with `*` and `?`.
    pub namespaces: Vec<WildMatch>,
    /// Users, by name or with `*` and `?`.
    pub users: Vec<WildMatch>,
    /// Kinds, of the object or of the workload that it acts on, in any case.
    pub kinds: Vec<String>,
    /// Names of objects, or of the workloads that they act on, with `*` and `?`.
    pub names: Vec<WildMatch>,
    /// Policies that applied, by name or with `*` and `?`.
    pub policies: Vec<WildMatch>,
    /// Which replicas answered, with `*` and `?`.
    pub instances: Vec<WildMatch>,
}

impl Filter {
    /// Whether a record is asked for.
    #[must_use]
    pub fn wants(&self, record: &Record) -> bool {
        let (resource, workload) = (&record.resource, record.workload.as_ref());
        let namespace = resource.namespace.as_deref().unwrap_or_default();
        let is_kind = |kind: &str| self.kinds.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind));
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self.decision.is_none_or(|decision| record.decision == decision)
            && !(self.only_real && record.dry_run)
            && any(&self.namespaces, namespace)
            && any(&self.users, &record.user.name)
            && any(&self.instances, &record.instance)
            && (any(&self.names, &resource.name) || workload.is_some_and(|w| any(&self.names, &w.name)))
            && (self.kinds.is_empty()
                || is_kind(&resource.kind)
                || workload.is_some_and(|w| is_kind(&w.kind)))
            && (self.policies.is_empty() || record.policies.iter().any(|policy| any(&self.policies, policy)))
            && (!self.asks_for_findings()
                || record.findings.iter().any(|finding| self.wants_finding(finding)))
    }

    /// Whether a finding of a record that is asked for is.
    #[must_use]
    pub fn wants_finding(&self, finding: &Finding) -> bool {
        any(&self.rules, &finding.rule) && (self.states.is_empty() || self.states.contains(&finding.state))
    }

    fn asks_for_findings(&self) -> bool {
        !self.rules.is_empty() || !self.states.is_empty()
    }
}

fn any(patterns: &[WildMatch], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
}
