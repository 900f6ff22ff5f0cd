//! What is fuzzed, how it is damaged, and what it starts from.
//!
//! One function for each target. libFuzzer calls it from `fuzz_targets/`, and `tests/damage.rs` of the
//! house includes these files and calls it with the seeds and with damaged ones, so that what a fuzzer
//! asks of the code is also asked wherever the tests run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a target that finds something is to fail loudly, and nobody uses all of this"
)]

pub mod damage;
pub mod fixtures;
pub mod house;
pub mod seeds;
pub mod targets;

/// The program of a target: libFuzzer's, with mutations of ours that call its own.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$name(data));
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::damage::mutate(data, size, max_size, seed, &mut |data, size, most| {
                libfuzzer_sys::fuzzer_mutate(data, size, most)
            })
        });
    };
}
