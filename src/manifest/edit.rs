//! Adding fields to a manifest where its author would have written them, and leaving every other byte
//! alone: comments, order, quotes and line ends stay.
//!
//! Only additions can be written. The result is read again, and counts only if it says what it should,
//! so a layout that is not understood here (an alias, say) is an error and never a wrong manifest.

use serde_json::{Map, Value};

use super::{Document, Inside, ManifestError, Position, Tree, parse};

/// The text of a file in which each document reads as the value beside it, and what could not be
/// written. All documents are of one file.
pub fn rewrite(changes: &[(&Document, &Value)]) -> (String, Vec<ManifestError>) {
    let Some((first, _)) = changes.first() else { return (String::new(), Vec::new()) };
    let text = first.text();
    let mut errors = Vec::new();
    let mut additions = Vec::new();
    let mut written = Vec::new();
    for &(document, wanted) in changes {
        let mut writer = Writer::new(document);
        match writer.change(&document.tree, &document.value, wanted) {
            Ok(()) => {
                additions.append(&mut writer.additions);
                written.push((document, wanted));
            }
            Err(Refused { position, why }) => errors.push(refused(document, position, why)),
        }
    }
    // What is inside comes before what is around it where both end together: the sort is stable.
    additions.sort_by_key(|addition| addition.at);
    let mut new = String::with_capacity(text.len() + additions.len() * 64);
    let mut at = 0;
    for addition in &additions {
        new.push_str(text.get(at..addition.at).unwrap_or_default());
        new.push_str(&addition.text);
        at = addition.at.max(at) + addition.instead_of;
    }
    new.push_str(text.get(at..).unwrap_or_default());
    if reads_as(first, &new, &written) {
        return (new, errors);
    }
    errors.extend(
        written
            .iter()
            .map(|(document, _)| refused(document, document.tree.value, "its layout (an alias, say)")),
    );
    (text.to_owned(), errors)
}

/// Whether a new text of a file has the same documents but for those that were changed.
fn reads_as(file: &Document, new: &str, written: &[(&Document, &Value)]) -> bool {
    let (Ok(before), Ok(after)) = (parse(&file.source, file.text()), parse(&file.source, new)) else {
        return false;
    };
    let wanted = |document: &Document| {
        let change = written.iter().find(|(changed, _)| changed.tree.value == document.tree.value);
        change.map_or_else(|| document.value.clone(), |(_, wanted)| (*wanted).clone())
    };
    before.len() == after.len()
        && before.iter().zip(&after).all(|(before, after)| wanted(before) == after.value)
}

fn refused(document: &Document, position: Position, why: &str) -> ManifestError {
    let problem = format!(
        "what is missing can't be written here because of {why}; --fix=kustomize prints it as a patch"
    );
    ManifestError { file: document.source.clone(), position, problem }
}

/// Text that goes into the file at a byte, instead of some bytes there.
struct Addition {
    at: usize,
    instead_of: usize,
    text: String,
}

/// Why something can't be written.
struct Refused {
    position: Position,
    why: &'static str,
}

struct Writer<'d> {
    document: &'d Document,
    /// Where each line starts and, without its end mark, ends.
    lines: Vec<(usize, usize)>,
    additions: Vec<Addition>,
    line_end: &'static str,
    /// How much deeper a mapping is than its key.
    step: usize,
    /// How much deeper the dash of an item is than the key of its list.
    dash: usize,
}

impl<'d> Writer<'d> {
    fn new(document: &'d Document) -> Self {
        let text = document.text();
        let mut start = 0;
        let line = |line: &str| {
            let range = (start, start + line.trim_end_matches(['\n', '\r']).len());
            start += line.len();
            range
        };
        let lines = text.split_inclusive('\n').map(line).collect();
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut writer = Self { document, lines, additions: Vec::new(), line_end, step: 2, dash: 0 };
        writer.step = writer.find(&document.tree, &Self::step_at).unwrap_or(2);
        writer.dash = writer.find(&document.tree, &Self::dash_at).unwrap_or(0);
        writer
    }

