//! How many reviews one address may cause: whoever reaches the port can show tokens, and must not take the reviews of those
//! whose tokens are good. Changes when somebody gets more or less of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Reviews at once for one address.
const AT_ONCE: usize = 5;
/// Different tokens that are not good, of one address in one [`WINDOW`]. A good one costs nothing.
const BAD: u32 = 20;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered. More within one window are no longer told apart.
const MOST: usize = 10_000;

/// By address.
#[derive(Debug, Default)]
pub(super) struct Bounds(Mutex<HashMap<IpAddr, Address>>);

#[derive(Debug)]
struct Address {
    slots: Arc<Semaphore>,
    bad: u32,
    since: Instant,
}

impl Bounds {
    /// The slots for reviews of this address; none for one that has shown too many tokens that are not good.
    pub(super) fn slots(&self, from: IpAddr, now: Instant) -> Option<Arc<Semaphore>> {
        self.with(from, now, |address| (address.bad < BAD).then(|| Arc::clone(&address.slots)))
    }

    /// It has shown one that is not good.
    pub(super) fn bad(&self, from: IpAddr, now: Instant) {
        self.with(from, now, |address| address.bad = address.bad.saturating_add(1));
    }

    fn with<T>(&self, from: IpAddr, now: Instant, look: impl FnOnce(&mut Address) -> T) -> T {
        let mut all = self.0.lock();
        let mut from = network(from);
        if all.len() >= MOST && !all.contains_key(&from) {
            all.retain(|_, address| now < address.since + WINDOW || Arc::strong_count(&address.slots) > 1);
            if all.len() >= MOST {
                from = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let fresh = || Address { slots: Arc::new(Semaphore::new(AT_ONCE)), bad: 0, since: now };
        let address = all.entry(from).or_insert_with(fresh);
        if now >= address.since + WINDOW {
            (address.bad, address.since) = (0, now);
        }
        look(address)
    }
}

/// A host has as many addresses of IPv6 as it likes below its 64 bits of network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shows_many_tokens_that_are_not_good_is_not_heard_for_a_while() {
        let (bounds, start) = (Bounds::default(), Instant::now());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let hears = |from: &str, at| bounds.slots(address(from), at).is_some();
        for _ in 0..BAD {
            assert!(hears("10.0.0.1", start) && hears("fd00::1", start));
            bounds.bad(address("10.0.0.1"), start);
            bounds.bad(address("fd00::1"), start);
        }
        assert!(!hears("10.0.0.1", start) && !hears("::ffff:10.0.0.1", start));
        assert!(!hears("fd00::2", start), "the same network");
        assert!(hears("10.0.0.2", start) && hears("fd00:0:0:1::1", start), "others are");
        assert!(hears("10.0.0.1", start + WINDOW));
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let (bounds, start) = (Bounds::default(), Instant::now());
        for index in 0..u32::try_from(MOST + 100).unwrap() {
            bounds.bad(std::net::Ipv4Addr::from_bits(index).into(), start);
        }
        assert!(bounds.0.lock().len() <= MOST + 1);
        let late: IpAddr = [200, 0, 0, 1].into();
        assert!(bounds.slots(late, start).is_none(), "those beyond share one bound");
        assert!(bounds.slots(late, start + WINDOW).is_some());
    }
}
