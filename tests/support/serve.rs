//! `plimsoll serve` as a process of its own, with neither cluster nor Go, and a client of it.

#![allow(dead_code, reason = "each program that includes this file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

/// A running `plimsoll serve`; dropping it kills it.
pub(crate) struct Serve {
    pub(crate) child: Child,
    pub(crate) port: u16,
    pub(crate) ops: u16,
    /// Its certificate and its audit log; gone once another took it over.
    pub(crate) folder: Option<tempfile::TempDir>,
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn plimsoll(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(args).stdin(Stdio::null());
    command
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Serve {
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more)
    }

    /// Starts in a folder that may have been another's: the audit log goes on.
    pub(crate) fn start_in(folder: tempfile::TempDir, more: &[&str]) -> Self {
        Self::start_with(folder, more, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with(folder: tempfile::TempDir, more: &[&str], environment: &[(&str, &str)]) -> Self {
        if !folder.path().join("tls.crt").exists() {
            let out = folder.path().to_str().unwrap();
            let made = plimsoll(&["certs", "generate", "--out", out, "--dns", "localhost", "127.0.0.1"])
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        let (port, ops) = (free_port(), free_port());
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (listen, ops_listen) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{ops}"));
        let (cert, key, log) = (path("tls.crt"), path("tls.key"), path("audit.jsonl"));
        let mut args = vec!["serve", "--no-cluster", "--listen", &listen, "--ops-listen", &ops_listen];
        args.extend(["--tls-cert", &cert, "--tls-key", &key, "--audit-log", &log, "--drain-seconds", "0"]);
        args.extend(more);
        let mut command = plimsoll(&args);
        let child = command
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::from(std::fs::File::create(path("log")).unwrap()))
            .spawn()
            .unwrap();
        let serve = Self { child, port, ops, folder: Some(folder) };
        let began = Instant::now();
        while !serve.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(began.elapsed() < Duration::from_secs(30), "ready in time");
            std::thread::sleep(Duration::from_millis(10));
        }
        serve
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.as_ref().unwrap().path().join(name)
    }

    /// Kills it and leaves its folder.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder.take().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ops))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn connect(&self) -> Client {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // As the API server does; otherwise what is sent in two parts waits for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(StreamOwned::new(connection, stream)) }
    }
}

/// A keep-alive connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Client {
    /// Posts a body; the status line and the answer's body.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> (String, Value) {
        self.try_post(path, body).unwrap()
    }

    pub(crate) fn try_post(&mut self, path: &str, body: &str) -> std::io::Result<(String, Value)> {
        let head = format!(
            "POST {path}?timeout=10s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        stream.flush()?;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if line.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status.trim().to_owned(), serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// A recorded review of a Deployment with one replica, moved to a namespace that a shipped policy names.
pub(crate) fn denied_review(uid: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings/007-apply-create-validate-create-deployments.json");
    let mut review: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    review["request"]["uid"] = json!(uid);
    review["request"]["namespace"] = json!("imp");
    review["request"]["object"]["metadata"]["namespace"] = json!("imp");
    review.to_string()
}
