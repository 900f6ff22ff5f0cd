use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(text: &str) -> Document {
    let mut documents = parse("prod.yaml", text).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn at(document: &Document, pointer: &str) -> (u32, u32) {
    let position = document.position(pointer).unwrap();
    (position.line, position.column)
}

fn error(text: &str) -> String {
    parse("prod.yaml", text).unwrap_err().to_string()
}

#[test]
fn values_are_what_kubectl_would_send() {
    let document = one("
mode: 0644
explicit: 0o17
octal: 012
booleans: [yes, on, Yes, true]
falsehoods: [no, off, NO, false]
quoted: [\"yes\", '0644', \"on\"]
thousand: 1_000
hex: 0x1F
whole: 2.0
exponent: 1e3
half: 0.5
version: 1.30
nothing: [~, null, ]
time: 1:30
date: 2026-12-01
great: 18446744073709551615
greater: 18446744073709551616
binary: 0b11
minus: -3
text: |
  two
  lines
");
    assert_eq!(
        document.value,
        json!({
            "mode": 420, "explicit": 15, "octal": 10,
            "booleans": [true, true, true, true], "falsehoods": [false, false, false, false],
            "quoted": ["yes", "0644", "on"], "thousand": 1000, "hex": 31, "whole": 2, "exponent": 1000,
            "half": 0.5, "version": 1.3, "nothing": [null, null], "time": "1:30", "date": "2026-12-01",
            "great": 18_446_744_073_709_551_615_u64, "greater": 18_446_744_073_709_551_616.0, "binary": 3,
            "minus": -3, "text": "two\nlines\n",
        })
    );
}

#[test]
fn a_key_that_looks_like_a_boolean_stays_as_written() {
    assert_eq!(one("on: 1\n5: x\ntrue: z\n").value, json!({"on": 1, "5": "x", "true": "z"}));
}

#[test]
fn documents_are_counted_and_empty_ones_skipped() {
    let text =
        "\u{feff}---\n# only a comment\n---\na: 1\n---\n---\nnull\n--- {b: 2}\n...\n---\r\nc: 3\r\nd: 4\r\n";
    let documents = parse("-", text).unwrap();
    let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2}), json!({"c": 3, "d": 4})]);
    assert_eq!(at(&documents[0], "/a"), (4, 1));
    assert_eq!(at(&documents[1], "/b"), (8, 6));
    assert_eq!(at(&documents[2], "/d"), (12, 1));
    assert_eq!(documents[2].line_text(12), Some("d: 4"));
    assert_eq!(documents[2].line_text(0), None);
    assert_eq!(documents[2].line_text(13), None);
    for empty in ["", "\n", "---\n", "# nothing\n", "~"] {
        assert_eq!(parse("-", empty).unwrap().len(), 0, "{empty:?}");
    }
}

