//! The operating system's randomness, as the engine wants it.

#[cfg(not(feature = "testkit"))]
use getrandom::SysRng;
use rand_core::Rng;
#[cfg(not(feature = "testkit"))]
use rand_core::UnwrapErr;

#[cfg(feature = "testkit")]
pub(crate) use crate::testkit::SystemRandom;

/// Cannot be seeded or repeated. Panics if the operating system has no randomness: nothing safe can
/// be done without.
#[cfg(not(feature = "testkit"))]
pub(crate) type SystemRandom = UnwrapErr<SysRng>;

/// The operating system's generator.
pub(crate) fn system_random() -> SystemRandom {
    SystemRandom::default()
}

/// 32 bytes that nobody else has.
pub(crate) fn random_salt() -> [u8; 32] {
    let mut salt = [0; 32];
    system_random().fill_bytes(&mut salt);
    salt
}
