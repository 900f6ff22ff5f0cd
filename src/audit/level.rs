//! Which records are worth a line.

use std::fmt;
use std::str::FromStr;

use super::record::{Decision, Record};

/// Which records are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// Only denials.
    Denials,
    /// Also whatever has a finding, waived ones included, was filled in, brought or changed a waiver,
    /// or came from an exempt user.
    #[default]
    Findings,
    /// Every request.
    All,
}

impl Level {
    /// Whether `record` is written at this level.
    #[must_use]
    pub fn wants(self, record: &Record) -> bool {
        let denied = record.decision == Decision::Denied;
        match self {
            Self::Denials => denied,
            Self::Findings => {
                denied
                    || record.exempt
                    || !record.findings.is_empty()
                    || !record.patch.is_empty()
                    || !record.waivers.is_empty()
            }
            Self::All => true,
        }
    }

    /// The name as the command line spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denials => "denials",
            Self::Findings => "findings",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        [Self::Denials, Self::Findings, Self::All]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// A level that there is none of.
#[derive(Debug, thiserror::Error)]
#[error("expected denials, findings or all, found {0:?}")]
pub struct UnknownLevel(String);
