//! What the author of an object meant, where the apiserver's defaults have covered it up.
//!
//! At admission a Deployment that came without `replicas` carries `replicas: 1`. Two traces tell:
//! server-side apply's managedFields, in which a defaulted field belongs to nobody, and the
//! last-applied annotation of client-side apply. Other clients leave none: managedFields of an
//! Update name the defaulted fields too.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Object, Text, nullable};

/// Whether the author of an object sent a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent {
    /// The author sent the field.
    Set,
    /// Nothing tells.
    Unknown,
    /// The author left the field to others; what it holds is a default.
    Unset,
}

/// One entry of `managedFields`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    manager: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    operation: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    subresource: Text<'a>,
    #[serde(borrow, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
}

impl ManagedFields<'_> {
    fn has(&self, path: &[&str]) -> bool {
        let path = path.iter().map(|field| format!("f:{field}"));
        self.fields.is_some_and(|fields| find(fields, path).is_some())
    }
}

/// What is at a path in a JSON text. Nothing else of it is kept.
fn find<P: AsRef<str>>(text: &RawValue, path: impl IntoIterator<Item = P>) -> Option<&RawValue> {
    let mut found = text;
    for field in path {
        found = serde_json::from_str::<BTreeMap<Text<'_>, &RawValue>>(found.get())
            .ok()?
            .remove(field.as_ref())?;
    }
    Some(found)
}

impl Intent {
    /// Whether the author of `object` sent the field at `path` with this request.
    ///
    /// Only traces of this very request count: the Apply entry of its own field manager, or a
    /// last-applied annotation that came or changed with it. From older traces a plain patch of the
    /// field would look like a default.
    pub fn of(object: &Object<'_>, old: Option<&Object<'_>>, manager: Option<&str>, path: &[&str]) -> Self {
        if let Some(applied) = applied(object, manager, path) {
            return applied;
        }
        let before = old.and_then(last_applied);
        match last_applied(object) {
            Some(now) if before != Some(now) => {
                let Ok(manifest) = serde_json::from_str::<String>(now) else { return Self::Unknown };
                let Ok(manifest) = serde_json::from_str(&manifest) else { return Self::Unknown };
                let found = find(manifest, path).filter(|found| found.get() != "null");
                if found.is_some() { Self::Set } else { Self::Unset }
            }
            _ => Self::Unknown,
        }
    }
}

fn last_applied<'o>(object: &Object<'o>) -> Option<&'o str> {
    object.metadata.annotations.last_applied().map(RawValue::get)
}

/// What server-side apply shows. An Update by the same manager name would own the field itself, so
/// an Apply entry proves something only while nobody owns the field.
fn applied(object: &Object<'_>, manager: Option<&str>, path: &[&str]) -> Option<Intent> {
    let manager = manager?;
    let entries: Vec<ManagedFields<'_>> = serde_json::from_str(object.metadata.managed_fields?.get()).ok()?;
    entries
        .iter()
        .any(|e| &*e.manager == manager && &*e.operation == "Apply" && e.subresource.is_empty())
        .then(|| if entries.iter().any(|e| e.has(path)) { Intent::Set } else { Intent::Unset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;
    use crate::object::metadata::LAST_APPLIED;

    const REPLICAS: &[&str] = &["spec", "replicas"];

    fn intent(object: &str, old: Option<&str>, manager: &str) -> Intent {
        let object = Object::read(Kind::Deployment, object).unwrap();
        let old = old.map(|old| Object::read(Kind::Deployment, old).unwrap());
        Intent::of(&object, old.as_ref(), Some(manager), REPLICAS)
    }

    fn with_entries(entries: &str) -> String {
        format!(r#"{{"metadata":{{"managedFields":[{entries}]}},"spec":{{"replicas":1}}}}"#)
    }

    #[test]
    fn server_side_apply_tells() {
        let without = r#"{"manager":"kubectl","operation":"Apply","fieldsV1":{"f:spec":{"f:selector":{}}}}"#;
        let with = r#"{"manager":"kubectl","operation":"Apply","fieldsV1":{"f:spec":{"f:replicas":{}}}}"#;
        assert_eq!(intent(&with_entries(without), None, "kubectl"), Intent::Unset);
        assert_eq!(intent(&with_entries(with), None, "kubectl"), Intent::Set);
        assert_eq!(intent(&with_entries(without), None, "helm"), Intent::Unknown);
    }

    #[test]
    fn an_update_of_the_field_by_the_same_manager_is_no_default() {
        let both = r#"{"manager":"kubectl","operation":"Apply","fieldsV1":{"f:spec":{"f:selector":{}}}},
            {"manager":"kubectl","operation":"Update","fieldsV1":{"f:spec":{"f:replicas":{}}}}"#;
        assert_eq!(intent(&with_entries(both), None, "kubectl"), Intent::Set);
    }

    #[test]
    fn last_applied_counts_when_it_came_with_this_request() {
        let annotated = |applied: &str| {
            serde_json::json!({"metadata":{"annotations":{LAST_APPLIED: applied}},"spec":{"replicas":1}})
                .to_string()
        };
        let without = annotated(r#"{"spec":{}}"#);
        assert_eq!(intent(&without, None, "kubectl-client-side-apply"), Intent::Unset);
        assert_eq!(intent(&without, Some(&annotated(r#"{"spec":{"replicas":3}}"#)), "x"), Intent::Unset);
        assert_eq!(intent(&without, Some(&without), "kubectl-patch"), Intent::Unknown);
        assert_eq!(intent(&annotated(r#"{"spec":{"replicas":1}}"#), None, "x"), Intent::Set);
        assert_eq!(intent(&annotated("no json"), None, "x"), Intent::Unknown);
    }
}
