use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use plimsoll::metrics::Metrics;
use plimsoll::server::{Certificate, CertificateSource, Config, Health, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::house::{House, read_answer};

/// What an answer may be: never that it is our fault.
const STATUSES: [u16; 8] = [200, 400, 404, 405, 408, 413, 415, 431];

/// Bytes on a connection, after its handshake, to the answer.
pub fn http(data: &[u8]) {
    static HOUSE: OnceLock<Mutex<(House, Server)>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| Mutex::new(open()));
    let (house, server) = &*house.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = house.runtime.block_on(exchange(server, data));
    if answer.is_empty() {
        return;
    }
    // What comes first may only say that the body is waited for.
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n".as_slice()).unwrap_or(&answer);
    if answer.is_empty() {
        return;
    }
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
    let (head, body) = answer.split_at(head + 4);
    let head = std::str::from_utf8(head).expect("a head is text").to_ascii_lowercase();
    let status: u16 = head["http/1.1 ".len()..][..3].parse().expect("a head begins with a status");
    assert!(STATUSES.contains(&status), "{head}");
    if let Some((_, value)) = head.split_once("content-type: application/json\r\n") {
        let length = value.split_once("content-length: ").map_or(value, |(_, length)| length);
        let length = length.split("\r\n").next().and_then(|length| length.parse().ok());
        read_answer(status, &body[..length.unwrap_or(body.len())]);
    }
}

/// A server's own routes; nobody connects to its port.
fn open() -> (House, Server) {
    let house = super::review::open();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let names = vec!["localhost".to_owned()];
    let certificate = Certificate::load(CertificateSource::SelfManaged { names }).unwrap();
    let bound = Server::bind(
        Config::new(any, any),
        certificate,
        house.reviewer.clone(),
        Health::new(),
        Arc::new(Metrics::new("test")),
    );
    let server = house.runtime.block_on(bound).unwrap();
    (house, server)
}

/// Sends everything, says that there is no more, and reads what comes back.
async fn exchange(server: &Server, data: &[u8]) -> Vec<u8> {
    let (client, peer) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(server.router());
    let connection = tokio::spawn(async move {
        // How it ends is for the client to say.
        let _ = Builder::new(TokioExecutor::new())
            .http1_only()
            .serve_connection(TokioIo::new(peer), service)
            .await;
    });
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut answer = Vec::new();
    let write = async {
        let _ = writer.write_all(data).await;
        let _ = writer.shutdown().await;
    };
    let (read, ()) = tokio::join!(reader.read_to_end(&mut answer), write);
    read.expect("memory can be read");
    connection.await.expect("no connection panics");
    answer
}
