use std::{borrow::Cow, collections::BTreeMap, num::NonZeroU32};

use proptest::prelude::*;
use serde_json::json;

use super::{super::parse, *};

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policy<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    action: Action,
    runbook: Option<&'a str>,
    #[serde(default)]
    rules: BTreeMap<String, Rule>,
    #[serde(default)]
    workloads: Vec<Workload>,
    #[serde(default)]
    allow: Allow,
    replicas: Option<NonZeroU32>,
    days: Option<Days>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
enum Action {
    #[default]
    Deny,
    Warn,
    Off,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    minimum: Option<u8>,
    ratio: Option<f64>,
    fix: Option<bool>,
    max_surge: Option<i64>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Workload {
    kind: String,
    #[serde(default, alias = "ns")]
    namespace: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
enum Allow {
    #[default]
    All,
    Only(Vec<String>),
    Range(u8, u8),
    Until {
        date: String,
    },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Days(u32);

impl TryFrom<String> for Days {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        days.map(Self).ok_or_else(|| format!("expected a number of days such as 90d, found {text:?}"))
    }
}

fn fails(value: &Value) -> (String, String) {
    let error = from_value::<Policy<'_>>(value).unwrap_err();
    (error.pointer.clone(), error.to_string())
}

#[test]
fn what_is_right_is_read() {
    let value = json!({
        "name": "production", "action": "Warn", "runbook": "https://example.com",
        "rules": {"min-replicas": {"minimum": 2, "ratio": 1, "fix": true, "maxSurge": -1}},
        "workloads": [{"kind": "Deployment", "ns": "imp"}], "allow": {"Only": ["a", "b"]}, "replicas": 3, "days": "90d",
    });
    let policy: Policy<'_> = from_value(&value).unwrap();
    assert_eq!(
        policy,
        Policy {
            name: "production".into(),
            action: Action::Warn,
            runbook: Some("https://example.com"),
            rules: [(
                "min-replicas".to_owned(),
                Rule { minimum: Some(2), ratio: Some(1.0), fix: Some(true), max_surge: Some(-1) }
            )]
            .into(),
            workloads: vec![Workload { kind: "Deployment".to_owned(), namespace: "imp".to_owned() }],
            allow: Allow::Only(vec!["a".to_owned(), "b".to_owned()]),
            replicas: NonZeroU32::new(3),
            days: Some(Days(90)),
        }
    );
    assert!(matches!(policy.name, Cow::Borrowed(_)));
    for (allow, read) in [
        (json!("All"), Allow::All),
        (json!({"All": null}), Allow::All),
        (json!({"Range": [1, 2]}), Allow::Range(1, 2)),
        (json!({"Until": {"date": "x"}}), Allow::Until { date: "x".to_owned() }),
    ] {
        assert_eq!(from_value::<Allow>(&allow), Ok(read));
    }
    assert_eq!(from_value::<Value>(&value), Ok(value.clone()));
}

#[test]
fn null_is_absent() {
    let value = json!({
        "name": "x", "action": null, "runbook": null, "rules": null, "workloads": null, "allow": null,
    });
    assert_eq!(from_value::<Policy<'_>>(&value), Ok(Policy { name: "x".into(), ..Policy::default() }));
    // A rule that is only named has its defaults.
    let value = json!({"name": "x", "rules": {"probes": null}});
    let policy: Policy<'_> = from_value(&value).unwrap();
    assert_eq!(policy.rules["probes"], Rule::default());
    assert_eq!(fails(&json!({"name": null})).1, "missing field \"name\"");
    assert_eq!(fails(&json!({"name": "x", "acton": null})).0, "/acton");
    assert_eq!(from_value::<Vec<String>>(&Value::Null), Ok(Vec::new()));
    assert_eq!(from_value::<Vec<String>>(&json!([null])).unwrap_err().pointer, "/0");
}

#[test]
fn errors_read_as_a_user_sees_them() {
    let with = |name: &str, value: Value| json!({"name": "x", name: value});
    for (value, pointer, message) in [
        (
            with("rules", json!({"min-replicas": {"minimun": 2}})),
            "/rules/min-replicas/minimun",
            "unknown field \"minimun\" in rules.min-replicas; did you mean \"minimum\"?",
        ),
        (
            with("rules", json!({"a.b/c": {"quota": 2}})),
            "/rules/a.b~1c/quota",
            "unknown field \"quota\" in rules[\"a.b/c\"]; expected one of minimum, ratio, fix, maxSurge",
        ),
        (
            with("rules", json!({"a~1": {"fix": 2}})),
            "/rules/a~01/fix",
            "rules[\"a~1\"].fix: expected true or false, found 2",
        ),
        (with("Action", json!("Deny")), "/Action", "unknown field \"Action\"; did you mean \"action\"?"),
        (
            with("workloads", json!([{"kind": "a"}, {}])),
            "/workloads/1",
            "missing field \"kind\" in workloads[1]",
        ),
        (
            with("workloads", json!([{"kind": "a", "ns": "a", "namespace": "b"}])),
            "/workloads/0",
            "field \"namespace\" is given twice in workloads[0]",
        ),
        (with("action", json!("deny")), "/action", "action: unknown value \"deny\"; did you mean \"Deny\"?"),
        (
            with("action", json!("Explode")),
            "/action",
            "action: unknown value \"Explode\"; expected one of Deny, Warn, Off",
        ),
        (with("action", json!(true)), "/action", "action: expected one of Deny, Warn, Off, found true"),
        (with("action", json!({"Deny": 1})), "/action/Deny", "action.Deny: expected nothing, found 1"),
        (
            with("allow", json!({"Only": [], "All": null})),
            "/allow",
            "allow: expected exactly one of All, Only, Range, Until, found a mapping",
        ),
        (with("allow", json!("Only")), "/allow", "allow: expected {Only: …}, found \"Only\""),
        (
            with("allow", json!({"Only": ["a", 1]})),
            "/allow/Only/1",
            "allow.Only[1]: expected a string, found 1",
        ),
        (
            with("allow", json!({"Onyl": []})),
            "/allow/Onyl",
            "allow.Onyl: unknown value \"Onyl\"; did you mean \"Only\"?",
        ),
        (
            with("allow", json!({"Range": [1]})),
            "/allow/Range",
            "allow.Range: expected a list of 2, found a list of 1",
        ),
        (with("rules", json!([])), "/rules", "rules: expected a mapping, found a list"),
        (with("workloads", json!({})), "/workloads", "workloads: expected a list, found a mapping"),
        (with("name", json!(1.5)), "/name", "name: expected a string, found 1.5"),
        (with("replicas", json!(0)), "/replicas", "replicas: expected a nonzero u32, found 0"),
        (with("days", json!("90")), "/days", "days: expected a number of days such as 90d, found \"90\""),
    ] {
        assert_eq!(fails(&value), (pointer.to_owned(), message.to_owned()));
    }
    assert_eq!(fails(&json!([])).1, "expected a mapping, found a list");
}

#[test]
fn numbers_say_their_bounds() {
    for (field, value, message) in [
        ("minimum", json!(256), "expected a whole number of at most 255, found 256"),
        ("minimum", json!(-1), "expected a whole number of at least 0, found -1"),
        ("minimum", json!("two"), "expected a whole number, found \"two\""),
        ("minimum", json!(2.5), "expected a whole number, found 2.5"),
        ("minimum", json!(true), "expected a whole number, found true"),
        (
            "maxSurge",
            json!(9_223_372_036_854_775_808_u64),
            "expected a whole number of at most 9223372036854775807, found 9223372036854775808",
        ),
        ("maxSurge", json!(1e30), "expected a whole number of at most 9223372036854775807, found 1e+30"),
        ("maxSurge", json!(-1e30), "expected a whole number of at least -9223372036854775808, found -1e+30"),
        ("ratio", json!("1"), "expected a number, found \"1\""),
        ("fix", json!("yes"), "expected true or false, found \"yes\""),
        ("fix", json!({}), "expected true or false, found a mapping"),
    ] {
        let error = from_value::<Rule>(&json!({ field: value })).unwrap_err();
        assert_eq!(error.to_string(), format!("{field}: {message}"));
    }
}

#[test]
fn a_long_string_is_cut_and_control_characters_are_escaped() {
    let message = fails(&json!({"name": "x", "rules": "a\u{1b}[31m".repeat(100)})).1;
    assert!(message.chars().count() < 200, "{message}");
    assert!(!message.contains(char::is_control) && message.ends_with("…\""), "{message}");
}

#[test]
fn a_document_names_the_line() {
    let text = "\
kind: InvariantPolicy
name: production
rules:
  min-replicas:
    minimun: 2
workloads:
- namespace: imp
action: Dney
";
    let document = parse("policies/production.yaml", text).unwrap().remove(0);
    let Value::Object(mut fields) = document.value.clone() else { panic!() };
    fields.remove("kind");
    let mut errors = Vec::new();
    for (field, fixed) in [("action", json!("Deny")), ("rules", json!({})), ("workloads", json!([]))] {
        let value = Value::Object(fields.clone());
        errors.push(document.error(&from_value::<Policy<'_>>(&value).unwrap_err()).to_string());
        fields.insert(field.to_owned(), fixed);
    }
    assert_eq!(
        errors,
        [
            "policies/production.yaml:8:9: action: unknown value \"Dney\"; did you mean \"Deny\"?",
            "policies/production.yaml:5:5: unknown field \"minimun\" in rules.min-replicas; did you mean \"minimum\"?",
            "policies/production.yaml:7:3: missing field \"kind\" in workloads[0]",
        ]
    );
    // A part that was read on its own finds its place again.
    let error = from_value::<Rule>(&document.value["rules"]["min-replicas"]).unwrap_err();
    assert_eq!(document.error(&error.under("/rules/min-replicas")).to_string(), errors[1]);
    let error = StrictError::other("/workloads/0/namespace", "no such namespace");
    assert_eq!(
        document.error(&error).to_string(),
        "policies/production.yaml:7:14: workloads[0].namespace: no such namespace"
    );
    assert_eq!(
        document.error_at("/rules/min-replicas", "unknown rule").to_string(),
        "policies/production.yaml:4:3: unknown rule"
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "name",
        "action",
        "rules",
        "allow",
        "Only",
        "workloads",
        "minimum",
        "~/",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        name.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..5).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_survived_and_errors_point_into_it(value in any_value()) {
        if let Err(error) = from_value::<Policy<'_>>(&value) {
            prop_assert!(value.pointer(&error.pointer).is_some(), "{error:?}");
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn serde_json_agrees(value in any_value()) {
        if let (true, Ok(theirs)) = (value.is_object(), serde_json::from_value::<Rule>(value.clone())) {
            prop_assert_eq!(from_value::<Rule>(&value), Ok(theirs));
        }
    }
}
