//! A wire between sockets that exist only in memory.
//!
//! A datagram waits for its sender's uplink, which has a rate and a queue; then it takes its link's
//! delay, longer by up to its jitter, so that datagrams overtake each other. It is lost by chance,
//! where the queue is full, where it is longer than the path takes, where the network is parted, and
//! where nobody listens; each is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::time::{Instant, Sleep};

/// Datagrams that a sender may hand over at once, as to a kernel (GSO).
const SEGMENTS_MAX: usize = 10;
/// Parts in a million.
const MILLION: u64 = 1_000_000;

/// What the links are like; each is drawn from these ranges when it is first used.
#[derive(Clone, Debug)]
pub struct Weather {
    /// One way.
    pub delay: Range<Duration>,
    /// Added to the delay, from nothing up to this, anew for each datagram.
    pub jitter: Duration,
    /// Datagrams lost by chance, in a million.
    pub loss_ppm: Range<u64>,
    /// Of a machine's uplink.
    pub bytes_per_second: Range<u64>,
    /// Bytes that wait for an uplink; what comes more is dropped.
    pub queue_bytes: u64,
    /// Longest UDP payload that a machine's line takes.
    pub mtu: Range<u64>,
}

impl Default for Weather {
    /// Machines of one country on lines of 50 to 1000 Mbit/s.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1)..Duration::from_millis(25),
            jitter: Duration::from_millis(2),
            loss_ppm: 0..5000,
            bytes_per_second: 6_000_000..120_000_000,
            queue_bytes: 32 << 10,
            mtu: 1252..1473,
        }
    }
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent, whatever became of them.
    pub datagrams: u64,
    /// Their UDP payload.
    pub bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped by the full queue of an uplink.
    pub queue_full: u64,
    /// Longer than the path takes.
    pub too_long: u64,
    /// Sent across a partition.
    pub parted: u64,
    /// Sent to where nobody listens.
    pub unheard: u64,
    /// Overtaken by a later one of the same link.
    pub overtaken: u64,
}

impl Traffic {
    /// All that did not arrive.
    pub fn dropped(&self) -> u64 {
        self.lost + self.queue_full + self.too_long + self.parted + self.unheard
    }
}

/// The wire; clones are the same one.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<Medium>>);

struct Medium {
    weather: Weather,
    random: ChaCha8Rng,
    ports: BTreeMap<SocketAddr, Arc<Port>>,
    uplinks: BTreeMap<IpAddr, Uplink>,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    far_side: BTreeSet<IpAddr>,
    traffic: Traffic,
    trace: blake3::Hasher,
    /// What the trace was before the first datagram of each second in which there was one.
    trace_by_second: Vec<(u64, [u8; 32])>,
    start: Option<Instant>,
    next_client: u16,
}

struct Uplink {
    bytes_per_second: u64,
    mtu: u64,
    busy_until: Instant,
    /// UDP payload, whatever became of it.
    sent: u64,
}

#[derive(Clone, Copy)]
struct Link {
    delay: Duration,
    loss_ppm: u64,
    last_arrival: Option<Instant>,
}

