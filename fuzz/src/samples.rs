//! Valid values of every format, the same in every run.

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(crate) mod agreement;
pub(crate) mod catalogue;
pub(crate) mod clinical;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod object;
pub(crate) mod renewal;
pub(crate) mod snapshot;
pub(crate) mod store;
pub(crate) mod wire;

/// The time of all samples, Unix milliseconds.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// The same randomness at every call.
pub(crate) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// The key of a machine, a validator or an owner.
fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}
