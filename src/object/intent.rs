//! What the author of an object meant, where the apiserver's defaults have covered it up.
//!
//! At admission a Deployment that came without `replicas` carries `replicas: 1`. Two traces tell:
//! server-side apply's managedFields, in which a defaulted field belongs to nobody, and the
//! last-applied annotation of client-side apply. Other clients leave none: managedFields of an
//! Update name the defaulted fields too.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Object, Text, few, nullable};

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
        let path: Vec<String> = path.iter().map(|field| format!("f:{field}")).collect();
        self.fields.is_some_and(|fields| has(fields.get(), &path).unwrap_or(false))
    }
}

/// Whether a JSON text has anything but null at a path. It is read once, and nothing of it is kept.
fn has<P: AsRef<str>>(text: &str, path: &[P]) -> Result<bool, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Has(path).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| found)
}

struct Has<'p, P>(&'p [P]);

impl<'de, P: AsRef<str>> DeserializeSeed<'de> for Has<'_, P> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        match self.0 {
            [] => Option::<IgnoredAny>::deserialize(deserializer).map(|found| found.is_some()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de, P: AsRef<str>> Visitor<'de> for Has<'_, P> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match self.0.split_first() {
                Some((first, rest)) if first.as_ref() == &*key => found = map.next_value_seed(Has(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
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
                let found = serde_json::from_str::<String>(now).and_then(|manifest| has(&manifest, path));
                match found {
                    Ok(true) => Self::Set,
                    Ok(false) => Self::Unset,
                    Err(_) => Self::Unknown,
                }
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
    let (manager, text) = (manager?, object.metadata.managed_fields?.get());
    // Most requests apply nothing on the server, which is seen sooner than read.
    if !text.contains("\"Apply\"") {
        return None;
    }
    let entries: Vec<ManagedFields<'_>> = few(&mut serde_json::Deserializer::from_str(text)).ok()?;
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
        assert_eq!(intent(&annotated(r#"{"spec":{"replicas":null}}"#), None, "x"), Intent::Unset);
        assert_eq!(intent(&annotated(r#"{"spec":null}"#), None, "x"), Intent::Unset);
        assert_eq!(intent(&annotated("no json"), None, "x"), Intent::Unknown);
        assert_eq!(intent(&annotated(r#"{"spec":{"replicas":1}"#), None, "x"), Intent::Unknown);
    }
}
