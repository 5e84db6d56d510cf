//! Process hygiene shared by both binaries: logs, metrics, health pages, signals, tasks, drain.

pub mod tasks;