#[test]
fn positions_are_those_of_keys_and_items() {
    let document = one("\
kind: Deployment
metadata:
  annotations:
    waiver.plimsoll.dev/min~replicas: x
    ~1: x
spec:
  containers:
  - name: app
    args: [a,
      b]
");
    assert_eq!(at(&document, ""), (1, 1));
    assert_eq!(at(&document, "/kind"), (1, 1));
    assert_eq!(document.value_position("/kind"), Some(Position { line: 1, column: 7 }));
    assert_eq!(at(&document, "/metadata/annotations/waiver.plimsoll.dev~1min~0replicas"), (4, 5));
    assert_eq!(at(&document, "/metadata/annotations/~01"), (5, 5));
    assert_eq!(at(&document, "/spec/containers/0"), (8, 5));
    assert_eq!(at(&document, "/spec/containers/0/args/1"), (10, 7));
    // What isn't there is reported where it would be.
    assert_eq!(at(&document, "/spec/replicas"), (6, 1));
    assert_eq!(at(&document, "/spec/containers/0/securityContext/runAsNonRoot"), (8, 5));
    assert_eq!(at(&document, "/spec/containers/7/name"), (7, 3));
    assert_eq!(at(&document, "/nowhere"), (1, 1));
    assert_eq!(document.position("kind"), None);
}

#[test]
fn aliases_and_merges_are_where_they_are_used() {
    let document = one("\
base: &base {cpu: 1, memory: 2}
copy: *base
merged:
  <<: *base
  cpu: 3
");
    assert_eq!(document.value["copy"], json!({"cpu": 1, "memory": 2}));
    assert_eq!(document.value["merged"], json!({"cpu": 3, "memory": 2}));
    assert_eq!(at(&document, "/base/memory"), (1, 22));
    assert_eq!(document.value_position("/copy"), Some(Position { line: 2, column: 7 }));
    assert_eq!(at(&document, "/copy/memory"), (2, 7));
    assert_eq!(at(&document, "/merged/memory"), (4, 7));
    assert_eq!(at(&document, "/merged/cpu"), (5, 3));
}

#[test]
fn lists_are_flattened_with_their_positions() {
    let documents = parse(
        "list.yaml",
        "\
kind: List
apiVersion: v1
items:
- {kind: A}
- kind: List
  items:
  - kind: B
    x: 1
---
kind: DeploymentList
apiVersion: apps/v1
items: [{x: 2}]
---
kind: List
---
kind: AllowList
spec: {}
---
kind: AllowList
items: all
",
    )
    .unwrap();
    let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    assert_eq!(
        values,
        [
            json!({"kind": "A"}),
            json!({"kind": "B", "x": 1}),
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "x": 2}),
            json!({"kind": "AllowList", "spec": {}}),
            json!({"kind": "AllowList", "items": "all"}),
        ]
    );
    assert_eq!(at(&documents[0], ""), (4, 3));
    assert_eq!(at(&documents[1], "/x"), (8, 5));
    assert_eq!(at(&documents[2], "/x"), (12, 10));
    assert_eq!(at(&documents[4], "/items"), (20, 1));
}

#[test]
fn json_is_read_in_every_form_that_kubectl_takes() {
    let document = one("{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [\n\t\t1.0, \"0644\"\n\t]\n}\n");
    assert_eq!(document.value, json!({"a": "😀/", "b": [1, "0644"]}));
    assert_eq!(at(&document, "/b/1"), (4, 8));

    let documents = parse("-", "{\"a\": 1} {\"b\": {\"c\": 2}}\n{\"d\":\n\"é\"}{\"e\":0}\n").unwrap();
    assert_eq!(documents.len(), 4);
    assert_eq!(at(&documents[1], ""), (1, 10));
    assert_eq!(at(&documents[1], "/b/c"), (1, 17));
    assert_eq!(at(&documents[2], "/d"), (2, 2));
    assert_eq!(documents[2].value_position("/d"), Some(Position { line: 3, column: 1 }));
    assert_eq!(at(&documents[3], "/e"), (3, 6));

    let long = "k".repeat(5_000);
    assert_eq!(one(&format!("{{\"{long}\": 1}}")).value[&long], 1);
}

