//! What a collector gets, by a small one of our own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "support/serve.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use serde_json::{Value, json};
use support::{Serve, denied_review};
use tokio::net::TcpListener;

/// What was sent to it so far.
#[derive(Clone, Default)]
struct Collector {
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Listens on a port of its own until the test ends.
    fn start(&self) -> String {
        let (logs, traces) = (Arc::clone(&self.logs), Arc::clone(&self.traces));
        let app = Router::new()
            .route(
                "/v1/logs",
                post(async move |body: Bytes| {
                    logs.lock().unwrap().push(ExportLogsServiceRequest::decode(body).unwrap());
                    StatusCode::OK
                }),
            )
            .route(
                "/v1/traces",
                post(async move |body: Bytes| {
                    traces.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
                    StatusCode::OK
                }),
            );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async { axum::serve(TcpListener::from_std(listener).unwrap(), app).await })
                .unwrap();
        });
        endpoint
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|a| a.value.as_ref());
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text,
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(endpoint: &str) -> Serve {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=east"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    Serve::start_with(tempfile::tempdir().unwrap(), &[], &environment)
}

#[test]
fn a_collector_gets_the_record_and_the_span_of_a_denial() {
    let collector = Collector::default();
    let serve = start(&collector.start());
    let (_, answer) = serve.connect().post("/validate", &denied_review("705ab4f5"));
    assert_eq!(answer["response"]["allowed"], json!(false));

    wait_until("the log", || !collector.logs.lock().unwrap().is_empty());
    let sent = collector.logs.lock().unwrap()[0].resource_logs.remove(0);
    let resource = sent.resource.unwrap().attributes;
    assert_eq!((text(&resource, "service.name"), text(&resource, "k8s.cluster.name")), ("plimsoll", "east"));
    let log = sent.scope_logs[0].log_records[0].clone();
    assert_eq!((log.event_name.as_str(), log.severity_text.as_str()), ("plimsoll.decision", "WARN"));
    assert_eq!(text(&log.attributes, "plimsoll.uid"), "705ab4f5");
    let Some(any_value::Value::StringValue(line)) = log.body.unwrap().value else { panic!("no text") };
    let written = std::fs::read_to_string(serve.path("audit.jsonl")).unwrap();
    assert_eq!(line, written.trim_end(), "it is the very line of the audit log");
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["uid"], &record["decision"]), (&json!("705ab4f5"), &json!("Denied")));

    wait_until("the span", || !collector.traces.lock().unwrap().is_empty());
    let sent = collector.traces.lock().unwrap()[0].resource_spans.remove(0);
    let span = &sent.scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), text(&span.attributes, "uid")), ("review", "705ab4f5"));
    assert_eq!(text(&span.attributes, "decision"), "Denied");
    assert_eq!(span.trace_id, log.trace_id, "whoever has the one finds the other");
    let metric = r#"plimsoll_exported_total{signal="logs",outcome="sent"} 1"#;
    assert!(serve.get("/metrics").unwrap().contains(metric));
}

#[test]
fn what_waits_at_the_end_is_sent() {
    let collector = Collector::default();
    let mut serve = start(&collector.start());
    serve.connect().post("/validate", &denied_review("last"));
    std::process::Command::new("kill").arg(serve.child.id().to_string()).status().unwrap();
    assert!(serve.child.wait().unwrap().success());
    assert_eq!(collector.logs.lock().unwrap().len(), 1);
    assert_eq!(collector.traces.lock().unwrap().len(), 1);
}

#[test]
fn a_collector_that_is_gone_holds_up_nobody_and_what_is_lost_is_counted() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serve = start(&format!("http://{nobody}"));
    let mut client = serve.connect();
    for number in 0..20 {
        let (_, answer) = client.post("/validate", &denied_review(&number.to_string()));
        assert_eq!(answer["response"]["allowed"], json!(false));
    }
    for signal in ["logs", "traces"] {
        let lost = format!("plimsoll_exported_total{{signal=\"{signal}\",outcome=\"failed\"}} 20\n");
        wait_until(&lost, || serve.get("/metrics").unwrap().contains(&lost));
    }
    let log = std::fs::read_to_string(serve.path("log")).unwrap();
    assert_eq!(log.matches("The collector takes nothing.").count(), 2, "once for each signal: {log}");
}
