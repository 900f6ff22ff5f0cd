//! What a misspelt name was probably meant to be.

/// How alike two names must be: `minimum-replicas` and `min-replicas` are 0.9, `image-tag` and `singleton` 0.65.
const ALIKE: f64 = 0.88;

/// The valid name that is most like a wrong one, if any is like it at all.
///
/// Upper case, hyphens and underscores don't count, so `MinReplicas` and `min_replicas` find `min-replicas`.
pub fn nearest<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = plain(wrong);
    let mut best = None;
    for name in valid {
        let likeness = likeness(&wrong, &plain(name));
        if best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, name));
        }
    }
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name)
}

/// A hint to put after an error about a wrong name: the nearest one, or all if there is none.
pub fn hint<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, valid.clone()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => {
            let names: Vec<&str> = valid.into_iter().collect();
            match names.as_slice() {
                [] => "none is known here".to_owned(),
                [name] => format!("expected {name}"),
                names => format!("expected one of {}", names.join(", ")),
            }
        }
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Jaro-Winkler favours a common beginning. It knows nothing of a typing error or two, which weigh little
/// in a long name and much in a short one, nor of half a name (`replicas`).
fn likeness(wrong: &str, name: &str) -> f64 {
    if wrong == name {
        return 1.0;
    }
    let (short, long) = if wrong.len() < name.len() { (wrong, name) } else { (name, wrong) };
    // Nothing is like the empty name, and a name of quite another length is another name.
    if short.is_empty() || 2 * short.len() < long.len() {
        return 0.0;
    }
    let typing_error = match strsim::damerau_levenshtein(wrong, name) {
        1 => long.len() > 3,
        2 => long.len() > 6,
        _ => false,
    };
    let half = short.len() > 4 && long.contains(short);
    let similar = strsim::jaro_winkler(wrong, name);
    if typing_error || half { similar.max(ALIKE) } else { similar }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [&str; 8] = [
        "min-replicas",
        "cron-interval",
        "cron-overlap",
        "probes",
        "resources",
        "spread",
        "tmp-volume",
        "read-only-root-filesystem",
    ];

    #[test]
    fn misspelt_names_are_recognised() {
        for (wrong, right) in [
            ("min-replica", "min-replicas"),
            ("MinReplicas", "min-replicas"),
            ("min_replicas", "min-replicas"),
            ("MIN-REPLICAS", "min-replicas"),
            ("minimum-replicas", "min-replicas"),
            ("cron-intervall", "cron-interval"),
            ("cronoverlap", "cron-overlap"),
            ("T_M_P volume", "tmp-volume"),
            ("porbes", "probes"),
            ("probe", "probes"),
            ("tpm-volume", "tmp-volume"),
            ("read-only-root-fs", "read-only-root-filesystem"),
            ("replicas", "min-replicas"),
            ("interval", "cron-interval"),
        ] {
            assert_eq!(nearest(wrong, RULES), Some(right), "{wrong}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for wrong in ["", "-", "x", "quota", "image-tag", "owner", "r"] {
            assert_eq!(nearest(wrong, RULES), None, "{wrong}");
        }
        assert_eq!(nearest("fix", ["fit", "fix"]), Some("fix"));
        assert_eq!(nearest("F_I-X", ["action", "fix"]), Some("fix"));
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn a_hint_names_one_or_all() {
        assert_eq!(hint("minimun", ["action", "minimum"]), "did you mean \"minimum\"?");
        assert_eq!(hint("quota", ["action", "minimum"]), "expected one of action, minimum");
        assert_eq!(hint("quota", ["action"]), "expected action");
        assert_eq!(hint("quota", []), "none is known here");
    }

    proptest! {
        #[test]
        fn every_name_is_nearest_to_itself(names in prop::collection::hash_set("[a-z]{1,12}", 1..8)) {
            for name in &names {
                prop_assert_eq!(nearest(name, names.iter().map(String::as_str)), Some(name.as_str()));
            }
        }

        #[test]
        fn any_text_is_survived(wrong in any::<String>(), valid in prop::collection::vec(any::<String>(), 0..4)) {
            let found = nearest(&wrong, valid.iter().map(String::as_str));
            prop_assert!(found.is_none_or(|name| valid.iter().any(|other| other == name)));
        }
    }
}
