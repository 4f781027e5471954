//! Where a process listens: the same port as last time, told in a file.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;

use rand_core::Rng;
use sd_notify::NotifyState;
use tracing::warn;

use crate::fabric::Limits;
use crate::random::system_random;
use crate::store::disk::Disk;
use crate::store::file::{read_file, write_atomic};

/// The file in a node's or validator's folder that tells its address while it runs, and the port
/// to prefer next time.
pub const ADDRESS_FILE: &str = "address";
const ADDRESS_LEN_MAX: usize = 128;

/// `listen`, with the port of the last run in place of port 0 if that port is free.
pub fn preferred<D: Disk>(disk: &D, listen: SocketAddr) -> io::Result<SocketAddr> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let last = read_file(disk, ADDRESS_FILE, ADDRESS_LEN_MAX)?
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<SocketAddr>().ok());
    Ok(match last {
        Some(last) => {
            let same = SocketAddr::new(listen.ip(), last.port());
            if UdpSocket::bind(same).is_ok() { same } else { listen }
        }
        None => listen,
    })
}

/// An address on loopback for a machine that others are told of before it runs.
///
/// The port is free and none of those that the system hands out by itself (Linux: from 32768 on),
/// so that no other socket takes it by chance before the machine does.
pub fn free_address() -> io::Result<SocketAddr> {
    const PORTS: Range<u16> = 10_000..32_768;
    let draw = || {
        let offset = system_random().next_u32() % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + offset as u16;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr())
    };
    (0..100).find_map(|_| draw().ok()).map_or_else(draw, Ok)
}

/// Tells in a file where the process listens.
pub fn announce<D: Disk>(disk: &D, file: &str, address: SocketAddr) -> io::Result<()> {
    write_atomic(disk, file, format!("{address}\n").as_bytes())
}

/// Tells the service manager that started the process, if one waits for it (sd_notify(3)), that it
/// serves.
pub fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!(%error, "the service manager was not told that this process serves");
    }
}

/// The limits, with larger packets where nothing but the loopback interface is reached.
pub fn limits(listen: SocketAddr, limits: Limits) -> Limits {
    if listen.ip().is_loopback() { limits.on_loopback() } else { limits }
}
