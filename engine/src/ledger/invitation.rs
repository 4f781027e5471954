//! Invitations: who holds the key of one may enrol one machine, once.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::entry::{ADDRESS_LEN_MAX, NodeJoin, Roles, ZONE_LEN_MAX};
use super::entry_error::{EntryError, check_length};
use super::registry::{Invited, StateKey};
use super::rules::allow;
use super::state::{GROWTH, REFRESH, State};
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

/// Lets whoever holds a key enrol one storage machine. By a genesis operator, who will answer for
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Invitation {
    /// The public half of the key.
    #[n(0)]
    pub key: NodeId,
    /// The machine's zone; at most [`ZONE_LEN_MAX`] bytes.
    #[n(1)]
    pub zone: String,
    /// Bytes that it is to offer.
    #[n(2)]
    pub quota_bytes: u64,
    /// Until when, Unix milliseconds.
    #[n(3)]
    pub expires: u64,
}

/// Enrols a machine by an invitation. By the invitation's key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InvitedJoin {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// Where it answers; at most [`ADDRESS_LEN_MAX`] bytes.
    #[n(1)]
    pub address: String,
    #[n(2)]
    signature: Signature,
}

const LABEL: &str = "invited join";

impl InvitedJoin {
    /// Signed by the machine, for the invitation with this key.
    pub fn sign(
        network: &NetworkId,
        invitation: &NodeId,
        address: String,
        machine: &SigningKey,
    ) -> Self {
        let parts: [&[u8]; 3] = [network.as_bytes(), invitation.as_bytes(), address.as_bytes()];
        let signature = Signature::sign(machine, LABEL, &parts);
        Self { node: node_id(machine), address, signature }
    }

    /// Whether the machine said so of this invitation.
    pub fn verifies(&self, network: &NetworkId, invitation: &NodeId) -> bool {
        let parts: [&[u8]; 3] =
            [network.as_bytes(), invitation.as_bytes(), self.address.as_bytes()];
        self.signature.verifies(&self.node.0, LABEL, &parts)
    }
}

impl State {
    /// Before version 4 a kind unknown to all: skipped, and so is the next.
    pub(super) fn invite(
        &mut self,
        author: &NodeId,
        invitation: &Invitation,
    ) -> Result<(), EntryError> {
        if self.version() < REFRESH {
            return Ok(());
        }
        allow(self.is_operator(author), author)?;
        check_length("zone", invitation.zone.len(), ZONE_LEN_MAX)?;
        let key = invitation.key;
        if self.is_member(&key) || self.node(&key).is_some() || self.invited(&key).is_some() {
            return Err(EntryError::AlreadyEnrolled(key));
        }
        let Invitation { zone, quota_bytes, expires, .. } = invitation.clone();
        let invited = Invited { operator: *author, zone, quota_bytes, expires, used_by: None };
        self.write(&StateKey::Invited(key), &invited);
        Ok(())
    }

    pub(super) fn join_invited(
        &mut self,
        author: &NodeId,
        join: &InvitedJoin,
    ) -> Result<(), EntryError> {
        if self.version() < REFRESH {
            return Ok(());
        }
        let invited = self.invited(author).filter(|invited| invited.used_by.is_none());
        let invited = invited.ok_or(EntryError::NotAllowed(*author))?;
        if self.time > invited.expires {
            return Err(EntryError::InvitationExpired(*author));
        }
        if !join.verifies(&self.network, author) {
            return Err(EntryError::Signature);
        }
        check_length("address", join.address.len(), ADDRESS_LEN_MAX)?;
        let before = self.node(&join.node);
        let generation = before.map_or(1, |node| node.join.generation.saturating_add(1));
        self.enrol(&NodeJoin {
            node: join.node,
            roles: Roles { storage: true, submitter: false },
            address: join.address.clone(),
            zone: invited.zone.clone(),
            operator: invited.operator,
            quota_bytes: invited.quota_bytes,
            generation,
        })?;
        let used = Invited { used_by: Some(join.node), ..invited };
        self.write(&StateKey::Invited(*author), &used);
        // Where machines join by invitation nobody is there to ask for the first group.
        if self.version() < GROWTH && self.counts().groups == 0 {
            self.make_groups_due();
        }
        Ok(())
    }

    /// An invitation by its key, used ones included.
    pub fn invited(&self, key: &NodeId) -> Option<Invited> {
        self.read(&StateKey::Invited(*key))
    }
}
