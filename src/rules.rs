//! The rules: one invariant a file, and the list of them all.
//!
//! A rule is its metadata, from which `explain`, the documentation and reports are made, and a
//! function from policy parameters to a [`Check`]. A check looks at one [`Context`] and says what is
//! wrong and how to mend it. Whether that denies, warns, or is waived is the engine's business.

mod autoscaler_range;
mod capabilities;
mod context;
mod cron_interval;
mod cron_overlap;
mod disruption_budget;
mod has_disruption_budget;
mod inactive_workload;
mod min_replicas;
mod privilege_escalation;
mod probes;
mod protected_namespace;
mod read_only_root_filesystem;
mod resources;
mod rollout_availability;
mod run_as_non_root;
mod seccomp_profile;
mod service_account_token;
mod single_writer_volume;
mod singleton;
mod spread;
mod tmp_volume;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use context::{Context, Place, Pods, SINGLETON_ANNOTATION, Singleton, Singletons, declares_singleton};

use crate::manifest::strict::{self, StrictError};
use crate::verdict::{Action, Finding};

/// Every rule, in the order in which findings are reported.
pub const RULES: &[&dyn Rule] = &[
    &min_replicas::MinReplicas,
    &singleton::Singleton,
    &autoscaler_range::AutoscalerRange,
    &disruption_budget::DisruptionBudget,
    &has_disruption_budget::HasDisruptionBudget,
    &rollout_availability::RolloutAvailability,
    &single_writer_volume::SingleWriterVolume,
    &spread::Spread,
    &read_only_root_filesystem::ReadOnlyRootFilesystem,
    &tmp_volume::TmpVolume,
    &run_as_non_root::RunAsNonRoot,
    &privilege_escalation::PrivilegeEscalation,
    &capabilities::Capabilities,
    &seccomp_profile::SeccompProfile,
    &service_account_token::ServiceAccountToken,
    &resources::Resources,
    &probes::Probes,
    &cron_interval::CronInterval,
    &protected_namespace::ProtectedNamespace,
    &cron_overlap::CronOverlap,
    &inactive_workload::InactiveWorkload,
];

/// The rule of a name.
pub fn rule(name: &str) -> Option<&'static dyn Rule> {
    RULES.iter().copied().find(|rule| rule.meta().name == name)
}

/// One invariant.
pub trait Rule: Send + Sync {
    /// What people read about it.
    fn meta(&self) -> &'static Meta;

    /// Reads a policy's parameters for this rule (an object, without the keys that all rules share).
    ///
    /// # Errors
    /// When a parameter is unknown or has a value that it can't have.
    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError>;
}

/// A rule with the parameters of one policy.
pub trait Check: fmt::Debug + Send + Sync {
    /// Adds what is wrong with the object.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>);
}

/// Whether a rule can fill in what is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fix {
    /// It does unless a policy says `fix: false`.
    Always,
    /// It does where a policy says `fix: true`.
    OptIn,
    /// It can't.
    Never,
}

/// What people read about a rule.
#[derive(Debug)]
pub struct Meta {
    /// The name, kebab-case, never reused.
    pub name: &'static str,
    /// The version that brought it.
    pub since: &'static str,
    /// One sentence on what holds.
    pub summary: &'static str,
    /// Why that matters, in Markdown.
    pub rationale: &'static str,
    /// A manifest that breaks it, possibly of several documents; the last one is the one at fault.
    pub bad: &'static str,
    /// A manifest that keeps it.
    pub good: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// What it does where a policy names no action.
    pub action: Action,
    /// Whether it fills in what is missing.
    pub fix: Fix,
    /// Where to read on.
    pub references: &'static [&'static str],
}

/// One parameter of a rule.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in a policy.
    pub name: &'static str,
    /// Its default, as written in a policy.
    pub default: &'static str,
    /// What it does.
    pub summary: &'static str,
}

/// Reads parameters into the type that checks.
fn configure<C: Check + DeserializeOwned + 'static>(
    parameters: &Value,
) -> Result<Box<dyn Check>, StrictError> {
    strict::from_value::<C>(parameters).map(|check| Box::new(check) as Box<dyn Check>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_be_explained() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.meta().name).collect();
        for rule in RULES {
            let meta = rule.meta();
            assert!(meta.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", meta.name);
            assert!(meta.summary.ends_with('.') && meta.summary.len() <= 120, "{}: summary", meta.name);
            assert!(!meta.rationale.is_empty() && !meta.references.is_empty(), "{}", meta.name);
            rule.configure(&serde_json::json!({})).expect("every parameter has a default");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len(), "a name is used twice");
    }

    #[test]
    fn every_file_is_registered() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules")).unwrap();
        for file in files.map(|file| file.unwrap().file_name().into_string().unwrap()) {
            let name = file.trim_end_matches(".rs").replace('_', "-");
            assert!(name == "context" || rule(&name).is_some(), "{file} is not in RULES");
        }
    }
}
