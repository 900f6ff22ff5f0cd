//! The installation under faults: who plays kubelet and endpoint controller, and how all gets well again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::apiserver::{Answer, ApiServer};
use crate::controlplane::{ControlPlane, Options, say};
use crate::faults::Fault;
use crate::installation::{Installation, NAMESPACE, Replica, account_by};
use crate::machine;
use crate::small_disk::SmallDisk;
use crate::tally::Tally;
use crate::weather::{RECOVERY, Weather};
use crate::wire::Wire;

/// How often a kubelet asks a replica whether it is ready.
const PROBE: Duration = Duration::from_millis(500);
/// How many probes have to fail, as the chart has it.
const PROBES: u32 = 3;
/// How long all may take to be well again. A fault that no replica gets over takes for ever.
const PATIENCE: Duration = Duration::from_secs(180);
/// Room for all that a run of an hour writes.
const DISK: u32 = 512 * 1024;

pub(crate) struct Cluster {
    pub(crate) installation: Installation,
    pub(crate) weather: Arc<Weather>,
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) lines: Vec<Wire>,
    pub(crate) is_apiserver_up: bool,
    /// Replicas that SIGSTOP holds.
    pub(crate) stopped: BTreeSet<String>,
    tally: Arc<Tally>,
    runtime: Handle,
    api: ApiServer,
    kubeconfigs: Vec<PathBuf>,
    clocks: Option<PathBuf>,
    logs: PathBuf,
    leaving: Vec<Replica>,
    /// Failed probes in a row.
    misses: BTreeMap<String, u32>,
    /// Endpoints that are to go.
    gone: BTreeMap<String, u16>,
    probed: Instant,
    started: usize,
    faults: BTreeMap<&'static str, u32>,
    pub(crate) compactions: u32,
    recoveries: Vec<Duration>,
}

impl Cluster {
    /// Three replicas of the chart's, each with its own way to the API server, and a clock of its own.
    pub(crate) fn start(runtime: Handle, weather: Arc<Weather>, tally: Arc<Tally>) -> Self {
        let options = Options {
            controller_manager: false,
            apiserver_args: vec!["--enable-aggregator-routing=true".to_owned()],
            ..Options::default()
        };
        let installation = Installation::on(ControlPlane::start(options).expect("a control plane"));
        let plane = &installation.plane;
        let to: SocketAddr = plane.url().trim_start_matches("https://").parse().expect("an address");
        let lines: Vec<_> = (0..installation.wanted).map(|_| Wire::start(&runtime, to)).collect();
        let kubeconfig = |(index, line): (usize, &Wire)| {
            let server = format!("https://127.0.0.1:{}", line.port);
            account_by(plane, "plimsoll", &server, &format!("line-{index}"))
        };
        let kubeconfigs = lines.iter().enumerate().map(kubeconfig).collect();
        let disk = SmallDisk::mount(DISK);
        let logs = disk.as_ref().map_or_else(|| plane.dir().join("audit"), |disk| disk.path().to_owned());
        std::fs::create_dir_all(&logs).expect("a folder");
        let clocks = machine::libfaketime();
        if clocks.is_none() {
            say("SKIPPED, jumping clocks: libfaketime is not here");
        }
        let api = ApiServer::of(plane, &runtime);
        let mut cluster = Self {
            installation,
            weather,
            disk,
            lines,
            is_apiserver_up: true,
            stopped: BTreeSet::new(),
            tally,
            runtime,
            api,
            kubeconfigs,
            clocks,
            logs,
            leaving: Vec::new(),
            misses: BTreeMap::new(),
            gone: BTreeMap::new(),
            probed: Instant::now(),
            started: 0,
            faults: BTreeMap::new(),
            compactions: 0,
            recoveries: Vec::new(),
        };
        cluster.recover();
        cluster.installation.wait_until_called();
        cluster.recoveries.clear();
        cluster
    }

