//! A real Kubernetes control plane with pods as processes, in a network namespace of its own. Changes when tests need
//! another thing from a cluster.
//!
//! | to get | use |
//! |---|---|
//! | a test binary with a cluster | [`suite::main`] and [`tests!`] |
//! | programs for images | [`Images`] and [`Program`] |
//! | objects | [`Cluster::apply`], [`Cluster::apply_file`], [`Cluster::try_apply`] |
//! | to wait for a state | [`Cluster::until`], [`Cluster::until_available`] |
//! | a client with few rights | [`Cluster::client_of`] |
//! | what a person would see | [`Cluster::kubectl`] |
//! | faults | [`Cluster::signal`], [`Cluster::set_connected`], [`Cluster::set_reachable`], [`Cluster::set_lossy`], [`Cluster::restart`], [`Cluster::lose_node`], [`Cluster::renew_tokens`], [`Cluster::restore`] |
//! | who asked the API server for what | [`Cluster::audit`] |

mod audit;
mod binaries;
mod cluster;
mod control_plane;
mod dns;
mod faults;
mod images;
mod kubelet;
pub mod namespace;
mod partitions;
mod pki;
mod resource_metrics;
mod services;
pub mod suite;

pub use audit::{Object, Outcome, Request, User};
pub use binaries::root;
pub use cluster::{Cluster, PATIENCE, Settings};
pub use images::{Images, Program};
pub use partitions::Lossy;
pub use rustix::process::Signal;
