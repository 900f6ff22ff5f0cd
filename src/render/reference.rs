//! References that are made from what they are about: the fields of a policy, from its schema.

use std::fmt::Write as _;

use serde_json::Value;

/// The fields of a policy as tables.
pub fn policy(schema: &Value) -> String {
    let mut page = String::from(
        "# Policy reference\n\nEvery field of an `InvariantPolicy`; [policies.md](policies.md) says how they work \
         together. Editors that know\nYAML schemas check a policy as it is typed, with this as its first line:\n\n\
         ```yaml\n# yaml-language-server: $schema=https://…/docs/schemas/policy.json\n```\n\n\
         The file is [schemas/policy.json](schemas/policy.json); a path to a copy works as well.\n",
    );
    let spec = schema.pointer("/properties/spec").unwrap_or(&Value::Null);
    page.push_str("\n## spec\n\n| field | type | default | |\n|---|---|---|---|\n");
    fields(&mut page, spec, "", &["rules"]);
    page.push_str("\n## spec.rules\n\nA rule that isn't listed is off. Each takes:\n\n");
    let rules = spec.pointer("/properties/rules/properties").and_then(Value::as_object);
    page.push_str("| rule | parameter | type | default | |\n|---|---|---|---|---|\n");
    for (rule, schema) in rules.into_iter().flatten() {
        let mut rows = String::new();
        fields(&mut rows, schema, "", &[]);
        for row in rows.lines() {
            let _ = writeln!(page, "| [`{rule}`](rules/{rule}.md) {row}");
        }
    }
    page
}

fn fields(page: &mut String, schema: &Value, path: &str, skip: &[&str]) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in properties.into_iter().flatten().filter(|(name, _)| !skip.contains(&name.as_str())) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let description = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = description.replace('\n', " ").replace('|', "\\|");
        let default = match field.get("default") {
            Some(Value::String(text)) => format!("`{text}`"),
            Some(Value::Object(_)) | None if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Value::Null | Value::Object(_)) | None => String::new(),
            Some(other) => format!("`{other}`"),
        };
        let _ = writeln!(page, "| `{path}` | {} | {default} | {description} |", kind(field));
        let (inside, path) = match field.get("items") {
            Some(items) => (items, format!("{path}[]")),
            None => (branch(field), path),
        };
        fields(page, inside, &path, &[]);
    }
}

/// What an optional field is if it is there.
fn branch(field: &Value) -> &Value {
    let branches = field.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut branches = branches.filter(|branch| branch.get("type").is_some_and(|kind| kind != "null"));
    match (branches.next(), branches.next()) {
        (Some(only), None) => only,
        _ => field,
    }
}

fn kind(field: &Value) -> String {
    if let Some(Value::Array(names)) = field.get("enum") {
        return names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(Value::Array(choices)) = field.get("oneOf") {
        let names = choices.iter().filter_map(|choice| choice.get("const").and_then(Value::as_str));
        return names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    let inner = branch(field);
    if !std::ptr::eq(inner, field) {
        return kind(inner);
    }
    if let Some(Value::Array(choices)) = field.get("anyOf") {
        return choices.iter().map(kind).collect::<Vec<_>>().join(", or ");
    }
    let name = match field.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or_default()
        }
        _ => return "anything".to_owned(),
    };
    match (name, field.get("items"), field.get("additionalProperties")) {
        ("array", Some(items), _) => match kind(items).as_str() {
            "mapping" => "list of mappings".to_owned(),
            inner => format!("list of {inner}"),
        },
        ("object", _, Some(values @ Value::Object(_))) => format!("mapping of {}", kind(values)),
        ("object", ..) => "mapping".to_owned(),
        (name, ..) => name.to_owned(),
    }
}