impl Wire {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // What the machines draw is stream 0.
        random.set_stream(1);
        Self(Arc::new(Mutex::new(Medium {
            weather,
            random,
            ports: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            links: BTreeMap::new(),
            far_side: BTreeSet::new(),
            traffic: Traffic::default(),
            trace: blake3::Hasher::new(),
            trace_by_second: Vec::new(),
            start: None,
            next_client: 0,
        })))
    }

    /// Cuts the machine at `address` off for good: what it still sends reaches nobody, and another
    /// one may listen there.
    pub fn unplug(&self, address: SocketAddr) {
        if let Some(port) = self.lock().ports.remove(&address) {
            port.lock().plugged = false;
        }
    }

    /// Parts the network: nothing passes between these machines and the others.
    pub fn part(&self, far_side: BTreeSet<IpAddr>) {
        self.lock().far_side = far_side;
    }

    /// Ends a partition.
    pub fn heal(&self) {
        self.lock().far_side.clear();
    }

    /// Ends all loss by chance.
    pub fn clear_up(&self) {
        let mut medium = self.lock();
        medium.weather.loss_ppm = 0..0;
        medium.links.values_mut().for_each(|link| link.loss_ppm = 0);
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Bytes of UDP payload that the machine at this address sent so far.
    pub fn sent_by(&self, machine: IpAddr) -> u64 {
        self.lock().uplinks.get(&machine).map_or(0, |uplink| uplink.sent)
    }

    /// A hash of each datagram: when it was sent, from where to where, its bytes, and when it arrives
    /// if it does.
    pub fn trace(&self) -> [u8; 32] {
        *self.lock().trace.finalize().as_bytes()
    }

    /// The trace as it was when the first datagram of a second was sent, for each second that had one:
    /// where two runs part ways, these do.
    pub fn trace_by_second(&self) -> Vec<(u64, [u8; 32])> {
        self.lock().trace_by_second.clone()
    }

    /// A socket; a free port for port 0, on a machine of its own for no address.
    pub(super) fn bind(&self, mut address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut medium = self.lock();
        if address.ip().is_unspecified() {
            let [high, low] = medium.next_client.to_be_bytes();
            address.set_ip(Ipv4Addr::new(172, 16 | high & 15, low, 1).into());
            medium.next_client += 1;
        }
        if address.port() == 0 {
            let free =
                |port: &u16| !medium.ports.contains_key(&SocketAddr::new(address.ip(), *port));
            address.set_port((49_152..=u16::MAX).find(free).ok_or(io::ErrorKind::AddrInUse)?);
        }
        if medium.ports.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let port = Arc::new(Port { address, inbox: Mutex::new(Inbox::new()) });
        medium.ports.insert(address, Arc::clone(&port));
        Ok(Arc::new(Plug { port, wire: self.clone() }))
    }

    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Medium {
    /// Sends one datagram.
    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], ecn: Option<EcnCodepoint>) {
        let now = Instant::now();
        self.traffic.datagrams += 1;
        self.traffic.bytes += bytes.len() as u64;
        let arrival = self.arrival(from.ip(), to, bytes.len(), now);
        self.note(now, from, to, bytes, arrival);
        if let Some(arrival) = arrival
            && let Some(port) = self.ports.get(&to)
        {
            let number = self.traffic.datagrams;
            port.take(arrival, number, Datagram { from, bytes: bytes.into(), ecn });
        }
    }

    /// When it arrives, if it does.
    fn arrival(
        &mut self,
        from: IpAddr,
        to: SocketAddr,
        length: usize,
        now: Instant,
    ) -> Option<Instant> {
        let sent = self.leave(from, length as u64, now)?;
        let traffic = &mut self.traffic;
        if self.far_side.contains(&from) != self.far_side.contains(&to.ip()) {
            traffic.parted += 1;
            return None;
        }
        if !self.ports.contains_key(&to) {
            traffic.unheard += 1;
            return None;
        }
        let link = self.link(from, to.ip());
        if self.random.next_u64() % MILLION < link.loss_ppm {
            self.traffic.lost += 1;
            return None;
        }
        let jitter = drawn(&mut self.random, &(Duration::ZERO..self.weather.jitter));
        let arrival = sent + link.delay + jitter;
        if link.last_arrival.is_some_and(|last| arrival < last) {
            self.traffic.overtaken += 1;
        }
        let last_arrival = Some(link.last_arrival.map_or(arrival, |last| last.max(arrival)));
        self.links.insert((from, to.ip()), Link { last_arrival, ..link });
        Some(arrival)
    }

    /// When it has left its machine, if its line takes it and there is room for it.
    fn leave(&mut self, from: IpAddr, length: u64, now: Instant) -> Option<Instant> {
        let Self { uplinks, random, weather, .. } = self;
        let uplink = uplinks.entry(from).or_insert_with(|| Uplink {
            bytes_per_second: drawn_number(random, &weather.bytes_per_second).max(1),
            mtu: drawn_number(random, &weather.mtu),
            busy_until: now,
            sent: 0,
        });
        uplink.sent += length;
        if length > uplink.mtu {
            self.traffic.too_long += 1;
            return None;
        }
        let begin = uplink.busy_until.max(now);
        let takes = |bytes: u64| Duration::from_micros(bytes * MILLION / uplink.bytes_per_second);
        if begin.duration_since(now) > takes(weather.queue_bytes) {
            self.traffic.queue_full += 1;
            return None;
        }
        uplink.busy_until = begin + takes(length);
        Some(uplink.busy_until)
    }

    fn link(&mut self, from: IpAddr, to: IpAddr) -> Link {
        let Self { links, random, weather, .. } = self;
        *links.entry((from, to)).or_insert_with(|| Link {
            delay: drawn(random, &weather.delay),
            loss_ppm: drawn_number(random, &weather.loss_ppm),
            last_arrival: None,
        })
    }

    fn note(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        arrival: Option<Instant>,
    ) {
        let start = *self.start.get_or_insert(now);
        let time = |moment: Instant| moment.duration_since(start).as_micros() as u64;
        let second = now.duration_since(start).as_secs();
        if self.trace_by_second.last().is_none_or(|(last, _)| *last < second) {
            self.trace_by_second.push((second, self.trace.finalize().into()));
        }
        let mut line = [0; 64];
        let mut place = 0;
        let mut write = |bytes: &[u8]| {
            line[place..place + bytes.len()].copy_from_slice(bytes);
            place += bytes.len();
        };
        write(&time(now).to_be_bytes());
        write(&arrival.map_or(u64::MAX, time).to_be_bytes());
        write(&(bytes.len() as u64).to_be_bytes());
        for end in [from, to] {
            if let IpAddr::V4(ip) = end.ip() {
                write(&ip.octets());
            }
            write(&end.port().to_be_bytes());
        }
        self.trace.update(&line).update(bytes);
    }
}

