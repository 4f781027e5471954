//! The UDP socket under the endpoint: large kernel buffers, and every byte counted.
//!
//! Beside the simulated wire of `testkit` the only file that touches quinn's socket traits, which its next
//! version changes.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

/// Buffers that a read may fill, each of up to 64 packets that the kernel has joined (GRO). quinn offers
/// 32, of 94 kB each; a burst of packets leaves all that it fills resident for good. Fewer are slower
/// (`engine/spec/transport.md` §6).
const RECEIVE_BUFFERS_MAX: usize = 16;

/// A UDP socket that counts the payload bytes it carries.
#[derive(Debug)]
pub(crate) struct CountedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    packets_at_once: usize,
    sent: AtomicU64,
    received: AtomicU64,
}

impl CountedSocket {
    /// Binds `address` and asks the kernel for buffers of `buffer_len` bytes each way; the kernel
    /// grants what its own limits allow. It is handed up to `packets_at_once` packets.
    pub(crate) fn bind(
        address: SocketAddr,
        buffer_len: usize,
        packets_at_once: usize,
    ) -> io::Result<Self> {
        let inner = open(address, buffer_len)?;
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { inner, packets_at_once: packets_at_once.max(1), sent, received })
    }

    /// UDP payload bytes sent and received so far.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// A socket of the system, in a simulated network a port of its wire.
fn open(address: SocketAddr, buffer_len: usize) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    #[cfg(feature = "testkit")]
    if let Some(port) = crate::testkit::bind(address) {
        return port;
    }
    let socket = UdpSocket::bind(address)?;
    set_socket_recv_buffer_size(&socket, buffer_len)?;
    set_socket_send_buffer_size(&socket, buffer_len)?;
    TokioRuntime.wrap_udp_socket(socket)
}

impl AsyncUdpSocket for CountedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        self.sent.fetch_add(transmit.contents.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = buffers.len().min(RECEIVE_BUFFERS_MAX);
        let polled = self.inner.poll_recv(context, &mut buffers[..count], &mut metas[..count]);
        if let Poll::Ready(Ok(count)) = polled {
            let bytes: usize = metas[..count].iter().map(|meta| meta.len).sum();
            self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(self.packets_at_once)
    }

    // Not forwarding this cuts GRO batches: packets vanish.
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn the_kernel_is_handed_no_more_packets_than_asked_for() {
        let segments = |most| {
            let socket = CountedSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), 1 << 16, most);
            socket.unwrap().max_transmit_segments()
        };
        assert!((1..=4).contains(&segments(4)), "{}", segments(4));
        assert_eq!((segments(1), segments(0)), (1, 1));
    }
}
