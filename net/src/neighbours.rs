//! Machines of the network on the same local network, found by multicast DNS (RFC 6762) as a service
//! (RFC 6763): where addresses are handed out anew, those on the ledger grow old. An announcement is
//! a hint and proves nothing: who answers there must have the machine's key (`engine/spec/transport.md`
//! §8).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use kakera_engine::names::{NetworkId, NodeId};
#[cfg(feature = "testkit")]
use mdns_sd::IfKind;
use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use thiserror::Error;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::fabric::Fabric;

/// The service's type; "_kakera" is not registered with IANA.
const SERVICE: &str = "_kakera._udp.local.";
/// The TXT key whose value names the network, in hex.
const NETWORK_KEY: &str = "network";
/// Hex digits of a machine's id that name its instance: a label has at most 63 bytes.
const INSTANCE_DIGITS: usize = 32;
/// RFC 6762 §3.
const PORT: u16 = 5353;
/// Most machines that are remembered, and addresses of one.
const NEIGHBOURS_MAX: usize = 1024;
const ADDRESSES_MAX: usize = 8;
/// How long an address is not tried after it led nowhere.
const DOUBT: Duration = Duration::from_secs(30);

/// Why nobody can be found or announced.
#[derive(Debug, Error)]
#[error("multicast DNS: {0}; try: without mdns, in config.toml or as an option")]
pub struct NeighboursError(#[from] mdns_sd::Error);

/// Which machines of a network announce themselves here, and where. Memory grows with their number,
/// up to 1024.
pub struct Neighbours {
    network: NetworkId,
    daemon: ServiceDaemon,
    /// By the full name of the instance, the addresses to be tried first first.
    found: Mutex<BTreeMap<String, Vec<Place>>>,
}

struct Place {
    address: SocketAddr,
    doubted: Option<Instant>,
}

impl Neighbours {
    /// Begins to look for machines of `network` on all interfaces.
    pub fn look(network: NetworkId) -> Result<Arc<Self>, NeighboursError> {
        Self::begin(network, ServiceDaemon::new_with_port(PORT)?)
    }

    /// Looks for others and announces who speaks over `fabric`, if that is wanted.
    pub(crate) fn meet(
        wanted: bool,
        network: NetworkId,
        fabric: &Fabric,
    ) -> Result<Option<Arc<Self>>, NeighboursError> {
        if !wanted {
            return Ok(None);
        }
        let neighbours = Self::look(network)?;
        neighbours.announce(&fabric.local_id(), fabric.local_address())?;
        Ok(Some(neighbours))
    }

    /// [`Neighbours::look`] on the loopback interface and a port of its own, for tests.
    #[cfg(feature = "testkit")]
    pub fn look_on_loopback(network: NetworkId, port: u16) -> Result<Arc<Self>, NeighboursError> {
        let daemon = ServiceDaemon::new_with_port(port)?;
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(IfKind::LoopbackV4)?;
        Self::begin(network, daemon)
    }

    fn begin(network: NetworkId, daemon: ServiceDaemon) -> Result<Arc<Self>, NeighboursError> {
        let events = daemon.browse(SERVICE)?;
        let found = Mutex::default();
        let neighbours = Arc::new(Self { network, daemon, found });
        let listener = Arc::downgrade(&neighbours);
        thread::spawn(move || listen(&listener, &events));
        Ok(neighbours)
    }

    /// Tells the others that `node` listens at `address`; at an unspecified one on all interfaces,
    /// with the addresses that they have at any time.
    pub fn announce(&self, node: &NodeId, address: SocketAddr) -> Result<(), NeighboursError> {
        let instance = instance(node);
        let host = format!("{instance}.local.");
        let network = self.network.to_string();
        let properties = [(NETWORK_KEY, network.as_str())];
        let (ip, port) = (address.ip(), address.port());
        let service = if ip.is_unspecified() {
            ServiceInfo::new(SERVICE, &instance, &host, "", port, &properties[..])?
                .enable_addr_auto()
        } else {
            ServiceInfo::new(SERVICE, &instance, &host, ip, port, &properties[..])?
        };
        self.daemon.register(service)?;
        info!(%address, "announced on the local network");
        Ok(())
    }

    /// Where a machine says that it listens.
    pub fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        let found = self.found();
        let trusted = |place: &&Place| place.doubted.is_none_or(|since| since.elapsed() > DOUBT);
        found.get(&full_name(node))?.iter().find(trusted).map(|place| place.address)
    }

    /// Nobody answered there, or another machine did.
    pub(crate) fn doubt(&self, node: &NodeId, address: SocketAddr) {
        let mut found = self.found();
        let places = found.get_mut(&full_name(node)).into_iter().flatten();
        for place in places.filter(|place| place.address == address) {
            place.doubted = Some(Instant::now());
        }
    }

    fn note(&self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.note_found(&service),
            ServiceEvent::ServiceRemoved(_, name) => drop(self.found().remove(&name)),
            _ => {}
        }
    }

    fn note_found(&self, service: &ResolvedService) {
        let name = service.get_fullname();
        let network = service.get_property_val_str(NETWORK_KEY);
        let mut found = self.found();
        let has_room = found.len() < NEIGHBOURS_MAX || found.contains_key(name);
        if network != Some(&self.network.to_string()) || !has_room {
            return debug!(name, "an announcement that is of no use");
        }
        let ips = service.get_addresses().iter().map(ScopedIp::to_ip_addr);
        let mut ips: Vec<_> = ips.collect();
        ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
        let place = |ip| Place { address: SocketAddr::new(ip, service.get_port()), doubted: None };
        found.insert(name.to_owned(), ips.into_iter().take(ADDRESSES_MAX).map(place).collect());
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Place>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Neighbours {
    /// Says goodbye for what was announced.
    fn drop(&mut self) {
        // It fails only if the daemon has ended already.
        let _ = self.daemon.shutdown();
    }
}

/// Until the daemon ends.
fn listen(neighbours: &Weak<Neighbours>, events: &Receiver<ServiceEvent>) {
    while let Ok(event) = events.recv() {
        let Some(neighbours) = neighbours.upgrade() else { return };
        neighbours.note(event);
    }
}

fn instance(node: &NodeId) -> String {
    let mut digits = node.to_string();
    digits.truncate(INSTANCE_DIGITS);
    digits
}

fn full_name(node: &NodeId) -> String {
    format!("{}.{SERVICE}", instance(node))
}