    /// Adds what a value lacks.
    fn change(&mut self, tree: &Tree, old: &Value, new: &Value) -> Result<(), Refused> {
        let refuse = |why| Err(Refused { position: tree.key, why });
        match (old, new, &tree.inside) {
            _ if old == new => Ok(()),
            (Value::Object(old), Value::Object(new), Inside::Fields(trees)) => {
                if old.keys().any(|key| !new.contains_key(key)) {
                    return refuse("a field that would have to go");
                }
                for (key, value) in old {
                    let Some(tree) = trees.get(key.as_str()) else { return refuse("a merge key") };
                    self.change(tree, value, new.get(key).unwrap_or(&Value::Null))?;
                }
                let added: Vec<_> = new.iter().filter(|(key, _)| !old.contains_key(*key)).collect();
                if added.is_empty() { Ok(()) } else { self.add_fields(tree, &added) }
            }
            (Value::Array(old), Value::Array(new), Inside::Items(trees)) => {
                for ((old, new), tree) in old.iter().zip(new).zip(trees) {
                    self.change(tree, old, new)?;
                }
                match new.get(old.len()..) {
                    Some([]) => Ok(()),
                    Some(added) => self.add_items(tree, trees, added),
                    None => refuse("an item that would have to go"),
                }
            }
            (Value::Null, new, _) => self.replace_null(tree, new),
            _ => refuse("a value that would have to change"),
        }
    }

    fn add_fields(&mut self, tree: &Tree, added: &[(&String, &Value)]) -> Result<(), Refused> {
        if self.char_at(tree.value) == Some('{') {
            let quotes = self.quotes_keys(tree);
            let words = added.iter().map(|(key, value)| {
                let key = if quotes { json_text(key) } else { scalar_text(key) };
                (format!("{key}: "), *value)
            });
            let words: Vec<(String, &Value)> = words.collect();
            return self.add_in_flow(tree, &words, quotes);
        }
        let Inside::Fields(trees) = &tree.inside else { return Err(unclear(tree)) };
        let first = trees.values().map(|tree| tree.key).min().ok_or_else(|| unclear(tree))?;
        let indent = indent(first);
        let mut lines = Vec::new();
        self.fields(added.iter().copied(), indent, &mut lines);
        self.add_lines(tree, indent, &lines)
    }

    fn add_items(&mut self, tree: &Tree, items: &[Tree], added: &[Value]) -> Result<(), Refused> {
        if self.char_at(tree.value) == Some('[') {
            let quotes = self.quotes_keys(&self.document.tree);
            let words: Vec<_> = added.iter().map(|value| (String::new(), value)).collect();
            return self.add_in_flow(tree, &words, quotes);
        }
        let last = items.last().ok_or_else(|| unclear(tree))?;
        let indent = self.dash_before(last.value).ok_or_else(|| unclear(tree))?;
        let mut lines = Vec::new();
        added.iter().for_each(|item| self.item(item, indent, &mut lines));
        self.add_lines(tree, indent, &lines)
    }

    /// Adds lines behind the last that belongs to a node whose keys, or dashes, are at an indentation.
    fn add_lines(&mut self, tree: &Tree, indent: usize, lines: &[String]) -> Result<(), Refused> {
        let mut last = usize::try_from(last_line(tree)).unwrap_or(usize::MAX);
        for number in last + 1..=self.lines.len() {
            let line = self.line(number).unwrap_or_default();
            let depth = line.len() - line.trim_start_matches(' ').len();
            match line.trim().is_empty() {
                true => {}
                false if depth > indent => last = number,
                false => break,
            }
        }
        let (_, at) = *last.checked_sub(1).and_then(|i| self.lines.get(i)).ok_or_else(|| unclear(tree))?;
        let text = lines.iter().map(|line| format!("{}{line}", self.line_end)).collect();
        self.additions.push(Addition { at, instead_of: 0, text });
        Ok(())
    }

    /// Adds members or items before the closing bracket, as JSON and YAML's flow style both read them.
    fn add_in_flow(&mut self, tree: &Tree, added: &[(String, &Value)], quotes: bool) -> Result<(), Refused> {
        let text = self.document.text();
        let open = self.byte(tree.value).ok_or_else(|| unclear(tree))?;
        let close = closing(text.get(open..).unwrap_or_default()).ok_or_else(|| unclear(tree))? + open;
        let inside = text.get(open + 1..close).unwrap_or_default();
        let content = inside.trim_end();
        let first = match &tree.inside {
            Inside::Fields(trees) => trees.values().map(|tree| tree.key).min(),
            Inside::Items(trees) => trees.first().map(|tree| tree.key),
            Inside::Scalar => None,
        };
        // One to a line if the author has it so.
        let lines = first.filter(|first| first.line > tree.value.line && content.len() < inside.len());
        let separator = match (content.is_empty() || content.ends_with(','), lines) {
            (true, _) => String::new(),
            (false, Some(first)) => format!(",{}{}", self.line_end, " ".repeat(indent(first))),
            (false, None) => ", ".to_owned(),
        };
        let write = |(key, value): &(String, &Value)| {
            let value = match (lines, quotes) {
                (Some(first), true) => {
                    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
                    pretty.replace('\n', &format!("{}{}", self.line_end, " ".repeat(indent(first))))
                }
                _ => flow(value, quotes),
            };
            format!("{key}{value}")
        };
        let between = if separator.is_empty() { ", " } else { &separator };
        let added: Vec<String> = added.iter().map(write).collect();
        let at = open + 1 + content.len();
        self.additions.push(Addition { at, instead_of: 0, text: separator.clone() + &added.join(between) });
        Ok(())
    }

