//! A relay in front of the API server, which asks another one first what each write would come to.
//!
//! That other API server stands on the same store and calls the same webhooks, and none of its calls
//! arrives: to it every webhook is down. It gets each write as a dry run, just before the write goes
//! where it was meant to go, so both judge the same request by the same state, whatever client sent it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header, request::Parts},
    response::IntoResponse,
};
use axum_server::tls_rustls::RustlsConfig;
use kube::client::Body as Sent;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    credentials::Credentials,
    write::{Answer, Target, Write, user},
};

/// How often a server that watches the store may be asked again for what it may not have seen yet:
/// a role, a custom resource's definition.
const RETRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// What hears of every write; an error is a complaint.
pub(crate) type Heard = fn(&Write) -> Result<(), String>;

/// A running relay.
pub(crate) struct Relay {
    inner: Arc<Inner>,
    url: String,
    /// Dropping it ends the relay.
    runtime: Option<Runtime>,
}

struct Inner {
    api: kube::Client,
    cut_off: kube::Client,
    credentials: Credentials,
    heard: Heard,
    is_asking: AtomicBool,
    complaints: Mutex<Vec<String>>,
}

impl Relay {
    /// Starts it between clients and the API server at `api`; the one at `cut_off` is asked first.
    pub(super) fn start(
        credentials: &Credentials,
        api: &str,
        cut_off: &str,
        heard: Heard,
    ) -> anyhow::Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("failed to listen")?;
        listener.set_nonblocking(true)?;
        let url = format!("https://{}", listener.local_addr()?);
        let tls = tls(credentials)?;
        let inner = runtime.block_on(async {
            anyhow::Ok(Arc::new(Inner {
                api: client(credentials, api)?,
                cut_off: client(credentials, cut_off)?,
                credentials: credentials.clone(),
                heard,
                is_asking: AtomicBool::new(false),
                complaints: Mutex::default(),
            }))
        })?;
        let app = Router::new()
            .fallback(relay)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner))
            .into_make_service();
        let server = {
            let _guard = runtime.enter();
            axum_server::from_tcp_rustls(listener, tls)?
        };
        runtime.spawn(server.serve(app));
        Ok(Self { inner, url, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// From now on the server that is cut off is asked.
    pub(super) fn ask(&self) {
        self.inner.is_asking.store(true, Ordering::Relaxed);
    }

    /// What was wrong so far.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.inner.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The API server's own certificate: the relay is at the same address.
fn tls(credentials: &Credentials) -> anyhow::Result<RustlsConfig> {
    let certificate = CertificateDer::from_pem_file(credentials.path("apiserver.crt"))?;
    let key = PrivateKeyDer::from_pem_file(credentials.path("apiserver.key"))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Ok(RustlsConfig::from_config(Arc::new(config.with_single_cert(vec![certificate], key)?)))
}

/// A client that is nobody by itself: each request says who sends it.
fn client(credentials: &Credentials, url: &str) -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::new(url.parse()?);
    config.root_cert = Some(vec![CertificateDer::from_pem_file(credentials.path("ca.crt"))?.to_vec()]);
    Ok(kube::Client::try_from(config)?)
}

async fn relay(State(inner): State<Arc<Inner>>, parts: Parts, body: Bytes) -> Response<Body> {
    let answer = match Target::of(&parts) {
        Some(target) if inner.is_asking.load(Ordering::Relaxed) => inner.ask(target, &parts, body).await,
        _ => send(&inner.api, parts.method, parts.uri, &parts.headers, body).await,
    };
    match answer {
        Ok(mut response) => {
            // How its end is marked is up to each connection.
            for length in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
                response.headers_mut().remove(length);
            }
            response.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Inner {
    /// Asks the server that is cut off, then does what was asked for, and tells of both.
    async fn ask(&self, target: Target, parts: &Parts, body: Bytes) -> kube::Result<Response<Sent>> {
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let user = user(&self.credentials, headers);
        let before = self.before(&target, &user).await?;
        let cut_off = self.dry_run(method, uri, headers, &body).await?;
        let response = send(&self.api, method.clone(), uri.clone(), headers, body.clone()).await?;
        let (parts, answer) = response.into_parts();
        let bytes = answer.collect_bytes().await?;
        let answer = Answer::of(parts.status, &bytes);
        let write = Write { target, user, method: method.clone(), body, before, cut_off, answer };
        if let Err(complaint) = (self.heard)(&write) {
            self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
        }
        Ok(Response::from_parts(parts, Sent::from(bytes)))
    }

    /// The object as it is, where what a write means depends on it.
    async fn before(&self, target: &Target, user: &str) -> kube::Result<Option<Value>> {
        if user.starts_with("system:") || target.name.is_none() {
            return Ok(None);
        }
        let mut headers = HeaderMap::new();
        let admin = format!("Bearer {}", self.credentials.token("admin"));
        headers.insert(header::AUTHORIZATION, admin.parse().expect("a token is a header"));
        let uri = target.object.parse().expect("part of a path is a path");
        let response = send(&self.api, Method::GET, uri, &headers, Bytes::new()).await?;
        let is_there = response.status().is_success();
        let bytes = response.into_body().collect_bytes().await?;
        Ok(if is_there { serde_json::from_slice(&bytes).ok() } else { None })
    }

    /// What the server that is cut off would do.
    async fn dry_run(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> kube::Result<Answer> {
        let join = if uri.query().is_some() { '&' } else { '?' };
        let is_one = uri.query().is_some_and(|query| query.contains("dryRun="));
        let uri = if is_one { uri.to_string() } else { format!("{uri}{join}dryRun=All") };
        // What a DELETE carries counts instead of its query, and would delete.
        let is_delete = *method == Method::DELETE;
        let body = if is_delete { Bytes::new() } else { body.clone() };
        let mut tries = 0;
        loop {
            let uri = uri.parse().expect("a query more leaves it a URI");
            let response = send(&self.cut_off, method.clone(), uri, headers, body.clone()).await?;
            let status = response.status();
            let answer = Answer::of(status, &response.into_body().collect_bytes().await?);
            if !is_behind(&answer) || tries == RETRIES {
                return Ok(answer);
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn send(
    client: &kube::Client,
    method: Method,
    uri: Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> kube::Result<Response<Sent>> {
    let mut request = Request::new(Sent::from(body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri.path_and_query().map_or_else(|| uri.clone(), |path| path.clone().into());
    for (name, value) in headers {
        // Those of the connection are the next connection's own.
        let is_hops = [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if !is_hops.contains(name) {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    if body.is_empty() {
        request.headers_mut().remove(header::CONTENT_TYPE);
    }
    client.send(request).await
}

/// Whether the answer may be for want of something that the server hasn't seen yet.
fn is_behind(answer: &Answer) -> bool {
    let says = |words: &str| answer.message.contains(words);
    match answer.status {
        StatusCode::NOT_FOUND => true,
        // For want of a role or an account; not by a quota or a profile.
        StatusCode::FORBIDDEN => says("\" cannot ") || says("not found"),
        _ => false,
    }
}

/// The flags of an API server whose calls of webhooks go nowhere: to a proxy behind a socket that nobody
/// listens on, so that each ends as a call of a process that is gone does.
pub(super) fn cut_off(dir: &Path) -> anyhow::Result<Vec<String>> {
    let socket = dir.join("nobody.sock");
    let _ = fs::remove_file(&socket);
    drop(std::os::unix::net::UnixListener::bind(&socket).context("failed to make a socket")?);
    let selection = |name: &str| {
        serde_json::json!({"name": name, "connection": {"proxyProtocol": "HTTPConnect",
            "transport": {"uds": {"udsName": socket}}}})
    };
    // The first is for webhooks by URL, the second for those by Service.
    let config = serde_json::json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [selection("controlplane"), selection("cluster")],
    });
    let path = dir.join("egress.yaml");
    fs::write(&path, config.to_string()).context("failed to write the egress selection")?;
    Ok(vec![format!("--egress-selector-config-file={}", path.display())])
}
