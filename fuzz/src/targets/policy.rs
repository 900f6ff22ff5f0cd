use std::sync::OnceLock;

use plimsoll::engine::{self, Request};
use plimsoll::facts::NamespaceFacts;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::load;

use super::super::fixtures::{Fixture, kind};

/// Policies: they are refused with their place, or can be judged by.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policies = match load::from_texts(&[("policy.yaml".to_owned(), text.to_owned())]) {
        Ok(policies) => policies,
        Err(error) => {
            assert!(error.to_string().contains("policy.yaml"), "{error}");
            return;
        }
    };
    let now = super::NOW.parse().unwrap();
    let mut facts = NamespaceFacts::default();
    facts.labels = Some([("environment", "production")].into_iter().collect());
    for (kind, namespace, object) in objects() {
        let request = Request::create(*kind, namespace, Object::read(*kind, object).unwrap());
        engine::fill_in(&request, &policies, &facts, now);
        engine::judge(&request, &policies, &facts, now);
    }
}

/// One object of each fixture's folder.
fn objects() -> &'static [(Kind, String, String)] {
    static OBJECTS: OnceLock<Vec<(Kind, String, String)>> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let mut all: Vec<_> = Fixture::all();
        all.dedup_by_key(|fixture| fixture.namespace.split("--").next().unwrap_or_default().to_owned());
        let object = |fixture: Fixture| {
            let object = &fixture.review["request"]["object"];
            Some((kind(object)?, "shop".to_owned(), object.to_string()))
        };
        all.into_iter().filter_map(object).collect()
    })
}
