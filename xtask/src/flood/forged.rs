//! First packets of handshakes that nobody goes on with, from addresses that nobody knows.
//!
//! They are real ones: a client's first packet carries the keys to open it (RFC 9001 §5.2), so that one
//! that was made for another server is as good as new, and costs as much to look at.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use kakera_engine::names::NodeId;
use kakera_net::fabric::{Fabric, Limits};
use kakera_net::id::Identity;
use kakera_net::rpc::Message;
use tokio::net::UdpSocket;
use zeroize::Zeroizing;

use super::{Attack, give_way};

/// Packets that differ; a server keeps nothing of them, so that they can be sent again.
const PACKETS: u16 = 2000;
/// Networks of 256 addresses each that they come from.
const SOURCES: u8 = 200;
/// Packets sent before the clock is looked at.
const BATCH: usize = 50;

/// First packets of as many clients, caught by a socket that never answers.
pub(super) async fn make_packets() -> Result<Vec<Vec<u8>>> {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = silent.local_addr()?;
    let identity = Arc::new(Identity::from_seed(&Zeroizing::new([99; 32])));
    let limits = Limits { connections: PACKETS.into(), ..Limits::client() };
    let fabric = Fabric::bind(identity, (Ipv4Addr::LOCALHOST, 0).into(), limits, |_| false)?;
    for number in 0..PACKETS {
        let fabric = fabric.clone();
        tokio::spawn(async move {
            let mut peer = NodeId([7; 32]);
            peer.0[..2].copy_from_slice(&number.to_be_bytes());
            let message = |_: &_| Message { header: Bytes::new(), body: Bytes::new() };
            // It never succeeds: the first packet is all that is wanted.
            let _ = fabric.request(peer, address, Duration::from_secs(5), message).await;
        });
    }
    let (mut packets, mut known) = (Vec::new(), HashSet::new());
    let mut buffer = vec![0; 65_536];
    while packets.len() < PACKETS.into() {
        let received = tokio::time::timeout(Duration::from_secs(5), silent.recv(&mut buffer));
        let Ok(received) = received.await else { break };
        let packet = buffer[..received?].to_vec();
        // Long header, and the id that the client drew for its server (RFC 9000 §17.2): a packet
        // that is sent again carries the same.
        let id = packet.get(6..6 + usize::from(*packet.get(5).unwrap_or(&0))).map(<[u8]>::to_vec);
        if packet.len() >= 1200 && known.insert(id) {
            packets.push(packet);
        }
    }
    fabric.close().await;
    Ok(packets)
}

/// Sends them to the targets in turn until it is told to stop, so many a second.
pub(super) fn send(
    packets: &[Vec<u8>],
    targets: &[SocketAddr],
    rate: f64,
    attack: &Attack,
) -> Result<()> {
    give_way()?;
    let sources = (0..SOURCES).map(|number| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 77, number, 1));
        std::net::UdpSocket::bind((address, 0))
    });
    let sources: Vec<_> = sources.collect::<Result<_, _>>().context("no addresses to send from")?;
    let (start, mut sent) = (Instant::now(), 0usize);
    while !attack.stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            let source = &sources[sent % sources.len()];
            let packet = &packets[sent % packets.len()];
            source.send_to(packet, targets[sent % targets.len()])?;
            sent += 1;
        }
        attack.sent.store(sent as u64, Ordering::Relaxed);
        let due = Duration::from_secs_f64(sent as f64 / rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}
