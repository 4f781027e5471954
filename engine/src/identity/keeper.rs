//! What one identity node keeps for one handle, and its rules, without disk, network or clock.
//! `engine/spec/identity.md` §§4, 6, 7.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::attempts::{Attempts, LockedOut, tries_per_node};
use super::deposit::{Deposit, Registered, Sharing, SharingId, Wrapping};
use super::login::ShareAnswer;
use super::oprf::{Element, Key};
use super::renewal::{Dealing, Renewal, RenewedShare, deal_again};
use crate::hash::hash;
use crate::names::{NetworkId, NodeId};
use crate::wire::canonical::{self, CanonicalError};

/// Longest file of one handle, in bytes.
pub const KEPT_LEN_MAX: usize = 32 * 1024;
/// Sharings of one key that a node holds at most, and the evaluations in one answer.
pub const SHARINGS_MAX: usize = 6;

const FORMAT: u8 = 1;
const CHECKSUM_LEN: usize = 16;

/// A share that a node holds.
#[derive(Clone, Debug, Encode, Decode)]
struct HeldShare {
    #[n(0)]
    sharing: Sharing,
    #[n(1)]
    share: Key,
}

/// Everything that a node keeps for one handle.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Kept {
    #[n(0)]
    format: u8,
    #[n(1)]
    wrapping: Wrapping,
    #[n(2)]
    shares: Vec<HeldShare>,
    /// The next version, until the ledger has it: the owner first makes it durable everywhere.
    #[n(3)]
    next: Option<Box<Next>>,
    #[n(4)]
    attempts: Attempts,
}

#[derive(Clone, Debug, Encode, Decode)]
struct Next {
    #[n(0)]
    wrapping: Wrapping,
    #[n(1)]
    share: HeldShare,
}

/// Why a deposit was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DepositError {
    /// The request is not signed with the identity's key.
    #[error("only the identity's owner can deposit for it")]
    NotOwner,
    /// Neither the ledger's version nor the one after it.
    #[error("version {found} of the identity where {expected} or the next one is expected")]
    Version {
        /// The ledger's.
        expected: u64,
        /// The deposit's.
        found: u64,
    },
    /// Signed by someone else, of another handle, of another key or beyond the limits.
    #[error("the deposit does not fit the identity's record on the ledger")]
    Unfitting,
}

/// What a kept file's bytes are not.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeptError {
    /// A format of another time.
    #[error("identity file format {0} is unknown")]
    Format(u8),
    /// Changed since it was written.
    #[error("the identity file is damaged: {0}")]
    Damaged(String),
}

impl Kept {
    /// Takes a deposit of the identity that the ledger has as `registered`. `prover` is the key that
    /// the asker proved to hold.
    pub fn accept(
        before: Option<Self>,
        deposit: Deposit,
        registered: &Registered,
        prover: Option<[u8; 32]>,
        network: &NetworkId,
        node: &NodeId,
    ) -> Result<Self, DepositError> {
        if prover != Some(registered.key) {
            return Err(DepositError::NotOwner);
        }
        let Deposit { wrapping, sharing, share } = deposit;
        let (expected, found) = (registered.version, wrapping.version);
        let is_next = expected.checked_add(1) == Some(found);
        if found != expected && !is_next {
            return Err(DepositError::Version { expected, found });
        }
        let terms = &sharing.terms;
        let fits = wrapping.verifies(network, &registered.handle, &registered.key)
            && (is_next || wrapping.commitment == registered.record.commitment)
            && (terms.handle, terms.version) == (registered.handle, found)
            && terms.dealers.is_empty()
            && terms.is_well_formed()
            && terms.holders.contains(node)
            && Sharing::by_owner(terms.clone()) == sharing;
        if !fits {
            return Err(DepositError::Unfitting);
        }
        let share = HeldShare { sharing, share };
        match before {
            Some(kept) if is_next => {
                Ok(Self { next: Some(Box::new(Next { wrapping, share })), ..kept })
            }
            // A node that missed the version before starts with the next one.
            before => Ok(Self {
                format: FORMAT,
                wrapping,
                shares: vec![share],
                next: None,
                attempts: before.map(|kept| kept.attempts).unwrap_or_default(),
            }),
        }
    }

    /// Goes over to the next version once the ledger has it, and forgets the one before; tells
    /// whether anything changed.
    pub fn settle(&mut self, registered: &Registered, network: &NetworkId) -> bool {
        match self.next.take_if(|next| next.wrapping.is_of(network, registered)) {
            Some(next) => {
                self.wrapping = next.wrapping;
                self.shares = vec![next.share];
                true
            }
            None => false,
        }
    }

