//! The faults.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::machine;
use crate::storms::Act;
use crate::weather::{Faults, RECOVERY};
use crate::wire::Wire;

/// How far a clock jumps.
const JUMPS: [&str; 6] = ["+90m", "-90m", "+1d", "-1d", "+3d", "-3d"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Killed,
    Stopped,
    Drained,
    AllKilled,
    ApiServerKilled,
    ApiServerStopped,
    StoreStopped,
    DiskFull,
    WatchesCut,
    CutOff,
    ClockJumped,
}

impl Fault {
    pub(crate) const ALL: [Self; 11] = [
        Self::Killed,
        Self::Stopped,
        Self::Drained,
        Self::AllKilled,
        Self::ApiServerKilled,
        Self::ApiServerStopped,
        Self::StoreStopped,
        Self::DiskFull,
        Self::WatchesCut,
        Self::CutOff,
        Self::ClockJumped,
    ];

    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Killed => "a replica killed",
            Self::Stopped => "a replica stopped (SIGSTOP)",
            Self::Drained => "a replica drained (SIGTERM)",
            Self::AllKilled => "every replica killed",
            Self::ApiServerKilled => "the API server killed",
            Self::ApiServerStopped => "the API server stopped (SIGSTOP)",
            Self::StoreStopped => "etcd stopped (SIGSTOP)",
            Self::DiskFull => "the audit logs' disk full",
            Self::WatchesCut => "every watch cut, etcd compacted",
            Self::CutOff => "a replica cut off from the API server",
            Self::ClockJumped => "a replica's clock off by up to 3 days",
        }
    }

    pub(crate) fn bit(self) -> Faults {
        1 << (self as u32)
    }

    /// For how many milliseconds at most.
    pub(crate) fn longest(self) -> u64 {
        match self {
            Self::ApiServerKilled | Self::ApiServerStopped | Self::AllKilled => 4000,
            _ => 8000,
        }
    }
}

/// What is to be undone at the end of a fault.
pub(crate) enum Undo {
    Nothing,
    /// One more replica.
    Replica,
    /// As many as there should be.
    Replicas,
    Resume(String),
    ApiServer,
    ResumeApiServer,
    ResumeStore,
    Disk,
    Line(usize),
    Clock(String),
}

impl Cluster {
    /// Lets a fault begin.
    pub(crate) fn begin(&mut self, act: &Act) -> Undo {
        match act.fault {
            Fault::Killed => {
                let Some(victim) = self.victim(act.draw) else { return Undo::Nothing };
                self.kill(&victim);
                Undo::Replica
            }
            Fault::Stopped => {
                let Some(victim) = self.victim(act.draw) else { return Undo::Nothing };
                self.replica(&victim).process.signal("STOP");
                self.stopped.insert(victim.clone());
                Undo::Resume(victim)
            }
            Fault::Drained => {
                let Some(victim) = self.victim(act.draw) else { return Undo::Nothing };
                self.drain(&victim);
                Undo::Replica
            }
            Fault::AllKilled => {
                for name in self.names() {
                    self.kill(&name);
                }
                Undo::Replicas
            }
            Fault::ApiServerKilled => {
                self.installation.plane.kill_apiserver();
                self.is_apiserver_up = false;
                Undo::ApiServer
            }
            Fault::ApiServerStopped => {
                self.installation.plane.apiserver().signal("STOP");
                Undo::ResumeApiServer
            }
            Fault::StoreStopped => {
                self.installation.plane.etcd().signal("STOP");
                Undo::ResumeStore
            }
            Fault::DiskFull => {
                let Some(disk) = &self.disk else { return Undo::Nothing };
                disk.fill(0);
                Undo::Disk
            }
            Fault::WatchesCut => {
                self.compactions += u32::from(machine::compact(self.installation.plane.etcd_url()).is_some());
                self.lines.iter().for_each(Wire::cut);
                Undo::Nothing
            }
            Fault::CutOff => {
                let line = usize::try_from(act.draw % self.lines.len() as u64).expect("few");
                self.lines[line].silence(true);
                Undo::Line(line)
            }
            Fault::ClockJumped => {
                let Some(victim) = self.victim(act.draw) else { return Undo::Nothing };
                let jump = JUMPS[usize::try_from(act.draw / 8 % JUMPS.len() as u64).expect("few")];
                self.set_clock(&victim, jump);
                Undo::Clock(victim)
            }
        }
    }

    /// Ends it.
    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Replica => self.add(),
            Undo::Replicas => {
                while self.installation.replicas.len() < self.installation.wanted {
                    self.add();
                }
            }
            Undo::Resume(name) => {
                self.stopped.remove(&name);
                if let Some(replica) = self.find(&name) {
                    replica.process.signal("CONT");
                }
            }
            Undo::ApiServer => {
                if !self.is_apiserver_up {
                    self.installation.plane.start_apiserver().expect("the API server starts again");
                    self.is_apiserver_up = true;
                }
            }
            Undo::ResumeApiServer => self.installation.plane.apiserver().signal("CONT"),
            Undo::ResumeStore => self.installation.plane.etcd().signal("CONT"),
            Undo::Disk => {
                if let Some(disk) = &self.disk {
                    disk.clear();
                }
            }
            Undo::Line(line) => self.lines[line].silence(false),
            Undo::Clock(name) => self.set_clock(&name, "+0"),
        }
    }

    /// One storm from its first fault to the end of its last.
    pub(crate) fn weather_the(&mut self, storm: &[Act]) {
        let began = Instant::now();
        let mut to_come: Vec<Act> = storm.to_vec();
        let mut there: Vec<(Act, Undo)> = Vec::new();
        while !to_come.is_empty() || !there.is_empty() {
            let now = began.elapsed();
            let (over, rest): (Vec<_>, Vec<_>) = there.into_iter().partition(|(act, _)| act.ends <= now);
            there = rest;
            for (act, undo) in over {
                self.undo(undo);
                // Until all is well nothing is over for the requests.
                self.weather.begin(RECOVERY);
                self.weather.end(act.fault.bit());
            }
            let (due, later): (Vec<_>, Vec<_>) = to_come.into_iter().partition(|act| act.begins <= now);
            to_come = later;
            for act in due {
                self.weather.begin(act.fault.bit());
                self.counted(act.fault);
                let undo = self.begin(&act);
                there.push((act, undo));
            }
            self.tick();
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
