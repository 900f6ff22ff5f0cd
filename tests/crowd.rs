//! Very many, very large and very slow callers, and that all others get their answers meanwhile.

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
use std::net::TcpStream;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{Client, Serve, denied_review};

/// How long an answer may take; none of these has any reason to.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the chart gives a replica.
const MEMORY_LIMIT_MIB: u64 = 256;

/// One at a time: each takes as many files and as much memory as it can get.
static TURN: Mutex<()> = Mutex::new(());

/// How many files this process may have open.
fn set_open_files(soft: impl FnOnce(u64) -> u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft(most).min(most)), ..limit }).unwrap();
}

/// A line of the server's `/proc/PID/status`, in MiB: `VmRSS` is what it takes, `VmHWM` the most it took.
fn memory(serve: &Serve, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serve.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn gauge(serve: &Serve, name: &str) -> u64 {
    let metrics = serve.get("/metrics").unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().parse().unwrap()
}

/// Somebody else's review, with its right answer.
fn is_answered(client: &mut Client, when: &str) {
    let (status, answer) = client.post("/validate", &denied_review("other"));
    assert_eq!(status, "HTTP/1.1 200 OK", "{when}");
    assert_eq!(answer["response"]["uid"], "other", "{when}");
    assert_eq!(answer["response"]["allowed"], false, "{when}");
}

/// A connection after its handshake, which says nothing more.
fn shaken(serve: &Serve) -> Client {
    let mut client = serve.connect();
    let stream = client.stream.get_mut();
    stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    client
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // As a container runtime may leave it; the server takes what it may.
    set_open_files(|_| 300);
    let serve = Serve::start(&[]);
    set_open_files(|most| most);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serve.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<_> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "the server takes as many files as it may");

    let before = memory(&serve, "VmRSS");
    let mut regular = serve.connect();
    let (mut silent, mut idle) = (Vec::new(), Vec::new());
    for round in 0..20 {
        for number in 0..400 {
            let mut stream = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
            // Half of them begin a handshake.
            if number % 2 == 0 {
                let _ = stream.write_all(&[22, 3, 1]);
            }
            silent.push(stream);
        }
        is_answered(&mut regular, &format!("to a connection in use, round {round}"));
        is_answered(&mut serve.connect(), &format!("to a new connection, round {round}"));
    }
    println!("8,000 connections that say nothing: {} MiB, {before} before", memory(&serve, "VmRSS"));
    for round in 0..20 {
        idle.extend((0..100).map(|_| shaken(&serve)));
        is_answered(&mut regular, &format!("to a connection in use, round {round}"));
        is_answered(&mut serve.connect(), &format!("to a new connection, round {round}"));
    }
    let open = gauge(&serve, "plimsoll_connections{listener=\"webhook\"}");
    println!("and 2,000 after their handshake: {open} are open, {} MiB", memory(&serve, "VmRSS"));
    assert!(open <= 1024, "{open}");
    drop((silent, idle));
    is_answered(&mut regular, "when they have gone");
    println!("and when all have gone: {} MiB", memory(&serve, "VmRSS"));
}

