//! The programs of a Kubernetes control plane, built once and kept in a cache.
//!
//! They come from the Go module proxy, pinned by the go.mod and go.sum beside this file. Both are
//! compiled in and written to the cache, so that a build neither depends on where the tree is nor
//! writes to it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::process::{Supervised, random_hex};

/// Link flags: no symbol tables, and the version that `kubectl version` and `/version` tell, which
/// a build from the module proxy does not know by itself. Keep it in step with go.mod.
const LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

/// Every build gets these: static programs for this machine, whatever the environment says.
const GO_ENV: [(&str, &str); 4] = [("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOOS", ""), ("GOARCH", "")];

/// A program of a Go module, and how many seconds its first build took on two cores.
struct Program {
    name: &'static str,
    package: &'static str,
    seconds: u64,
}

/// A pinned Go module.
struct Module {
    name: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    ldflags: &'static str,
    programs: &'static [Program],
}

const CONTROL_PLANE: Module = Module {
    name: "controlplane",
    go_mod: include_str!("go.mod"),
    go_sum: include_str!("go.sum"),
    ldflags: LDFLAGS,
    programs: &[
        Program { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", seconds: 200 },
        Program {
            name: "kube-controller-manager",
            package: "k8s.io/kubernetes/cmd/kube-controller-manager",
            seconds: 50,
        },
        Program { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", seconds: 20 },
        Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", seconds: 10 },
    ],
};

const HELM: Module = Module {
    name: "helm",
    go_mod: include_str!("helm/go.mod"),
    go_sum: include_str!("helm/go.sum"),
    ldflags: "-s -w",
    programs: &[Program { name: "helm", package: "helm.sh/helm/v4/cmd/helm", seconds: 100 }],
};

const KEDA: Module = Module {
    name: "keda",
    go_mod: include_str!("keda/go.mod"),
    go_sum: include_str!("keda/go.sum"),
    ldflags: "",
    programs: &[],
};

const REPORTS: Module = Module {
    name: "reports",
    go_mod: include_str!("reports/go.mod"),
    go_sum: include_str!("reports/go.sum"),
    ldflags: "",
    programs: &[],
};

const KUBE_SCORE: Module = Module {
    name: "kube-score",
    go_mod: include_str!("kube-score/go.mod"),
    go_sum: include_str!("kube-score/go.sum"),
    ldflags: "-s -w",
    programs: &[Program {
        name: "kube-score",
        package: "github.com/zegl/kube-score/cmd/kube-score",
        seconds: 30,
    }],
};

/// Where the programs of a control plane are.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The store.
    pub(crate) etcd: PathBuf,
    /// The API server.
    pub(crate) kube_apiserver: PathBuf,
    /// The built-in controllers.
    pub(crate) kube_controller_manager: PathBuf,
    /// The command line client.
    pub(crate) kubectl: PathBuf,
}

impl Binaries {
    /// Finds the programs in `$KUBEBUILDER_ASSETS` or in the cache, and builds what is in neither.
    /// `progress` hears what is going on whenever this takes longer than a moment.
    pub(crate) fn ensure(progress: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let find = |name| ensure(&CONTROL_PLANE, name, progress);
        Ok(Self {
            kube_apiserver: find("kube-apiserver")?,
            kube_controller_manager: find("kube-controller-manager")?,
            kubectl: find("kubectl")?,
            etcd: find("etcd")?,
        })
    }
}

/// The pinned `helm`, built on first use like the control plane.
pub(crate) fn helm(progress: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    ensure(&HELM, "helm", progress)
}

/// The pinned `kube-score`, for a benchmark.
pub(crate) fn kube_score(progress: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    ensure(&KUBE_SCORE, "kube-score", progress)
}

/// The directory that holds KEDA's CustomResourceDefinitions, one file each.
pub(crate) fn keda_crds() -> anyhow::Result<PathBuf> {
    Ok(downloaded(&KEDA, "github.com/kedacore/keda/v2")?.join("config/crd/bases"))
}

/// The directory that holds the CustomResourceDefinitions of `openreports` or `policyreports`.
pub(crate) fn report_crds(form: &str) -> anyhow::Result<PathBuf> {
    Ok(match form {
        "openreports" => downloaded(&REPORTS, "github.com/openreports/reports-api")?.join("config/crd"),
        _ => downloaded(&REPORTS, "github.com/kyverno/kyverno")?.join("config/crds/policyreport"),
    })
}

/// Where a pinned module is, downloaded if need be.
fn downloaded(by: &Module, module: &str) -> anyhow::Result<PathBuf> {
    let home = by.write()?;
    let output = go(&home, &["mod", "download", "-json", module])?;
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("failed to read go's answer")?;
    if let Some(error) = answer.get("Error") {
        bail!("failed to download {module}: {error}");
    }
    let folder =
        answer.get("Dir").and_then(|dir| dir.as_str()).context("go did not say where a module is")?;
    Ok(folder.into())
}

/// `$PLIMSOLL_CACHE`, else `plimsoll` in the user's cache directory.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("PLIMSOLL_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("plimsoll")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/plimsoll")))
        .context("nowhere to keep built programs: set PLIMSOLL_CACHE, XDG_CACHE_HOME or HOME")
}

