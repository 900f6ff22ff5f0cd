//! Facts by kind and name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::object::Kind;

/// What is kept in a table.
pub(super) trait Row {
    /// Its name, which no other of its kind has in the namespace.
    fn name(&self) -> &str;

    /// Words that whoever looks for it without its name knows, all of them. It is found by one.
    fn clues(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Rows of several kinds, in the order of kinds and names.
///
/// Clones share all rows, and a change copies no more than the way to the row that changes: a
/// snapshot costs next to nothing, and so does what a watch does while there is one.
#[derive(Clone, Debug)]
pub(super) struct Tables<T: Row>(BTreeMap<Kind, Table<T>>);

impl<T: Row> Tables<T> {
    /// The row of a kind and name.
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Arc<T>> {
        self.0.get(&kind)?.rows.get(name).map(|row| &row.0)
    }

    /// Every row of every kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Kind, &Arc<T>)> {
        self.0.iter().flat_map(|(kind, table)| table.rows.iter().map(move |row| (*kind, &row.0)))
    }

    /// The names of the rows of a kind.
    pub(super) fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.0.get(&kind).into_iter().flat_map(|table| table.rows.iter()).map(|row| row.0.name())
    }

    /// The rows that have a clue, and were filed under it.
    pub(super) fn filed_under(&self, clue: &str) -> impl Iterator<Item = &Arc<T>> {
        let filed = self.0.values().filter_map(|table| table.by_clue.get(clue));
        filed.flat_map(RedBlackTreeSetSync::iter).map(|row| &row.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a row in, in place of an older one of its kind and name.
    pub(super) fn insert(&mut self, kind: Kind, row: T) {
        let table = self.0.entry(kind).or_default();
        table.remove(row.name());
        table.insert(Arc::new(row));
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, kind: Kind, name: &str) {
        let Some(table) = self.0.get_mut(&kind) else { return };
        table.remove(name);
        if table.rows.is_empty() {
            self.0.remove(&kind);
        }
    }

    /// Forgets every row of a kind.
    pub(super) fn clear(&mut self, kind: Kind) {
        self.0.remove(&kind);
    }
}

impl<T: Row> Default for Tables<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[derive(Clone, Debug)]
struct Table<T: Row> {
    rows: RedBlackTreeSetSync<ByName<T>>,
    by_clue: RedBlackTreeMapSync<Arc<str>, RedBlackTreeSetSync<ByName<T>>>,
}

impl<T: Row> Table<T> {
    /// Puts a row in whose name is not there.
    fn insert(&mut self, row: Arc<T>) {
        // Under the clue that the fewest others share: that of all budgets of a team finds nothing.
        let shared_by = |clue: &&str| self.by_clue.get(*clue).map_or(0, RedBlackTreeSetSync::size);
        if let Some(clue) = row.clues().into_iter().min_by_key(shared_by) {
            let mut filed = self.by_clue.get(clue).cloned().unwrap_or_default();
            filed.insert_mut(ByName(Arc::clone(&row)));
            self.by_clue.insert_mut(clue.into(), filed);
        }
        self.rows.insert_mut(ByName(row));
    }

    fn remove(&mut self, name: &str) {
        let Some(row) = self.rows.get(name).map(|row| Arc::clone(&row.0)) else { return };
        self.rows.remove_mut(name);
        for clue in row.clues() {
            let Some(mut filed) = self.by_clue.get(clue).cloned() else { continue };
            if !filed.remove_mut(name) {
                continue;
            }
            if filed.is_empty() {
                self.by_clue.remove_mut(clue);
            } else {
                self.by_clue.insert_mut(clue.into(), filed);
            }
        }
    }
}

impl<T: Row> Default for Table<T> {
    fn default() -> Self {
        Self { rows: RedBlackTreeSetSync::default(), by_clue: RedBlackTreeMapSync::default() }
    }
}

/// A row that is found by its name.
#[derive(Clone, Debug)]
struct ByName<T>(Arc<T>);

impl<T: Row> Borrow<str> for ByName<T> {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl<T: Row> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl<T: Row> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Row> Eq for ByName<T> {}

impl<T: Row> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Word {
        name: String,
        clues: BTreeSet<String>,
    }

    impl Row for Word {
        fn name(&self) -> &str {
            &self.name
        }

        fn clues(&self) -> Vec<&str> {
            self.clues.iter().map(String::as_str).collect()
        }
    }

    fn words() -> impl Strategy<Value = Word> {
        let clues = proptest::collection::btree_set("[a-c]", 0..3);
        ("[a-h]", clues).prop_map(|(name, clues)| Word { name, clues })
    }

    proptest! {
        /// Whatever comes and goes, a row is found by its name and by exactly one of its clues, and a
        /// snapshot stays as it was.
        #[test]
        fn rows_are_found_by_their_name_and_by_a_clue(
            steps in proptest::collection::vec((words(), any::<bool>(), any::<bool>()), 0..40),
        ) {
            let kinds = |other| if other { Kind::ScaledObject } else { Kind::HorizontalPodAutoscaler };
            let (mut tables, mut expected) = (Tables::default(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for (word, other, goes) in steps {
                snapshots.push((tables.clone(), format!("{tables:?}")));
                let (kind, clues) = (kinds(other), word.clues.clone());
                let key = (kind, word.name.clone());
                if goes {
                    tables.remove(kind, &word.name);
                    expected.remove(&key);
                } else {
                    expected.insert(key, clues);
                    tables.insert(kind, word);
                }
                let all: Vec<_> = tables.iter().map(|(kind, row)| (kind, row.name.clone())).collect();
                prop_assert_eq!(all, expected.keys().cloned().collect::<Vec<_>>());
                for ((kind, name), clues) in &expected {
                    prop_assert_eq!(&tables.get(*kind, name).unwrap().clues, clues);
                    let filed = ["a", "b", "c"].map(|clue| {
                        tables.filed_under(clue).filter(|row| row.name == *name && row.clues == *clues).count()
                    });
                    let of_both = kinds(true) != *kind && expected.get(&(kinds(true), name.clone())) == Some(clues);
                    let of_both = of_both || (kinds(false) != *kind && expected.get(&(kinds(false), name.clone())) == Some(clues));
                    prop_assert_eq!(filed.iter().sum::<usize>(), usize::from(!clues.is_empty()) * (1 + usize::from(of_both)));
                }
                for clue in ["a", "b", "c"] {
                    prop_assert!(tables.filed_under(clue).all(|row| row.clues.contains(clue)));
                }
            }
            for (snapshot, text) in snapshots {
                prop_assert_eq!(format!("{snapshot:?}"), text);
            }
            tables.clear(kinds(true));
            tables.clear(kinds(false));
            prop_assert!(tables.is_empty());
        }
    }
}