    /// Gives a key its value that had none, or `null`.
    fn replace_null(&mut self, tree: &Tree, new: &Value) -> Result<(), Refused> {
        let key = self.byte(tree.key).ok_or_else(|| unclear(tree))?;
        let number = usize::try_from(tree.key.line).unwrap_or(usize::MAX);
        let (_, end) = *number.checked_sub(1).and_then(|i| self.lines.get(i)).ok_or_else(|| unclear(tree))?;
        let rest = self.document.text().get(key..end).unwrap_or_default();
        let after = key_length(rest).ok_or_else(|| unclear(tree))?;
        let value = rest.get(after..).unwrap_or_default();
        let written = value.trim_start();
        let start = key + after + (value.len() - written.len());
        if let Some(word) = ["null", "~", "Null", "NULL"].into_iter().find(|word| written.starts_with(word)) {
            let text = flow(new, self.quotes_keys(&self.document.tree));
            self.additions.push(Addition { at: start, instead_of: word.len(), text });
            return Ok(());
        }
        if !(written.is_empty() || written.starts_with('#')) {
            return Err(unclear(tree));
        }
        let deeper = indent(tree.key) + self.step;
        let mut lines = Vec::new();
        match new {
            Value::Object(fields) if !fields.is_empty() => self.fields(fields.iter(), deeper, &mut lines),
            Value::Array(items) if !items.is_empty() => {
                let indent = indent(tree.key) + self.dash;
                items.iter().for_each(|item| self.item(item, indent, &mut lines));
            }
            scalar => {
                let text = format!(" {}", flow(scalar, false));
                self.additions.push(Addition { at: key + after, instead_of: 0, text });
                return Ok(());
            }
        }
        let text = lines.iter().map(|line| format!("{}{line}", self.line_end)).collect();
        self.additions.push(Addition { at: end, instead_of: 0, text });
        Ok(())
    }

