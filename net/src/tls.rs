//! TLS 1.3 between node keys: raw public keys both ways (RFC 7250), hybrid key exchange only.
//!
//! X25519MLKEM768 is the one group on offer, so recorded traffic stays closed to a later quantum
//! computer and a classical-only peer fails the handshake. No session tickets: a resumed session
//! would skip the admission check. 0-RTT is off. Rules: `engine/spec/transport.md` §2.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kakera_engine::names::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureAlgorithm, SignatureScheme,
};

use crate::id::Identity;

/// The protocol and its version (RFC 7301).
pub const ALPN: &[u8] = b"kakera/1";

/// SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];

/// The TLS side of a connection to `expected`; any other key fails the handshake and is left in
/// the returned pin.
pub fn client_config(
    identity: &Arc<Identity>,
    expected: NodeId,
) -> Result<(rustls::ClientConfig, Arc<PinnedServer>), Error> {
    let provider = Arc::new(provider());
    let pin = Arc::new(PinnedServer { expected, found: Mutex::new(None) });
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin.clone())
        .with_client_cert_resolver(Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(certified_key(identity)),
        ));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok((config, pin))
}

/// The TLS side of accepting connections from the nodes that `admission` (the registry) knows.
pub fn server_config(
    identity: &Arc<Identity>,
    admission: Arc<dyn Fn(&NodeId) -> bool + Send + Sync>,
) -> Result<rustls::ServerConfig, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AdmittedClient { admission }))
        .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(
            certified_key(identity),
        )));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // Whichever side lacks AES instructions decides.
    config.ignore_client_order = !has_aes_instructions();
    Ok(config)
}

/// The suite of QUIC Initial packets, fixed by RFC 9001 §5.2; it protects no application data.
pub fn initial_suite() -> Result<rustls::quic::Suite, Error> {
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .ok_or_else(|| Error::General("no QUIC suite for Initial packets".into()))
}

/// The node id in a peer's raw public key.
pub fn node_id(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let key = certificate.as_ref().strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(NodeId)
}

/// 256-bit suites and the hybrid group, nothing else.
fn provider() -> CryptoProvider {
    use aws_lc_rs::cipher_suite::{TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let mut cipher_suites = vec![TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    if !has_aes_instructions() {
        cipher_suites.reverse();
    }
    let provider = CryptoProvider {
        cipher_suites,
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    };
    #[cfg(feature = "testkit")]
    if crate::testkit::is_simulated() {
        return crate::testkit::tls::repeatable(provider);
    }
    provider
}

fn has_aes_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn certified_key(identity: &Arc<Identity>) -> Arc<CertifiedKey> {
    let public_key = [&SPKI_PREFIX[..], identity.node_id().as_bytes()].concat();
    Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(public_key)],
        Arc::new(NodeKey(identity.clone())),
    ))
}

/// Signs handshakes with the identity itself: the secret is in one place only.
#[derive(Debug)]
struct NodeKey(Arc<Identity>);

impl rustls::sign::SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(Self(self.0.clone())) as Box<dyn rustls::sign::Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl rustls::sign::Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Accepts one server key and remembers another that was shown instead.
#[derive(Debug)]
pub struct PinnedServer {
    expected: NodeId,
    found: Mutex<Option<NodeId>>,
}

impl PinnedServer {
    /// The key that the server showed instead of the expected one, once it did.
    pub fn found_instead(&self) -> Option<NodeId> {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = node_id(end_entity).ok_or(CertificateError::BadEncoding)?;
        if shown != self.expected {
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts the client keys that the registry knows.
struct AdmittedClient {
    admission: Arc<dyn Fn(&NodeId) -> bool + Send + Sync>,
}

impl fmt::Debug for AdmittedClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdmittedClient")
    }
}

impl ClientCertVerifier for AdmittedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown = node_id(end_entity).ok_or(CertificateError::BadEncoding)?;
        if !(self.admission)(&shown) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(certificate.as_ref()),
        signature,
        &aws_lc_rs::default_provider().signature_verification_algorithms,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustls::quic::{ClientConnection, ServerConnection, Version};
    use zeroize::Zeroizing;

    use super::*;
    use crate::testkit::{Weather, simulate};

    fn identity(byte: u8) -> Arc<Identity> {
        Arc::new(Identity::from_seed(&Zeroizing::new([byte; 32])))
    }

    fn admit_all() -> Arc<dyn Fn(&NodeId) -> bool + Send + Sync> {
        Arc::new(|_| true)
    }

    /// Carries handshake bytes between the two until nothing moves.
    fn handshake(
        client: rustls::ClientConfig,
        server: rustls::ServerConfig,
    ) -> Result<(ClientConnection, ServerConnection), Error> {
        handshake_heard(client, server, |_| {})
    }