fn ensure(module: &Module, name: &str, progress: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS") {
        let program = Path::new(&assets).join(name);
        if program.is_file() {
            return Ok(program);
        }
    }
    let home = module.write()?;
    let output = go(&home, &["env", "GOVERSION", "GOHOSTOS", "GOHOSTARCH"])?;
    let key = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join("-");
    let bin = home.join(key);
    let path = bin.join(name);
    if path.is_file() {
        return Ok(path);
    }

    fs::create_dir_all(&bin).with_context(|| format!("failed to make {}", bin.display()))?;
    let lock = File::create(bin.join("lock")).context("failed to make the lock file")?;
    if lock.try_lock().is_err() {
        progress(&format!("waiting for another process that builds in {}", bin.display()));
        lock.lock().context("failed to lock the cache")?;
    }
    if !path.is_file() {
        module.build(name, &home, &path, progress)?;
    }
    Ok(path)
}

impl Module {
    /// Writes go.mod and go.sum to the cache, under a name that changes with them.
    fn write(&self) -> anyhow::Result<PathBuf> {
        let recipe = [self.go_mod, self.go_sum, self.ldflags];
        let home = cache_dir()?.join(format!("{}-{:016x}", self.name, fingerprint(&recipe)));
        fs::create_dir_all(&home).with_context(|| format!("failed to make {}", home.display()))?;
        for (name, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)] {
            let path = home.join(name);
            if fs::read_to_string(&path).is_ok_and(|there| there == text) {
                continue;
            }
            replace(&path, |temporary| Ok(fs::write(temporary, text)?))?;
        }
        Ok(home)
    }

    fn build(&self, name: &str, home: &Path, path: &Path, progress: &dyn Fn(&str)) -> anyhow::Result<()> {
        let Some(index) = self.programs.iter().position(|program| program.name == name) else {
            bail!("{} has no program {name}", self.name);
        };
        let Program { package, seconds, .. } = self.programs[index];
        progress(&format!(
            "building {name} from Go source ({} of {}, once; about {seconds} s on 2 cores)",
            index + 1,
            self.programs.len(),
        ));
        let began = Instant::now();
        replace(path, |temporary| {
            let log = path.with_extension("log");
            let _ = fs::remove_file(&log);
            let arguments = [OsStr::new("-C"), home.as_os_str(), OsStr::new("build")]
                .into_iter()
                .chain(
                    ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", self.ldflags, "-o"]
                        .map(OsStr::new),
                )
                .chain([temporary.as_os_str(), OsStr::new(package)]);
            let go = Supervised::spawn("go", Path::new("go"), arguments, &GO_ENV, &log)?;
            let status = loop {
                if let Some(status) = go.wait(Duration::from_secs(15)) {
                    break status;
                }
                progress(&format!("still building {name}: {} s", began.elapsed().as_secs()));
            };
            if !status.success() {
                bail!("failed to build {name}: go build ended with {status}\n{}", go.tail(30));
            }
            for done in [go.log_path(), go.stdout_path()] {
                let _ = fs::remove_file(done);
            }
            Ok(())
        })?;
        progress(&format!("built {name} in {} s", began.elapsed().as_secs()));
        Ok(())
    }
}

/// Has `make` write a temporary file beside `path`, then renames it, so that nobody ever sees half
/// a file under the final name.
fn replace(path: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", random_hex(6)?));
    let temporary = PathBuf::from(temporary);
    let made = make(&temporary).and_then(|()| {
        fs::rename(&temporary, path).with_context(|| format!("failed to write {}", path.display()))
    });
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    made
}

/// Runs a short `go` command in `directory`.
fn go(directory: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = match Command::new("go").args(arguments).current_dir(directory).envs(GO_ENV).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "`go` is not on the PATH, and it is what builds the Kubernetes control plane: install Go 1.26 or \
             newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory that holds etcd, \
             kube-apiserver, kube-controller-manager and kubectl"
        ),
        Err(error) => return Err(error).context("failed to run go"),
    };
    // `go mod download -json` tells its errors on stdout and fails all the same.
    if !output.status.success() && output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`go {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(output)
}

/// FNV-1a: a name for the cache that is the same in every Rust release, which std's hasher does not
/// promise. Nobody attacks their own cache, so it need not be strong.
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
