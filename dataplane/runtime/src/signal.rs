//! Signals as futures. Changes when a signal gets a meaning.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// First signal: refuse new work and let what is in flight finish.
    Graceful,
    /// Any further signal: stop now.
    Immediate,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
    asked: bool,
}

impl Shutdown {
    /// Starts listening; from now on these signals no longer end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            asked: false,
        })
    }

    /// Waits for the next request to stop and logs it. Cancel safe.
    pub async fn recv(&mut self) -> Stop {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        let stop = if self.asked { Stop::Immediate } else { Stop::Graceful };
        self.asked = true;
        match stop {
            Stop::Graceful => tracing::info!(signal = name, "stopping; a second signal stops at once"),
            Stop::Immediate => tracing::warn!(signal = name, "stopping at once"),
        }
        stop
    }
}

/// SIGHUP: read the configuration again.
#[derive(Debug)]
pub struct Reload(Signal);

impl Reload {
    /// Starts listening; from now on SIGHUP no longer ends the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next request to reload. Requests that come faster than they are received count once. Cancel safe.
    pub async fn recv(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(signal: &str) {
        let pid = std::process::id().to_string();
        let status = tokio::process::Command::new("kill").args(["-s", signal, &pid]).status().await.unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn the_second_signal_is_immediate_and_hangup_is_separate() {
        let mut shutdown = Shutdown::listen().unwrap();
        let mut reload = Reload::listen().unwrap();
        send("HUP").await;
        reload.recv().await;
        send("TERM").await;
        assert_eq!(shutdown.recv().await, Stop::Graceful);
        send("INT").await;
        assert_eq!(shutdown.recv().await, Stop::Immediate);
    }
}
