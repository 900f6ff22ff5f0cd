//! What policies demand of waivers.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::Value;

/// What a policy demands of waivers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Which rules may be waived.
    pub allow: Allow,
    /// What a waiver must say.
    pub require: Vec<RequiredField>,
    /// How long it may last from now.
    pub max_duration: Duration,
    /// How long before its end every request warns.
    pub expiry_warning: Duration,
    /// How long after its end unrelated changes only warn.
    pub grace: Duration,
    /// Whether who writes one has to be allowed to `waive` the rule.
    pub authorize: bool,
}

impl Limits {
    /// Whether a rule may be waived.
    pub fn allows(&self, rule: &str) -> bool {
        match &self.allow {
            Allow::All => true,
            Allow::None => false,
            Allow::Rules(rules) => rules.iter().any(|r| r == rule),
        }
    }
}

/// Which rules may be waived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Allow {
    /// Every rule.
    All,
    /// None.
    None,
    /// These.
    Rules(Vec<String>),
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) if word == "All" => Ok(Self::All),
            Value::String(word) if word == "None" => Ok(Self::None),
            Value::String(word) => Err(de::Error::unknown_variant(&word, &["All", "None"])),
            Value::Array(rules) => {
                let rules = rules.into_iter().map(|rule| match rule {
                    Value::String(rule) => Ok(rule),
                    _ => Err(de::Error::custom("expected a rule's name")),
                });
                rules.collect::<Result<_, _>>().map(Self::Rules)
            }
            _ => Err(de::Error::custom("expected All, None or a list of rules")),
        }
    }
}

impl JsonSchema for Allow {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Allow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": ["All", "None"]},
            {"type": "array", "items": {"type": "string"}},
        ]})
    }
}

/// What a waiver must say.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they are the waiver's own fields")]
pub enum RequiredField {
    Expires,
    Owner,
    Reason,
    Ticket,
}
