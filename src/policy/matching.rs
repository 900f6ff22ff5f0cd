//! Which objects a policy applies to.

use wildmatch::WildMatch;

use crate::object::{LabelSelector, Labels};

/// A policy's `spec.match`.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Namespaces by label.
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces by name or glob.
    pub namespaces: Vec<WildMatch>,
    /// Namespaces that the policy never applies to, by name or glob.
    pub exclude_namespaces: Vec<WildMatch>,
    /// Objects by label.
    pub object_selector: Option<LabelSelector>,
}

impl Match {
    /// Whether the policy applies in a namespace. Either the names or the selector match; with
    /// neither it applies everywhere. Labels that nobody knows match no selector.
    pub fn namespace(&self, name: &str, labels: Option<&Labels>) -> bool {
        if self.exclude_namespaces.iter().any(|glob| glob.matches(name)) {
            return false;
        }
        let by_name = self.namespaces.iter().any(|glob| glob.matches(name));
        match &self.namespace_selector {
            Some(selector) => by_name || labels.is_some_and(|labels| selector.matches(labels)),
            None => by_name || self.namespaces.is_empty(),
        }
    }

    /// Whether the policy applies to an object with these labels.
    pub fn object(&self, labels: &Labels) -> bool {
        self.object_selector.as_ref().is_none_or(|selector| selector.matches(labels))
    }

    /// Whether it takes a namespace's labels to tell.
    pub fn needs_labels(&self) -> bool {
        self.namespace_selector.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn names_or_selector_match_and_exclusion_wins() {
        let selector =
            LabelSelector { match_labels: labels(&[("environment", "production")]), ..Default::default() };
        let both = Match {
            namespace_selector: Some(selector),
            namespaces: vec![WildMatch::new("imp"), WildMatch::new("team-*")],
            exclude_namespaces: vec![WildMatch::new("team-x")],
            object_selector: None,
        };
        let production = labels(&[("environment", "production")]);
        assert!(both.namespace("shop", Some(&production)));
        assert!(both.namespace("imp", None));
        assert!(both.namespace("team-a", Some(&labels(&[]))));
        assert!(!both.namespace("shop", Some(&labels(&[]))));
        assert!(!both.namespace("shop", None), "unknown labels match by name only");
        assert!(!both.namespace("team-x", Some(&production)));
        assert!(Match::default().namespace("anything", None));
    }
}
