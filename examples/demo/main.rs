//! Plimsoll in front of a real control plane, with five production systems.
//!
//! `cargo run --release --example demo` starts etcd, kube-apiserver and kube-controller-manager,
//! starts Plimsoll, applies the systems with kubectl and shows each decision as their teams see it.
//! Then everything stays up to play with; `--exit` ends it.

#[path = "../../tests/controlplane/harness.rs"]
mod controlplane;
mod story;

use std::ffi::OsString;
use std::process::ExitCode;

use controlplane::{ControlPlane, Options, Plimsoll, say};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Plimsoll itself runs as a process of its own; this program is also that one.
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        return plimsoll::cli::run(arguments);
    }
    let exit = arguments.iter().any(|argument| argument == "--exit");
    match demo(exit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(exit: bool) -> anyhow::Result<()> {
    say("Starting a control plane: etcd, kube-apiserver, kube-controller-manager.");
    let plane = ControlPlane::start(Options::default())?;
    plane.install_keda()?;

    say("Starting Plimsoll beside it, with the shipped policies.");
    let program = std::env::current_exe()?;
    let plimsoll = Plimsoll::start(&plane, &program, &[])?;
    plimsoll.register(&plane, &[], &say)?;

    story::tell(&plane, &plimsoll)?;

    if exit {
        return Ok(());
    }
    println!("\nEverything is still up. In another terminal:\n");
    println!("  export KUBECONFIG={}", plane.kubeconfig("alice").display());
    println!("  export PATH=\"{}:$PATH\"", kubectl_folder(&plane));
    println!("  kubectl -n honeydue scale deployment worker --replicas=2\n");
    println!("Decisions are recorded in {}", plimsoll.audit_log.display());
    println!("Press Enter to end it.");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn kubectl_folder(plane: &ControlPlane) -> String {
    plane.binaries().kubectl.parent().map(|folder| folder.display().to_string()).unwrap_or_default()
}