#[test]
fn slow_handshakes_heads_and_bodies_keep_nobody_waiting() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    const EACH: usize = 100;
    let serve = Serve::start(&[]);
    let mut regular = serve.connect();
    let handshake = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[22, 3, 1, 2, 0]).unwrap();
        stream
    };
    let begun = |text: &str| {
        let mut client = shaken(&serve);
        client.stream.get_mut().write_all(text.as_bytes()).unwrap();
        client
    };
    let head = "POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = format!("{head}Content-Length: 20000\r\n\r\n{{");
    let mut handshakes: Vec<_> = (0..EACH).map(handshake).collect();
    let heads: Vec<_> = (0..EACH).map(|_| begun(head)).collect();
    let mut bodies: Vec<_> = (0..EACH).map(|_| begun(&body)).collect();
    for _ in 0..20 {
        is_answered(&mut regular, "to a connection in use");
        is_answered(&mut serve.connect(), "to a new connection");
    }
    // Each ends when its time is over; a head may take as long as an idle connection.
    for stream in &mut handshakes {
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "the handshake was ended");
    }
    for client in &mut bodies {
        let mut answer = [0; 12];
        client.stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    is_answered(&mut regular, "in the end");
    drop(heads);
}

/// A review of nearly 32 MiB.
fn large_review(change: impl FnOnce(&mut Value, usize)) -> String {
    let mut review: Value = serde_json::from_str(&denied_review("large")).unwrap();
    let room = (32 << 20) - review.to_string().len() - 1024;
    change(&mut review["request"]["object"], room);
    review.to_string()
}

#[test]
fn sixteen_bodies_of_32_mib_at_once_leave_room_for_everybody_else() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let serve = Serve::start(&[]);
    let large = large_review(|object, room| {
        object["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "A", "value": "x".repeat(room)}]);
    });
    // All but the last byte of each body is on its way, then others are answered, then it comes.
    let (sent, answered) = (Barrier::new(17), Barrier::new(17));
    let post = || {
        let mut client = shaken(&serve);
        let stream = client.stream.get_mut();
        let head = format!(
            "POST /validate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            large.len()
        );
        let (most, last) = large.as_bytes().split_at(large.len() - 1);
        let is_sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(most)).is_ok();
        sent.wait();
        answered.wait();
        // A server that has refused it may be gone already.
        if is_sent {
            let _ = stream.write_all(last);
        }
        let mut status = [0; 12];
        client
            .stream
            .read_exact(&mut status)
            .map_or(0, |()| String::from_utf8_lossy(&status[9..]).parse().unwrap())
    };
    let mut statuses = std::thread::scope(|scope| {
        let large: Vec<_> = (0..16).map(|_| scope.spawn(post)).collect();
        sent.wait();
        let mut regular = serve.connect();
        for _ in 0..20 {
            is_answered(&mut regular, "between large bodies");
            is_answered(&mut serve.connect(), "between large bodies, to a new connection");
        }
        answered.wait();
        large.into_iter().map(|large| large.join().unwrap()).collect::<Vec<u16>>()
    });
    statuses.sort_unstable();
    let most = memory(&serve, "VmHWM");
    println!("16 bodies of 32 MiB at once: {statuses:?}, {most} MiB at most");
    // 503 without the memory for it, 408 where this machine was too slow to send it, 0 where the answer
    // was lost since the server didn't read on.
    assert!(statuses.iter().all(|status| [0, 200, 408, 503].contains(status)), "{statuses:?}");
    assert!(most < MEMORY_LIMIT_MIB, "{most} MiB");
}

#[test]
fn what_is_short_in_a_body_and_long_in_memory_is_not_read() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let serve = Serve::start(&[]);
    let list = |item: &'static str, room: usize| vec![item; room / (item.len() + 1)].join(",");
    let pod = "/request/object/spec/template/spec";
    let cases = [
        ("containers", format!("{pod}/containers"), list("{}", 30 << 20)),
        ("volumes", format!("{pod}/volumes"), list("{}", 30 << 20)),
        ("mounts", format!("{pod}/containers/0/volumeMounts"), list("{}", 30 << 20)),
        ("owners", "/request/object/metadata/ownerReferences".to_owned(), list("{}", 30 << 20)),
        ("a name", format!("{pod}/containers/0/name"), "x".repeat(30 << 20)),
    ];
    let mut client = serve.connect();
    for (what, at, much) in cases {
        let mut review: Value = serde_json::from_str(&denied_review("large")).unwrap();
        let (parent, field) = at.rsplit_once('/').unwrap();
        review.pointer_mut(parent).unwrap()[field] = json!("@");
        let by = if what == "a name" { format!("{much:?}") } else { format!("[{much}]") };
        let body = review.to_string().replacen("\"@\"", &by, 1);
        for path in ["/mutate", "/validate"] {
            let (status, answer) = client.post(path, &body);
            assert_eq!(status, "HTTP/1.1 200 OK", "{what}");
            assert_eq!(answer["response"]["allowed"], path == "/mutate", "{what}");
        }
        is_answered(&mut client, what);
    }
    let most = memory(&serve, "VmHWM");
    println!("30 MiB of what takes three bytes each: {most} MiB at most");
    assert!(most < MEMORY_LIMIT_MIB, "{most} MiB");
}
