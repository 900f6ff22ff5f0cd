//! `InvariantPolicy` as people write it: one type for files and the custom resource.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::{Map, Value};

use crate::object::duration::parse_duration;
use crate::object::{LabelSelector, LabelSelectorRequirement, nullable};
use crate::verdict::Action;
use crate::waiver::{Allow, RequiredField};

/// The `apiVersion` of policies.
pub const API_VERSION: &str = "plimsoll.dev/v1alpha1";
/// The `kind` of policies.
pub const KIND: &str = "InvariantPolicy";
/// The `kind` of tests of policies, which may lie beside them.
pub const TEST_KIND: &str = "PolicyTest";

/// The document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// [`API_VERSION`]
    pub api_version: String,
    /// [`KIND`]
    pub kind: String,
    /// Its name; anything else in it is the cluster's business.
    pub metadata: Metadata,
    /// The policy.
    pub spec: Spec,
    /// Written by the cluster, never read.
    #[serde(default)]
    pub status: Option<Value>,
}

/// A policy's metadata.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The policy's name, as messages quote it.
    pub name: String,
}

/// The policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Which objects.
    #[serde(default, rename = "match", deserialize_with = "nullable")]
    pub matching: Match,
    /// The ceiling of every rule's action.
    #[serde(default)]
    #[schemars(extend("default" = "Deny"))]
    pub action: PolicyAction,
    /// What an UPDATE of what was already so meets.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(extend("default" = "Ratchet"))]
    pub on_update: OnUpdate,
    /// Only objects created before it are ratcheted: a date or an instant, RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// Identities that are neither judged nor filled in.
    #[serde(default, deserialize_with = "nullable")]
    pub exempt: Exempt,
    /// The rules by name, each with `action`, `fix` and its own parameters.
    #[serde(default, deserialize_with = "nullable")]
    pub rules: BTreeMap<String, Option<Map<String, Value>>>,
    /// What must run once.
    #[serde(default, deserialize_with = "nullable")]
    pub singletons: Singletons,
    /// What waivers must look like.
    #[serde(default, deserialize_with = "nullable")]
    pub waivers: Waivers,
}

/// An action as a policy names it. A bare `Off` is the boolean false to YAML 1.1, and means Off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyAction(pub Action);

impl Default for PolicyAction {
    fn default() -> Self {
        Self(Action::Deny)
    }
}

impl<'de> Deserialize<'de> for PolicyAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ActionVisitor;

        impl de::Visitor<'_> for ActionVisitor {
            type Value = PolicyAction;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Deny, Warn, Audit or Off")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<PolicyAction, E> {
                match on {
                    false => Ok(PolicyAction(Action::Off)),
                    true => Err(E::invalid_value(de::Unexpected::Bool(true), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<PolicyAction, E> {
                let all = [Action::Deny, Action::Warn, Action::Audit, Action::Off];
                let known = all.into_iter().find(|action| action.as_str() == name);
                known
                    .map(PolicyAction)
                    .ok_or_else(|| E::unknown_variant(name, &["Deny", "Warn", "Audit", "Off"]))
            }
        }

        deserializer.deserialize_any(ActionVisitor)
    }
}

impl JsonSchema for PolicyAction {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["Deny", "Warn", "Audit", "Off"]})
    }
}

/// Which objects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Namespaces by label.
    #[serde(default)]
    pub namespace_selector: Option<Selector>,
    /// Namespaces by name or glob.
    #[serde(default, deserialize_with = "nullable")]
    pub namespaces: Vec<String>,
    /// Namespaces that it never applies to.
    #[serde(default, deserialize_with = "nullable")]
    pub exclude_namespaces: Vec<String>,
    /// Objects by label.
    #[serde(default)]
    pub object_selector: Option<Selector>,
}

/// A label selector. Unlike one in an object, which may be from a newer apiserver, it has no fields
/// that we don't know.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that must be there with these values.
    #[serde(default, deserialize_with = "nullable")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that must all hold.
    #[serde(default, deserialize_with = "nullable")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

impl From<Selector> for LabelSelector {
    fn from(selector: Selector) -> Self {
        Self {
            match_labels: selector.match_labels.into_iter().collect(),
            match_expressions: selector.match_expressions,
        }
    }
}

/// What an UPDATE of what was already so meets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
pub enum OnUpdate {
    /// It is judged as if it were new.
    Enforce,
    /// It only warns.
    #[default]
    Ratchet,
}

/// Identities that are neither judged nor filled in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exempt {
    /// User names.
    #[serde(default, deserialize_with = "nullable")]
    pub users: Vec<String>,
    /// Group names.
    #[serde(default, deserialize_with = "nullable")]
    pub groups: Vec<String>,
}

/// What must run once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Singletons {
    /// Whether teams may declare their own by annotation.
    #[serde(default, deserialize_with = "nullable")]
    pub by_annotation: bool,
    /// Those that the policy declares.
    #[serde(default, deserialize_with = "nullable")]
    pub workloads: Vec<SingletonWorkload>,
}

/// A workload that must run once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingletonWorkload {
    /// Deployment, StatefulSet or ReplicaSet.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why, as messages quote it after "since".
    pub reason: String,
    /// Where to read on.
    #[serde(default)]
    pub runbook: Option<String>,
}

/// The kinds that can be singletons.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum WorkloadKind {
    Deployment,
    ReplicaSet,
    StatefulSet,
}

/// What waivers must look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Waivers {
    /// Which rules may be waived.
    #[schemars(extend("default" = "All"))]
    pub allow: Allow,
    /// What a waiver must say.
    #[schemars(extend("default" = ["owner", "reason", "expires"]))]
    pub require: Vec<RequiredField>,
    /// How long it may last from now.
    #[schemars(extend("default" = "90d"))]
    pub max_duration: PolicyDuration,
    /// How long before its end every request warns.
    #[schemars(extend("default" = "14d"))]
    pub expiry_warning: PolicyDuration,
    /// How long after its end unrelated changes only warn.
    #[schemars(extend("default" = "7d"))]
    pub grace: PolicyDuration,
    /// Whether who writes one needs the verb `waive` on `invariants.plimsoll.dev`.
    pub authorize: bool,
    /// Waivers for objects that a team can't annotate.
    pub grants: Vec<Grant>,
}

impl Default for Waivers {
    fn default() -> Self {
        Self {
            allow: Allow::All,
            require: vec![RequiredField::Owner, RequiredField::Reason, RequiredField::Expires],
            max_duration: PolicyDuration(super::MAX_DURATION),
            expiry_warning: PolicyDuration(super::EXPIRY_WARNING),
            grace: PolicyDuration(super::GRACE),
            authorize: false,
            grants: Vec::new(),
        }
    }
}

/// A waiver for an object that a team can't annotate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The rule.
    pub rule: String,
    /// The object's kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Its end.
    pub expires: String,
    /// The ticket.
    #[serde(default)]
    pub ticket: Option<String>,
}

/// A duration such as `90d`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyDuration(pub Duration);

impl<'de> Deserialize<'de> for PolicyDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;

        impl de::Visitor<'_> for DurationVisitor {
            type Value = PolicyDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 5m or 90d")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PolicyDuration, E> {
                parse_duration(text).map(PolicyDuration).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(DurationVisitor)
    }
}

impl JsonSchema for PolicyDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}