#[test]
fn errors_name_file_line_column_and_what_is_wrong() {
    for (text, message) in [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "prod.yaml:4:3: the key \"c\" is given twice"),
        ("{\"a\": 1,\n \"a\": 2}", "prod.yaml:2:2: the key \"a\" is given twice"),
        ("a: b: c\n", "prod.yaml:1:5: mapping values are not allowed in this context"),
        ("a:\n\t- b\n", "prod.yaml:2:2: tabs disallowed within this context (block indentation)"),
        ("a: *x\n", "prod.yaml:1:4: this alias has no anchor above it"),
        ("a: &x [*x]\n", "prod.yaml:1:8: an alias can't contain itself"),
        ("a: .inf\n", "prod.yaml:1:4: value `.inf` is not a finite number"),
        ("a: !!int x\n", "prod.yaml:1:10: not a valid u64"),
        ("<<: 3\n", "prod.yaml:1:5: << can merge only mappings"),
        ("~: 3\n", "prod.yaml:1:1: null can't be a key"),
        ("? [a]\n: 3\n", "prod.yaml:1:3: a key must be a string"),
        (
            "a: 1\nb: {{ .Values.b }}\n",
            "prod.yaml:2:5: a key must be a string (is this a template? Render it first)",
        ),
        ("- a\n", "prod.yaml:1:1: expected an object with apiVersion and kind, found a list"),
        ("a: 1\n---\nhello\n", "prod.yaml:3:1: expected an object with apiVersion and kind, found \"hello\""),
        (
            "kind: List\nitems:\n- {}\n- 5\n",
            "prod.yaml:4:3: expected an object with apiVersion and kind, found 5",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn a_bomb_of_aliases_is_stopped() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let message = error(&text);
    assert!(message.ends_with("nested too deeply, or too large once its aliases are expanded"), "{message}");
}

#[test]
fn deep_nesting_is_refused_and_what_kubernetes_has_is_not() {
    let nested = |depth: usize| format!("{{a: {}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parse("-", &nested(60)).unwrap().len(), 1);
    for depth in [100, 100_000] {
        assert!(parse("-", &nested(depth)).is_err());
    }
    let indented: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(parse("-", &indented).is_err());
}

#[test]
fn a_large_file_is_no_bomb() {
    let text = "---\nkind: ConfigMap\ndata: {a: &x b, c: *x}\n".repeat(2_000);
    assert_eq!(parse("-", &text).unwrap().len(), 2_000);
}

fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "&x ",
        "*x",
        "<<: ",
        "|",
        ">-",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "? ",
        ": ",
        "!!int ",
        "%YAML 1.1\n",
        "\t",
        "~",
        "kind: List\nitems:",
        ",",
        "0644",
        "\\",
        "\u{feff}",
        "\r",
        "é",
        "{{",
        "\"a\":",
        "1e999",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn survives(text: &str) {
    match parse("-", text) {
        Ok(documents) => {
            for document in documents {
                check(&document, &document.value, &mut String::new());
            }
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            assert!(error.position.line >= 1 && error.position.column >= 1);
        }
    }
}

/// Everything that has a value has a position of its own.
fn check(document: &Document, value: &Value, pointer: &mut String) {
    let tree = document.find(pointer).unwrap();
    let length = pointer.len();
    let mut child = |name: &str, value: &Value| {
        pointer.push_str(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        check(document, value, pointer);
        pointer.truncate(length);
    };
    match (value, &tree.inside) {
        (Value::Object(fields), Inside::Fields(trees)) => {
            assert_eq!(fields.len(), trees.len());
            fields.iter().for_each(|(name, value)| child(name, value));
        }
        (Value::Array(items), Inside::Items(trees)) => {
            assert_eq!(items.len(), trees.len());
            items.iter().enumerate().for_each(|(index, value)| child(&index.to_string(), value));
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Inside::Fields(_) | Inside::Items(_)) => {
            panic!("{value} has other positions at {pointer:?}")
        }
        _ => (),
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[ -~\n\té😀\u{85}\u{2028}]{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/. ]{0,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,3}", value, 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn anything_like_yaml_is_survived(text in yaml_like()) {
        survives(&text);
    }

    #[test]
    fn json_reads_as_itself(value in json_value(), other in json_value(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}\n{other:#}") } else { format!("{value}{other}") };
        let documents = parse("-", &text).unwrap();
        prop_assert_eq!(&documents[0].value, &value);
        prop_assert_eq!(&documents[1].value, &other);
        survives(&text);
    }

    #[test]
    fn any_pointer_is_survived(pointer in any::<String>(), segments in "(/[a-c0-2~]{0,3}){0,4}") {
        let document = one("a: {b: [1, {c: 2}]}\n0: [[3]]\n");
        document.position(&pointer);
        prop_assert!(document.position(&segments).is_some());
    }
}