    /// The faults that this machine can do.
    pub(crate) fn possible(&self) -> Vec<Fault> {
        let can = |fault: &Fault| match fault {
            Fault::DiskFull => self.disk.is_some(),
            Fault::ClockJumped => self.clocks.is_some(),
            _ => true,
        };
        Fault::ALL.into_iter().filter(can).collect()
    }

    /// Starts one more replica.
    pub(crate) fn add(&mut self) {
        let kubeconfig = self.kubeconfigs[self.started % self.kubeconfigs.len()].clone();
        self.started += 1;
        let clock = self.clock(&format!("plimsoll-{}", self.started));
        let library = self.clocks.clone();
        let mut envs = Vec::new();
        if let Some(library) = &library {
            std::fs::write(&clock, "+0").expect("a clock");
            envs.extend([
                ("LD_PRELOAD", library.to_str().expect("UTF-8")),
                ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("UTF-8")),
                ("FAKETIME_CACHE_DURATION", "1"),
                // A jump of the wall clock leaves the clock alone that measures intervals.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("NO_FAKE_STAT", "1"),
            ]);
        }
        let logs = self.logs.clone();
        let more = |name: &str| {
            let log = logs.join(format!("{name}.jsonl")).to_str().expect("UTF-8").to_owned();
            vec!["--audit-log".to_owned(), log]
        };
        self.installation.add_with(&kubeconfig, more, &envs);
    }

    fn clock(&self, name: &str) -> PathBuf {
        self.installation.plane.dir().join(format!("{name}.clock"))
    }

    /// Lets a replica's wall clock jump, within a second.
    pub(crate) fn set_clock(&self, name: &str, offset: &str) {
        let (clock, new) = (self.clock(name), self.clock(&format!("{name}.new")));
        std::fs::write(&new, offset).and_then(|()| std::fs::rename(&new, &clock)).expect("a clock is set");
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.installation.replicas.iter().map(|replica| replica.name.clone()).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Replica> {
        self.installation.replicas.iter().chain(&self.leaving).find(|replica| replica.name == name)
    }

    pub(crate) fn replica(&self, name: &str) -> &Replica {
        self.find(name).expect("it was there")
    }

    /// One that no other fault holds.
    pub(crate) fn victim(&self, draw: u64) -> Option<String> {
        let mut names = self.names();
        names.retain(|name| !self.stopped.contains(name));
        let count = names.len() as u64;
        (count > 0).then(|| names.swap_remove(usize::try_from(draw % count).expect("few")))
    }

    /// SIGKILL. Its endpoint stays until a kubelet looks.
    pub(crate) fn kill(&mut self, name: &str) {
        let Some(replica) = self.take(name) else { return };
        replica.process.signal("KILL");
        self.stopped.remove(name);
        self.gone.insert(replica.name.clone(), replica.port);
    }

    /// As a kubelet ends a pod: no endpoint any more, and SIGTERM at the same time.
    pub(crate) fn drain(&mut self, name: &str) {
        let Some(replica) = self.take(name) else { return };
        self.write_endpoint(&replica.name, replica.port, false);
        replica.process.signal("TERM");
        self.gone.insert(replica.name.clone(), replica.port);
        self.leaving.push(replica);
    }

    fn take(&mut self, name: &str) -> Option<Replica> {
        let index = self.installation.replicas.iter().position(|replica| replica.name == name)?;
        Some(self.installation.replicas.remove(index))
    }

    /// What kubelets and the endpoint controller do all the time.
    pub(crate) fn tick(&mut self) {
        self.reap();
        if self.probed.elapsed() < PROBE {
            return;
        }
        self.probed = Instant::now();
        for (name, port) in self.gone.clone() {
            if self.write_endpoint(&name, port, false) {
                self.gone.remove(&name);
            }
        }
        for index in 0..self.installation.replicas.len() {
            let replica = &self.installation.replicas[index];
            let (name, port) = (replica.name.clone(), replica.port);
            let is_ready =
                machine::probe(replica.ops).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
            let misses = self.misses.entry(name.clone()).or_default();
            *misses = if is_ready { 0 } else { *misses + 1 };
            let should = is_ready || replica.is_ready && *misses < PROBES;
            if should != replica.is_ready && self.write_endpoint(&name, port, should) {
                self.installation.replicas[index].is_ready = should;
            }
        }
    }

    /// Sees who has ended: a drained one well, and nobody else by itself.
    fn reap(&mut self) {
        for replica in &self.installation.replicas {
            if let Some(status) = replica.process.ended() {
                let tail = replica.process.tail(20);
                self.tally.object(format!("{} ended by itself, {status}: {tail}", replica.name));
            }
        }
        self.installation.replicas.retain(|replica| replica.process.ended().is_none());
        self.leaving.retain(|replica| {
            let Some(status) = replica.process.ended() else { return true };
            if !status.success() {
                let tail = replica.process.tail(20);
                self.tally.object(format!("{} was drained, {status}: {tail}", replica.name));
            }
            false
        });
    }

    fn write_endpoint(&self, name: &str, port: u16, is_ready: bool) -> bool {
        let slice = self.installation.endpoint(name, port, is_ready);
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{name}?fieldManager=kubelet&force=true"
        );
        let written = self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(1), self.api.ask("endpoint", "APPLY", &path, &slice))
                .await
        });
        matches!(written, Ok(Answer::Done(_)))
    }

    /// Waits until all is well again.
    pub(crate) fn recover(&mut self) -> Duration {
        self.weather.begin(RECOVERY);
        let began = Instant::now();
        while !self.is_well() {
            if self.installation.replicas.len() < self.installation.wanted {
                self.add();
            }
            if self.installation.replicas.len() > self.installation.wanted {
                let oldest = self.names().swap_remove(0);
                self.drain(&oldest);
            }
            self.tick();
            let readiness: Vec<_> = self.installation.replicas.iter().map(|one| one.get("/readyz")).collect();
            assert!(began.elapsed() < PATIENCE, "not well after {PATIENCE:?}: {readiness:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let took = began.elapsed();
        self.recoveries.push(took);
        self.weather.end(RECOVERY);
        took
    }

    /// Whether every replica that there should be is an endpoint with its watches going, and nobody is leaving.
    fn is_well(&self) -> bool {
        let is_watching = |replica: &Replica| {
            let readiness = machine::probe(replica.ops).unwrap_or_default();
            let cut_off = |line: &str| line.starts_with("watch ") && !line.contains(": ok");
            readiness.starts_with("HTTP/1.1 200") && !readiness.lines().any(cut_off)
        };
        let replicas = &self.installation.replicas;
        matches!(self.runtime.block_on(self.api.get("/readyz")), Answer::Done(_))
            && replicas.len() == self.installation.wanted
            && self.leaving.is_empty()
            && self.gone.is_empty()
            && replicas.iter().all(|replica| replica.is_ready && is_watching(replica))
    }

    /// Lets time pass in which nothing is done to anybody.
    pub(crate) fn rest(&mut self, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length {
            self.tick();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn counted(&mut self, fault: Fault) {
        *self.faults.entry(fault.says()).or_default() += 1;
    }

    /// What was done, and how long it took to get over it.
    pub(crate) fn told(&self) -> String {
        let mut times = self.recoveries.clone();
        times.sort();
        let (middle, longest) = (times.get(times.len() / 2), times.last());
        format!(
            "{} storms, {} replicas; well again after {middle:.1?} (median), {longest:.1?} (longest); faults: {:?}; \
             {} compactions of etcd",
            times.len(),
            self.started,
            self.faults,
            self.compactions
        )
    }

    /// Ends every replica in good order; where the audit logs are.
    pub(crate) fn end(&mut self) -> PathBuf {
        for name in self.names() {
            self.drain(&name);
        }
        let began = Instant::now();
        while !self.leaving.is_empty() {
            assert!(began.elapsed() < PATIENCE, "every replica should end");
            self.reap();
            std::thread::sleep(Duration::from_millis(100));
        }
        self.logs.clone()
    }
}
