//! Reading a value into a type, with errors that people can act on.
//!
//! serde_json reads a `Value` too, but its errors are sentences without a place. Here an error is a
//! JSON pointer and a [`Problem`], so that a [`Document`](super::Document) can name the line and a typing
//! error gets a suggestion, and no message is ever taken apart.
//!
//! As in Kubernetes `null` is the same as absent: for a field of a struct that is its default or a
//! missing field (an unknown field stays unknown), and where a mapping or a list is expected it is an
//! empty one. Inside `#[serde(flatten)]` and untagged enums, which serde buffers, an error has the
//! pointer of the whole.

mod deserializer;

use std::fmt;

use serde::{
    Deserialize,
    de::{self, Expected, Unexpected},
};
use serde_json::Value;

use super::{nearest::hint, segments};

/// Reads a value into a type, which may borrow its strings.
pub fn from_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, StrictError> {
    T::deserialize(deserializer::Reader(value))
}

/// What is wrong with a value, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct StrictError {
    /// RFC 6901: the unknown field itself, the mapping that lacks a field, or the wrong value.
    pub pointer: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are serde's")]
pub enum Problem {
    DuplicateField(&'static str),
    InvalidLength {
        length: usize,
        expected: String,
    },
    /// `found` is as a reader would call it: `5`, `"two"`, `a list`.
    InvalidType {
        found: String,
        expected: String,
    },
    InvalidValue {
        found: String,
        expected: String,
    },
    MissingField(&'static str),
    /// What a type's own conversion says.
    Other(String),
    UnknownField {
        field: String,
        expected: &'static [&'static str],
    },
    UnknownVariant {
        variant: String,
        expected: &'static [&'static str],
    },
}

impl StrictError {
    /// An error with a message of its own.
    pub fn other(pointer: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), problem: Problem::Other(message.to_string()) }
    }

    /// The same error in a larger value, of which the part at this pointer was read.
    #[must_use]
    pub fn under(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }

    fn in_field(self, name: &str) -> Self {
        let segment = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        self.under(&segment)
    }
}

impl From<Problem> for StrictError {
    fn from(problem: Problem) -> Self {
        Self { pointer: String::new(), problem }
    }
}

impl std::error::Error for StrictError {}

impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = path(&self.pointer);
        let parent = path_of_parent(&self.pointer);
        let place = |path: &str| if path.is_empty() { String::new() } else { format!(" in {path}") };
        match &self.problem {
            Problem::UnknownField { field, expected } => {
                write!(
                    f,
                    "unknown field {field:?}{}; {}",
                    place(&parent),
                    hint(field, expected.iter().copied())
                )
            }
            Problem::DuplicateField(_) | Problem::MissingField(_) => {
                write!(f, "{}{}", self.problem, place(&path))
            }
            _ if path.is_empty() => self.problem.fmt(f),
            _ => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateField(field) => write!(f, "field {field:?} is given twice"),
            Self::InvalidLength { length, expected } => {
                write!(f, "expected {expected}, found a list of {length}")
            }
            Self::InvalidType { found, expected } | Self::InvalidValue { found, expected } => {
                write!(f, "expected {expected}, found {found}")
            }
            Self::MissingField(field) => write!(f, "missing field {field:?}"),
            Self::Other(message) => f.write_str(message),
            Self::UnknownField { field, expected } => {
                write!(f, "unknown field {field:?}; {}", hint(field, expected.iter().copied()))
            }
            Self::UnknownVariant { variant, expected } => {
                write!(f, "unknown value {variant:?}; {}", hint(variant, expected.iter().copied()))
            }
        }
    }
}

impl de::Error for StrictError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::Other(message.to_string()).into()
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Problem::InvalidType { found: found(&unexpected), expected: expected.to_string() }.into()
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Problem::InvalidValue { found: found(&unexpected), expected: expected.to_string() }.into()
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Problem::InvalidLength { length, expected: expected.to_string() }.into()
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownVariant { variant: variant.to_owned(), expected }.into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownField { field: field.to_owned(), expected }.into()
    }

    fn missing_field(field: &'static str) -> Self {
        Problem::MissingField(field).into()
    }

    fn duplicate_field(field: &'static str) -> Self {
        Problem::DuplicateField(field).into()
    }
}

/// A value as an error would call it.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => quoted(value),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The same for what a visitor was given.
fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => quoted(value),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// A string in quotes, cut where it would drown the sentence.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().nth(LONGEST).is_none() {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{:?}", start + "…")
}

/// A pointer as people write it: `spec.workloads[0].kind`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for segment in segments(pointer).into_iter().flatten() {
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{segment}]"));
        } else if segment.is_empty()
            || segment.contains(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
        {
            path.push_str(&format!("[{segment:?}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        }
    }
    path
}

fn path_of_parent(pointer: &str) -> String {
    pointer.rsplit_once('/').map_or_else(String::new, |(parent, _)| path(parent))
}

#[cfg(test)]
mod tests;