    fn fields<'v>(
        &self,
        fields: impl Iterator<Item = (&'v String, &'v Value)>,
        indent: usize,
        lines: &mut Vec<String>,
    ) {
        let pad = " ".repeat(indent);
        for (key, value) in fields {
            let key = scalar_text(key);
            match value {
                Value::Object(inside) if !inside.is_empty() => {
                    lines.push(format!("{pad}{key}:"));
                    self.fields(named_first(inside).into_iter(), indent + self.step, lines);
                }
                Value::Array(items) if !items.is_empty() => {
                    lines.push(format!("{pad}{key}:"));
                    items.iter().for_each(|item| self.item(item, indent + self.dash, lines));
                }
                scalar => lines.push(format!("{pad}{key}: {}", flow(scalar, false))),
            }
        }
    }

    fn item(&self, item: &Value, indent: usize, lines: &mut Vec<String>) {
        let pad = " ".repeat(indent);
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                let first = lines.len();
                self.fields(named_first(fields).into_iter(), indent + 2, lines);
                if let Some(line) = lines.get_mut(first) {
                    *line = format!("{pad}- {}", line.trim_start());
                }
            }
            other => lines.push(format!("{pad}- {}", flow(other, false))),
        }
    }

    /// Whether the keys of a mapping in flow style are in quotes, as JSON wants them.
    fn quotes_keys(&self, tree: &Tree) -> bool {
        let root = || self.char_at(self.document.tree.value) == Some('{');
        match &tree.inside {
            Inside::Fields(trees) => trees
                .values()
                .map(|tree| tree.key)
                .min()
                .map_or_else(root, |first| self.char_at(first) == Some('"')),
            _ => root(),
        }
    }

    /// The first answer that a node of the tree gives, from the top.
    fn find(&self, tree: &Tree, ask: &impl Fn(&Self, &Tree) -> Option<usize>) -> Option<usize> {
        let children: Vec<&Tree> = match &tree.inside {
            Inside::Fields(trees) => trees.values().collect(),
            Inside::Items(trees) => trees.iter().collect(),
            Inside::Scalar => Vec::new(),
        };
        let here = children.iter().find_map(|child| ask(self, child));
        here.or_else(|| children.into_iter().find_map(|child| self.find(child, ask)))
    }

    /// How much deeper than its key a mapping in block style is.
    fn step_at(&self, tree: &Tree) -> Option<usize> {
        let Inside::Fields(trees) = &tree.inside else { return None };
        let first = trees.values().map(|tree| tree.key).min()?;
        let is_block = first.line > tree.key.line && self.char_at(tree.value) != Some('{');
        is_block.then(|| indent(first).checked_sub(indent(tree.key)))?.filter(|step| *step > 0)
    }

    /// How much deeper than its key the dashes of a list in block style are.
    fn dash_at(&self, tree: &Tree) -> Option<usize> {
        let Inside::Items(trees) = &tree.inside else { return None };
        let first = trees.first().filter(|first| first.value.line > tree.key.line)?;
        self.dash_before(first.value)?.checked_sub(indent(tree.key))
    }

    /// The column of the dash before an item, from 0.
    fn dash_before(&self, item: Position) -> Option<usize> {
        let line = self.line(usize::try_from(item.line).ok()?)?;
        let before: String = line.chars().take(indent(item)).collect();
        let dash = before.trim_end().strip_suffix('-')?;
        Some(dash.chars().count())
    }

    fn char_at(&self, position: Position) -> Option<char> {
        self.document.text().get(self.byte(position)?..)?.chars().next()
    }

    fn byte(&self, position: Position) -> Option<usize> {
        let (start, _) = *self.lines.get(usize::try_from(position.line).ok()?.checked_sub(1)?)?;
        let rest = self.document.text().get(start..)?;
        Some(start + rest.char_indices().nth(indent(position))?.0)
    }

    /// A line, counted from 1.
    fn line(&self, number: usize) -> Option<&'d str> {
        let (start, end) = *self.lines.get(number.checked_sub(1)?)?;
        self.document.text().get(start..end)
    }
}

fn unclear(tree: &Tree) -> Refused {
    Refused { position: tree.key, why: "its layout" }
}

fn indent(position: Position) -> usize {
    usize::try_from(position.column).unwrap_or(usize::MAX).saturating_sub(1)
}

/// The last line on which something inside a node starts.
fn last_line(tree: &Tree) -> u32 {
    let inside = match &tree.inside {
        Inside::Fields(trees) => trees.values().map(last_line).max(),
        Inside::Items(trees) => trees.iter().map(last_line).max(),
        Inside::Scalar => None,
    };
    inside.unwrap_or_default().max(tree.key.line).max(tree.value.line)
}

/// Where the bracket that a text begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut last = ' ';
    let mut is_comment = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if is_comment => is_comment = c != '\n',
            (Some('"'), '"') if last == '\\' => {}
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') if last.is_whitespace() => is_comment = true,
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
        // A backslash that is itself escaped escapes nothing.
        last = if last == '\\' && c == '\\' { ' ' } else { c };
    }
    None
}

/// The length of a key and its colon.
fn key_length(text: &str) -> Option<usize> {
    let quoted = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let key = match quoted {
        Some(quote) => text.get(1..)?.find(quote)? + 2,
        None => 0,
    };
    Some(key + text.get(key..)?.find(':')? + 1)
}

/// The fields of an item, its name first, as people write them.
fn named_first(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(key, _)| *key != "name");
    fields
}

/// A value on one line.
fn flow(value: &Value, quotes: bool) -> String {
    match value {
        Value::String(text) if !quotes => scalar_text(text),
        Value::Array(items) if !quotes => {
            let items: Vec<String> = items.iter().map(|item| flow(item, quotes)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if !quotes => {
            let fields = named_first(fields).into_iter();
            let fields: Vec<String> =
                fields.map(|(key, value)| format!("{}: {}", scalar_text(key), flow(value, quotes))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A string, in quotes unless YAML 1.1 surely reads it as a string without them.
fn scalar_text(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let is_size = text
        .strip_suffix("i")
        .and_then(|text| text.strip_suffix(['K', 'M', 'G']))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let has_meaning = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    if (is_word && !has_meaning) || is_size { text.to_owned() } else { json_text(text) }
}
