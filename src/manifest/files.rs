//! Finding and reading manifest files.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use globset::GlobBuilder;

/// A path that can't be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CollectError {
    #[error("no *.yaml, *.yml or *.json file in {}", .0.display())]
    Empty(PathBuf),
    #[error("{}: {problem}", .pattern.display())]
    Glob { pattern: PathBuf, problem: String },
    #[error("{}: not a text file in UTF-8", .0.display())]
    NotText(PathBuf),
    #[error("failed to read {}: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
}

/// Reads files, directories and standard input (`-`), as pairs of a name to show and the text.
///
/// A file that is named, or that a glob matches (`deploy/**/*.yaml`), is read whatever it is called. A directory is searched to its bottom for
/// `*.yaml`, `*.yml` and `*.json`, in the order of the names; hidden ones are skipped, symbolic links
/// are followed (the files of a mounted ConfigMap are links), and no file or directory is read twice.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<(String, String)>, CollectError> {
    let mut search = Search::default();
    for path in paths {
        if path.as_os_str() == "-" {
            if search.seen.insert(path.clone()) {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes).map_err(unreadable(path))?;
                search.add(path, bytes)?;
            }
            continue;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                if !search.directory(path)? {
                    return Err(CollectError::Empty(path.clone()));
                }
            }
            // A shell expands globs itself, unless they are quoted or come from a configuration.
            Err(_) if has_pattern(path.as_os_str()) => search.glob(path)?,
            _ => search.file(path)?,
        }
    }
    Ok(search.found)
}

#[derive(Default)]
struct Search {
    /// By canonical path, so that a loop of symbolic links ends.
    seen: HashSet<PathBuf>,
    found: Vec<(String, String)>,
}

