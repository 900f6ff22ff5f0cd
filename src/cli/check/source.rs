//! Where a finding is written.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::{Document, ManifestError, Problem};
use crate::manifest::Position;
use crate::render::report::Location;

/// The lines of the file that was looked at last: findings come file by file.
#[derive(Default)]
pub(super) struct Sources {
    file: Option<Arc<str>>,
    /// Where each line starts and ends.
    lines: Vec<(usize, usize)>,
}

impl Sources {
    /// The place of what a pointer names.
    pub(super) fn location(&mut self, document: &Document, pointer: &str) -> Option<Location> {
        let position = document.position(pointer)?;
        let mut location = self.at(&document.source, position, document.text());
        location.template = document.template.as_deref().map(str::to_owned);
        Some(location)
    }

    /// An error with its place.
    pub(super) fn problem(&mut self, error: &ManifestError, text: &str) -> Problem {
        let location = self.at(&error.file, error.position, text);
        Problem { message: error.problem.clone(), location: Some(location) }
    }

    fn at(&mut self, file: &Arc<str>, position: Position, text: &str) -> Location {
        if self.file.as_ref() != Some(file) {
            self.file = Some(Arc::clone(file));
            let mut start = 0;
            let line = |line: &str| {
                let range = (start, start + line.trim_end_matches(['\n', '\r']).len());
                start += line.len();
                range
            };
            self.lines = text.split_inclusive('\n').map(line).collect();
        }
        let index = usize::try_from(position.line).unwrap_or(usize::MAX).saturating_sub(1);
        let line = self.lines.get(index).and_then(|&(start, end)| text.get(start..end));
        Location::new(file, position, line.unwrap_or_default())
    }
}

/// The JSON pointer of a path as people write it, in which a list's item goes by its name:
/// `spec.containers[web].image`. It ends where the path leaves the object.
pub(super) fn pointer(value: &Value, path: &str) -> String {
    let mut pointer = String::new();
    let mut at = value;
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (field, tail) = rest.split_at(end);
        let (step, tail) = match tail.strip_prefix('[').and_then(|tail| tail.split_once(']')) {
            _ if !field.is_empty() => (field.to_owned(), tail),
            Some((name, tail)) => {
                let is_it = |item: &Value| item.get("name").and_then(Value::as_str) == Some(name);
                let index = at.as_array().and_then(|items| items.iter().position(is_it));
                (index.map_or_else(|| name.to_owned(), |index| index.to_string()), tail)
            }
            None => break,
        };
        let _ = write!(pointer, "/{}", step.replace('~', "~0").replace('/', "~1"));
        at = value.pointer(&pointer).unwrap_or(&Value::Null);
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_place_by_names() {
        let value = serde_json::json!({"metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"containers": [{"name": "a"}, {"name": "web", "image": "x"}]}});
        assert_eq!(pointer(&value, "spec.containers[web].image"), "/spec/containers/1/image");
        assert_eq!(pointer(&value, "metadata.annotations[a.b/c]"), "/metadata/annotations/a.b~1c");
        assert_eq!(pointer(&value, "spec.containers[gone].image"), "/spec/containers/gone/image");
    }
}
