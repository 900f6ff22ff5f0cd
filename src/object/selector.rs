//! Label selectors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Labels, few, few_texts, nullable};

/// `metav1.LabelSelector`, owned: it outlives the request in policies and facts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Labels::is_empty")]
    pub match_labels: Labels,
    /// Requirements that must all hold.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LabelSelectorRequirement {
    /// The label's key.
    pub key: String,
    /// How it relates to the values.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    #[serde(default, deserialize_with = "few_texts", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// `metav1.LabelSelectorOperator`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Operator {
    DoesNotExist,
    Exists,
    In,
    NotIn,
}

impl LabelSelector {
    /// Whether labels satisfy it. An empty selector matches everything (apimachinery's
    /// `LabelSelectorAsSelector`); `NotIn` holds for an absent label (`labels.Requirement.Matches`).
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let label = labels.get(&requirement.key);
                let listed = || label.is_some_and(|label| requirement.values.iter().any(|v| v == label));
                match requirement.operator {
                    Operator::DoesNotExist => label.is_none(),
                    Operator::Exists => label.is_some(),
                    Operator::In => listed(),
                    Operator::NotIn => !listed(),
                }
            })
    }

    /// Whether it has no requirement, so that it matches everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector: LabelSelector = serde_json::from_str(selector).unwrap();
        selector.matches(&labels.iter().copied().collect())
    }

    #[test]
    fn requirements_hold_together() {
        let selector = r#"{"matchLabels":{"app":"web"},"matchExpressions":[
            {"key":"tier","operator":"In","values":["a","b"]},{"key":"canary","operator":"DoesNotExist"}]}"#;
        assert!(matches(selector, &[("app", "web"), ("tier", "b")]));
        assert!(!matches(selector, &[("app", "web"), ("tier", "c")]));
        assert!(!matches(selector, &[("app", "web"), ("tier", "b"), ("canary", "")]));
        assert!(!matches(selector, &[("tier", "b")]));
    }

    #[test]
    fn an_empty_selector_matches_everything_and_not_in_holds_for_the_absent() {
        assert!(matches("{}", &[]));
        let not_in = r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["x"]}]}"#;
        assert!(matches(not_in, &[]));
        assert!(!matches(not_in, &[("a", "x")]));
        assert!(matches(r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#, &[("a", "")]));
    }
}
