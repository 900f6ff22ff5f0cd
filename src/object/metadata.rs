//! Object metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::few::MOST_TEXTS;
use super::{Text, few, few_entries, nullable, short};

pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is longer is no manifest that kubectl applied: an apiserver keeps 256 KiB of annotations.
const LONGEST_APPLIED: usize = 1 << 20;

/// `ObjectMeta`, as far as it is read.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The name; absent while a generateName waits for its suffix.
    #[serde(borrow, default, deserialize_with = "short")]
    pub name: Option<Text<'a>>,
    /// The prefix of a name that the apiserver makes up.
    #[serde(borrow, default, deserialize_with = "short")]
    pub generate_name: Option<Text<'a>>,
    /// The namespace.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// The uid; absent in the mutating call of a CREATE.
    #[serde(borrow)]
    pub uid: Option<Text<'a>>,
    /// The version in the store.
    #[serde(borrow)]
    pub resource_version: Option<Text<'a>>,
    /// When it was created, RFC 3339.
    #[serde(borrow)]
    pub creation_timestamp: Option<Text<'a>>,
    /// Labels.
    #[serde(borrow, default, deserialize_with = "few_entries")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    /// Annotations.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub annotations: Annotations<'a>,
    /// Owners.
    #[serde(borrow, default, deserialize_with = "few")]
    pub owner_references: Vec<OwnerReference<'a>>,
    /// Who set which field. Large, so it is only read when intent is in question.
    #[serde(borrow)]
    pub managed_fields: Option<&'a RawValue>,
}

impl<'a> Metadata<'a> {
    /// When the object was created; `None` before it is.
    pub fn created(&self) -> Option<jiff::Timestamp> {
        self.creation_timestamp.as_ref().and_then(|text| text.parse().ok())
    }

    /// The owner that manages the object, if it names one. Anybody who may write the object can
    /// write this, so it proves nothing.
    pub fn controller(&self) -> Option<&OwnerReference<'a>> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// Annotations. kubectl's copy of the manifest, by far the longest of them, is kept aside as it came.
#[derive(Clone, Debug, Default)]
pub struct Annotations<'a> {
    others: BTreeMap<Text<'a>, Text<'a>>,
    last_applied: Option<&'a RawValue>,
}

impl<'a> Annotations<'a> {
    /// The value of `kubectl.kubernetes.io/last-applied-configuration`, a JSON string. Two of the same
    /// writer are the same text if and only if they are the same string.
    pub fn last_applied(&self) -> Option<&'a RawValue> {
        self.last_applied
    }
}

impl PartialEq for Annotations<'_> {
    fn eq(&self, other: &Self) -> bool {
        let last_applied = |annotations: &Self| annotations.last_applied.map(RawValue::get);
        self.others == other.others && last_applied(self) == last_applied(other)
    }
}

/// All but `kubectl.kubernetes.io/last-applied-configuration`.
impl<'a> Deref for Annotations<'a> {
    type Target = BTreeMap<Text<'a>, Text<'a>>;

    fn deref(&self) -> &Self::Target {
        &self.others
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor(PhantomData))
    }
}

struct AnnotationsVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for AnnotationsVisitor<'a> {
    type Value = Annotations<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut annotations = Annotations::default();
        while let Some(key) = map.next_key::<Text<'a>>()? {
            if &*key == LAST_APPLIED {
                let text: &RawValue = map.next_value()?;
                annotations.last_applied = Some(text).filter(|text| text.get().len() <= LONGEST_APPLIED);
            } else {
                if annotations.others.len() == MOST_TEXTS {
                    return Err(de::Error::invalid_length(MOST_TEXTS + 1, &"a map of at most 10000 entries"));
                }
                annotations.others.insert(key, map.next_value()?);
            }
        }
        Ok(annotations)
    }
}

/// One entry of `ownerReferences`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub api_version: Text<'a>,
    /// Its kind.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
    /// Its name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// Its uid.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub uid: Text<'a>,
    /// Whether it is the managing one.
    #[serde(default, deserialize_with = "nullable")]
    pub controller: bool,
}
