//! The operating system's randomness, as the engine wants it.

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// Cannot be seeded or repeated. Panics if the operating system has no randomness: nothing safe can
/// be done without.
pub(crate) type SystemRandom = UnwrapErr<SysRng>;

/// The operating system's generator.
pub(crate) fn system_random() -> SystemRandom {
    UnwrapErr(SysRng)
}
