//! Readiness: a set of named gates that must all be released, and no drain. Changes when readiness gets another input.
//!
//! Backends, Redis and the control plane are not inputs: a replica that can answer is ready, whatever it has to answer.

use std::sync::Arc;

use tokio::sync::watch;

use crate::drain::Drain;

/// Whether this process wants traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The named gates have not been released.
    Starting(Vec<&'static str>),
    /// Every gate is released.
    Ready,
    /// Leaving.
    Draining,
}

/// The set of gates; cheap to clone. With no gate at all the process is ready, so create gates before serving pages.
#[derive(Debug, Clone)]
pub struct Readiness {
    pending: Arc<watch::Sender<Vec<&'static str>>>,
    drain: Drain,
}

/// One thing that must happen before the process is ready. A gate that is dropped unreleased (its owner failed) keeps
/// the process unready, and its name says why.
#[derive(Debug)]
#[must_use = "the process stays unready until the gate is released"]
pub struct Gate {
    name: &'static str,
    pending: Arc<watch::Sender<Vec<&'static str>>>,
}

impl Readiness {
    /// No gates yet. Readiness ends when `drain` starts.
    pub fn new(drain: Drain) -> Self {
        Self { pending: Arc::new(watch::Sender::new(Vec::new())), drain }
    }

    /// Adds a gate.
    pub fn gate(&self, name: &'static str) -> Gate {
        self.pending.send_modify(|pending| pending.push(name));
        Gate { name, pending: Arc::clone(&self.pending) }
    }

    /// The state now.
    pub fn state(&self) -> State {
        if self.drain.has_started() {
            return State::Draining;
        }
        let pending = self.pending.borrow();
        if pending.is_empty() { State::Ready } else { State::Starting(pending.clone()) }
    }

    /// Completes when every gate is released.
    pub async fn released(&self) {
        // An error would mean that the sender is gone, which `self` keeps alive.
        let _ = self.pending.subscribe().wait_for(Vec::is_empty).await;
    }
}

impl Gate {
    /// What the gate stands for has happened.
    pub fn release(self) {
        self.pending.send_modify(|pending| {
            if let Some(index) = pending.iter().position(|name| *name == self.name) {
                pending.swap_remove(index);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_only_after_every_gate() {
        let readiness = Readiness::new(Drain::new());
        let listener = readiness.gate("listener");
        let config = readiness.gate("config");
        listener.release();
        assert_eq!(readiness.state(), State::Starting(vec!["config"]));
        let waiting = readiness.clone();
        let waiting = crate::tasks::spawn("test", async move { waiting.released().await });
        config.release();
        waiting.await.unwrap();
        assert_eq!(readiness.state(), State::Ready);
    }

    #[test]
    fn a_dropped_gate_keeps_the_process_unready() {
        let readiness = Readiness::new(Drain::new());
        drop(readiness.gate("listener"));
        assert_eq!(readiness.state(), State::Starting(vec!["listener"]));
    }

    #[test]
    fn gates_of_one_name_are_counted() {
        let readiness = Readiness::new(Drain::new());
        let (first, second) = (readiness.gate("listener"), readiness.gate("listener"));
        first.release();
        assert_eq!(readiness.state(), State::Starting(vec!["listener"]));
        second.release();
        assert_eq!(readiness.state(), State::Ready);
    }

    #[test]
    fn draining_wins_over_everything() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        drain.start();
        assert_eq!(readiness.state(), State::Draining);
    }
}
