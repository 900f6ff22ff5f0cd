//! Labels and annotations as they are kept.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::few_entries;

/// Labels or annotations in the order of their keys, in one block of memory that clones share.
///
/// There are few of them on each object and many objects, so that a map of strings would take several
/// times the memory, and a walk through the block is no slower. Each key and each value ends with a
/// NUL. Neither keys nor labels' values can hold one; in an annotation's value it is replaced.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// Values alone.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of a key that comes twice the first counts.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        pairs.dedup_by(|(later, _), (first, _)| later.as_ref() == first.as_ref());
        let parts = || pairs.iter().flat_map(|(key, value)| [key.as_ref(), value.as_ref()]);
        let mut text = String::with_capacity(parts().map(|part| part.len() + 1).sum());
        for part in parts() {
            if part.contains('\0') {
                text.push_str(&part.replace('\0', "\u{fffd}"));
            } else {
                text.push_str(part);
            }
            text.push('\0');
        }
        Self(text.into())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(few_entries::<D, String, String>(deserializer)?.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Labels {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn they_are_found_by_key_and_come_in_order() {
        let labels = read(r#"{"tier": "", "app": "web", "a": "b\n\u0000c"}"#);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "b\n\u{fffd}c"), ("app", "web"), ("tier", "")]);
        assert_eq!((labels.get("app"), labels.get("tier"), labels.get("web")), (Some("web"), Some(""), None));
        assert_eq!(
            labels,
            [("tier", ""), ("a", "b\n\0c"), ("app", "web"), ("tier", "x")].into_iter().collect()
        );
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"{"a":"b\n�c","app":"web","tier":""}"#);
        assert!(!labels.is_empty() && read("{}").is_empty() && Labels::default().get("").is_none());
    }
}
