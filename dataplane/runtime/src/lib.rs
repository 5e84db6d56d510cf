//! Process hygiene shared by both binaries: logs, metrics, health pages, signals, tasks, drain.
//!
//! Nothing here is global except what the operating system makes global: the log subscriber and the panic hook, both
//! set once by [`log::init`].

pub mod admin;
pub mod drain;
pub mod health;
pub mod listen;
pub mod log;
pub mod metrics;
mod process;
pub mod readiness;
pub mod signal;
pub mod tasks;
pub mod timestamp;
