//! The owner's side: wrapping a root under a passphrase, and getting it back with the help of the
//! identity nodes. `engine/spec/identity.md` §5.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::deposit::{PublicRecord, Registered, SharingId, Wrapping};
use super::oprf::{Blinding, Element, Evaluation, Key, Output};
use super::sharing::{KeyCommitment, combine};
use crate::hash::{derive_key, hash};
use crate::names::{NetworkId, NodeId};
use crate::seal::hardening::normalise;
use crate::seal::{Hardening, HardeningError, StreamKey, Suite, VaultRoot};

/// A root wrapped for one version of an identity, before its key is dealt.
pub struct Wrapped {
    /// What will stand on the ledger.
    pub registered: Registered,
    /// What every identity node keeps.
    pub wrapping: Wrapping,
    /// What is dealt to them, and forgotten.
    pub key: Key,
}

/// For which version of an identity a root is wrapped.
#[derive(Clone, Copy, Debug)]
pub struct WrapTerms {
    /// The network.
    pub network: NetworkId,
    /// The handle's hash.
    pub handle: [u8; 32],
    /// 1, or one more than the ledger's.
    pub version: u64,
    /// What a guess shall cost.
    pub hardening: Hardening,
}

/// Wraps `root` under `passphrase` and a fresh key of the oblivious function, with an `attachment`
/// of at most 240 bytes sealed under the root.
pub fn wrap(
    terms: &WrapTerms,
    root: &VaultRoot,
    passphrase: &str,
    attachment: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Wrapped, HardeningError> {
    let WrapTerms { network, handle, version, hardening } = *terms;
    let (key, public) = std::iter::repeat_with(|| Key::generate(rng))
        .find_map(|key| key.public().map(|public| (key, public)))
        .unwrap_or_else(|| unreachable!("the iterator has no end"));
    let owner: SigningKey = root.identity_key();
    let record = PublicRecord { hardening, commitment: KeyCommitment::of(&public) };
    let registered = Registered { handle, version, key: owner.verifying_key().to_bytes(), record };
    let login = Login::new(&handle, passphrase, rng)?;
    let evaluated = Element::new(key.scalar() * login.blinded().point());
    let evaluated = evaluated.unwrap_or_else(|| unreachable!("neither factor is zero"));
    let mut envelope = Vec::new();
    login
        .envelope_key(&registered, &login.finalize(&evaluated))?
        .seal(root.expose(), &mut envelope);
    let mut sealed_attachment = Vec::new();
    root.attachment_key(version).seal(attachment, &mut sealed_attachment);
    let wrapping = Wrapping::sign(&network, &owner, &registered, envelope, sealed_attachment);
    Ok(Wrapped { registered, wrapping, key })
}

/// One node's evaluation under its share of one sharing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShareAnswer {
    /// Which sharing.
    #[n(0)]
    pub sharing: SharingId,
    /// How many answers of this sharing it takes.
    #[n(1)]
    pub threshold: u8,
    /// The evaluation.
    #[n(2)]
    pub evaluation: Evaluation,
}

/// An identity node's answer to a blinded passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeAnswer {
    /// What it keeps for the owner.
    #[n(0)]
    pub wrapping: Wrapping,
    /// Under every share that it holds: more than one while a key is being shared again.
    #[n(1)]
    pub shares: Vec<ShareAnswer>,
}

/// Why a passphrase opened nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoginError {
    /// The identity nodes answered rightly, which is proved, and their envelope is the owner's:
    /// nothing is lost, and it is the passphrase that is wrong.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Too few right answers to know.
    #[error("{right} of the {needed} identity nodes that are needed gave a right answer")]
    TooFew {
        /// Right answers of the sharing that has the most.
        right: usize,
        /// How many it takes; 0 if nobody said.
        needed: usize,
    },
    /// The passphrase cannot be used, or not on this machine.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
}

/// What was opened, and what was found out about the nodes.
#[derive(Debug)]
pub struct Opened {
    /// The root, or why not.
    pub root: Result<VaultRoot, LoginError>,
    /// The owner's wrapping, if any node had it.
    pub wrapping: Option<Wrapping>,
    /// Nodes that answered with something false.
    pub liars: Vec<NodeId>,
}

