use plimsoll::object::{LabelSelector, Labels};
use serde_json::Value;

/// `[selector, labels]`: who is selected is who apimachinery selects.
pub fn selector(data: &[u8]) {
    let Ok((selector, labels)) = serde_json::from_slice::<(Value, Value)>(data) else { return };
    // What isn't read as the API has it never gets here; and labels end with a NUL where they are kept.
    if !is_as_in_the_api(&selector)
        || selector.to_string().contains("\\u0000")
        || labels.to_string().contains("\\u0000")
    {
        return;
    }
    let Ok(read) = serde_json::from_value::<LabelSelector>(selector.clone()) else { return };
    let Ok(own) = serde_json::from_value::<Labels>(labels.clone()) else { return };
    assert_eq!(read.matches(&own), selects(&selector, &labels), "{selector} {labels}");
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(serde_json::from_value::<LabelSelector>(written).unwrap(), read);
}

/// Whether there are no lists where the API has structs, which serde takes, too.
fn is_as_in_the_api(selector: &Value) -> bool {
    selector.is_object()
        && selector["matchExpressions"].as_array().is_none_or(|needs| needs.iter().all(Value::is_object))
}

/// `LabelSelectorAsSelector` and `Requirement.Matches`, over JSON.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let needs = selector["matchExpressions"].as_array().into_iter().flatten();
    let needs = needs.map(|need| {
        let key = &need["key"];
        let label = labels.get(key.as_str().unwrap_or_default());
        let listed =
            need["values"].as_array().is_some_and(|values| label.is_some_and(|l| values.contains(l)));
        match need["operator"].as_str() {
            Some("In") => listed,
            Some("NotIn") => !listed,
            Some("Exists") => label.is_some(),
            Some("DoesNotExist") => label.is_none(),
            other => panic!("{other:?} is no operator"),
        }
    });
    equal.map(|(key, value)| labels.get(key) == Some(value)).chain(needs).all(|holds| holds)
}
