//! Connection ids (RFC 9000 §5.1): a node recognises its own, those of its former runs included.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use rand_core::Rng;

use crate::random::system_random;

const NONCE_LEN: usize = 4;
const LEN: usize = 8;
/// Of the id that a client makes up for the server in its first packets (RFC 9000 §7.2), the longest.
const FIRST_LEN: usize = 20;

/// Makes ids of four random bytes and the first four of their BLAKE3 under a key.
#[derive(Clone)]
pub(super) struct ConnectionIds {
    key: [u8; 32],
}

impl ConnectionIds {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: *key }
    }

    fn id_of(&self, nonce: &[u8]) -> [u8; LEN] {
        let mut id = [0; LEN];
        let (start, end) = id.split_at_mut(NONCE_LEN);
        start.copy_from_slice(nonce);
        end.copy_from_slice(&blake3::keyed_hash(&self.key, nonce).as_bytes()[..LEN - NONCE_LEN]);
        id
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE_LEN];
        system_random().fill_bytes(&mut nonce);
        ConnectionId::new(&self.id_of(&nonce))
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let own =
            id.split_at_checked(NONCE_LEN).is_some_and(|(nonce, _)| self.id_of(nonce) == **id);
        own.then_some(()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// An id that nobody can guess, for the first packets to a server.
pub(super) fn random() -> ConnectionId {
    let mut id = [0; FIRST_LEN];
    system_random().fill_bytes(&mut id);
    ConnectionId::new(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_under_the_own_key_are_recognised() {
        let (mut own, mut other) = (ConnectionIds::new(&[1; 32]), ConnectionIds::new(&[2; 32]));
        let id = own.generate_cid();
        assert_eq!(id.len(), own.cid_len());
        assert!(ConnectionIds::new(&[1; 32]).validate(&id).is_ok());
        assert!(own.validate(&other.generate_cid()).is_err());
        assert!(own.validate(&ConnectionId::new(&[])).is_err());
        assert!(own.validate(&random()).is_err());
        assert_ne!(own.generate_cid(), id);
    }
}
