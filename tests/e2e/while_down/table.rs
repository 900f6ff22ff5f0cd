//! The table in `docs/operating.md`: read to hold what is seen against it, or written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

const START: &str = "<!-- made of all end-to-end cases: UPDATE_DOCS=1 cargo test --test e2e -->\n";
const END: &str = "<!-- end -->";
const HEAD: &str = "| while no replica answers | is refused | goes on |\n|---|---|---|\n";

/// A line of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Line {
    Create,
    Change,
    Scale,
    StatusWithWaiver,
    Status,
    Delete,
    System,
    Controllers,
}

impl Line {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Change,
        Self::Scale,
        Self::StatusWithWaiver,
        Self::Status,
        Self::Delete,
        Self::System,
        Self::Controllers,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Create => "creating (`kubectl apply`, `create`, `run`, `autoscale`)",
            Self::Change => {
                "changing (`apply`, `edit`, `patch`, `replace`, `set`, `label`, `annotate`, `rollout restart`, `rollout undo`)"
            }
            Self::Scale => "`kubectl scale`",
            Self::StatusWithWaiver => "a waiver written through `/status`",
            Self::Status => "any other write of `/status`",
            Self::Delete => "`kubectl delete`",
            Self::System => "anything in kube-system, kube-public, kube-node-lease",
            Self::Controllers => "what the cluster's own controllers write",
        }
    }
}

/// What a write is in the table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Row {
    pub(super) line: Line,
    pub(super) what: String,
}

/// The table, and what of it was seen.
pub(super) struct Table {
    rows: BTreeMap<Row, bool>,
    seen: BTreeSet<Row>,
    is_made_anew: bool,
}

impl Table {
    /// What the docs say; empty if a whole run is to write them anew.
    pub(super) fn of_the_docs() -> Self {
        let is_made_anew = std::env::var_os("UPDATE_DOCS").is_some();
        let rows = if is_made_anew && is_whole_run() { BTreeMap::new() } else { read() };
        Self { rows, seen: BTreeSet::new(), is_made_anew }
    }

    /// Notes what became of a write; the error says how it is not what the table says.
    pub(super) fn saw(&mut self, row: &Row, is_refused: bool) -> Result<(), String> {
        let says = |refused: bool| if refused { "is refused" } else { "goes on" };
        match self.rows.get(row) {
            Some(&refused) if refused == is_refused => {
                self.seen.insert(row.clone());
                Ok(())
            }
            Some(_) => Err(format!("{}, other than the table says of {row:?}", says(is_refused))),
            None if self.is_made_anew => {
                self.rows.insert(row.clone(), is_refused);
                self.seen.insert(row.clone());
                self.write();
                Ok(())
            }
            None => Err(format!(
                "{}, and the table has no {row:?}: UPDATE_DOCS=1 cargo test --test e2e",
                says(is_refused)
            )),
        }
    }

    /// What the table says that nothing has shown yet.
    pub(super) fn unmet(&self) -> Vec<Row> {
        self.rows.keys().filter(|row| !self.seen.contains(*row)).cloned().collect()
    }

    fn write(&self) {
        let mut table = HEAD.to_owned();
        for line in Line::ALL {
            let cell = |is_refused: bool| {
                let rows =
                    self.rows.iter().filter(|(row, refused)| row.line == line && **refused == is_refused);
                rows.map(|(row, _)| row.what.as_str()).collect::<Vec<_>>().join(", ")
            };
            writeln!(table, "| {} | {} | {} |", line.text(), cell(true), cell(false)).expect("it is text");
        }
        let (before, _, after) = page();
        std::fs::write(path(), format!("{before}{START}\n{table}\n{END}{after}"))
            .expect("the docs can be written");
    }
}

/// Whether all cases run: the harness gets no name of one.
pub(super) fn is_whole_run() -> bool {
    std::env::args().skip(1).all(|arg| arg.starts_with('-'))
}

fn read() -> BTreeMap<Row, bool> {
    let (_, table, _) = page();
    let mut rows = BTreeMap::new();
    for text in table.trim().strip_prefix(HEAD).expect("the table has its head").lines() {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        let line = Line::ALL.into_iter().find(|line| line.text() == cells[0]).expect("a line is one of ours");
        for (cell, is_refused) in [(cells[1], true), (cells[2], false)] {
            for what in cell.split(", ").filter(|what| !what.is_empty()) {
                let row = Row { line, what: what.to_owned() };
                let other = rows.insert(row.clone(), is_refused);
                assert_eq!(other, None, "both are said of {row:?}");
            }
        }
    }
    rows
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs", "operating.md"].iter().collect()
}

/// The page before, in and after the table.
fn page() -> (String, String, String) {
    let page = std::fs::read_to_string(path()).expect("the page is there");
    let (before, rest) = page.split_once(START).expect("the page has a place for the table");
    let (table, after) = rest.split_once(END).expect("the table has an end");
    (before.to_owned(), table.to_owned(), after.to_owned())
}