impl Search {
    /// Whether a manifest was in it, or may have been when it was first seen.
    fn directory(&mut self, path: &Path) -> Result<bool, CollectError> {
        if !self.first(path)? {
            return Ok(true);
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable(path))? {
            entries.push(entry.map_err(unreadable(path))?.path());
        }
        entries.sort();
        let mut any = false;
        for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
            match fs::metadata(entry) {
                Ok(metadata) if metadata.is_dir() => any |= self.directory(entry)?,
                Ok(metadata) if metadata.is_file() && is_manifest(entry) => {
                    self.file(entry)?;
                    any = true;
                }
                // A socket or the like, or a file of another kind, broken links included.
                Ok(_) => (),
                Err(reason) if is_manifest(entry) => return Err(unreadable(entry)(reason)),
                Err(_) => (),
            }
        }
        Ok(any)
    }

    /// Reads what a glob matches: files, and directories as if they had been named.
    fn glob(&mut self, pattern: &Path) -> Result<(), CollectError> {
        let wrong = |problem: String| CollectError::Glob { pattern: pattern.to_owned(), problem };
        let text = pattern.to_str().ok_or_else(|| wrong("not in UTF-8".to_owned()))?;
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let matcher = glob.map_err(|error| wrong(error.kind().to_string()))?.compile_matcher();
        let literal = pattern.components().take_while(|part| !has_pattern(part.as_os_str()));
        let base: PathBuf = literal.collect();
        let mut matches = Vec::new();
        let mut seen = HashSet::new();
        let mut rest = vec![base];
        while let Some(folder) = rest.pop() {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(canonical) = here.canonicalize() else { continue };
            if !seen.insert(canonical) {
                continue;
            }
            for entry in fs::read_dir(here).map_err(unreadable(here))? {
                let entry = folder.join(entry.map_err(unreadable(here))?.file_name());
                let is_folder = fs::metadata(&entry).is_ok_and(|metadata| metadata.is_dir());
                if matcher.is_match(&entry) {
                    matches.push((entry, is_folder));
                } else if is_folder && !is_hidden(&entry) {
                    rest.push(entry);
                }
            }
        }
        if matches.is_empty() {
            return Err(wrong("no file matches".to_owned()));
        }
        matches.sort();
        for (path, is_folder) in matches {
            if is_folder {
                self.directory(&path)?;
            } else {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), CollectError> {
        if self.first(path)? {
            let bytes = fs::read(path).map_err(unreadable(path))?;
            self.add(path, bytes)?;
        }
        Ok(())
    }

    fn first(&mut self, path: &Path) -> Result<bool, CollectError> {
        let canonical = path.canonicalize().map_err(unreadable(path))?;
        Ok(self.seen.insert(canonical))
    }

    fn add(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), CollectError> {
        let text = String::from_utf8(bytes).map_err(|_| CollectError::NotText(path.to_owned()))?;
        self.found.push((path.display().to_string(), text));
        Ok(())
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> CollectError {
    move |reason| CollectError::Unreadable { path: path.to_owned(), reason }
}

/// Whether a path, or a part of one, is a glob.
fn has_pattern(path: &OsStr) -> bool {
    path.as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: &[(String, String)], root: &Path) -> Vec<String> {
        let root = format!("{}/", root.display());
        found.iter().map(|(name, _)| name.strip_prefix(&root).unwrap_or(name).to_owned()).collect()
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_directory_is_searched_in_order() {
        let root = tree(&[
            ("b.yml", "b"),
            ("a/z.json", "z"),
            ("a/y.yaml", "y"),
            ("a/notes.txt", "no"),
            (".hidden.yaml", "no"),
            (".git/config.yaml", "no"),
            ("Kustomization", "no"),
        ]);
        let found = collect(&[root.path().to_owned()]).unwrap();
        assert_eq!(names(&found, root.path()), ["a/y.yaml", "a/z.json", "b.yml"]);
        assert_eq!(found[0].1, "y");
    }

    #[test]
    fn a_named_file_may_be_called_anything() {
        let root = tree(&[(".hidden", "text")]);
        let path = root.path().join(".hidden");
        assert_eq!(
            collect(std::slice::from_ref(&path)).unwrap(),
            [(path.display().to_string(), "text".to_owned())]
        );
    }

    #[test]
    fn a_mounted_config_map_is_read_once_through_its_links() {
        let root = tree(&[("..2026_11_21/production.yaml", "x")]);
        symlink("..2026_11_21", root.path().join("..data")).unwrap();
        symlink("..data/production.yaml", root.path().join("production.yaml")).unwrap();
        let found = collect(&[root.path().to_owned()]).unwrap();
        assert_eq!(names(&found, root.path()), ["production.yaml"]);
    }

    #[test]
    fn loops_end_and_nothing_is_read_twice() {
        let root = tree(&[("a/one.yaml", "1"), ("b/two.yaml", "2")]);
        symlink("..", root.path().join("a/up")).unwrap();
        symlink("../a", root.path().join("b/across")).unwrap();
        let found = collect(&[root.path().to_owned(), root.path().join("a"), root.path().join("a/one.yaml")])
            .unwrap();
        let mut texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["1", "2"]);
    }

    #[test]
    fn globs_match_files_at_any_depth() {
        let root = tree(&[
            ("apps/web/deploy.yaml", "1"),
            ("apps/web/deploy.json", "2"),
            ("apps/api/base/deploy.yaml", "3"),
            ("apps/api/notes.txt", "4"),
            ("other/deploy.yaml", "5"),
        ]);
        let found = |pattern: &str| {
            let found = collect(&[root.path().join(pattern)]).unwrap();
            names(&found, root.path()).join(" ")
        };
        assert_eq!(found("apps/**/*.yaml"), "apps/api/base/deploy.yaml apps/web/deploy.yaml");
        assert_eq!(found("apps/*/deploy.{yaml,json}"), "apps/web/deploy.json apps/web/deploy.yaml");
        assert_eq!(found("apps/api/*.txt"), "apps/api/notes.txt");
        assert_eq!(found("apps/w*"), "apps/web/deploy.json apps/web/deploy.yaml", "a folder is searched");
        for (pattern, problem) in [("apps/*.yaml", "no file matches"), ("apps/[.yaml", "unclosed")] {
            let error = collect(&[root.path().join(pattern)]).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn errors_name_the_path() {
        let root = tree(&[("bad.yaml", "x"), ("empty/readme.md", "x")]);
        let message = |path: &Path| {
            let error = collect(&[path.to_owned()]).unwrap_err().to_string();
            error.replace(&root.path().display().to_string(), "ROOT")
        };
        assert_eq!(
            message(&root.path().join("no.yaml")),
            "failed to read ROOT/no.yaml: No such file or directory (os error 2)"
        );
        assert_eq!(message(&root.path().join("empty")), "no *.yaml, *.yml or *.json file in ROOT/empty");
        fs::write(root.path().join("bad.yaml"), b"a: \xff").unwrap();
        assert_eq!(message(root.path()), "ROOT/bad.yaml: not a text file in UTF-8");
        fs::remove_file(root.path().join("bad.yaml")).unwrap();
        symlink("gone", root.path().join("link.yaml")).unwrap();
        assert_eq!(
            message(root.path()),
            "failed to read ROOT/link.yaml: No such file or directory (os error 2)"
        );
    }
}
