//! What a watch hears, put into the facts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use tracing::warn;

use crate::facts::{Carrier, Fact, Facts, NamespaceFacts};
use crate::object::{Kind, Object, Text, nullable};

/// Namespace and name. A namespace itself has none of the former.
type Key = (String, String);

/// The facts of one kind. Objects are projected one by one, so that neither `managedFields` nor
/// anything else that no rule reads outlives the answer that it came in.
pub(super) struct Cache {
    kind: Kind,
    facts: Arc<Facts>,
    count: usize,
    /// What was complained about already.
    unreadable: HashSet<Key>,
}

/// What became of an object.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stored {
    /// Something of it is kept.
    Kept,
    /// Nothing of it is worth keeping.
    Passed,
    /// It can't be read.
    Unreadable,
}

/// A list in progress.
#[derive(Default)]
pub(super) struct Listing {
    /// Names by the namespace whose facts they belong to.
    known: BTreeMap<String, BTreeSet<String>>,
    unreadable: HashSet<Key>,
}

/// What says which object it is and how new; read on its own, since an object that can't be read
/// can still be told from others, and has to be.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    metadata: Identity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    namespace: Text<'a>,
    #[serde(borrow)]
    resource_version: Option<Text<'a>>,
}

impl Identity<'_> {
    fn version(&self) -> Option<String> {
        self.resource_version.as_deref().filter(|version| !version.is_empty()).map(str::to_owned)
    }
}

impl Cache {
    pub(super) fn new(kind: Kind, facts: Arc<Facts>) -> Self {
        Self { kind, facts, count: 0, unreadable: HashSet::new() }
    }

    /// How many objects are known.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Begins a list. What it brings counts at once; what it lacks is forgotten at its end.
    pub(super) fn list(&self) -> Listing {
        Listing::default()
    }

    /// Takes in one object of a list.
    pub(super) fn list_item(&mut self, listing: &mut Listing, text: &str) {
        let Some(identity) = self.identify(text) else { return };
        let key = self.key(&identity);
        match self.store(&key, text) {
            Stored::Kept => {
                listing.known.entry(self.home(&key).to_owned()).or_default().insert(key.1);
            }
            Stored::Passed => {}
            Stored::Unreadable => drop(listing.unreadable.insert(key)),
        }
    }

    /// Ends a list: what it did not bring is gone.
    pub(super) fn replace(&mut self, listing: Listing) {
        self.facts.retain(self.kind, &listing.known);
        self.count = listing.known.values().map(BTreeSet::len).sum();
        self.unreadable = listing.unreadable;
    }

    /// Takes in an object that is new or has changed, and returns its version.
    pub(super) fn put(&mut self, text: &str) -> Option<String> {
        let identity = self.identify(text)?;
        let key = self.key(&identity);
        let was = self.knows(&key);
        let is = self.store(&key, text) == Stored::Kept;
        self.count = (self.count + usize::from(is)).saturating_sub(usize::from(was));
        identity.version()
    }

    /// Forgets an object, and returns the version of its end.
    pub(super) fn remove(&mut self, text: &str) -> Option<String> {
        let identity = self.identify(text)?;
        let key = self.key(&identity);
        self.count = self.count.saturating_sub(usize::from(self.knows(&key)));
        self.unreadable.remove(&key);
        self.update(&key, |facts, name| facts.remove(self.kind, name));
        identity.version()
    }

    /// Puts an object into the facts, or complains once and takes out what was known of it: an
    /// outdated fact would be as wrong as none and would not be read live.
    fn store(&mut self, key: &Key, text: &str) -> Stored {
        match Object::read(self.kind, text) {
            Ok(object) => {
                self.unreadable.remove(key);
                let (fact, carrier) = (Fact::project(&object), Carrier::project(&object));
                let is_kept = fact.is_some() || carrier.is_some();
                if !is_kept && !self.knows(key) {
                    return Stored::Passed;
                }
                self.update(key, |facts, name| {
                    fact.into_iter().for_each(|fact| facts.insert(fact));
                    facts.carry(self.kind, name, carrier);
                });
                if is_kept { Stored::Kept } else { Stored::Passed }
            }
            Err(error) => {
                if self.unreadable.insert(key.clone()) {
                    let (namespace, name) = key;
                    warn!(kind = %self.kind, namespace, name, %error, "object is left out of the facts");
                }
                self.update(key, |facts, name| facts.remove(self.kind, name));
                Stored::Unreadable
            }
        }
    }

