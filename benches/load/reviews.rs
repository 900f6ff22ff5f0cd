//! What is sent: reviews that a real API server sent, and a large one made of one of them.

/// One kind of request.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) path: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) is_allowed: bool,
    pub(crate) is_patched: bool,
}

/// The size of the large one.
const LARGE: usize = 1 << 20;

pub(crate) fn all() -> Vec<Case> {
    let case = |name: &str, path, body: &[u8], is_allowed, is_patched| {
        let kib = body.len() as f64 / 1024.0;
        Case { name: format!("{name} {kib:.1} KiB"), path, body: body.to_vec(), is_allowed, is_patched }
    };
    let create = include_bytes!("../reviews/create.json");
    let plain = include_bytes!("../reviews/create-plain.json");
    vec![
        case("create", "/validate", create, true, false),
        case("create, denied", "/validate", include_bytes!("../reviews/create-denied.json"), false, false),
        case("update", "/validate", include_bytes!("../reviews/update.json"), true, false),
        case("scale", "/validate", include_bytes!("../reviews/scale.json"), true, false),
        case("create, nothing to fill in", "/mutate", create, true, false),
        case("create, filled in", "/mutate", plain, true, true),
        case("large create", "/validate", &large(create), true, false),
    ]
}

/// The same object with environment variables up to the size of the largest objects there are.
fn large(review: &[u8]) -> Vec<u8> {
    let mut review: serde_json::Value = serde_json::from_slice(review).unwrap();
    let env = &mut review["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["env"];
    let env = env.as_array_mut().unwrap();
    let value = "x".repeat(200);
    for index in 0..LARGE / 250 {
        env.push(serde_json::json!({"name": format!("SETTING_{index:05}"), "value": value}));
    }
    serde_json::to_vec(&review).unwrap()
}
