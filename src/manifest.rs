//! Manifests as people write them: YAML or JSON, many documents to a file, with positions.
//!
//! Values are what kubectl would send to the apiserver (YAML 1.1: `yes` is true and `0644` is 420),
//! and every field remembers where it was written, so that a finding or an error can name the line.
//! [`files`] finds and reads the files, [`edit`] adds fields to them, [`strict`] reads a value into a type, [`nearest`] guesses
//! what a misspelt name should have been.

pub mod edit;
pub mod files;
pub mod nearest;
mod reader;
pub mod strict;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use self::{
    reader::Node,
    strict::{Problem, StrictError},
};

/// One object of a manifest: a document, or an item of a `List`.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// The file that it came from, or `-`.
    pub source: Arc<str>,
    /// The chart's template that helm says it rendered the document from.
    pub template: Option<Arc<str>>,
    text: Arc<str>,
    tree: Tree,
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// What is wrong with a manifest, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{position}: {problem}")]
pub struct ManifestError {
    /// The file, or `-`.
    pub file: Arc<str>,
    /// Where in it.
    pub position: Position,
    /// What is wrong, in a short sentence without a capital or a full stop.
    pub problem: String,
}

/// Reads all objects of a text: empty documents are skipped and lists are flattened.
///
/// `source` only names the text, in the documents and in errors.
pub fn parse(source: &str, text: &str) -> Result<Vec<Document>, ManifestError> {
    let source: Arc<str> = source.into();
    let roots = reader::read(text).map_err(|fault| fault.in_file(&source, text))?;
    let text: Arc<str> = text.into();
    let templates = templates(&text);
    let mut documents = Vec::with_capacity(roots.len());
    for root in roots {
        let line = root.tree.value.line;
        let first = documents.len();
        flatten(root, &source, &text, &mut documents)?;
        if let Some((_, template)) = templates.iter().rev().find(|(at, _)| *at < line) {
            documents.iter_mut().skip(first).for_each(|document| document.template.clone_from(template));
        }
    }
    Ok(documents)
}

/// What helm notes above each document that it renders, `# Source: chart/templates/web.yaml`, by line;
/// `---` ends what the note above it was about.
fn templates(text: &str) -> Vec<(u32, Option<Arc<str>>)> {
    const NOTE: &str = "# Source: ";
    if !text.contains(NOTE) {
        return Vec::new();
    }
    let noted = (1..).zip(text.lines()).filter_map(|(number, line)| match line.strip_prefix(NOTE) {
        Some(template) => Some((number, Some(template.trim().into()))),
        None if line.starts_with("---") => Some((number, None)),
        None => None,
    });
    noted.collect()
}

/// Where a node and the key that leads to it start, and the same for what is inside it.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The key; for an item of a list and for a whole document the same as `value`.
    key: Position,
    value: Position,
    inside: Inside,
}

#[derive(Clone, Debug)]
pub(crate) enum Inside {
    Fields(BTreeMap<Box<str>, Tree>),
    Items(Vec<Tree>),
    Scalar,
}

impl Document {
    fn new(value: Value, source: &Arc<str>, text: &Arc<str>, tree: Tree) -> Self {
        Self { value, source: Arc::clone(source), template: None, text: Arc::clone(text), tree }
    }

    /// Where the field at an RFC 6901 pointer is written: its key, or the item of a list.
    ///
    /// What was never written (a default, a missing field) is reported at the nearest ancestor that was;
    /// what came through an alias or a merge key at the place that uses it. `None` is for a pointer that
    /// isn't one.
    pub fn position(&self, pointer: &str) -> Option<Position> {
        self.find(pointer).map(|tree| tree.key)
    }

    /// Like [`position`](Self::position), but where the value starts rather than its key.
    pub fn value_position(&self, pointer: &str) -> Option<Position> {
        self.find(pointer).map(|tree| tree.value)
    }

    /// The text of the file that the document is in.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line of the file that the document is in, counted from 1.
    pub fn line_text(&self, line: u32) -> Option<&str> {
        line_of(&self.text, line)
    }

    /// The error for something wrong at a pointer in this document, at the key that names it.
    pub fn error_at(&self, pointer: &str, problem: impl fmt::Display) -> ManifestError {
        self.error_from(self.position(pointer), problem.to_string())
    }

    /// The same error as the user sees it, with the place in the file.
    pub fn error(&self, error: &StrictError) -> ManifestError {
        let position = match error.problem {
            // These are about names, the others about values.
            Problem::DuplicateField(_) | Problem::MissingField(_) | Problem::UnknownField { .. } => {
                self.position(&error.pointer)
            }
            Problem::InvalidLength { .. }
            | Problem::InvalidType { .. }
            | Problem::InvalidValue { .. }
            | Problem::Other(_)
            | Problem::UnknownVariant { .. } => self.value_position(&error.pointer),
        };
        self.error_from(position, error.to_string())
    }

    fn error_from(&self, position: Option<Position>, problem: String) -> ManifestError {
        ManifestError { file: self.source.clone(), position: position.unwrap_or(self.tree.value), problem }
    }

    fn find(&self, pointer: &str) -> Option<&Tree> {
        let mut tree = &self.tree;
        for segment in segments(pointer)? {
            let child = match &tree.inside {
                Inside::Fields(fields) => fields.get(segment.as_str()),
                Inside::Items(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
                Inside::Scalar => None,
            };
            let Some(child) = child else { break };
            tree = child;
        }
        Some(tree)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The unescaped segments of an RFC 6901 pointer.
pub(crate) fn segments(pointer: &str) -> Option<impl Iterator<Item = String>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    Some(pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")))
}

fn line_of(text: &str, line: u32) -> Option<&str> {
    text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)
}

/// Adds the object, or the items of the list, to the documents.
fn flatten(
    node: Node,
    source: &Arc<str>,
    text: &Arc<str>,
    documents: &mut Vec<Document>,
) -> Result<(), ManifestError> {
    let Node { value, tree } = node;
    let Value::Object(mut fields) = value else {
        let problem =
            format!("expected an object with apiVersion and kind, found {}", strict::describe(&value));
        return Err(ManifestError { file: source.clone(), position: tree.value, problem });
    };
    let list = fields.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
    let Some(item_kind) = list.map(str::to_owned) else {
        let value = Value::Object(fields);
        documents.push(Document::new(value, source, text, tree));
        return Ok(());
    };
    // `kind: AllowList` may be an object like any other: only with items is it a list.
    let (items, trees) = match (fields.remove("items"), tree) {
        (Some(Value::Array(items)), Tree { inside: Inside::Fields(mut trees), .. }) => {
            match trees.remove("items").map(|tree| tree.inside) {
                Some(Inside::Items(trees)) => (items, trees),
                _ => return Ok(()),
            }
        }
        (None | Some(Value::Null), _) if item_kind.is_empty() => return Ok(()),
        (items, tree) => {
            fields.extend(items.map(|items| ("items".to_owned(), items)));
            let value = Value::Object(fields);
            documents.push(Document::new(value, source, text, tree));
            return Ok(());
        }
    };
    for (mut value, tree) in items.into_iter().zip(trees) {
        // The items of a typed list (`DeploymentList`) come without a kind of their own.
        if let Value::Object(item) = &mut value
            && !item_kind.is_empty()
            && !item.contains_key("kind")
        {
            item.insert("kind".to_owned(), Value::String(item_kind.clone()));
            if let Some(version) = fields.get("apiVersion")
                && !item.contains_key("apiVersion")
            {
                item.insert("apiVersion".to_owned(), version.clone());
            }
        }
        flatten(Node { value, tree }, source, text, documents)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
