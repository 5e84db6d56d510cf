//! Which of a backend's endpoints work, shared by everything that tries them. Changes when endpoints are judged by
//! something else than being reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_policy::backoff::Schedule;
use bridge_policy::balance::Balance;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// For how long a failing endpoint is tried only after the others.
const AVOID: Schedule = Schedule {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    stable_after: Duration::from_secs(30),
};

/// The standing of all endpoints of one backend, through all changes of what these are.
pub(crate) struct Endpoints {
    count: AtomicUsize,
    next: AtomicU64,
    balance: Mutex<Balance>,
}

/// One endpoint among those of its backend.
#[derive(Clone)]
pub(crate) struct Place {
    endpoints: Arc<Endpoints>,
    number: u64,
    /// Cancelled when the backend is not there any more, and when it ends; what is open there ends with it.
    gone: CancellationToken,
}

impl Endpoints {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            balance: Mutex::new(Balance::new(AVOID)),
        })
    }

    /// Another place, which nobody has tried.
    pub(crate) fn place(self: &Arc<Self>, gone: CancellationToken) -> Place {
        Place { endpoints: Arc::clone(self), number: self.next.fetch_add(1, Ordering::Relaxed), gone }
    }

    /// From now on these are all there are.
    pub(crate) fn are<'a>(&self, places: impl Iterator<Item = &'a Place>) {
        let numbers = numbers(places);
        self.count.store(numbers.len(), Ordering::Relaxed);
        self.balance.lock().retain(&numbers);
    }

    /// The positions of all `places` in the order in which the next conversation tries them.
    pub(crate) fn order<'a>(&self, places: impl Iterator<Item = &'a Place>, now: Instant) -> Vec<usize> {
        self.balance.lock().order(&numbers(places), now)
    }

    /// How many of `places` are failing.
    pub(crate) fn failing<'a>(&self, places: impl Iterator<Item = &'a Place>) -> usize {
        self.balance.lock().failing(&numbers(places))
    }
}

fn numbers<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<u64> {
    places.map(|place| place.number).collect()
}

impl Place {
    /// A token for what is open here.
    pub(crate) fn token(&self) -> CancellationToken {
        self.gone.child_token()
    }

    /// The backend is not here any more: whatever is open here ends.
    pub(crate) fn leave(&self) {
        self.gone.cancel();
    }

    /// Waits until the backend is not here any more.
    pub(crate) async fn left(&self) {
        self.gone.cancelled().await;
    }

    /// Whether a conversation that cannot reach this endpoint could open at another.
    pub(crate) fn has_others(&self) -> bool {
        let others = usize::from(!self.gone.is_cancelled());
        self.endpoints.count.load(Ordering::Relaxed) > others
    }

    /// It was reached.
    pub(crate) fn reached(&self, now: Instant) {
        self.endpoints.balance.lock().succeeded(self.number, now);
    }

    /// It could not be reached.
    pub(crate) fn failed(&self, now: Instant) {
        // Jitter needs no secrecy; without randomness it is simply absent.
        let random = getrandom::u64().unwrap_or_default();
        self.endpoints.balance.lock().failed(self.number, now, random);
    }
}

/// The same place, whatever is reached there.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.endpoints, &other.endpoints)
    }
}
