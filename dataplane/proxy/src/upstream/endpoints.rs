//! Which of a backend's endpoints work, shared by everything that tries them. Changes when endpoints are judged by
//! something else than being reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_policy::backoff::Schedule;
use bridge_policy::balance::Balance;
use parking_lot::Mutex;

/// For how long a failing endpoint is tried only after the others.
const AVOID: Schedule = Schedule {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    stable_after: Duration::from_secs(30),
};

/// The standing of all endpoints of one backend.
pub(crate) struct Endpoints {
    count: usize,
    balance: Mutex<Balance>,
}

/// One endpoint among those of its backend.
#[derive(Clone)]
pub(crate) struct Place {
    endpoints: Arc<Endpoints>,
    position: usize,
}

impl Endpoints {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, balance: Mutex::new(Balance::new(count, AVOID)) })
    }

    /// The positions of all endpoints in the order in which the next conversation tries them.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        self.balance.lock().order(now)
    }

    /// How many there are, and how many of them are failing.
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        (self.count, self.balance.lock().failing(now))
    }

    pub(crate) fn place(self: &Arc<Self>, position: usize) -> Place {
        Place { endpoints: Arc::clone(self), position }
    }
}

impl Place {
    /// Which of the configured endpoints it is, counted from 1, for logs: addresses may hold secrets.
    pub(crate) fn number(&self) -> usize {
        self.position + 1
    }

    /// Whether a conversation that cannot reach this endpoint could open at another.
    pub(crate) fn has_others(&self) -> bool {
        self.endpoints.count > 1
    }

    /// It was reached.
    pub(crate) fn reached(&self, now: Instant) {
        self.endpoints.balance.lock().succeeded(self.position, now);
    }

    /// It could not be reached.
    pub(crate) fn failed(&self, now: Instant) {
        // Jitter needs no secrecy; without randomness it is simply absent.
        let random = getrandom::u64().unwrap_or_default();
        self.endpoints.balance.lock().failed(self.position, now, random);
    }
}
