//! Calls of 2026-07-28 clients that wait for an answer while a legacy server waits for it too. Changes when parking does.

#[path = "parked/answers.rs"]
mod answers;
#[path = "parked/ends.rs"]
mod ends;
#[path = "parked/limits.rs"]
mod limits;
#[path = "parked/states.rs"]
mod states;
#[path = "parked/support.rs"]
mod support;
