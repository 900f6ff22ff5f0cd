//! The JSON Schema of policies and of their tests, for editors, for documentation, and for whoever
//! registers the custom resource. It is made from the types that read the documents and from the rules.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::document::{API_VERSION, Document, KIND, TEST_KIND};
use crate::rules::{Fix, Meta, RULES};
use crate::suite::Suite;

/// The schema of an `InvariantPolicy`, without references, so that it is nearly a structural one.
pub fn policy() -> Value {
    let mut schema = schema_of::<Document>(KIND);
    let rules: Map<String, Value> =
        RULES.iter().map(|rule| (rule.meta().name.to_owned(), entry(rule.meta()))).collect();
    if let Some(field) = schema.pointer_mut("/properties/spec/properties/rules") {
        *field = json!({
            "description": "The rules by name; one that isn't listed is off.",
            "type": "object",
            "properties": rules,
            "additionalProperties": false,
        });
    }
    if let Some(field) = schema.pointer_mut("/properties/spec/properties/waivers/properties/allow") {
        let names: Vec<&str> = RULES.iter().map(|rule| rule.meta().name).collect();
        if let Some(items) = field.pointer_mut("/anyOf/1/items") {
            *items = json!({"type": "string", "enum": names});
        }
    }
    schema
}

/// The schema of a `PolicyTest`.
pub fn test() -> Value {
    schema_of::<Suite>(TEST_KIND)
}

fn schema_of<T: schemars::JsonSchema>(kind: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    for (field, value) in [("apiVersion", API_VERSION), ("kind", kind)] {
        if let Some(field) = schema.pointer_mut(&format!("/properties/{field}")) {
            *field = json!({"type": "string", "enum": [value]});
        }
    }
    schema
}

/// A rule in a policy: what all rules share, and its own parameters. A parameter has the type of its
/// default.
fn entry(meta: &Meta) -> Value {
    let mut properties = Map::new();
    properties.insert(
        "action".to_owned(),
        json!({
            "description": "What is done with a finding, if the policy's action isn't weaker.",
            "type": "string",
            "enum": ["Deny", "Warn", "Audit", "Off"],
            "default": meta.action.as_str(),
        }),
    );
    if meta.fix != Fix::Never {
        properties.insert(
            "fix".to_owned(),
            json!({
                "description": "Whether it fills in what the author left unset.",
                "type": "boolean",
                "default": meta.fix == Fix::Always,
            }),
        );
    }
    for parameter in meta.parameters {
        let (kind, default) = match serde_json::from_str::<Value>(parameter.default) {
            Ok(Value::Number(number)) => ("integer", Value::Number(number)),
            Ok(Value::Bool(boolean)) => ("boolean", Value::Bool(boolean)),
            _ => ("string", Value::from(parameter.default)),
        };
        let field = json!({"description": parameter.summary, "type": kind, "default": default});
        properties.insert(parameter.name.to_owned(), field);
    }
    json!({
        "description": meta.summary,
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::{OnUpdate, PolicyAction, Waivers};

    #[test]
    fn the_defaults_it_tells_are_those_that_count() {
        let schema = policy();
        let spec = schema.pointer("/properties/spec/properties").unwrap();
        let told = |fields: &Value| {
            let fields = fields.as_object().unwrap().iter();
            fields.filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone()))).collect()
        };
        let waivers: Value = Value::Object(told(&spec["waivers"]["properties"]));
        assert_eq!(waivers.as_object().unwrap().len(), 6, "all but the grants: {waivers}");
        let read: Waivers = serde_json::from_value(waivers).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Waivers::default()));
        let spec: Value = Value::Object(told(spec));
        let read = |field: &str| spec[field].as_str().unwrap().to_owned();
        let (action, on_update) = (PolicyAction::default(), OnUpdate::default());
        assert_eq!(
            (read("action"), read("onUpdate")),
            (action.0.as_str().to_owned(), format!("{on_update:?}"))
        );
    }

    /// A parameter whose type is not its default's would make editors refuse what `configure` takes.
    #[test]
    fn a_parameters_default_is_what_the_rule_reads() {
        for rule in RULES {
            let entry = entry(rule.meta());
            for parameter in rule.meta().parameters {
                let default = &entry["properties"][parameter.name]["default"];
                let read = rule.configure(&json!({ parameter.name: default }));
                assert!(read.is_ok(), "{}.{}: {:?}", rule.meta().name, parameter.name, read.err());
            }
        }
    }
}
