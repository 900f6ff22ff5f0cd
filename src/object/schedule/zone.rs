//! Time zones by name, as the apiserver tells good names from bad ones.
//!
//! The apiserver looks a name up in the zone files of its own image, we in the tables compiled
//! into `jiff`. A name that theirs has and ours lacks (`posixrules`, a zone younger than our
//! tables) is therefore an error of its own, [`ZoneError::Unknown`]: the CronJob may be fine, and
//! only its firings can't be told.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::error::excerpt;

/// Always the tables in the binary, never those of the machine, so that two replicas agree.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Why a name is not a time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// `timeZone: ""`.
    #[error("expected a time zone such as `Europe/Berlin`, or no timeZone at all, found an empty one")]
    Empty,
    /// `Local` in any case: it would mean the zone of whatever machine runs the controller.
    #[error("expected a time zone such as `Europe/Berlin`, found `{0}`, which depends on the machine")]
    Local(String),
    /// Not of the form of a name: blanks, colons, `..`, parts over 14 characters.
    #[error("expected the name of a time zone such as `Europe/Berlin` or `Etc/GMT-8`, found `{0}`")]
    Malformed(String),
    /// The name of a zone, but in other letters; the apiserver tells them apart.
    #[error("expected `{known}`, found `{found}`: names of time zones are case-sensitive")]
    Case {
        /// What was found.
        found: String,
        /// What the zone is called.
        known: String,
    },
    /// None of the zones we know.
    #[error("the time zone `{0}` is not in our tables: look for a mistake in the name")]
    Unknown(String),
}

/// The time zone of this name, by the apiserver's rules for `spec.timeZone`.
///
/// ```
/// # use plimsoll::object::schedule::zone;
/// assert!(zone("Europe/Berlin").is_ok());
/// assert!(zone("europe/berlin").is_err());
/// ```
///
/// # Errors
///
/// Refuses what the apiserver refuses, and what our tables lack ([`ZoneError::Unknown`]).
pub fn zone(name: &str) -> Result<TimeZone, ZoneError> {
    if name.is_empty() {
        return Err(ZoneError::Empty);
    }
    if !name.split('/').all(is_part) {
        return Err(ZoneError::Malformed(excerpt(name)));
    }
    if name.eq_ignore_ascii_case("local") {
        return Err(ZoneError::Local(excerpt(name)));
    }
    look_up(name)
}

/// The zone of a `TZ=` prefix, by the rules of Go's `LoadLocation`: empty is UTC, and `Local`
/// (here: none) is the zone of the controller.
pub(super) fn of_prefix(name: &str) -> Result<Option<TimeZone>, ZoneError> {
    match name {
        "" => Ok(Some(TimeZone::UTC)),
        "Local" => Ok(None),
        _ => look_up(name).map(Some),
    }
}

fn look_up(name: &str) -> Result<TimeZone, ZoneError> {
    let unknown = || ZoneError::Unknown(excerpt(name));
    let zone = ZONES.get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        _ if zone.is_unknown() => Err(unknown()),
        Some(known) if known == name => Ok(zone),
        Some(known) => Err(ZoneError::Case { found: excerpt(name), known: known.to_owned() }),
        None => Err(unknown()),
    }
}

fn is_part(part: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    matches!(part.len(), 1..=14)
        && !matches!(part, "." | "..")
        && !part.starts_with('-')
        && part.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_exactly() {
        for name in ["UTC", "Etc/UTC", "CET", "EST5EDT", "America/North_Dakota/New_Salem"] {
            assert_eq!(zone(name).map(|z| z.iana_name().map(str::to_owned)), Ok(Some(name.into())));
        }
        assert!(matches!(zone("europe/berlin"), Err(ZoneError::Case { .. })));
        assert!(matches!(zone("utc"), Err(ZoneError::Case { .. })));
        for name in ["Etc/Unknown", "Nowhere/City", "GMT+8", "posixrules", "Europe"] {
            assert!(matches!(zone(name), Err(ZoneError::Unknown(_))), "{name}");
        }
        for name in ["../UTC", "+08:00", "UTC/", "/UTC", "-UTC", "Europe//Berlin", "A/B C", "İ"] {
            assert!(matches!(zone(name), Err(ZoneError::Malformed(_))), "{name}");
        }
        assert!(matches!(zone("lOCAL"), Err(ZoneError::Local(_))));
        assert_eq!(zone(""), Err(ZoneError::Empty));
    }

    #[test]
    fn a_prefix_may_be_empty_or_local() {
        assert_eq!(of_prefix(""), Ok(Some(TimeZone::UTC)));
        assert_eq!(of_prefix("Local"), Ok(None));
        assert!(of_prefix("local").is_err());
    }
}
