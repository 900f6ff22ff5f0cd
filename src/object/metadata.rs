//! Object metadata.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Text, nullable};

/// `ObjectMeta`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The name; absent while a generateName waits for its suffix.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The prefix of a name that the apiserver makes up.
    #[serde(borrow)]
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
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    /// Annotations.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<Text<'a>, Text<'a>>,
    /// Owners.
    #[serde(borrow, default, deserialize_with = "nullable")]
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

/// One entry of `ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize)]
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
