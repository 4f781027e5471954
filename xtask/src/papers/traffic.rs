//! What a machine moves when it asks others, read from its own log of requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::iter::Sum;
use std::ops::Sub;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The log filter under which a machine tells every request that it made.
pub(super) const LOG_FILTER: &str = "kakera_net::fabric=trace";

/// Bytes in both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// Requests and replies with their framing, as they stand in QUIC streams. A handshake is in
    /// none of them.
    pub(super) stream: u64,
    /// UDP payloads of the connections that carried them, handshakes included.
    pub(super) udp: u64,
}

impl Sub for Bytes {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { stream: self.stream - earlier.stream, udp: self.udp - earlier.udp }
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let add = |sum: Self, part: Self| Self {
            stream: sum.stream + part.stream,
            udp: sum.udp + part.udp,
        };
        parts.fold(Self::default(), add)
    }
}

/// A sum over all requests whose replies came so far.
#[derive(Clone, Default)]
pub(super) struct Traffic(Arc<Mutex<Sums>>);

#[derive(Default)]
struct Sums {
    stream: u64,
    /// By connection, each since it was opened.
    udp: BTreeMap<u64, u64>,
}

impl Traffic {
    /// Reads the log to its end.
    pub(super) fn read(log: impl Read) -> Self {
        let traffic = Self::default();
        traffic.add_lines(log);
        traffic
    }

    /// Goes on reading the log in a thread of its own, until the machine ends.
    pub(super) fn follow(log: impl Read + Send + 'static) -> Self {
        let traffic = Self::default();
        let added = traffic.clone();
        std::thread::spawn(move || added.add_lines(log));
        traffic
    }

    /// The bytes so far.
    pub(super) fn bytes(&self) -> Bytes {
        let sums = self.lock();
        Bytes { stream: sums.stream, udp: sums.udp.values().sum() }
    }

    fn add_lines(&self, log: impl Read) {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let mut sums = self.lock();
            // Other lines have no such fields.
            let _ = sums.add(&line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn add(&mut self, line: &str) -> Option<()> {
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name))?;
            value.strip_prefix('=')?.parse::<u64>().ok()
        };
        let both = |prefix: &str| {
            Some(field(&format!("{prefix}_sent"))? + field(&format!("{prefix}_received"))?)
        };
        let (stream, udp) = (both("stream_bytes")?, both("connection_udp_bytes")?);
        self.udp.insert(field("connection")?, udp);
        self.stream += stream;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_summed_and_connections_counted_once() {
        let line = |connection: u64, sent: u64, udp: u64| {
            format!(
                "2026-01-01T00:00:00Z TRACE kakera_net::fabric: asked peer=ab \
                 stream_bytes_sent={sent} stream_bytes_received=10 connection={connection} \
                 connection_udp_bytes_sent={udp} connection_udp_bytes_received=1\n"
            )
        };
        let log = [line(7, 5, 100), "INFO listening\n".into(), line(7, 6, 200), line(8, 7, 50)];
        let bytes = Traffic::read(log.concat().as_bytes()).bytes();
        assert_eq!(bytes, Bytes { stream: 48, udp: 252 });
    }
}
