//! Whole networks in one thread, on virtual time, with real QUIC and TLS over a simulated [`Wire`].
//!
//! While [`simulate`] runs, everything of this crate that its thread does takes its time, its
//! randomness and its sockets from here: `clock`, `random`, `sock` and `blocking` ask. The same seed
//! gives the same course of events to the last byte of every packet; [`Wire::trace`] is a hash of it.
//! TLS takes part in that with a key exchange that keeps nothing secret.

mod checks;
pub mod network;
pub(crate) mod tls;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use getrandom::SysRng;
use quinn::AsyncUdpSocket;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng, UnwrapErr};
use tokio::task::LocalSet;
use tokio::time::Instant;

use self::checks::Checks;
pub(crate) use self::checks::append;
pub use self::wire::{Traffic, Weather, Wire};

/// When simulated networks begin, Unix milliseconds.
pub const BEGINNING: u64 = 1_800_000_000_000;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What the machines of a simulated network share.
struct World {
    start: Instant,
    random: ChaCha8Rng,
    wire: Wire,
    counts: BTreeMap<&'static str, u64>,
    checks: Checks,
}

/// Runs `main` and whatever it spawns, locally too, on virtual time in this thread: time passes only when nothing
/// is left to do now. Real sockets cannot be used meanwhile; files can.
///
/// # Panics
/// If a simulation runs in this thread already.
pub fn simulate<T>(seed: u64, weather: Weather, main: impl AsyncFnOnce(Wire) -> T) -> T {
    let _leave = Leave;
    let wire = Wire::new(seed, weather);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing of the system");
    LocalSet::new().block_on(&runtime, async {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (start, counts) = (Instant::now(), BTreeMap::new());
        let checks = Checks::new();
        let world = World { start, random, wire: wire.clone(), counts, checks };
        let other = WORLD.with_borrow_mut(|entered| entered.replace(world));
        assert!(other.is_none(), "a simulation runs in this thread already");
        main(wire).await
    })
}

/// The world ends after its runtime, whose tasks still draw and send when they are dropped.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

/// What the machines of the simulation in this thread counted so far, all together.
pub fn counts() -> BTreeMap<&'static str, u64> {
    WORLD.with_borrow(|world| world.as_ref().map(|world| world.counts.clone()).unwrap_or_default())
}

/// Counts something that a machine of a simulation does.
pub(crate) fn count(what: &'static str, amount: u64) {
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            *world.counts.entry(what).or_default() += amount;
        }
    });
}

/// Whether this thread simulates.
pub(crate) fn is_simulated() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// The simulated time.
pub(crate) fn unix_milliseconds() -> Option<u64> {
    WORLD.with_borrow(|world| {
        world.as_ref().map(|world| BEGINNING + world.start.elapsed().as_millis() as u64)
    })
}

/// A port of the simulated wire.
pub(crate) fn bind(address: SocketAddr) -> Option<io::Result<Arc<dyn AsyncUdpSocket>>> {
    let wire = WORLD.with_borrow(|world| world.as_ref().map(|world| world.wire.clone()))?;
    Some(wire.bind(address))
}

/// The operating system's generator; in a simulated network that of its seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRandom(());

impl TryRng for SystemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        WORLD.with_borrow_mut(|world| match world {
            Some(world) => world.random.fill_bytes(bytes),
            None => UnwrapErr(SysRng).fill_bytes(bytes),
        });
        Ok(())
    }
}

impl TryCryptoRng for SystemRandom {}