fn drawn(random: &mut ChaCha8Rng, range: &Range<Duration>) -> Duration {
    let [start, end] = [range.start, range.end].map(|bound| bound.as_micros() as u64);
    Duration::from_micros(drawn_number(random, &(start..end)))
}

/// The first of an empty range.
fn drawn_number(random: &mut ChaCha8Rng, range: &Range<u64>) -> u64 {
    range.start + random.next_u64() % (range.end.saturating_sub(range.start)).max(1)
}

/// Where a machine is plugged in.
struct Port {
    address: SocketAddr,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    plugged: bool,
    /// By their arrival, then in the order of sending.
    datagrams: BTreeMap<(Instant, u64), Datagram>,
    /// Until the next one arrives.
    timer: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

struct Datagram {
    from: SocketAddr,
    bytes: Box<[u8]>,
    ecn: Option<EcnCodepoint>,
}

impl Inbox {
    fn new() -> Self {
        Self { plugged: true, datagrams: BTreeMap::new(), timer: None, reader: None }
    }
}

impl Port {
    fn take(&self, arrival: Instant, number: u64, datagram: Datagram) {
        let mut inbox = self.lock();
        let first = inbox.datagrams.keys().next().is_none_or(|(next, _)| arrival < *next);
        inbox.datagrams.insert((arrival, number), datagram);
        // The reader's timer is set for a later one, or for none.
        if first && let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket on the wire.
struct Plug {
    port: Arc<Port>,
    wire: Wire,
}

impl fmt::Debug for Plug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Plug({})", self.port.address)
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let mut medium = self.wire.lock();
        let own = |port: &Arc<Port>| Arc::ptr_eq(port, &self.port);
        if medium.ports.get(&self.port.address).is_some_and(own) {
            medium.ports.remove(&self.port.address);
        }
    }
}

impl AsyncUdpSocket for Plug {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.port.lock().plugged {
            let mut medium = self.wire.lock();
            let length = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            for datagram in transmit.contents.chunks(length) {
                medium.carry(self.port.address, transmit.destination, datagram, transmit.ecn);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.port.lock();
        loop {
            let now = Instant::now();
            let mut count = 0;
            while count < buffers.len().min(metas.len())
                && let Some(next) = inbox.datagrams.first_entry()
                && next.key().0 <= now
            {
                let Datagram { from, bytes, ecn } = next.remove();
                // Longer than the receiver takes, as a kernel cuts it.
                let length = bytes.len().min(buffers[count].len());
                buffers[count][..length].copy_from_slice(&bytes[..length]);
                let dst_ip = Some(self.port.address.ip());
                metas[count] = RecvMeta { addr: from, len: length, stride: length, ecn, dst_ip };
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            inbox.reader = Some(context.waker().clone());
            let Some((next, _)) = inbox.datagrams.keys().next().copied() else {
                inbox.timer = None;
                return Poll::Pending;
            };
            let timer = inbox.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            inbox.timer = None;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.port.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS_MAX
    }
}

/// What does not fit into the queue is dropped, so there is nothing to wait for.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