    /// The same while somebody listens.
    fn handshake_heard(
        client: rustls::ClientConfig,
        server: rustls::ServerConfig,
        mut listen: impl FnMut(&[u8]),
    ) -> Result<(ClientConnection, ServerConnection), Error> {
        let name = ServerName::try_from("kakera").unwrap();
        let mut client =
            ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server), Version::V1, Vec::new()).unwrap();
        loop {
            let mut hear = |said: &[u8], hear: &mut dyn FnMut(&[u8]) -> Result<(), Error>| {
                listen(said);
                hear(said)
            };
            let moved = deliver(
                |bytes| client.write_hs(bytes),
                |bytes| hear(bytes, &mut |bytes| server.read_hs(bytes)),
            )? | deliver(
                |bytes| server.write_hs(bytes),
                |bytes| hear(bytes, &mut |bytes| client.read_hs(bytes)),
            )?;
            if !moved {
                return Ok((client, server));
            }
        }
    }

    /// Moves what one side has to say, one key epoch at a time; whether there was any.
    fn deliver(
        mut write: impl FnMut(&mut Vec<u8>) -> Option<rustls::quic::KeyChange>,
        mut read: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut moved = false;
        loop {
            let mut bytes = Vec::new();
            let new_keys = write(&mut bytes).is_some();
            read(&bytes)?;
            moved |= !bytes.is_empty();
            if bytes.is_empty() && !new_keys {
                return Ok(moved);
            }
        }
    }

    #[test]
    fn both_sides_learn_the_others_node_id() {
        let (config, pin) = client_config(&identity(1), identity(2).node_id()).unwrap();
        let server = server_config(&identity(2), admit_all()).unwrap();
        let (client, server) = handshake(config, server).unwrap();
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert_eq!(client.alpn_protocol(), Some(ALPN));
        assert_eq!(
            client.negotiated_key_exchange_group().unwrap().name(),
            rustls::NamedGroup::X25519MLKEM768
        );
        let shown = node_id(&server.peer_certificates().unwrap()[0]);
        assert_eq!(shown, Some(identity(1).node_id()));
        assert_eq!(pin.found_instead(), None);
    }

    #[test]
    fn a_simulated_handshake_takes_as_many_bytes_as_a_real_one_and_the_same_ones_again() {
        let shake = || {
            let (config, _) = client_config(&identity(1), identity(2).node_id()).unwrap();
            let server = server_config(&identity(2), admit_all()).unwrap();
            let mut said = Vec::new();
            handshake_heard(config, server, |bytes| said.push(bytes.to_vec())).unwrap();
            said
        };
        let simulated = |seed| simulate(seed, Weather::default(), async |_| shake());
        let lengths = |said: Vec<Vec<u8>>| said.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(simulated(1), simulated(1));
        assert_ne!(simulated(1), simulated(2));
        assert_eq!(lengths(simulated(1)), lengths(shake()));
    }

    #[test]
    fn another_server_key_is_refused_and_named() {
        let (config, pin) = client_config(&identity(1), identity(3).node_id()).unwrap();
        let server = server_config(&identity(2), admit_all()).unwrap();
        assert!(matches!(handshake(config, server), Err(Error::InvalidCertificate(_))));
        assert_eq!(pin.found_instead(), Some(identity(2).node_id()));
    }

    #[test]
    fn a_client_outside_the_registry_is_refused() {
        let admitted = identity(1).node_id();
        let server = || server_config(&identity(2), Arc::new(move |id| *id == admitted)).unwrap();
        let client = |byte| client_config(&identity(byte), identity(2).node_id()).unwrap().0;
        assert!(handshake(client(1), server()).is_ok());
        assert!(matches!(handshake(client(3), server()), Err(Error::InvalidCertificate(_))));
    }

    #[test]
    fn a_server_without_its_secret_is_refused() {
        let (config, _) = client_config(&identity(1), identity(2).node_id()).unwrap();
        let mut server = server_config(&identity(2), admit_all()).unwrap();
        let stolen = [&SPKI_PREFIX[..], identity(2).node_id().as_bytes()].concat();
        server.cert_resolver = Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(
            Arc::new(CertifiedKey::new(vec![stolen.into()], Arc::new(NodeKey(identity(3))))),
        ));
        assert_eq!(handshake(config, server).err(), Some(CertificateError::BadSignature.into()));
    }

    #[test]
    fn classical_only_peers_are_refused() {
        let classical = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::new(classical))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedServer {
                expected: identity(2).node_id(),
                found: Mutex::new(None),
            }))
            .with_client_cert_resolver(Arc::new(
                rustls::client::AlwaysResolvesClientRawPublicKeys::new(certified_key(&identity(1))),
            ));
        client.alpn_protocols = vec![ALPN.to_vec()];
        let server = server_config(&identity(2), admit_all()).unwrap();
        assert!(matches!(
            handshake(client, server),
            Err(Error::PeerIncompatible(rustls::PeerIncompatible::NoKxGroupsInCommon))
        ));
    }

    #[test]
    fn another_protocol_version_is_refused() {
        let (mut config, _) = client_config(&identity(1), identity(2).node_id()).unwrap();
        config.alpn_protocols = vec![b"kakera/2".to_vec()];
        let server = server_config(&identity(2), admit_all()).unwrap();
        assert_eq!(handshake(config, server).err(), Some(Error::NoApplicationProtocol));
    }

    #[test]
    fn only_an_ed25519_key_is_a_node_id() {
        let key = [&SPKI_PREFIX[..], &[9; 32]].concat();
        assert_eq!(node_id(&key.clone().into()), Some(NodeId([9; 32])));
        assert_eq!(node_id(&key[..43].to_vec().into()), None);
        assert_eq!(node_id(&[&key[..], &[0]].concat().into()), None);
        let mut x25519 = key;
        x25519[8] = 0x6e;
        assert_eq!(node_id(&x25519.into()), None);
    }
}
