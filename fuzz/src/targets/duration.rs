use std::time::Duration;

use plimsoll::object::duration::{format_duration, parse_duration, spell_duration};

/// A duration of a policy: what is read is printed so that it reads the same, to the
/// millisecond.
pub fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(duration) = parse_duration(text) {
        let whole = Duration::from_millis(u64::try_from(duration.as_millis()).expect("it was read"));
        assert_eq!(parse_duration(&format_duration(duration)), Ok(whole), "{text}");
        assert!(!spell_duration(duration).is_empty(), "{text}");
    }
}
