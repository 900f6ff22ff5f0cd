//! Small values that many fields share.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A string that borrows from the request where it can. (serde borrows a bare `Cow` only where it
/// is not inside an `Option` or a map; this type borrows there too.)
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether two texts by the same writer are the same JSON. The apiserver writes fields in a fixed
/// order, but a custom resource's may come in another one; they are the same bytes even then, which
/// tells most changes apart without reading them. What is longer than anything stored isn't read for it.
pub(crate) fn is_same_json(one: &str, other: &str) -> bool {
    const LONGEST: usize = 4 << 20;
    let sum = |text: &str| text.bytes().map(u64::from).sum::<u64>();
    let read = |text| serde_json::from_str::<Value>(text).ok();
    one == other
        || (one.len() == other.len()
            && one.len() <= LONGEST
            && sum(one) == sum(other)
            && read(one).is_some_and(|one| read(other) == Some(one)))
}

/// Kubernetes' IntOrString: an absolute count or a percentage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// An absolute number.
    Absolute(i64),
    /// A percentage.
    Percent(i64),
}

impl Count {
    /// The count that it stands for of `total`, a percentage rounded up.
    ///
    /// `GetScaledValueFromIntOrPercent` in apimachinery's `pkg/util/intstr` computes
    /// `ceil(percent * total / 100)` in floating point; integers give the same in this range.
    pub fn of_rounded_up(self, total: i64) -> i64 {
        match self {
            Self::Absolute(count) => count,
            Self::Percent(percent) => percent.saturating_mul(total).saturating_add(99).div_euclid(100),
        }
    }

    /// The same, a percentage rounded down.
    pub fn of_rounded_down(self, total: i64) -> i64 {
        match self {
            Self::Absolute(count) => count,
            Self::Percent(percent) => percent.saturating_mul(total).div_euclid(100),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a percentage such as \"25%\"")
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Count, E> {
                Ok(Count::Absolute(count))
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                i64::try_from(count)
                    .map(Count::Absolute)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                let digits = text.strip_suffix('%').filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
                digits
                    .and_then(|digits| digits.parse().ok())
                    .map(Count::Percent)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(CountVisitor)
    }
}

/// Reads `null` as the default value, as Kubernetes does.
///
/// # Errors
/// When the value is neither `null` nor of the expected type.
pub fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_borrows_inside_options_and_maps() {
        let map: std::collections::BTreeMap<Text<'_>, Option<Text<'_>>> =
            serde_json::from_str(r#"{"a":"plain","b":"with \"quotes\""}"#).unwrap();
        assert!(matches!(&map["a"].as_ref().unwrap().0, Cow::Borrowed("plain")));
        assert!(matches!(&map["b"].as_ref().unwrap().0, Cow::Owned(_)));
    }

    #[test]
    fn counts_are_numbers_or_percentages() {
        let read = |text: &str| serde_json::from_str::<Count>(text);
        assert_eq!(read("3").unwrap(), Count::Absolute(3));
        assert_eq!(read("\"50%\"").unwrap(), Count::Percent(50));
        for bad in ["\"3\"", "\"%\"", "\"-5%\"", "\"5 %\"", "1.5", "true", "18446744073709551615"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!((Count::Percent(50).of_rounded_up(3), Count::Percent(50).of_rounded_down(3)), (2, 1));
        assert_eq!(Count::Percent(100).of_rounded_up(7), 7);
    }
}
