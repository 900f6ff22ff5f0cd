//! Plimsoll, the load line for Kubernetes workloads.
//!
//! # Layout
//!
//! Follow one request through the house:
//!
//! 1. [`server`] takes it from the apiserver over TLS, within its limits and its deadline,
//! 2. [`review`] orchestrates: it reads the bytes with [`admission`] and the objects with [`object`],
//! 3. [`engine`] decides which policies ([`policy`]) apply, runs their [`rules`] over the object and
//!    over the [`facts`] about the rest of the cluster, and weighs the [`waiver`]s,
//! 4. the [`verdict`] is put into words by [`render`], recorded by [`audit`], and answered.
//!
//! [`cluster`] keeps the facts true and confirms them, [`availability`] is the arithmetic of how many
//! pods run, [`manifest`] reads what people write and [`offline`] judges it without a cluster,
//! [`suite`] tests policies, [`metrics`] counts, and [`cli`] wires it all up.
//! Only `server`, `cluster`, `audit` and `cli` do I/O; the engine is the same for every door.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when the reader is gone")]

pub mod admission;
pub mod audit;
pub mod availability;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod facts;
pub mod manifest;
pub mod metrics;
pub mod object;
pub mod offline;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp/absent.rs"]
pub mod otlp;
pub mod policy;
pub mod render;
pub mod review;
pub mod rules;
pub mod server;
pub mod suite;
pub mod verdict;
pub mod waiver;
