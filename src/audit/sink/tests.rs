use std::collections::VecDeque;

use super::*;

/// Answers each call with the next result; takes everything once they are used up.
#[derive(Default)]
struct Choppy {
    taken: Vec<u8>,
    answers: VecDeque<io::Result<usize>>,
}

impl Write for Choppy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.answers.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        self.taken.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn choppy(answers: impl IntoIterator<Item = io::Result<usize>>) -> Choppy {
    Choppy { answers: answers.into_iter().collect(), ..Choppy::default() }
}

#[test]
fn short_writes_are_continued() {
    let refusal = || Err(io::ErrorKind::WouldBlock.into());
    let mut out = choppy([Ok(1), Err(io::ErrorKind::Interrupted.into()), Ok(3), refusal(), refusal(), Ok(2)]);
    let (written, error) = write(&mut out, b"one\ntwo\n");
    assert_eq!((written, error.is_none()), (8, true));
    assert_eq!(out.taken, b"one\ntwo\n");
}

#[test]
fn a_failure_tells_how_far_it_came() {
    let mut out = choppy([Ok(5), Err(io::ErrorKind::StorageFull.into())]);
    let (written, error) = write(&mut out, b"one\ntwo\n");
    assert_eq!((written, error.unwrap().kind()), (5, io::ErrorKind::StorageFull));

    let (written, error) = write(&mut choppy([Ok(0)]), b"one\n");
    assert_eq!((written, error.unwrap().kind()), (0, io::ErrorKind::WriteZero));
}

fn sink(path: &Path, max_bytes: u64) -> Sink {
    let rotation = Rotation { max_bytes, keep: 3 };
    Sink::file(path.to_owned(), rotation, Duration::ZERO, Arc::new(Shared::new())).unwrap()
}

fn put(sink: &mut Sink, line: &str) {
    sink.prepare(line.len()).unwrap();
    let (written, error) = sink.append(line.as_bytes());
    assert_eq!((written, error.map(|error| error.to_string())), (line.len(), None));
}

#[test]
fn half_a_line_is_never_continued() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    fs::write(&path, "whole\nhal").unwrap();
    let mut sink = sink(&path, 1000);
    put(&mut sink, "next\n");
    put(&mut sink, "last\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\nnext\nlast\n");
}

#[test]
fn the_mark_of_half_a_line_survives_a_write_that_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    fs::write(&path, "hal").unwrap();
    let mut open =
        Place::File { path: path.clone(), rotation: Rotation::default(), check_every: Duration::ZERO }
            .open()
            .unwrap();
    open.file = File::open("/dev/null").unwrap();
    let (written, error) = open.append(b"next\n");
    assert_eq!((written, error.is_some(), open.torn), (0, true, true));
}

#[test]
fn a_new_file_is_not_for_everyone_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    drop(sink(&path, 1000));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o027, 0);
}

#[test]
fn a_file_is_rotated_before_the_line_that_would_exceed_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut sink = sink(&path, 8);
    for line in ["1\n", "a line too long for any file\n", "2\n", "345\n", "6\n", "7\n"] {
        put(&mut sink, line);
    }
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(read("audit.log.3"), "1\n");
    assert_eq!(read("audit.log.2"), "a line too long for any file\n");
    assert_eq!(read("audit.log.1"), "2\n345\n6\n");
    assert_eq!(read("audit.log"), "7\n");
}

#[test]
fn a_rotation_that_fails_keeps_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut sink = sink(&path, 4);
    // A directory with something in it can't be replaced by a file.
    fs::create_dir_all(directory.path().join("audit.log.3/x")).unwrap();
    for name in ["audit.log.1", "audit.log.2"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    put(&mut sink, "one\n");
    put(&mut sink, "two\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    assert_eq!(sink.shared.counts().rotation_errors, 1);

    // Once the obstacle is gone it rotates.
    fs::remove_dir_all(directory.path().join("audit.log.3")).unwrap();
    sink.rotation_failed = None;
    put(&mut sink, "new\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
}

#[test]
fn a_renamed_file_is_kept_while_no_other_can_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let elsewhere = directory.path().join("elsewhere");
    let mut sink = sink(&path, 1000);
    fs::rename(&path, &elsewhere).unwrap();
    fs::create_dir(&path).unwrap();
    put(&mut sink, "kept\n");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept\n");

    // Deleted, it would swallow lines that nobody can find.
    fs::remove_file(&elsewhere).unwrap();
    assert!(sink.prepare(1).is_err());
    fs::remove_dir(&path).unwrap();
    put(&mut sink, "back\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "back\n");
}