    /// Whether what is kept belongs to the ledger's version.
    pub fn is_current(&self, registered: &Registered, network: &NetworkId) -> bool {
        self.wrapping.is_of(network, registered)
    }

    /// Takes a try for `machine`. What is kept must be durable before [`Kept::evaluate`]'s answer
    /// leaves.
    pub fn take_try(&mut self, machine: &NodeId, now: u64) -> Result<(), LockedOut> {
        let allowed = self.shares.iter().map(|held| &held.sharing.terms);
        let allowed = allowed.map(|terms| tries_per_node(terms.threshold, terms.holders.len()));
        self.attempts.take(machine, allowed.min().unwrap_or(1), now)
    }

    /// The machine proved, with the identity's key, that its try was the owner's.
    pub fn confirm(&mut self, machine: &NodeId) {
        self.attempts.confirm(machine);
    }

    /// Evaluates a blinded passphrase under every share held.
    pub fn evaluate(&self, blinded: &Element, rng: &mut impl CryptoRng) -> Vec<ShareAnswer> {
        let answer = |held: &HeldShare| {
            Some(ShareAnswer {
                sharing: held.sharing.id,
                threshold: held.sharing.terms.threshold,
                evaluation: held.share.evaluate(blinded, rng)?,
            })
        };
        self.shares.iter().filter_map(answer).collect()
    }

    /// What the owner gets back.
    pub fn wrapping(&self) -> &Wrapping {
        &self.wrapping
    }

    /// The sharings held, the newest last.
    pub fn sharings(&self) -> impl Iterator<Item = &Sharing> {
        self.shares.iter().map(|held| &held.sharing)
    }

    /// Deals the share of `renewal.from` again; `None` if it is not held.
    pub fn deal(&self, renewal: &Renewal, secret: &[u8; 32], receiver: &NodeId) -> Option<Dealing> {
        let held = self.shares.iter().find(|held| held.sharing.id == renewal.from)?;
        deal_again(renewal, &held.share, secret, receiver)
    }

    /// Adds a share that was dealt again; to what is kept, or as the first of a new identity node.
    /// `None` if there are too many already.
    pub fn with_renewed(
        before: Option<Self>,
        wrapping: Wrapping,
        renewal: &Renewal,
        renewed: RenewedShare,
    ) -> Option<Self> {
        let sharing = Sharing { id: renewed.sharing, terms: renewal.clone() };
        let held = HeldShare { sharing, share: renewed.share };
        let kept = before.unwrap_or_else(|| Self {
            format: FORMAT,
            wrapping: wrapping.clone(),
            shares: Vec::new(),
            next: None,
            attempts: Attempts::default(),
        });
        let of_version = |held: &HeldShare| held.sharing.terms.version == renewal.version;
        let mut shares: Vec<HeldShare> = kept.shares.into_iter().filter(of_version).collect();
        if shares.len() >= SHARINGS_MAX {
            return None;
        }
        shares.retain(|other| other.sharing.id != held.sharing.id);
        shares.push(held);
        Some(Self { wrapping, shares, ..kept })
    }

    /// Forgets every share but those of these sharings, of which enough nodes hold theirs; tells
    /// whether anything changed. Without any of them nothing is forgotten.
    pub fn forget_others(&mut self, settled: &BTreeSet<SharingId>) -> bool {
        let (before, settled_here) =
            (self.shares.len(), |held: &HeldShare| settled.contains(&held.sharing.id));
        if self.shares.iter().any(settled_here) {
            self.shares.retain(settled_here);
        }
        self.shares.len() < before
    }

    /// The bytes of the file, which hold a secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEPT_LEN_MAX));
        bytes.extend_from_slice(&Zeroizing::new(canonical::encode(self)));
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeptError> {
        let damaged = |what: &str| KeptError::Damaged(what.to_owned());
        let split = bytes.len().checked_sub(CHECKSUM_LEN).ok_or_else(|| damaged("it is cut"))?;
        let (content, expected) = bytes.split_at(split);
        if !bool::from(checksum(content).ct_eq(expected)) {
            return Err(damaged("its checksum does not fit"));
        }
        // An array of five that begins with the format.
        match content {
            [0x85, FORMAT, ..] => {}
            [0x85, format, ..] => return Err(KeptError::Format(*format)),
            _ => return Err(damaged("it has another form")),
        }
        let kept: Self = canonical::decode(content, KEPT_LEN_MAX)
            .map_err(|error: CanonicalError| KeptError::Damaged(error.to_string()))?;
        if kept.shares.len() > SHARINGS_MAX || !kept.attempts.is_bounded() {
            return Err(damaged("it is beyond the limits"));
        }
        Ok(kept)
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = hash("identity/file", &[content]);
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.copy_from_slice(&digest[..CHECKSUM_LEN]);
    checksum
}
