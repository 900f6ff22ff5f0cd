//! An API server that is a script, for tests: what a real one does only on bad days.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use kube::config::Config;

use super::Cluster;

/// A status and a body.
pub(super) type Answer = (u16, String);

/// The path and the body of each request so far.
pub(super) type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Answers requests in order; whoever asks more finds nobody.
pub(super) fn scripted(answers: Vec<Answer>) -> (Cluster, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for (status, body) in answers {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut sent = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            socket.read_exact(&mut sent).unwrap();
            let path = head.split_whitespace().nth(1).unwrap().to_owned();
            log.lock().unwrap().push((path, String::from_utf8(sent).unwrap()));
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    let client = kube::Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    (Cluster { client, url }, asked)
}
