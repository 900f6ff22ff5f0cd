//! What is done to the store and asked of the machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Makes etcd forget what watches could go on from, unless it is stopped.
pub(crate) fn compact(etcd: &str) -> Option<()> {
    let answer = ask_store(etcd, "/v3/kv/range", r#"{"key": "AA==", "limit": "1"}"#)?;
    let revision = answer["header"]["revision"].as_str()?;
    ask_store(etcd, "/v3/kv/compaction", &json!({"revision": revision}).to_string())?["header"]
        .as_object()?;
    Some(())
}

/// Asks etcd's gateway; it may be stopped.
fn ask_store(etcd: &str, path: &str, body: &str) -> Option<serde_json::Value> {
    let address = etcd.trim_start_matches("http://").parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// The answer of an ops port, unless it takes too long.
pub(crate) fn probe(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Where Debian and its like have it.
pub(crate) fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let library = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    folders
        .map(library)
        .chain([Path::new("/usr/lib/faketime/libfaketimeMT.so.1").to_owned()])
        .find(|path| path.exists())
}
