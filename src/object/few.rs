//! Lists, maps and names that end somewhere.
//!
//! An apiserver sends an object of any length to its webhooks before anybody has looked at it, and what
//! takes three bytes in a body (`{},`) takes a kilobyte once it is read as a container and judged; and a
//! finding repeats the names that it is about.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Text, nullable};

/// The most items of a list that is read. No object that an apiserver stores has as many.
const MOST: usize = 512;
/// The same of texts alone, and of maps.
pub(super) const MOST_TEXTS: usize = 10_000;

/// The longest name, in bytes: an apiserver takes 253 characters.
const LONGEST_NAME: usize = 1_000;

/// Reads a name that is no longer than any can be.
pub(crate) fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'de>>, D::Error> {
    let name = Option::<Text<'de>>::deserialize(deserializer)?;
    match name.as_ref().map_or(0, |name| name.len()) {
        0..=LONGEST_NAME => Ok(name),
        length => Err(de::Error::invalid_length(length, &"a name of at most 1000 bytes")),
    }
}

/// The same, `null` as an empty one.
pub(crate) fn short_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text<'de>, D::Error> {
    short(deserializer).map(Option::unwrap_or_default)
}

/// Reads a list of at most 512 items, `null` as an empty one.
pub(crate) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    nullable::<D, List<T, MOST>>(deserializer).map(|list| list.0)
}

/// Reads a list of at most 10,000 texts, `null` as an empty one.
pub(crate) fn few_texts<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    nullable::<D, List<T, MOST_TEXTS>>(deserializer).map(|list| list.0)
}

/// Reads a map of at most 10,000 entries, `null` as an empty one.
pub(crate) fn few_entries<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    nullable::<D, Entries<K, V>>(deserializer).map(|entries| entries.0)
}

struct List<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MOST {
                        return Err(de::Error::invalid_length(MOST + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(ListVisitor::<T, MOST>(PhantomData)).map(Self)
    }
}

struct Entries<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, V> {
            type Value = BTreeMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a map of at most {MOST_TEXTS} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if entries.len() == MOST_TEXTS {
                        return Err(de::Error::invalid_length(MOST_TEXTS + 1, &self));
                    }
                    entries.insert(key, value);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_in_any_object_is_not_read() {
        let list = |length| format!("[{}]", vec!["1"; length].join(","));
        let read = |text: &str| few::<_, i64>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("null").unwrap(), Vec::<i64>::new());
        assert_eq!(read(&list(512)).unwrap().len(), 512);
        let error = read(&list(513)).unwrap_err().to_string();
        assert!(error.starts_with("invalid length 513, expected a list of at most 512 items"), "{error}");
        let name = |length: usize| format!("\"{}\"", "x".repeat(length));
        let read =
            |text: &str| short(&mut serde_json::Deserializer::from_str(text)).map(|name| name.is_some());
        assert!(read(&name(1_000)).unwrap() && !read("null").unwrap());
        assert!(read(&name(1_001)).is_err());
        let map = |length| {
            let entries: Vec<_> = (0..length).map(|key| format!("\"{key}\":1")).collect();
            format!("{{{}}}", entries.join(","))
        };
        let read = |text: &str| few_entries::<_, String, i64>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read(&map(10_000)).unwrap().len(), 10_000);
        assert!(read(&map(10_001)).is_err());
    }
}
