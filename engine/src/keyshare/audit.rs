//! Proving to another slot that a share is still there, without stored tags and without showing it.
//!
//! Both slots of a pair know their pair symbol: it is a key between them.

use minicbor::{Decode, Encode};
use subtle::ConstantTimeEq;

use super::commitment::PeerFault;
use super::parameters::Binding;
use super::share::Share;
use crate::hash::kdf;
use crate::names::Slot;

const ANSWER_LEN: usize = 32;

/// What an audited slot answers: `KDF(u_ij, "ks/audit", salt, epoch, i j, nonce)`, i the audited
/// slot and j the auditor.
///
/// Tells a listener nothing about the share. The direction is in it, so that an auditor cannot be
/// made to answer its own challenge. Encoded as a byte string of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct AuditAnswer(#[cbor(n(0), with = "minicbor::bytes")] [u8; ANSWER_LEN]);

impl Share {
    /// The answer to `auditor`'s fresh random nonce; `None` if that is this slot itself or none of
    /// the group.
    pub fn answer_audit(
        &self,
        binding: &Binding<'_>,
        auditor: Slot,
        nonce: &[u8; 32],
    ) -> Option<AuditAnswer> {
        self.audit(binding, auditor, (self.slot(), auditor), nonce)
    }

    /// Checks, in constant time, what `audited` answered to this slot's nonce.
    pub fn check_audit(
        &self,
        binding: &Binding<'_>,
        audited: Slot,
        nonce: &[u8; 32],
        answer: &AuditAnswer,
    ) -> Result<(), PeerFault> {
        let expected = self.audit(binding, audited, (audited, self.slot()), nonce);
        match expected {
            Some(expected) if bool::from(expected.0.ct_eq(&answer.0)) => Ok(()),
            _ => Err(PeerFault { slot: audited }),
        }
    }

    fn audit(
        &self,
        binding: &Binding<'_>,
        other: Slot,
        (audited, auditor): (Slot, Slot),
        nonce: &[u8; 32],
    ) -> Option<AuditAnswer> {
        if other == self.slot() || !binding.parameters.contains(other) {
            return None;
        }
        let epoch = binding.epoch.0.to_be_bytes();
        let direction = [audited.point(), auditor.point()];
        let parts: [&[u8]; 4] = [binding.salt, &epoch, &direction, nonce];
        let mut answer = [0; ANSWER_LEN];
        kdf(self.pair_symbol(other).expose(), "ks/audit", &parts, &mut answer);
        Some(AuditAnswer(answer))
    }
}
