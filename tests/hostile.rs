//! What comes to the webhook's port from whoever can reach it, and what each gets. The snapshot is the
//! list; after each, somebody else's review is answered as ever.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "support/serve.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Serve, denied_review};

/// How long an answer may take; none of these has any reason to.
const PATIENCE: Duration = Duration::from_secs(30);

fn post(body: &[u8]) -> Vec<u8> {
    with_headers(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body)
}

fn with_headers(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /validate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A review that would be denied, changed by somebody.
fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review: Value = serde_json::from_str(&denied_review("a")).unwrap();
    change(&mut review["request"]);
    post(review.to_string().as_bytes())
}

/// The same as text.
fn replaced(what: &str, by: &str) -> Vec<u8> {
    let text = denied_review("a");
    assert!(text.contains(what), "{what}");
    post(text.replace(what, by).as_bytes())
}

/// Requests over TLS, by what they are.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let nested = b"[".repeat(200_000);
    let deep = format!(r#""spec":{}1{},"x":"#, "[".repeat(2_000), "]".repeat(2_000));
    let plain = denied_review("a");
    let plain = plain.as_bytes();
    let length = plain.len();
    vec![
        ("a review", post(plain)),
        ("GET", b"GET /validate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec()),
        (
            "another path",
            b"POST /admin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec(),
        ),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (
            "headers without an end",
            [b"POST /validate HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
        ),
        (
            "another content type",
            with_headers(&format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n"), plain),
        ),
        (
            "a compressed body",
            with_headers(
                "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n",
                b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
            ),
        ),
        (
            "two lengths",
            with_headers(
                "Content-Type: application/json\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
                b"hello!",
            ),
        ),
        (
            "a length and chunks",
            with_headers(
                "Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                b"0\r\n\r\n",
            ),
        ),
        (
            "broken chunks",
            with_headers(
                "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
                b"zz\r\nhello\r\n",
            ),
        ),
        (
            "a length of 33 MiB",
            with_headers(
                &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", 33 << 20),
                b"{}",
            ),
        ),
        (
            "a length beyond counting",
            with_headers("Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n", b"{}"),
        ),
        ("an empty body", post(b"")),
        ("null", post(b"null")),
        ("200,000 brackets", post(&nested)),
        ("UTF-16", post(&"{}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())),
        (
            "a name that is no UTF-8",
            post(
                &String::from_utf8_lossy(plain)
                    .replace("\"namespace\":\"imp\"", "\"namespace\":\"\u{1}\"")
                    .into_bytes()
                    .into_iter()
                    .map(|byte| if byte == 1 { 0xff } else { byte })
                    .collect::<Vec<_>>(),
            ),
        ),
        ("a byte order mark", post(&[b"\xef\xbb\xbf", plain].concat())),
        ("half a review", post(&plain[..length / 2])),
        ("two reviews", post(&[plain, plain].concat())),
        ("no uid", review(|request| drop(request.as_object_mut().unwrap().remove("uid")))),
        ("two uids", replaced(r#""uid":"a""#, r#""uid":"a","uid":"b""#)),
        ("a uid that is a number", replaced(r#""uid":"a""#, r#""uid":7"#)),
        ("no object", review(|request| request["object"] = Value::Null)),
        ("an object that is a text", review(|request| request["object"] = json!("Deployment"))),
        (
            "an object 2,000 deep where nobody looks",
            replaced(r#""status":"#, &deep.replace("spec", "zzz").replace("\"x\"", "\"status\"")),
        ),
        ("an unknown operation", review(|request| request["operation"] = json!("EXPLODE"))),
        (
            "DELETE of no name",
            review(|request| {
                request["operation"] = json!("DELETE");
                request["name"] = json!("");
                request["oldObject"] = request["object"].take();
            }),
        ),
        (
            "an unknown kind",
            review(|request| {
                request["resource"] = json!({"group": "x", "version": "v9", "resource": "whales"});
            }),
        ),
        ("an unknown subresource", review(|request| request["subResource"] = json!("binding"))),
        (
            "more replicas than there are numbers",
            replaced(r#""replicas":1"#, r#""replicas":99999999999999999999"#),
        ),
        ("replicas out of any range", replaced(r#""replicas":1"#, r#""replicas":1e400"#)),
        ("fewer replicas than none", replaced(r#""replicas":1"#, r#""replicas":-9223372036854775808"#)),
        ("replicas given twice", replaced(r#""replicas":1"#, r#""replicas":1,"replicas":2"#)),
        (
            "an unknown strategy",
            review(|request| request["object"]["spec"]["strategy"] = json!({"type": "Teleport"})),
        ),
        (
            "a name that plays tricks",
            review(|request| {
                let name = "a\u{0}\u{1b}[2J\u{202e}b\nadmission: allowed";
                request["name"] = json!(name);
                request["object"]["metadata"]["name"] = json!(name);
            }),
        ),
        (
            "a name without end",
            review(|request| request["object"]["metadata"]["name"] = json!("x".repeat(1 << 20))),
        ),
    ]
}

/// What came back, in a line.
fn told(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default().replace("HTTP/1.1 ", "");
    if status.is_empty() {
        return "the connection ends".to_owned();
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let response = &body["response"];
    let what = match response["allowed"].as_bool() {
        Some(true) => "allowed".to_owned(),
        Some(false) => format!("denied: {}", response["status"]["message"].as_str().unwrap()),
        None => body["error"].as_str().unwrap_or_default().to_owned(),
    };
    let what: String = what.chars().take(200).collect();
    format!("{status}: {what}").trim_end_matches(": ").to_owned()
}

/// Sends bytes and reads until the server ends the connection.
fn send(stream: &mut (impl Read + Write), request: &[u8]) -> Vec<u8> {
    // A server that has heard enough may close while we still send.
    let _ = stream.write_all(request).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn whoever_comes_gets_an_answer_and_the_others_theirs() {
    let serve = Serve::start(&[]);
    let mut others = serve.connect();
    let mut lines = String::new();
    let mut note = |what: &str, got: &str| {
        lines += &format!("{what}\n    {got}\n");
        let (status, answer) = others.post("/validate", &denied_review("other"));
        assert_eq!(status, "HTTP/1.1 200 OK", "after {what}");
        assert_eq!(answer["response"]["uid"], "other", "after {what}");
    };
    for (what, request) in requests() {
        let mut client = serve.connect();
        let stream = client.stream.get_mut();
        stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        note(what, &told(&send(stream, &request)));
    }
    let mut plain = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = send(&mut plain, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // A TLS alert: 0x15, the version, the length, fatal, and what is wrong.
    assert_eq!((answer.first(), answer.len()), (Some(&0x15), 7), "{answer:?}");
    note("HTTP without TLS", "a TLS alert, and the connection ends");
    let idle: Vec<_> = (0..500).map(|_| TcpStream::connect(("127.0.0.1", serve.port)).unwrap()).collect();
    note("500 connections that say nothing", "they wait");
    idle.iter().for_each(|stream| stream.shutdown(Shutdown::Both).unwrap());
    note("and all of them gone at once", "nothing");
    let metrics = serve.get("/metrics").unwrap();
    assert!(metrics.contains("plimsoll_panics_total 0"), "{metrics}");
    insta::assert_snapshot!(lines);
}
