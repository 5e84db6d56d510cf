//! Whether the peer is still there. Changes when peers are given up differently.
//!
//! ```text
//! heard ──beat──▶ silent: pinged ──beat──▶ silent: pinged ──beat──▶ lost
//!   ▲                anything read             │
//!   └──────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Beats in silence after which a peer is lost.
const MISSED: u8 = 2;

/// Shared by the half that reads and the half that writes.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    heard: AtomicBool,
    /// Nothing is being read, so silence says nothing.
    deaf: AtomicBool,
    missed: AtomicU8,
}

impl Pulse {
    /// Something was read. Until [`Pulse::listen`] nothing more is.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Reading goes on. What came meanwhile was not read, and counts as heard.
    pub(super) fn listen(&self) {
        if self.deaf.swap(false, Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    /// An interval has passed; `false` when the peer is lost.
    pub(super) fn beat(&self) -> bool {
        if self.deaf.load(Ordering::Relaxed) || self.heard.swap(false, Ordering::Relaxed) {
            self.missed.store(0, Ordering::Relaxed);
            return true;
        }
        self.missed.fetch_add(1, Ordering::Relaxed) < MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_lost_after_two_pings_in_silence() {
        let pulse = Pulse::default();
        pulse.hear();
        pulse.listen();
        assert_eq!([pulse.beat(), pulse.beat(), pulse.beat(), pulse.beat()], [true, true, true, false]);
    }

    #[test]
    fn any_sign_of_life_starts_anew() {
        let pulse = Pulse::default();
        assert!(pulse.beat() && pulse.beat());
        pulse.hear();
        pulse.listen();
        assert!(pulse.beat() && pulse.beat() && pulse.beat());
        assert!(!pulse.beat());
    }

    #[test]
    fn nobody_is_lost_while_nothing_is_read() {
        let pulse = Pulse::default();
        pulse.hear();
        assert!((0..10).all(|_| pulse.beat()));
    }
}
