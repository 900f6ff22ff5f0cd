//! Values and positions from one pass over the YAML, so that the two can't disagree.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error, Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::{Inside, ManifestError, Position, Tree, line_of};

/// How many nodes aliases may add. People share a label block or two; a bomb needs billions.
const REPLAYED_NODES: usize = 100_000;

const START: Position = Position { line: 1, column: 1 };

/// A value and where it and everything inside it was written.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) tree: Tree,
}

/// Why a text can't be read, before it is known which file it is from.
#[derive(Debug)]
pub(crate) struct Fault {
    position: Position,
    problem: String,
}

/// Reads the documents of a YAML stream, or of a stream of JSON objects.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Fault> {
    // The parser recurses. The deepest text that it takes needs 320 KiB of stack, but without
    // optimisation 2.6 MiB, which is more than a thread has.
    if !cfg!(debug_assertions) {
        return read_here(text);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(8 * 1024 * 1024);
        let reader = thread.spawn_scoped(scope, || read_here(text));
        match reader.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(nodes)) => nodes,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => read_here(text),
        }
    })
}

fn read_here(text: &str) -> Result<Vec<Node>, Fault> {
    // JSON is YAML, but for objects that follow each other without `---`, which kubectl takes too.
    let objects = concatenated(text);
    if objects.len() < 2 {
        return read_yaml(text, START);
    }
    let mut nodes = Vec::with_capacity(objects.len());
    let mut start = START;
    for object in objects {
        nodes.extend(read_yaml(object, start)?);
        start = after(object, start);
    }
    Ok(nodes)
}

fn read_yaml(text: &str, start: Position) -> Result<Vec<Node>, Fault> {
    let fault = |error: Error| Fault {
        position: error.location().map_or(START, position).moved(start),
        problem: words(&error),
    };
    let documents: Vec<Spanned<Part>> =
        serde_saphyr::from_multiple_with_options(text, options(text)).map_err(fault)?;
    Ok(documents
        .into_iter()
        .map(|Spanned { value: Part { value, inside }, referenced, .. }| {
            let at = position(referenced);
            let mut tree = Tree { key: at, value: at, inside };
            if start != START {
                move_tree(&mut tree, start);
            }
            Node { value, tree }
        })
        .collect())
}

/// kubectl's reading of YAML 1.1, with limits that only aliases can reach.
fn options(text: &str) -> Options {
    // A text has at most about a node and two events for each byte. Counting from its length keeps a
    // rendered chart of any size readable, and still stops what grows out of a few lines.
    let nodes = text.len() + REPLAYED_NODES;
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_nodes: nodes,
            max_events: nodes.saturating_mul(4),
            max_documents: nodes,
            max_aliases: nodes,
            max_anchors: nodes,
            max_merge_keys: nodes,
            // kubectl has no limit on a key in JSON, YAML's is 1,024 characters.
            simple_key_max_lookahead: 16 * 1024,
            max_total_scalar_bytes: text.len().saturating_mul(2) + 64 * 1024 * 1024,
            enforce_alias_anchor_ratio: false,
        },
    }
}

/// A short sentence for what the parser found.
fn words(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => words(error),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "nested too deeply, or too large once its aliases are expanded".to_owned()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is given twice"),
        Error::InvalidScalar { ty, .. } => format!("not a valid {ty}"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "<< can merge only mappings".to_owned(),
        Error::NullIntoString { .. } => "null can't be a key".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias can't contain itself".to_owned(),
        // A key is the only place where just a string will do.
        Error::Unexpected { expected: "string scalar", .. } => "a key must be a string".to_owned(),
        Error::UnknownAnchor { .. } => "this alias has no anchor above it".to_owned(),
        _ => UserMessageFormatter.format_message(error).replace(char::is_control, " "),
    }
}

