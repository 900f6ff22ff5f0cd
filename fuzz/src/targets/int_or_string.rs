use plimsoll::object::Count;
use serde_json::Value;

/// `[count, total]`: what an IntOrString stands for is what Kubernetes computes, in floating point.
pub fn int_or_string(data: &[u8]) {
    let Ok((count, total)) = serde_json::from_slice::<(Value, i32)>(data) else { return };
    let Ok(read) = serde_json::from_value::<Count>(count.clone()) else { return };
    let said = read.to_string();
    let again = match read {
        Count::Absolute(_) => serde_json::from_str(&said),
        Count::Percent(_) => serde_json::from_value(said.clone().into()),
    };
    assert_eq!(again.ok(), Some(read), "{count} reads as it is printed, {said}");
    let (up, down) = (read.of_rounded_up(total.into()), read.of_rounded_down(total.into()));
    match read {
        Count::Absolute(count) => assert_eq!((up, down), (count, count)),
        // Beyond this floats are not exact, and nobody has as many pods.
        Count::Percent(percent) if percent <= 1_000_000 && total >= 0 => {
            let part = percent as f64 * f64::from(total) / 100.0;
            assert_eq!((up, down), (part.ceil() as i64, part.floor() as i64), "{said} of {total}");
        }
        Count::Percent(_) => {}
    }
}
