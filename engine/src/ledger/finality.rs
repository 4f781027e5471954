//! When an entry counts as final with fewer than four validators: the machines that follow the
//! chain keep it too.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::block::Header;
use super::log::Digest32;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

/// Followers that must have an entry on disk, where so many exist.
pub const FOLLOWERS_MIN: usize = 2;

/// A follower's word that the chain up to a header is on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FollowAck {
    /// The follower.
    #[n(0)]
    pub follower: NodeId,
    /// The height of the header.
    #[n(1)]
    pub height: u64,
    /// The hash of the header.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub hash: Digest32,
    /// By the follower, over the network and the above.
    #[n(3)]
    pub signature: Signature,
}

impl FollowAck {
    /// Says that everything up to `header` is on disk.
    pub fn sign(header: &Header, key: &SigningKey) -> Self {
        let (height, hash) = (header.height, header.hash());
        let parts: [&[u8]; 3] = [header.network.as_bytes(), &height.to_be_bytes(), &hash];
        let signature = Signature::sign(key, "follow", &parts);
        Self { follower: node_id(key), height, hash, signature }
    }

    /// Whether the follower said so in `network`. That the hash is the one of our own chain at that
    /// height is for the caller to compare.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let parts: [&[u8]; 3] = [network.as_bytes(), &self.height.to_be_bytes(), &self.hash];
        self.signature.verifies(&self.follower.0, "follow", &parts)
    }
}

/// The greatest height whose entries are final: on the validator's own disk, and on those of
/// min([`FOLLOWERS_MIN`], followers) distinct followers.
///
/// `own` is the validator's durable height, `followers` the registered machines that follow, and
/// `acknowledged` the greatest height that each was seen to acknowledge; others do not count.
pub fn final_height(
    own: u64,
    followers: &BTreeSet<NodeId>,
    acknowledged: &BTreeMap<NodeId, u64>,
) -> u64 {
    let needed = followers.len().min(FOLLOWERS_MIN);
    if needed == 0 {
        return own;
    }
    let mut heights: Vec<u64> =
        followers.iter().map(|follower| acknowledged.get(follower).copied().unwrap_or(0)).collect();
    heights.sort_unstable_by(|one, other| other.cmp(one));
    heights[needed - 1].min(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    #[test]
    fn the_rule_in_every_case() {
        let followers = |count: u8| (1..=count).map(node).collect::<BTreeSet<_>>();
        let acknowledged =
            BTreeMap::from([(node(1), 5), (node(2), 9), (node(3), 7), (node(200), 50)]);
        assert_eq!(final_height(8, &followers(0), &acknowledged), 8);
        assert_eq!(final_height(8, &followers(1), &acknowledged), 5);
        assert_eq!(final_height(8, &followers(2), &acknowledged), 5);
        assert_eq!(final_height(8, &followers(3), &acknowledged), 7);
        assert_eq!(final_height(6, &followers(3), &acknowledged), 6);
        assert_eq!(final_height(8, &followers(3), &BTreeMap::new()), 0);
    }
}
