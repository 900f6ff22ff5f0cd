//! HTTP/1.1 over TLS with as little work as can be, so that the server is what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reviews::Case;
use super::servers::Files;

/// Connections that send one review again and again.
pub(crate) struct Client {
    request: Arc<Vec<u8>>,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        files: &Files,
        case: &Case,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let config = ClientConfig::builder().with_root_certificates(files.roots()?).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let open = || async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            let stream = connector.connect(name, stream).await?;
            anyhow::Ok(Connection { stream, buffer: Vec::with_capacity(64 << 10) })
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            case.path,
            case.body.len()
        );
        let request = Arc::new([head.as_bytes(), &case.body].concat());
        let mut opened = Vec::new();
        for _ in 0..connections {
            opened.push(open().await?);
        }
        Ok(Self { request, connections: opened })
    }

    /// One answer's body.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<serde_json::Value> {
        let connection = self.connections.first_mut().context("there is a connection")?;
        let body = connection.call(&self.request).await?;
        Ok(serde_json::from_slice(&connection.buffer[body])?)
    }

    /// Sends on every connection as soon as its last answer is there. How long each answer took.
    pub(crate) async fn closed_loop(&mut self, length: Duration) -> anyhow::Result<Vec<Duration>> {
        let end = Instant::now() + length;
        let request = &self.request;
        let loops = self.connections.iter_mut().map(|connection| async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                connection.call(request).await?;
                latencies.push(started.elapsed());
            }
            anyhow::Ok(latencies)
        });
        Ok(try_join_all(loops).await?.concat())
    }

    /// Sends so many a second, come what may. How long each answer took from when it was due, so
    /// that a server which falls behind can't hide it.
    pub(crate) async fn paced(&mut self, per_second: f64, length: Duration) -> anyhow::Result<Vec<Duration>> {
        let count = self.connections.len();
        let interval = Duration::from_secs_f64(count as f64 / per_second);
        let (start, request) = (Instant::now(), &self.request);
        let loops = self.connections.iter_mut().enumerate().map(|(index, connection)| async move {
            let mut latencies = Vec::new();
            let mut due = start + interval.mul_f64(index as f64 / count as f64);
            while due < start + length {
                sleep_precisely_until(due).await;
                connection.call(request).await?;
                latencies.push(due.elapsed());
                due += interval;
            }
            anyhow::Ok(latencies)
        });
        Ok(try_join_all(loops).await?.concat())
    }
}

/// Tokio's timer is coarse: it ticks every millisecond. The rest is waited out while others go on.
async fn sleep_precisely_until(due: Instant) {
    let tick = Duration::from_millis(2);
    if due.saturating_duration_since(Instant::now()) > tick {
        sleep_until(due - tick).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

impl Connection {
    /// Sends a request and reads its answer; where in the buffer the body is.
    async fn call(&mut self, request: &[u8]) -> anyhow::Result<std::ops::Range<usize>> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            ensure!(text.starts_with("HTTP/1.1 200"), "the server said {text}");
            let length: usize = text
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                })
                .context("an answer says how long it is")?;
            let body = head + 4..head + 4 + length;
            if self.buffer.len() >= body.end {
                return Ok(body);
            }
        }
    }
}
