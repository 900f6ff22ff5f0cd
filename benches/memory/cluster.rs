//! A real server in front of a real API server that has much in store.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use plimsoll::cluster::Cluster;
use plimsoll::object::Kind;
use serde_json::{Value, json};

use crate::controlplane::{ControlPlane, Options, Plimsoll, say};
use crate::kernel;
use crate::objects::{self, SHARES};

/// How many requests are under way while the cluster is filled.
const AT_ONCE: usize = 32;
/// How long a server is left alone until it counts as at rest.
const REST: Duration = Duration::from_secs(20);

/// Fills a control plane and measures a server before, after, and once every Deployment has changed.
pub(crate) fn measure(deployments: usize, namespaces: usize) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Without controllers nothing else is made of the Deployments: Plimsoll watches neither ReplicaSets nor Pods.
    let plane = ControlPlane::start(Options { controller_manager: false, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = runtime.block_on(Cluster::connect(Some(&plane.kubeconfig("admin"))))?;
    let client = cluster.client();
    println!("{deployments} Deployments in {namespaces} namespaces; memory in KiB\n");
    println!("{:<32} {:>9} {:>9} {:>9} {:>9}", "", "resident", "at most", "anonymous", "of files");
    let empty = start(&plane)?;
    thread::sleep(REST);
    print("nothing in the cluster", &empty);
    drop(empty);

    let began = Instant::now();
    runtime.block_on(fill(client, deployments, namespaces))?;
    say(&format!("The cluster was filled in {} s.", began.elapsed().as_secs()));
    let began = Instant::now();
    let plimsoll = start(&plane)?;
    let took = began.elapsed();
    print("as soon as it is ready", &plimsoll);
    thread::sleep(REST);
    print("at rest", &plimsoll);
    runtime.block_on(change(client, deployments, namespaces))?;
    thread::sleep(REST);
    print("each Deployment has changed", &plimsoll);
    println!("\nready after {} ms", took.as_millis());
    for line in plimsoll.get("/metrics")?.lines().filter(|line| line.starts_with("plimsoll_cache_objects{")) {
        println!("{line}");
    }
    Ok(())
}

fn start(plane: &ControlPlane) -> anyhow::Result<Plimsoll> {
    Plimsoll::start(plane, Path::new(env!("CARGO_BIN_EXE_plimsoll")), &[])
}

async fn fill(client: &kube::Client, deployments: usize, namespaces: usize) -> anyhow::Result<()> {
    for index in 0..namespaces {
        let labels = json!({"environment": "production"});
        let metadata = json!({"name": objects::namespace(index, namespaces), "labels": labels});
        create(
            client,
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
        )
        .await?;
    }
    for share in SHARES {
        let requests = (0..share.of(deployments)).map(|index| {
            let namespace = objects::namespace(index, namespaces);
            let mut object = share.object(index, &namespace);
            let metadata = object["metadata"].as_object_mut().unwrap();
            // Those are the API server's to give.
            for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
                metadata.remove(field);
            }
            let path = path(share.kind, &namespace);
            async move { create(client, &path, &object).await }
        });
        stream::iter(requests).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    Ok(())
}

/// Gives each Deployment a status, as its controller does.
async fn change(client: &kube::Client, deployments: usize, namespaces: usize) -> anyhow::Result<()> {
    let status =
        json!({"status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2}});
    let status = &status;
    let requests = (0..deployments).map(|index| {
        let namespace = objects::namespace(index, namespaces);
        let object = SHARES[0].object(index, &namespace);
        async move {
            let name = object["metadata"]["name"].as_str().unwrap();
            let params = PatchParams {
                field_manager: Some("deployment-controller".to_owned()),
                ..PatchParams::default()
            };
            let request = Request::new(path(Kind::Deployment, &namespace));
            let request = request.patch_subresource("status", name, &params, &Patch::Merge(status))?;
            client.request_text(request).await?;
            anyhow::Ok(())
        }
    });
    stream::iter(requests).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

fn path(kind: Kind, namespace: &str) -> String {
    let root = if kind.group().is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group()) };
    format!("{root}/{}/namespaces/{namespace}/{}", kind.version(), kind.plural())
}

async fn create(client: &kube::Client, path: &str, object: &Value) -> anyhow::Result<()> {
    let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
    client.request_text(request).await?;
    Ok(())
}

/// What the kernel says of a process.
fn print(when: &str, plimsoll: &Plimsoll) {
    let kib = |field| kernel::kibibytes(plimsoll.process.pid(), field);
    let [resident, peak, anonymous, files] = ["VmRSS", "VmHWM", "RssAnon", "RssFile"].map(kib);
    println!("{when:<32} {resident:>9} {peak:>9} {anonymous:>9} {files:>9}");
}
