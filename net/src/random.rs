//! The operating system's randomness, as the engine wants it.

use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};

/// Cannot be seeded or repeated. Panics if the operating system has no randomness: nothing safe can
/// be done without.
pub(crate) type SystemRandom = UnwrapErr<SysRng>;

/// The operating system's generator.
pub(crate) fn system_random() -> SystemRandom {
    UnwrapErr(SysRng)
}

/// 32 bytes that nobody else has.
pub(crate) fn random_salt() -> [u8; 32] {
    let mut salt = [0; 32];
    system_random().fill_bytes(&mut salt);
    salt
}
