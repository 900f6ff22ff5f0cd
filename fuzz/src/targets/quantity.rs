use plimsoll::object::Quantity;

/// What Kubernetes writes behind the number of a quantity, but for exponents.
const SUFFIXES: [&str; 15] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// A quantity: it is zero if and only if it is for Kubernetes, which rounds away from zero.
pub fn quantity(data: &[u8]) {
    let Ok(quantity) = serde_json::from_slice::<Quantity<'_>>(data) else { return };
    let zero = quantity.is_zero();
    if let Quantity::Text(text) = &quantity
        && let Some(expected) = is_zero(text)
    {
        assert_eq!(zero, expected, "{}", text.as_str());
    }
}

/// By the grammar of `resource.Quantity`; `None` for what is no quantity.
fn is_zero(text: &str) -> Option<bool> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, suffix) = number.split_at(end);
    let is_number = number.matches('.').count() <= 1 && number.contains(|c: char| c.is_ascii_digit());
    let exponent =
        suffix.strip_prefix(['e', 'E']).map(|digits| digits.strip_prefix(['+', '-']).unwrap_or(digits));
    let is_suffix = SUFFIXES.contains(&suffix)
        || suffix == "Ei"
        || exponent.is_some_and(|digits| {
            !digits.is_empty() && digits.len() < 9 && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    (is_number && is_suffix).then(|| number.bytes().all(|byte| byte == b'0' || byte == b'.'))
}
