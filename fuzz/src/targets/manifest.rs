use plimsoll::manifest;
use serde_json::Value;

/// A manifest as `check` reads it: errors and fields have a place in the text, and what was read reads
/// the same when it is written as JSON.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // YAML has more line ends than most.
    let lines = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u32 + 2;
    match manifest::parse("a.yaml", text) {
        Ok(documents) => {
            for document in documents {
                places(&document, &document.value, "", lines);
                let json = document.value.to_string();
                let again =
                    manifest::parse("a.json", &json).unwrap_or_else(|error| panic!("{error}: {json}"));
                let kind = document.value["kind"].as_str().unwrap_or_default();
                if !kind.ends_with("List") {
                    let [again] = again.as_slice() else { panic!("one document: {json}") };
                    assert_eq!(again.value, document.value);
                }
            }
        }
        Err(error) => {
            let at = error.position;
            assert!((1..=lines).contains(&at.line) && at.column >= 1, "{error}");
            assert!(!error.problem.is_empty());
        }
    }
}

fn places(document: &manifest::Document, value: &Value, at: &str, lines: u32) {
    let position = document.position(at).expect("every field has a place");
    assert!((1..=lines).contains(&position.line), "{at}: {position}");
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter()
                .for_each(|(key, value)| places(document, value, &format!("{at}/{}", escape(key)), lines));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(i, value)| places(document, value, &format!("{at}/{i}"), lines));
        }
        _ => {}
    }
}