impl Fault {
    pub(crate) fn in_file(self, file: &Arc<str>, text: &str) -> ManifestError {
        let Self { position, mut problem } = self;
        // The usual way to hand us something that isn't YAML.
        if line_of(text, position.line).is_some_and(|line| line.contains("{{")) {
            problem.push_str(" (is this a template? Render it first)");
        }
        ManifestError { file: file.clone(), position, problem }
    }
}

/// The objects of a JSON stream, each with the white space before it; none if it isn't such a stream.
fn concatenated(text: &str) -> Vec<&str> {
    if !text.trim_start().starts_with('{') {
        return Vec::new();
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut objects = Vec::new();
    let mut start = 0;
    while let Some(object) = stream.next() {
        let end = stream.byte_offset();
        let (Ok(_), Some(object)) = (object, text.get(start..end)) else { return Vec::new() };
        objects.push(object);
        start = end;
    }
    objects
}

/// Where a text that starts at a position ends.
fn after(text: &str, start: Position) -> Position {
    let length = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    match text.rsplit_once('\n') {
        None => Position { column: start.column.saturating_add(length(text)), ..start },
        Some((before, last)) => Position {
            line: start.line.saturating_add(length(&before.replace(|c| c != '\n', "")).saturating_add(1)),
            column: length(last).saturating_add(1),
        },
    }
}

/// A position as the parser counts. It knows none for an empty text.
fn position(location: Location) -> Position {
    let at = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Position { line: at(location.line()), column: at(location.column()) }
}

impl Position {
    /// The position in the whole of what was counted in a part that starts at `start`.
    fn moved(self, start: Self) -> Self {
        let column = if self.line == 1 { self.column.saturating_add(start.column - 1) } else { self.column };
        Self { line: self.line.saturating_add(start.line - 1), column }
    }
}

fn move_tree(tree: &mut Tree, start: Position) {
    tree.key = tree.key.moved(start);
    tree.value = tree.value.moved(start);
    match &mut tree.inside {
        Inside::Fields(fields) => fields.values_mut().for_each(|field| move_tree(field, start)),
        Inside::Items(items) => items.iter_mut().for_each(|item| move_tree(item, start)),
        Inside::Scalar => (),
    }
}

/// A value whose own position is not known yet.
struct Part {
    value: Value,
    inside: Inside,
}

impl Part {
    fn scalar(value: impl Into<Value>) -> Self {
        Self { value: value.into(), inside: Inside::Scalar }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Part, E> {
        Ok(Part::scalar(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Part, E> {
        Ok(Part::scalar(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Part, E> {
        Ok(Part::scalar(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Part, E> {
        Ok(Part::scalar(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Part, E> {
        Ok(Part::scalar(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Part, E> {
        // kubectl sends 2.0 as 2 (Go's JSON has no other way to write it), so `replicas: 2.0` is valid.
        let whole = value.fract() == 0.0 && value.abs() < 2_f64.powi(63);
        let number = if whole { Some(Number::from(value as i64)) } else { Number::from_f64(value) };
        Ok(Part::scalar(number.map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Part, E> {
        Ok(Part::scalar(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Part, E> {
        Ok(Part::scalar(value))
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
        let mut values = Vec::new();
        let mut trees = Vec::new();
        while let Some(Spanned { value: Part { value, inside }, referenced, .. }) = seq.next_element()? {
            let start = position(referenced);
            values.push(value);
            trees.push(Tree { key: start, value: start, inside });
        }
        Ok(Part { value: Value::Array(values), inside: Inside::Items(trees) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut fields = Map::new();
        let mut trees = BTreeMap::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let Spanned { value: Part { value, inside }, referenced, .. } = map.next_value()?;
            let tree = Tree { key: position(key.referenced), value: position(referenced), inside };
            trees.insert(key.value.as_str().into(), tree);
            fields.insert(key.value, value);
        }
        Ok(Part { value: Value::Object(fields), inside: Inside::Fields(trees) })
    }
}
