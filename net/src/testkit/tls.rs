//! TLS that does the same again.
//!
//! Packets under keys that nobody here has are told from noise by chance: a restarted server takes a
//! quarter of the first packets of its former connections for new ones, since two bits under their
//! header protection happen to be zero (RFC 9001 §5.4). So which ones depends on the bytes of every
//! packet, and those on all that TLS draws.

use rand_core::Rng;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom,
    SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use super::SystemRandom;

/// Of an ML-KEM-768 encapsulation key and an X25519 share (draft-ietf-tls-ecdhe-mlkem §3).
const CLIENT_SHARE_LEN: usize = 1184 + 32;
/// Of an ML-KEM-768 ciphertext and an X25519 share.
const SERVER_SHARE_LEN: usize = 1088 + 32;

/// `provider`, but all that it draws comes from the simulation's seed. Its key exchange has the lengths
/// of the real one and **keeps nothing secret**.
pub(crate) fn repeatable(provider: CryptoProvider) -> CryptoProvider {
    CryptoProvider { secure_random: &Seeded, kx_groups: vec![&Seeded], ..provider }
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::default().fill_bytes(bytes);
        Ok(())
    }
}

impl SupportedKxGroup for Seeded {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Started { share: share(CLIENT_SHARE_LEN) }))
    }

    fn start_and_complete(&self, client: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let server = share(SERVER_SHARE_LEN);
        let secret = secret(client, &server)?;
        Ok(CompletedKeyExchange { group: self.name(), pub_key: server, secret })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A client's side.
struct Started {
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server: &[u8]) -> Result<SharedSecret, Error> {
        secret(&self.share, server)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        Seeded.name()
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }
}

fn share(length: usize) -> Vec<u8> {
    let mut share = vec![0; length];
    SystemRandom::default().fill_bytes(&mut share);
    share
}

/// What both sides know.
fn secret(client: &[u8], server: &[u8]) -> Result<SharedSecret, Error> {
    if (client.len(), server.len()) != (CLIENT_SHARE_LEN, SERVER_SHARE_LEN) {
        return Err(PeerMisbehaved::InvalidKeyShare.into());
    }
    let mut secret = [0; 64];
    blake3::Hasher::new().update(client).update(server).finalize_xof().fill(&mut secret);
    Ok(SharedSecret::from(&secret[..]))
}
