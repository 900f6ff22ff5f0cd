//! The plan: which faults come together, for how long, and whom they meet.

use std::time::Duration;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::faults::Fault;

/// Numbers drawn from a seed; each stream has its own.
pub(crate) struct Draws(TestRng);

impl Draws {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&stream.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("an index")
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}

/// One fault of a storm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) fault: Fault,
    /// Since the storm began.
    pub(crate) begins: Duration,
    pub(crate) ends: Duration,
    /// Decides whom it meets.
    pub(crate) draw: u64,
}

/// Storms without end. Every fault comes before one comes again.
pub(crate) struct Storms {
    draws: Draws,
    possible: Vec<Fault>,
    deck: Vec<Fault>,
}

impl Storms {
    pub(crate) fn new(seed: u64, possible: Vec<Fault>) -> Self {
        Self { draws: Draws::new(seed, 0), possible, deck: Vec::new() }
    }

    /// One to three faults that may overlap.
    pub(crate) fn next(&mut self) -> Vec<Act> {
        let count = 1 + self.draws.below(3);
        let mut storm: Vec<Act> = Vec::new();
        for _ in 0..count {
            let fault = self.deal();
            if storm.iter().any(|act| act.fault == fault) {
                continue;
            }
            let begins = Duration::from_millis(self.draws.below(3000));
            let lasts = Duration::from_millis(500 + self.draws.below(fault.longest()));
            storm.push(Act { fault, begins, ends: begins + lasts, draw: self.draws.below(u64::MAX) });
        }
        storm
    }

    fn deal(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.possible);
        }
        let index = self.draws.index(self.deck.len());
        self.deck.swap_remove(index)
    }
}

/// A storm in words.
pub(crate) fn told(storm: &[Act]) -> String {
    let act = |act: &Act| format!("{} ({:.1?} to {:.1?})", act.fault.says(), act.begins, act.ends);
    storm.iter().map(act).collect::<Vec<_>>().join(", ")
}
