//! Traffic decisions as pure functions of plan, facts and time.
//!
//! What is absent on purpose: sockets, tasks, clocks, environment, randomness.

pub mod backoff;
pub mod balance;
pub mod denial;
pub mod exposure;
pub mod guard;
pub mod principal;
pub mod refusal;
pub mod route;
