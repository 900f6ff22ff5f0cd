//! The server as the API server meets it: a real listener, real TLS, raw HTTP/1.1 over it.
//!
//! Tests order things by events (a review has started, a connection was refused), never by
//! sleeping. Where a time has to pass it is configured short and waited for up to [`PATIENCE`], so
//! a slow machine makes them slow, not red.

// Clippy's leave for tests doesn't reach the helpers of an integration test.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use futures::future::BoxFuture;
use plimsoll::metrics::Metrics;
use plimsoll::review::{Answer, Phase, Review};
use plimsoll::server::{
    Addresses, Certificate, CertificateSource, Config, Generated, Health, Server, ServerError, Signals,
    generate, run_until_signalled,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long anything may take before a test gives up. Only failing tests wait that long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test: what is configured so never happens by itself.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// For reviews that wait for the test: the longest deadline there is.
const PATIENT: &str = "/validate?timeout=34s";

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("should have happened long ago")
}

/// Repeats `check` until it holds.
async fn until<F: Future<Output = bool>>(mut check: impl FnMut() -> F) {
    soon(async {
        while !check().await {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

// The review that stands in for the real one.

/// Does what the body says: `wait` for the test's leave, `panic`, or anything else: answer.
struct Scripted {
    started: Semaphore,
    leave: Semaphore,
    finished: Semaphore,
}

impl Review for Scripted {
    fn review(self: Arc<Self>, phase: Phase, body: Bytes, _: Instant) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            self.started.add_permits(1);
            if body.starts_with(b"wait") {
                self.leave.acquire().await.unwrap().forget();
            }
            assert!(!body.starts_with(b"panic"), "as the test asked");
            self.finished.add_permits(1);
            let body = format!(r#"{{"phase":"{phase:?}","bytes":{}}}"#, body.len());
            Answer { status: StatusCode::OK, body: body.into() }
        })
    }
}

async fn take(semaphore: &Semaphore) {
    soon(semaphore.acquire()).await.unwrap().forget();
}

// A server to talk to.

struct Running {
    addresses: Addresses,
    roots: RootCertStore,
    certificate: Certificate,
    review: Arc<Scripted>,
    metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ServerError>>,
}

fn local() -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::new(any, any);
    config.certificate_poll = Duration::from_millis(10);
    config
}

fn own_certificate() -> Certificate {
    Certificate::load(CertificateSource::SelfManaged { names: vec!["127.0.0.1".to_owned()] }).unwrap()
}

fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

async fn bind(config: Config, certificate: Certificate, metrics: Arc<Metrics>) -> (Server, Arc<Scripted>) {
    let semaphore = || Semaphore::new(0);
    let review = Arc::new(Scripted { started: semaphore(), leave: semaphore(), finished: semaphore() });
    let server = Server::bind(config, certificate, review.clone(), Health::new(), metrics).await.unwrap();
    (server, review)
}

async fn start_with(config: Config, certificate: Certificate) -> Running {
    let metrics = Arc::new(Metrics::new("test"));
    let (server, review) = bind(config, certificate.clone(), metrics.clone()).await;
    let addresses = server.addresses();
    let (stop, stopped) = oneshot::channel::<()>();
    // A test that never stops it drops the sender at its end, which is as good.
    let ended = tokio::spawn(server.run(async { drop(stopped.await) }));
    let roots = roots(certificate.ca_bundle_pem().unwrap_or_default().as_bytes());
    Running { addresses, roots, certificate, review, metrics, stop: Some(stop), ended }
}

async fn start(configure: impl FnOnce(&mut Config)) -> Running {
    let mut config = local();
    configure(&mut config);
    start_with(config, own_certificate()).await
}

impl Running {
    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> std::io::Result<Client> {
        Client::connect(self.addresses.webhook, client_config(self.roots.clone())).await
    }

    async fn ops(&self, path: &str) -> Reply {
        let mut stream = soon(TcpStream::connect(self.addresses.ops)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\n\r\n");
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        soon(read_reply(&mut stream)).await.unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

// A client that hides nothing.

struct Client {
    stream: TlsStream<TcpStream>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    /// In lower case, one a line.
    headers: String,
    body: String,
}

impl Reply {
    fn has_header(&self, line: &str) -> bool {
        self.headers.lines().any(|header| header == line)
    }

    /// What would make the API server call again or elsewhere.
    fn never_again(&self) -> bool {
        !self.headers.contains("retry-after:") && !self.headers.contains("location:")
    }
}

fn client_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    client_builder().with_root_certificates(roots).with_no_client_auth()
}

impl Client {
    async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let stream = soon(TcpStream::connect(address)).await?;
        let name = ServerName::from(address.ip());
        Ok(Self { stream: soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await? })
    }

    async fn send(&mut self, text: &str) {
        self.try_send(text).await.unwrap();
    }

    async fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        soon(self.stream.write_all(text.as_bytes())).await?;
        soon(self.stream.flush()).await
    }

    async fn send_post(&mut self, path: &str, body: &str) {
        self.send(&post(path, body)).await;
    }

    async fn reply(&mut self) -> Reply {
        soon(read_reply(&mut self.stream)).await.unwrap()
    }

    async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.try_post(path, body).await.unwrap()
    }

    async fn try_post(&mut self, path: &str, body: &str) -> std::io::Result<Reply> {
        self.try_send(&post(path, body)).await?;
        soon(read_reply(&mut self.stream)).await
    }

    /// Waits until the server ends the connection.
    async fn ended(&mut self) {
        // Bytes would be an answer nobody asked for; an error is a rude end, but an end.
        assert_eq!(soon(self.stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }

    fn peer(&self) -> CertificateDer<'static> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn post(path: &str, body: &str) -> String {
    let head = "Host: x\r\nContent-Type: application/json\r\nContent-Length";
    format!("POST {path} HTTP/1.1\r\n{head}: {}\r\n\r\n{body}", body.len())
}

async fn read_reply(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (status, headers) = head.split_once("\r\n").unwrap();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(Reply {
        status: status.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.to_owned(),
        body: String::from_utf8(body).unwrap(),
    })
}

// Requests.

#[tokio::test]
async fn both_phases_are_answered_on_a_connection_that_stays_open() {
    let server = start(|_| {}).await;
    let mut client = server.connect().await;
    for (path, phase) in
        [("/validate?timeout=3s", "Validate"), ("/mutate", "Mutate"), ("/validate", "Validate")]
    {
        let reply = client.post(path, "{}").await;
        assert_eq!((reply.status, reply.body), (200, format!(r#"{{"phase":"{phase}","bytes":2}}"#)));
        assert!(reply.headers.contains("content-type: application/json"));
        assert!(!reply.headers.contains("connection: close"));
    }
    assert_eq!(server.metric(r#"plimsoll_connections{listener="webhook"}"#), 1);
}

#[tokio::test]
async fn what_is_no_review_is_refused_without_redirect_or_retry() {
    let server = start(|_| {}).await;
    let json = "Content-Type: application/json";
    for (line, header, status) in [
        ("POST /", json, 404),
        ("POST /validate/", json, 404),
        ("POST //validate", json, 404),
        ("GET /healthz", json, 404),
        ("GET /validate", json, 405),
        ("PUT /mutate", json, 405),
        ("DELETE /mutate", json, 405),
        ("POST /validate", "Content-Type: text/plain", 415),
        ("POST /validate", "Accept: application/json", 415),
        ("POST /val\u{1}idate", json, 400),
    ] {
        let mut client = server.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: 0\r\n\r\n")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{line} {header}");
        assert!(reply.never_again(), "{line}: {}", reply.headers);
    }
    assert_eq!(server.review.started.available_permits(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = start(|config| config.body_limit = 10).await;
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    assert_eq!(server.connect().await.post("/validate", "0123456789").await.status, 200);

    // By what it declares, before any of it is sent.
    let mut client = server.connect().await;
    client.send(&format!("{head}Content-Length: 11\r\n\r\n")).await;
    assert_eq!(client.reply().await.status, 413);

    // By what arrives.
    let mut client = server.connect().await;
    client.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n")).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 413);
    assert!(reply.never_again());
    assert_eq!(server.metric(r#"plimsoll_requests_shed_total{reason="body_too_large"}"#), 2);
}

#[tokio::test]
async fn a_large_body_is_accepted() {
    let server = start(|_| {}).await;
    let reply = server.connect().await.post("/validate", &" ".repeat(20 << 20)).await;
    assert_eq!(reply.body, format!(r#"{{"phase":"Validate","bytes":{}}}"#, 20 << 20));
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let server = start(|config| config.body_timeout = Duration::from_millis(50)).await;
    let mut client = server.connect().await;
    let whole = post(PATIENT, "0123456789");
    let before = Instant::now();
    client.send(&whole[..whole.len() - 1]).await;
    assert_eq!(client.reply().await.status, 408);
    // Long before the request's own deadline, which would end it too.
    assert!(before.elapsed() < Duration::from_secs(30));
    assert_eq!(server.review.started.available_permits(), 0);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded() {
    let server = start(|config| (config.bytes_in_flight, config.first_bytes) = (10, 0)).await;
    let mut first = server.connect().await;
    first.send_post(PATIENT, "wait4567").await;
    take(&server.review.started).await;
    let reply = server.connect().await.post("/validate", "12345678").await;
    assert_eq!(reply.status, 503);
    assert!(reply.never_again());
    server.review.leave.add_permits(1);
    assert_eq!(first.reply().await.status, 200);
    assert_eq!(server.connect().await.post("/validate", "12345678").await.status, 200);
}

#[tokio::test]
async fn a_panic_answers_its_own_request_and_nothing_else() {
    let server = start(|_| {}).await;
    let mut bystander = server.connect().await;
    bystander.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    let mut client = server.connect().await;
    let reply = client.post("/validate", "panic").await;
    assert_eq!(reply.status, 500);
    assert!(!reply.body.contains("as the test asked"), "{}", reply.body);
    assert_eq!(client.post("/validate", "{}").await.status, 200);
    assert_eq!(server.connect().await.post("/validate", "{}").await.status, 200);
    server.review.leave.add_permits(1);
    assert_eq!(bystander.reply().await.status, 200);
    assert_eq!(server.metric("plimsoll_panics_total"), 1);
}

#[tokio::test]
async fn reviews_over_the_limit_are_shed() {
    let server = start(|config| config.reviews = 1).await;
    let mut first = server.connect().await;
    first.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    let reply = server.connect().await.post("/validate", "{}").await;
    assert_eq!(reply.status, 503);
    assert!(reply.never_again(), "{}", reply.headers);
    server.review.leave.add_permits(1);
    assert_eq!(first.reply().await.status, 200);
    assert_eq!(first.post("/validate", "{}").await.status, 200);
    assert_eq!(server.metric(r#"plimsoll_requests_shed_total{reason="reviews"}"#), 1);
}

#[tokio::test]
async fn past_the_deadline_there_is_an_error_and_the_review_goes_on() {
    let server = start(|_| {}).await;
    let reply = server.connect().await.post("/validate?timeout=200ms", "wait").await;
    assert_eq!(reply.status, 504);
    assert!(reply.never_again());
    server.review.leave.add_permits(1);
    take(&server.review.finished).await;
    assert_eq!(server.metric(r#"plimsoll_requests_shed_total{reason="deadline"}"#), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_its_review() {
    let server = start(|_| {}).await;
    let mut client = server.connect().await;
    client.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    drop(client);
    until(async || server.metric(r#"plimsoll_connections{listener="webhook"}"#) == 0).await;
    server.review.leave.add_permits(1);
    take(&server.review.finished).await;
}

// Connections.

#[tokio::test]
async fn a_stalled_handshake_blocks_nobody() {
    let server = start(|config| config.handshake_timeout = NEVER).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = soon(TcpStream::connect(server.addresses.webhook)).await.unwrap();
        // The first bytes of a ClientHello that never goes on.
        stream.write_all(&[22, 3, 1]).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(server.connect().await.post("/validate", "{}").await.status, 200);
    assert_eq!(server.metric("plimsoll_handshake_failures_total"), 0);
}

#[tokio::test]
async fn a_stalled_handshake_is_ended() {
    let server = start(|config| config.handshake_timeout = Duration::from_millis(50)).await;
    let mut stalled = soon(TcpStream::connect(server.addresses.webhook)).await.unwrap();
    assert_eq!(soon(stalled.read(&mut [0; 1])).await.unwrap_or(0), 0);
    assert_eq!(server.metric("plimsoll_handshake_failures_total"), 1);
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_the_idle_time_and_no_longer() {
    let idle = Duration::from_millis(1500);
    let server = start(|config| config.idle_timeout = idle).await;
    let before = Instant::now();
    let mut silent = server.connect().await;
    silent.ended().await;
    assert!(before.elapsed() >= idle, "closed after {:?}", before.elapsed());

    // The same for one that waits for its second request. A slow machine may miss the time for the
    // first.
    let mut used = server.connect().await;
    while used.try_post("/validate", "{}").await.is_err() {
        used = server.connect().await;
    }
    used.ended().await;
}

#[tokio::test]
async fn connections_over_the_cap_are_dropped_while_a_request_is_on_each() {
    let server = start(|config| config.connections = 1).await;
    let mut first = server.connect().await;
    first.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    assert!(server.try_connect().await.is_err());
    assert_eq!(server.metric(r#"plimsoll_requests_shed_total{reason="connections"}"#), 1);
    server.review.leave.add_permits(1);
    assert_eq!(first.reply().await.status, 200);
    assert_eq!(first.post("/validate", "{}").await.status, 200);
    drop(first);
    until(async || server.try_connect().await.is_ok()).await;
}

#[tokio::test]
async fn who_has_been_idle_for_the_longest_makes_room() {
    let server = start(|config| {
        config.connections = 2;
        config.handshake_timeout = NEVER;
        config.idle_timeout = NEVER;
    })
    .await;
    let mut silent = soon(TcpStream::connect(server.addresses.webhook)).await.unwrap();
    let mut first = server.connect().await;
    assert_eq!(first.post("/validate", "{}").await.status, 200);
    // Whoever shakes hands has sent nothing yet, so it goes first; then who had its answer first.
    let mut second = server.connect().await;
    assert_eq!(soon(silent.read(&mut [0; 1])).await.unwrap_or(0), 0);
    assert_eq!(second.post("/validate", "{}").await.status, 200);
    assert_eq!(first.post("/validate", "{}").await.status, 200);
    let mut third = server.connect().await;
    second.ended().await;
    assert_eq!(third.post("/validate", "{}").await.status, 200);
    assert_eq!(first.post("/validate", "{}").await.status, 200);
    assert_eq!(server.metric(r#"plimsoll_requests_shed_total{reason="connections"}"#), 2);
}

#[tokio::test]
async fn an_old_connection_ends_with_an_answer() {
    let server = start(|config| config.connection_age = Duration::ZERO).await;
    let mut client = server.connect().await;
    let reply = client.post("/validate", "{}").await;
    assert_eq!(reply.status, 200);
    assert!(reply.has_header("connection: close"), "{}", reply.headers);
    client.ended().await;
}

#[tokio::test]
async fn only_http_1_1_is_negotiated_and_tls_1_2_is_spoken() {
    let server = start(|_| {}).await;
    let mut config = client_config(server.roots.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client::connect(server.addresses.webhook, config.clone()).await.unwrap();
    assert_eq!(client.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(Client::connect(server.addresses.webhook, config).await.is_err());

    let provider = Arc::new(aws_lc_rs::default_provider());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(server.roots.clone())
        .with_no_client_auth();
    let mut client = Client::connect(server.addresses.webhook, old).await.unwrap();
    assert_eq!(client.post("/validate", "{}").await.status, 200);
}

// Certificates.

/// A mounted Secret: `tls.crt` and `tls.key` lead through `..data` to a directory that an update
/// replaces.
struct Secret {
    mount: tempfile::TempDir,
    updates: usize,
}

impl Secret {
    fn new() -> Self {
        let mount = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mount.path().join(name)).unwrap();
        }
        Self { mount, updates: 0 }
    }

    /// What the kubelet does: write a new directory, swing the link, remove the old directory.
    fn update(&mut self, write: impl FnOnce(&Path) -> Generated) -> Generated {
        let name = |n: usize| format!("..2026_11_21_{n}");
        self.updates += 1;
        let dir = self.mount.path().join(name(self.updates));
        fs::create_dir(&dir).unwrap();
        let generated = write(&dir);
        let link = self.mount.path().join("..data_tmp");
        symlink(name(self.updates), &link).unwrap();
        fs::rename(&link, self.mount.path().join("..data")).unwrap();
        let _ = fs::remove_dir_all(self.mount.path().join(name(self.updates - 1)));
        generated
    }

    fn update_with_new_pair(&mut self) -> Generated {
        self.update(|dir| generate(dir, &["127.0.0.1".to_owned()], false).unwrap())
    }

    fn source(&self) -> CertificateSource {
        let path = |name| self.mount.path().join(name);
        CertificateSource::Files { cert: path("tls.crt"), key: path("tls.key") }
    }
}

/// The certificate that a new connection is shown. Whose it is doesn't matter to these tests, so
/// all are trusted.
async fn shown(
    server: &Running,
    made: &[(RootCertStore, CertificateDer<'static>)],
) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    for (ca, _) in made {
        roots.roots.extend(ca.roots.iter().cloned());
    }
    Client::connect(server.addresses.webhook, client_config(roots)).await.unwrap().peer()
}

fn read_pair(generated: &Generated) -> (RootCertStore, CertificateDer<'static>) {
    let leaf = CertificateDer::from_pem_file(&generated.certificate).unwrap();
    (roots(&fs::read(&generated.ca).unwrap()), leaf)
}

#[tokio::test]
async fn a_secret_is_followed_through_swaps_and_a_broken_one_is_not() {
    let mut secret = Secret::new();
    let mut made = vec![read_pair(&secret.update_with_new_pair())];
    let server = start_with(local(), Certificate::load(secret.source()).unwrap()).await;
    assert_eq!(shown(&server, &made).await, made[0].1);
    let mut old = Client::connect(server.addresses.webhook, client_config(made[0].0.clone())).await.unwrap();
    assert_eq!(old.post("/validate", "{}").await.status, 200);

    for _ in 0..2 {
        made.push(read_pair(&secret.update_with_new_pair()));
        let newest = made.last().unwrap().1.clone();
        until(async || shown(&server, &made).await == newest).await;
        assert_eq!(old.post("/validate", "{}").await.status, 200);
    }

    // A key that belongs to another certificate.
    let failures = || server.metric("plimsoll_certificate_reload_errors_total");
    assert_eq!(failures(), 0);
    secret.update(|dir| {
        let generated = generate(dir, &["127.0.0.1".to_owned()], false).unwrap();
        let other = generate(&dir.join("other"), &["127.0.0.1".to_owned()], false).unwrap();
        fs::copy(other.key, &generated.key).unwrap();
        generated
    });
    until(async || failures() > 0).await;
    assert_eq!(shown(&server, &made).await, made[2].1);
    let ready = server.ops("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains("certificate renewal: failed to use"), "{}", ready.body);

    // And one that is whole again.
    made.push(read_pair(&secret.update_with_new_pair()));
    until(async || shown(&server, &made).await == made[3].1).await;
    until(async || server.ops("/readyz").await.body == "certificate: ok\ncertificate renewal: ok\n").await;
    assert_eq!(old.post("/validate", "{}").await.status, 200);
}

#[tokio::test]
async fn an_unusable_pair_at_start_is_an_error_that_names_the_file() {
    let mut secret = Secret::new();
    secret.update(|dir| {
        let generated = generate(dir, &["127.0.0.1".to_owned()], false).unwrap();
        fs::write(&generated.key, "nothing").unwrap();
        generated
    });
    let error = format!("{:#}", anyhow::Error::from(Certificate::load(secret.source()).unwrap_err()));
    assert!(error.contains("tls.key: expected an unencrypted private key"), "{error}");
}

#[tokio::test]
async fn its_own_certificate_is_reissued_for_other_names_under_the_same_authority() {
    let server = start(|_| {}).await;
    let before = server.connect().await.peer();
    let names = ["127.0.0.1".to_owned(), "plimsoll.plimsoll-system.svc".to_owned()];
    server.certificate.reissue(&names).unwrap();
    // The roots are those of the start.
    let mut client = server.connect().await;
    assert_ne!(client.peer(), before);
    assert_eq!(client.post("/validate", "{}").await.status, 200);
    let expiry = server.certificate.not_after().as_second();
    until(async || {
        server.metric("plimsoll_certificate_expiry_timestamp_seconds") == u64::try_from(expiry).unwrap()
    })
    .await;
}

/// A client authority and a client certificate of it, as PEM: authority, certificate, key.
fn client_authority() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut client = CertificateParams::new(["apiserver".to_owned()]).unwrap();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let pem = client.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    (ca_pem, pem, key.serialize_pem())
}

#[tokio::test]
async fn a_client_certificate_is_required_when_an_authority_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = client_authority();
    let path = dir.path().join("client-ca.crt");
    fs::write(&path, ca).unwrap();
    let server = start(|config| config.client_ca = Some(path.clone())).await;

    let with = |certificate: &str, key: &str| {
        client_builder()
            .with_root_certificates(server.roots.clone())
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap()
    };
    let address = server.addresses.webhook;
    let mut client = Client::connect(address, with(&certificate, &key)).await.unwrap();
    assert_eq!(client.post("/validate", "{}").await.status, 200);

    let (_, certificate, key) = client_authority();
    for (refused, failures) in [(with(&certificate, &key), 1), (client_config(server.roots.clone()), 2)] {
        // In TLS 1.3 the client learns of the refusal only when it reads.
        if let Ok(mut client) = Client::connect(address, refused).await {
            client.ended().await;
        }
        until(async || server.metric("plimsoll_handshake_failures_total") == failures).await;
    }
    assert_eq!(server.review.started.available_permits(), 1);

    fs::write(&path, "nothing").unwrap();
    let mut config = local();
    config.client_ca = Some(path);
    let (health, metrics) = (Health::new(), Arc::new(Metrics::new("test")));
    let review = server.review.clone();
    let error = Server::bind(config, own_certificate(), review, health, metrics).await.err().unwrap();
    assert!(error.to_string().contains("client-ca.crt: it holds no certificate"), "{error}");
}

// The ops port.

#[tokio::test]
async fn operators_get_liveness_readiness_and_metrics() {
    let config = local();
    let metrics = Arc::new(Metrics::new("test"));
    let health = Health::new();
    let cache = health.condition("cache deployments");
    cache.set_not_ready("syncing");
    let semaphore = || Semaphore::new(0);
    let review = Arc::new(Scripted { started: semaphore(), leave: semaphore(), finished: semaphore() });
    let server =
        Server::bind(config, own_certificate(), review.clone(), health, metrics.clone()).await.unwrap();
    let addresses = server.addresses();
    let certificate = own_certificate();
    let ended = tokio::spawn(server.run(std::future::pending()));
    let server =
        Running { addresses, roots: RootCertStore::empty(), certificate, review, metrics, stop: None, ended };

    let live = server.ops("/livez").await;
    assert_eq!((live.status, live.body.as_str()), (200, "ok\n"));
    let ready = server.ops("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, "cache deployments: syncing\ncertificate: ok\ncertificate renewal: ok\n");
    cache.set_ready();
    assert_eq!(server.ops("/readyz").await.status, 200);
    let scrape = server.ops("/metrics").await;
    assert!(scrape.headers.contains("content-type: application/openmetrics-text"));
    assert!(scrape.body.contains(r#"plimsoll_build_info{version="test"} 1"#), "{}", scrape.body);
    assert!(scrape.body.ends_with("# EOF\n"));
    assert_eq!(server.ops("/validate").await.status, 404);
}

// The end.

#[tokio::test]
async fn draining_is_not_ready_at_once_and_still_serves_everybody() {
    let mut server = start(|config| config.drain_time = NEVER).await;
    let mut old = server.connect().await;
    assert!(!old.post("/validate", "{}").await.has_header("connection: close"));
    let mut busy = server.connect().await;
    busy.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    take(&server.review.started).await;
    assert_eq!(server.ops("/readyz").await.status, 200);

    server.stop();
    until(async || server.ops("/readyz").await.status == 503).await;
    assert!(server.ops("/readyz").await.body.starts_with("shutdown: draining\n"));
    assert_eq!(server.ops("/livez").await.status, 200);
    server.review.leave.add_permits(1);
    let replies = [
        old.post("/validate", "{}").await,
        busy.reply().await,
        server.connect().await.post("/validate", "{}").await,
    ];
    for reply in replies {
        assert_eq!(reply.status, 200);
        assert!(reply.has_header("connection: close"), "{}", reply.headers);
    }
    old.ended().await;
    assert!(!server.ended.is_finished());
}

#[tokio::test]
async fn after_draining_connections_are_refused_and_what_is_in_flight_finishes() {
    let mut server = start(|config| {
        config.drain_time = Duration::ZERO;
        config.drain_deadline = NEVER;
    })
    .await;
    let mut idle = server.connect().await;
    assert_eq!(idle.post("/validate", "{}").await.status, 200);
    let _shaking = soon(TcpStream::connect(server.addresses.webhook)).await.unwrap();
    let mut busy = server.connect().await;
    let mut gone = server.connect().await;
    busy.send_post(PATIENT, "wait").await;
    gone.send_post(PATIENT, "wait").await;
    for _ in 0..3 {
        take(&server.review.started).await;
    }
    drop(gone);

    server.stop();
    until(async || TcpStream::connect(server.addresses.webhook).await.is_err()).await;
    idle.ended().await;
    assert!(!server.ended.is_finished());
    server.review.leave.add_permits(1);
    // Either of the two reviews may have got that leave; the other is waited for just the same.
    until(async || server.review.finished.available_permits() == 2).await;
    assert!(!server.ended.is_finished());
    server.review.leave.add_permits(1);
    let reply = busy.reply().await;
    assert_eq!(reply.status, 200);
    assert!(reply.has_header("connection: close"), "{}", reply.headers);
    soon(server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_still_arriving_is_in_flight_too() {
    let mut server = start(|config| {
        config.drain_time = Duration::ZERO;
        config.drain_deadline = NEVER;
        config.body_timeout = NEVER;
    })
    .await;
    let mut client = server.connect().await;
    let whole = post(PATIENT, "{}").replace("Host: x", "Host: x\r\nExpect: 100-continue");
    let (head, body) = whole.split_at(whole.len() - 2);
    client.send(head).await;
    // The server says so when it begins to read the body.
    assert_eq!(client.reply().await.status, 100);

    server.stop();
    until(async || TcpStream::connect(server.addresses.webhook).await.is_err()).await;
    assert_eq!(server.ops("/readyz").await.status, 503);
    assert!(!server.ended.is_finished());
    client.send(body).await;
    assert_eq!(client.reply().await.status, 200);
    soon(server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_at_the_deadline() {
    let mut server = start(|config| {
        config.drain_time = Duration::ZERO;
        config.drain_deadline = Duration::from_millis(50);
    })
    .await;
    let mut busy = server.connect().await;
    busy.send_post(PATIENT, "wait").await;
    take(&server.review.started).await;
    server.stop();
    soon(server.ended).await.unwrap().unwrap();
    busy.ended().await;
}

/// One test for both signals, since they reach the whole process.
#[tokio::test]
async fn a_signal_drains_and_a_second_one_aborts() {
    let kill = || {
        let pid = std::process::id().to_string();
        // The shell's own kill, since not every image has one as a program.
        let shell = std::process::Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status();
        assert!(shell.unwrap().success());
    };
    let bind = async |drain_time| {
        let mut config = local();
        config.drain_time = drain_time;
        bind(config, own_certificate(), Arc::new(Metrics::new("test"))).await.0
    };

    let running = tokio::spawn(run_until_signalled(bind(Duration::ZERO).await, Signals::new().unwrap()));
    kill();
    soon(running).await.unwrap().unwrap();

    let server = bind(NEVER).await;
    let ops = server.addresses().ops;
    let running = tokio::spawn(run_until_signalled(server, Signals::new().unwrap()));
    kill();
    until(async || {
        let mut stream = TcpStream::connect(ops).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_reply(&mut stream).await.unwrap().status == 503
    })
    .await;
    kill();
    let error = soon(running).await.unwrap().unwrap_err();
    assert!(matches!(error, ServerError::Aborted("SIGTERM")), "{error}");
}
