//! Values of fields in words: names of months and weekdays, and lists of them.

use super::field::Set;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `day 13`, `days 1 and 15 through 17`.
pub(super) fn day_numbers(set: Set) -> String {
    let word = if set.len() == 1 { "day" } else { "days" };
    format!("{word} {}", values(set, |day| day.to_string()))
}

/// `Monday through Friday`.
pub(super) fn weekdays(set: Set) -> String {
    values(set, |day| name(&WEEKDAYS, day))
}

fn name(names: &[&str], index: u32) -> String {
    // Indices come from a set within the bounds of its field.
    names.get(index as usize).copied().unwrap_or_default().to_owned()
}

/// `June through August`.
pub(super) fn months(set: Set) -> String {
    // January is 1.
    values(set, |month| name(&MONTHS, month.saturating_sub(1)))
}

/// `1, 5 and 10 through 20`.
pub(super) fn values(set: Set, name: impl Fn(u32) -> String) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (from, to) in runs(set) {
        if to - from < 2 {
            parts.extend((from..=to).map(&name));
        } else {
            parts.push(format!("{} through {}", name(from), name(to)));
        }
    }
    list(parts)
}

/// The unbroken runs of values.
pub(super) fn runs(set: Set) -> Vec<(u32, u32)> {
    set.iter().fold(Vec::new(), |mut runs, value| {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == value => *to = value,
            _ => runs.push((value, value)),
        }
        runs
    })
}

/// `a, b and c`.
pub(super) fn list(mut parts: Vec<String>) -> String {
    match parts.pop() {
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} and {last}", parts.join(", ")),
        None => String::new(),
    }
}