/// A passphrase on its way to the identity nodes. Wiped when dropped.
pub struct Login {
    passphrase: Zeroizing<String>,
    blinding: Blinding,
}

impl Login {
    /// Blinds the passphrase for the handle with this hash.
    pub fn new(
        handle: &[u8; 32],
        passphrase: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, HardeningError> {
        let passphrase = normalise(passphrase)?;
        let input = Zeroizing::new(hash("identity/input", &[handle, passphrase.as_bytes()]));
        Ok(Self { blinding: Blinding::new(&input[..], rng), passphrase })
    }

    /// What the identity nodes get to see: a uniform element, whatever the passphrase.
    pub fn blinded(&self) -> &Element {
        &self.blinding.blinded
    }

    /// Opens the envelope with the nodes' answers.
    pub fn open(
        &self,
        network: &NetworkId,
        registered: &Registered,
        answers: &BTreeMap<NodeId, NodeAnswer>,
    ) -> Opened {
        let mut liars = Vec::new();
        let mut wrapping = None;
        let mut groups: BTreeMap<(SharingId, u8), BTreeMap<NodeId, Evaluation>> = BTreeMap::new();
        for (node, answer) in answers {
            if !answer.wrapping.is_of(network, registered) {
                // One of an older version missed a deposit; any other is nobody's.
                if answer.wrapping.version >= registered.version {
                    liars.push(*node);
                }
                continue;
            }
            wrapping = Some(answer.wrapping.clone());
            for share in &answer.shares {
                let group = groups.entry((share.sharing, share.threshold)).or_default();
                group.insert(*node, share.evaluation.clone());
            }
        }
        let root = self.combine_groups(registered, wrapping.as_ref(), &groups, &mut liars);
        liars.sort_unstable();
        liars.dedup();
        Opened { root, wrapping, liars }
    }

    fn combine_groups(
        &self,
        registered: &Registered,
        wrapping: Option<&Wrapping>,
        groups: &BTreeMap<(SharingId, u8), BTreeMap<NodeId, Evaluation>>,
        liars: &mut Vec<NodeId>,
    ) -> Result<VaultRoot, LoginError> {
        let (mut right, mut needed) = (0, 0);
        let mut largest_first: Vec<_> = groups.iter().collect();
        largest_first.sort_by_key(|(_, answers)| std::cmp::Reverse(answers.len()));
        for ((_, threshold), answers) in largest_first {
            let combined =
                combine(answers, *threshold, &registered.record.commitment, self.blinded());
            let fitting = answers.len() - combined.liars.len();
            liars.extend(combined.liars);
            if let (Some(element), Some(wrapping)) = (combined.element, wrapping) {
                return self.open_envelope(registered, wrapping, &element);
            }
            if fitting >= right {
                (right, needed) = (fitting, usize::from(*threshold));
            }
        }
        Err(LoginError::TooFew { right, needed })
    }

    fn open_envelope(
        &self,
        registered: &Registered,
        wrapping: &Wrapping,
        evaluated: &Element,
    ) -> Result<VaultRoot, LoginError> {
        let key = self.envelope_key(registered, &self.finalize(evaluated))?;
        let mut root = Zeroizing::new([0; 32]);
        key.open_chunk(0, true, &wrapping.envelope, root.as_mut())
            .map_err(|_| LoginError::WrongPassphrase)?;
        Ok(VaultRoot::from_bytes(root))
    }

    fn finalize(&self, evaluated: &Element) -> Output {
        self.blinding.finalize(evaluated)
    }

    /// Every guess costs an evaluation and one pass of Argon2id. The oblivious function's key is
    /// fresh for every version, so the envelope's is and a counter nonce will do.
    fn envelope_key(
        &self,
        registered: &Registered,
        output: &Output,
    ) -> Result<StreamKey, HardeningError> {
        let Registered { handle, version, record, .. } = registered;
        let salt = Zeroizing::new(hash("identity/salt", &[handle, &output[..]]));
        let seed = record.hardening.harden(&self.passphrase, &salt[..])?;
        let key = derive_key(&seed[..], "identity/wrap", &[handle, &version.to_be_bytes()]);
        Ok(StreamKey::new(Suite::ChaCha20Poly1305, &key))
    }
}
