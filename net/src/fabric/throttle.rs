//! A token bucket for handshakes per /24 or /48.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Networks remembered at a time; only validated addresses get here, so filling the table takes as
/// many real networks.
const NETWORKS_MAX: usize = 4096;

/// Lets each network start `burst` handshakes at once and `rate` a second from then on.
///
/// GCRA: one instant per network says when its bucket would be full again.
pub(super) struct Throttle {
    interval: Duration,
    depth: Duration,
    full_at: BTreeMap<IpAddr, Instant>,
}

impl Throttle {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { interval, depth: interval * burst.max(1), full_at: BTreeMap::new() }
    }

    /// Whether `address` may start a handshake at `now`; takes its token if so.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let network = network_of(address);
        if self.full_at.len() >= NETWORKS_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() >= NETWORKS_MAX && !self.full_at.contains_key(&network) {
            return false;
        }
        let full_at = self.full_at.entry(network).or_insert(now);
        let next = (*full_at).max(now) + self.interval;
        let admitted = next <= now + self.depth;
        if admitted {
            *full_at = next;
        }
        admitted
    }
}

/// The first address of the /24 or /48.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_burst_and_then_its_rate() {
        let mut throttle = Throttle::new(10, 3);
        let start = Instant::now();
        let mut at = |milliseconds, text| {
            throttle.admit(address(text), start + Duration::from_millis(milliseconds))
        };
        assert!(at(0, "10.0.0.1") && at(0, "10.0.0.2") && at(0, "::ffff:10.0.0.3"));
        assert!(!at(0, "10.0.0.4") && !at(99, "10.0.0.4"));
        assert!(at(0, "10.0.1.1"), "another /24 is not affected");
        assert!(at(100, "10.0.0.4") && !at(100, "10.0.0.4"));
        assert!(at(0, "2001:db8:1::1") && at(0, "2001:db8:1:2::1") && at(0, "2001:db8:1:3::1"));
        assert!(!at(0, "2001:db8:1:4::1") && at(0, "2001:db8:2::1"));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut throttle = Throttle::new(1, 1);
        let start = Instant::now();
        for index in 0..NETWORKS_MAX as u32 {
            assert!(throttle.admit(IpAddr::V4((index << 8).into()), start));
        }
        assert!(!throttle.admit(address("200.0.0.1"), start));
        assert!(throttle.admit(address("200.0.0.1"), start + Duration::from_secs(1)));
        assert_eq!(throttle.full_at.len(), 1);
    }
}