    fn identify<'a>(&self, text: &'a str) -> Option<Identity<'a>> {
        match serde_json::from_str::<Envelope<'a>>(text) {
            Ok(envelope) => Some(envelope.metadata),
            Err(error) => {
                warn!(kind = %self.kind, %error, "an object without a name is left out of the facts");
                None
            }
        }
    }

    fn key(&self, identity: &Identity<'_>) -> Key {
        (identity.namespace.to_string(), identity.name.to_string())
    }

    fn update(&self, key: &Key, change: impl FnOnce(&mut NamespaceFacts, &str)) {
        self.facts.update(self.home(key), |facts| change(facts, &key.1));
    }

    /// The namespace whose facts an object belongs to.
    fn home<'a>(&self, (namespace, name): &'a Key) -> &'a str {
        if self.kind == Kind::Namespace { name } else { namespace }
    }

    fn knows(&self, key: &Key) -> bool {
        self.facts.namespace(self.home(key)).knows(self.kind, &key.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str =
        r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"7"},"spec":{"replicas":3}}"#;
    const BAD: &str =
        r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"8"},"spec":{"replicas":"x"}}"#;

    fn cache(kind: Kind) -> (Cache, Arc<Facts>) {
        let facts = Arc::new(Facts::default());
        (Cache::new(kind, Arc::clone(&facts)), facts)
    }

    #[test]
    fn changes_are_taken_in_and_counted() {
        let (mut cache, facts) = cache(Kind::Deployment);
        assert_eq!(cache.put(WEB).as_deref(), Some("7"));
        assert_eq!(cache.put(WEB).as_deref(), Some("7"));
        assert_eq!(facts.namespace("shop").workload(Kind::Deployment, "web").unwrap().replicas, 3);
        assert_eq!(cache.count(), 1);
        assert_eq!(cache.remove(WEB).as_deref(), Some("7"));
        cache.remove(WEB);
        assert_eq!((cache.count(), facts.count(Kind::Deployment)), (0, 0));
    }

    #[test]
    fn what_a_list_lacks_is_forgotten_when_it_is_complete() {
        let (mut cache, facts) = cache(Kind::Deployment);
        cache.put(WEB);
        let mut listing = cache.list();
        cache.list_item(&mut listing, &WEB.replace("web", "api"));
        assert_eq!(facts.count(Kind::Deployment), 2);
        cache.replace(listing);
        assert_eq!((cache.count(), facts.count(Kind::Deployment)), (1, 1));
        assert!(facts.namespace("shop").workload(Kind::Deployment, "api").is_some());
    }

    #[test]
    fn an_unreadable_object_is_absent_until_it_can_be_read() {
        let (mut cache, facts) = cache(Kind::Deployment);
        cache.put(WEB);
        assert_eq!(cache.put(BAD).as_deref(), Some("8"));
        assert_eq!((cache.count(), facts.count(Kind::Deployment), cache.unreadable.len()), (0, 0, 1));
        let mut listing = cache.list();
        cache.list_item(&mut listing, BAD);
        cache.replace(listing);
        assert_eq!((cache.count(), cache.unreadable.len()), (0, 1));
        cache.put(WEB);
        assert_eq!((cache.count(), cache.unreadable.len()), (1, 0));
        cache.put(BAD);
        cache.remove(BAD);
        assert_eq!((cache.count(), cache.unreadable.len()), (0, 0));
    }

    /// A cluster has many CronJobs, and few with waivers.
    #[test]
    fn what_is_watched_for_its_waivers_is_kept_while_it_carries_one() {
        let (mut cache, facts) = cache(Kind::CronJob);
        let plain = r#"{"metadata":{"name":"tick","namespace":"shop"},"spec":{"schedule":"* * * * *"}}"#;
        let waived = plain.replace(
            r#""namespace""#,
            r#""labels":{"a":"b"},"annotations":{"waiver.plimsoll.dev/cron-interval":"x","c":"d"},"namespace""#,
        );
        cache.put(plain);
        assert!(facts.namespaces().is_empty());
        cache.put(&waived);
        let namespace = facts.namespace("shop");
        let [(kind, carrier)] = namespace.carriers().collect::<Vec<_>>()[..] else { panic!("one") };
        assert_eq!((kind, &*carrier.name, carrier.annotations.iter().count()), (Kind::CronJob, "tick", 1));
        assert_eq!((cache.count(), facts.count(Kind::CronJob)), (1, 1));
        let mut listing = cache.list();
        cache.list_item(&mut listing, plain);
        cache.replace(listing);
        assert_eq!((cache.count(), facts.count(Kind::CronJob), cache.unreadable.len()), (0, 0, 0));
        cache.put(&waived);
        cache.put(plain);
        cache.put(&waived);
        cache.remove(&waived);
        assert_eq!(cache.count(), 0);
        assert!(facts.namespaces().is_empty());
    }

    #[test]
    fn what_has_no_name_is_passed_over() {
        let (mut cache, _) = cache(Kind::Deployment);
        assert_eq!(cache.put("{}"), None);
        assert_eq!(cache.remove(r#"{"metadata":{"name":7}}"#), None);
        assert_eq!(cache.count(), 0);
    }

    #[test]
    fn a_namespace_is_known_by_its_labels() {
        let (mut cache, facts) = cache(Kind::Namespace);
        let imp =
            r#"{"metadata":{"name":"imp","resourceVersion":"1","labels":{"environment":"production"}}}"#;
        cache.put(imp);
        assert_eq!(facts.namespace("imp").labels.as_ref().unwrap().get("environment"), Some("production"));
        let mut listing = cache.list();
        cache.list_item(&mut listing, &imp.replace("imp", "shop"));
        cache.replace(listing);
        assert!(facts.namespace("imp").labels.is_none());
        assert_eq!(cache.count(), 1);
        cache.remove(&imp.replace("imp", "shop"));
        assert_eq!((cache.count(), facts.count(Kind::Namespace)), (0, 0));
    }
}
