//! The servers of a control plane and the flags that each is started with.

use std::{fmt::Display, fs};

use anyhow::Context;

use super::{
    Binaries, NO_PROXY, Options, ScratchDir, Supervised,
    credentials::{CONTROLLER_MANAGER, Credentials},
    free_port,
};

/// The store.
pub(super) fn etcd(scratch: &ScratchDir, url: &str, binaries: &Binaries) -> anyhow::Result<Supervised> {
    let args = flags(&[
        ("data-dir", &scratch.path().join("etcd").display()),
        ("listen-client-urls", &url),
        ("advertise-client-urls", &url),
        // A single member never talks to a peer, so any port will do.
        ("listen-peer-urls", &"http://127.0.0.1:0"),
        // What is lost in a power cut was going to be deleted anyway.
        ("unsafe-no-fsync", &true),
        ("log-level", &"warn"),
    ]);
    scratch.spawn("etcd", &binaries.etcd, &args, &NO_PROXY)
}

/// An API server, whose flags from the options come last.
pub(super) fn apiserver(
    name: &str,
    scratch: &ScratchDir,
    credentials: &Credentials,
    etcd_url: &str,
    port: u16,
    options: &Options,
    binaries: &Binaries,
) -> anyhow::Result<Supervised> {
    let mut args = flags(&[
        ("etcd-servers", &etcd_url),
        ("bind-address", &"127.0.0.1"),
        ("secure-port", &port),
        // Otherwise it looks for the address of a default route, which a sandbox may not have; and
        // without pods nobody needs the endpoints of the Service `kubernetes`.
        ("advertise-address", &"127.0.0.1"),
        ("endpoint-reconciler-type", &"none"),
        ("cert-dir", &scratch.path().join("apiserver").display()),
        ("tls-cert-file", &credentials.path("apiserver.crt").display()),
        ("tls-private-key-file", &credentials.path("apiserver.key").display()),
        ("service-account-issuer", &"https://kubernetes.default.svc"),
        ("service-account-key-file", &credentials.path("service-account.pub").display()),
        ("service-account-signing-key-file", &credentials.path("service-account.key").display()),
        ("service-cluster-ip-range", &"10.0.0.0/24"),
        ("authorization-mode", &"RBAC"),
        ("token-auth-file", &credentials.path("tokens.csv").display()),
    ]);
    if let Some(policy) = &options.audit_policy {
        let path = scratch.path().join("audit-policy.yaml");
        fs::write(&path, policy).context("failed to write the audit policy")?;
        args.push(format!("--audit-policy-file={}", path.display()));
        args.push(format!("--audit-log-path={}", scratch.path().join("audit.jsonl").display()));
    }
    args.extend(options.apiserver_args.iter().cloned());
    scratch.spawn(name, &binaries.kube_apiserver, &args, &NO_PROXY)
}

/// The built-in controllers.
pub(super) fn controller_manager(
    scratch: &ScratchDir,
    credentials: &Credentials,
    options: &Options,
    binaries: &Binaries,
) -> anyhow::Result<Supervised> {
    let kubeconfig = credentials.kubeconfig(CONTROLLER_MANAGER);
    let mut args = flags(&[
        ("kubeconfig", &kubeconfig.display()),
        ("bind-address", &"127.0.0.1"),
        ("secure-port", &free_port()),
        ("leader-elect", &false),
        // Each controller is a service account of kube-system, as in a real cluster: that is
        // whom a webhook sees.
        ("use-service-account-credentials", &true),
        ("service-account-private-key-file", &credentials.path("service-account.key").display()),
        ("root-ca-file", &credentials.path("ca.crt").display()),
        // The default of 20 requests a second alone makes the start take 5 seconds longer.
        ("kube-api-qps", &500),
        ("kube-api-burst", &1000),
        ("horizontal-pod-autoscaler-sync-period", &"2s"),
    ]);
    args.extend(options.controller_manager_args.iter().cloned());
    let program = &binaries.kube_controller_manager;
    scratch.spawn("kube-controller-manager", program, &args, &NO_PROXY)
}

fn flags(flags: &[(&str, &dyn Display)]) -> Vec<String> {
    flags.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
