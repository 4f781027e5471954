//! Entries of 1 KB, of the kinds that clients post.

use kakera_engine::ledger::{
    Body, IdentityRecord, NUMBERED_POINTERS_VERSION_MIN, Pointer, RULES_VERSION_MAX,
};
use kakera_engine::names::NetworkId;
use kakera_net::id::Identity;
use rand_core::Rng;
use zeroize::Zeroizing;

/// What makes the whole entry 1024 bytes long, up to what its sequence number takes.
const SEALED_LEN: usize = 810;
const RECORD_LEN: usize = 775;

/// A pointer under a tag of its own, as the newest rules have it.
pub(crate) fn pointer(network: &NetworkId, rng: &mut impl Rng) -> Body {
    pointer_under(RULES_VERSION_MAX, network, rng)
}

/// A pointer under a tag of its own, as this version of the rules has it.
pub(crate) fn pointer_under(version: u32, network: &NetworkId, rng: &mut impl Rng) -> Body {
    let key = key(rng);
    Body::Pointer(if version < NUMBERED_POINTERS_VERSION_MIN {
        Pointer::sign(network, key.signing_key(), random(rng, SEALED_LEN))
    } else {
        // The number takes one byte.
        Pointer::sign_numbered(network, key.signing_key(), 0, random(rng, SEALED_LEN - 1))
    })
}

/// The first record of a new identity.
pub(crate) fn identity_record(network: &NetworkId, rng: &mut impl Rng) -> Body {
    let (key, mut handle) = (key(rng), [0; 32]);
    rng.fill_bytes(&mut handle);
    let record = random(rng, RECORD_LEN);
    let next = key.node_id().0;
    Body::IdentityRecord(IdentityRecord::sign(network, key.signing_key(), next, handle, 1, record))
}

fn key(rng: &mut impl Rng) -> Identity {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(seed.as_mut());
    Identity::from_seed(&seed)
}

fn random(rng: &mut impl Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use kakera_engine::ledger::Entry;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn entries_have_a_kilobyte() {
        let (network, mut rng) = (NetworkId([1; 32]), ChaCha8Rng::seed_from_u64(1));
        let author = key(&mut rng);
        let pointers = [2, RULES_VERSION_MAX].map(|it| pointer_under(it, &network, &mut rng));
        for body in pointers.into_iter().chain([identity_record(&network, &mut rng)]) {
            let entry = Entry::sign(&network, author.signing_key(), 1000, body);
            assert!(entry.verifies(&network));
            assert_eq!(entry.to_bytes().len(), 1024);
        }
    }
}
