//! The CustomResourceDefinition of `InvariantPolicy`, its schema made from the types that read one.
//!
//! Unknown fields are kept rather than pruned, and actions may be anything: the API server would only
//! drop what it doesn't know, or name a type, where Plimsoll's own admission says what was probably
//! meant. A bare `Off`, which is `false` to kubectl, has to get this far too.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::document::{API_VERSION, KIND, Spec};
use crate::rules::{Meta, RULES};

/// The resource's name in paths and in RBAC.
pub const PLURAL: &str = "invariantpolicies";
/// Its API group.
pub const GROUP: &str = "plimsoll.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";

const KEEP: &str = "x-kubernetes-preserve-unknown-fields";

/// The definition as a manifest.
///
/// # Errors
/// Never in a tested build: a test compares it with the chart's.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&definition())
}

/// The definition.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{PLURAL}.{GROUP}"),
            // With the definition would go every policy.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/name": "plimsoll"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": "invariantpolicy",
                "shortNames": ["invpol"],
                "categories": ["plimsoll"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Action", "type": "string", "jsonPath": ".spec.action"},
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": schema()},
            }],
        },
    })
}

fn schema() -> Value {
    let mut spec = of::<Spec>();
    if let Some(rules) = spec.pointer_mut("/properties/rules") {
        *rules = rules_schema();
    }
    if let Some(Value::Object(action)) = spec.pointer_mut("/properties/action") {
        action.retain(|key, _| key == "description");
        action.insert(KEEP.to_owned(), true.into());
    }
    json!({
        "type": "object",
        "description": format!("A policy: which namespaces and objects, which rules, with which parameters and action. apiVersion: {API_VERSION}."),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status_schema(),
        },
    })
}

/// A type's schema as the API server takes it: structural, without what serde adds.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    schema
}

/// Applies to a schema and all inside it (apiextensions-apiserver's `structural/convert.go` has what a
/// structural schema may not have).
fn make_structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for noise in ["title", "default", "format", "$schema"] {
        fields.remove(noise);
    }
    if fields.remove("additionalProperties") == Some(Value::Bool(false)) {
        fields.insert(KEEP.to_owned(), true.into());
    }
    unite(fields);
    // Where null may stand, serde reads it as absent; so does the API server without being told.
    fields.remove("nullable");
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    if let Some(items) = fields.get_mut("items") {
        make_structural(items);
    }
}

/// Takes alternatives apart: an optional value is the value, names that are documented one by one
/// are an enum, and what may be of several types may be anything.
fn unite(fields: &mut Map<String, Value>) {
    let is_null = |schema: &Value| schema.get("enum").is_some_and(|values| *values == json!([null]));
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(all)) = fields.remove(key) else { continue };
        let all: Vec<Value> = all.into_iter().filter(|one| !is_null(one)).collect();
        if let [Value::Object(only)] = all.as_slice() {
            for (key, value) in only {
                fields.entry(key).or_insert_with(|| value.clone());
            }
            continue;
        }
        let types: BTreeSet<_> = all.iter().filter_map(|one| one.get("type")?.as_str()).collect();
        if types.len() > 1 {
            fields.insert(KEEP.to_owned(), true.into());
            continue;
        }
        let names = all.iter().filter_map(|one| one.get("const").or_else(|| one.pointer("/enum/0")));
        let names: Vec<Value> = names.cloned().collect();
        fields.insert("type".to_owned(), "string".into());
        fields.insert("enum".to_owned(), names.into());
    }
}

/// The rules by name. Their parameters are read by each rule, which knows best what is wrong with one.
fn rules_schema() -> Value {
    let rules: Map<String, Value> =
        RULES.iter().map(|rule| (rule.meta().name.to_owned(), rule_schema(rule.meta()))).collect();
    json!({
        "type": "object",
        "description": "The rules by name; one that isn't listed is off.",
        KEEP: true,
        "properties": rules,
    })
}

fn rule_schema(meta: &Meta) -> Value {
    let mut properties = Map::new();
    for parameter in meta.parameters {
        let description = format!("{} Default: {}.", parameter.summary, parameter.default);
        properties.insert(parameter.name.to_owned(), json!({"description": description, KEEP: true}));
    }
    let action = format!("Deny, Warn, Audit or Off. Default: {}.", meta.action.as_str());
    properties.insert("action".to_owned(), json!({"description": action, KEEP: true}));
    let fix = json!({"description": "Whether it may fill in what is missing.", "type": "boolean"});
    properties.insert("fix".to_owned(), fix);
    json!({
        "type": "object",
        "description": meta.summary,
        "nullable": true,
        KEEP: true,
        "properties": properties,
    })
}

/// Conditions as `metav1.Condition` has them.
fn status_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                    "properties": {
                        "type": {"type": "string"},
                        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                        "reason": {"type": "string"},
                        "message": {"type": "string"},
                        "lastTransitionTime": {"type": "string", "format": "date-time"},
                        "observedGeneration": {"type": "integer", "format": "int64"},
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server refuses in a schema, wherever it is.
    fn faults(schema: &Value, at: &str, faults: &mut Vec<String>) {
        let fields = schema.as_object().unwrap();
        for key in ["$ref", "anyOf", "oneOf", "default", "const", "additionalItems"] {
            if fields.contains_key(key) {
                faults.push(format!("{at} has {key}"));
            }
        }
        if !fields.get("type").is_some_and(Value::is_string) && !fields.contains_key(KEEP) {
            faults.push(format!("{at} has no type"));
        }
        if fields.contains_key("properties") && fields.contains_key("additionalProperties") {
            faults.push(format!("{at} has both kinds of properties"));
        }
        for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self::faults(property, &format!("{at}.{name}"), faults);
        }
        if let Some(items) = fields.get("items") {
            self::faults(items, &format!("{at}[]"), faults);
        }
    }

    #[test]
    fn the_schema_is_structural_and_knows_every_rule() {
        let mut found = Vec::new();
        faults(&schema(), "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
        let schema = schema();
        for rule in RULES {
            let meta = rule.meta();
            let at = format!("/properties/spec/properties/rules/properties/{}", meta.name);
            let properties = schema.pointer(&format!("{at}/properties")).unwrap();
            assert!(meta.parameters.iter().all(|parameter| properties.get(parameter.name).is_some()));
        }
        let of = |field: &str| schema.pointer(&format!("/properties/spec/properties/{field}")).unwrap();
        assert_eq!(of("onUpdate")["enum"], json!(["Enforce", "Ratchet"]));
        assert_eq!(of("match")["properties"]["namespaces"]["items"]["type"], "string");
        assert_eq!(of("match")[KEEP], true);
    }
}
