//! When an entry counts as final with fewer than four validators: the machines that follow the
//! chain keep it too.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::block::Header;
use super::log::Digest32;
use crate::names::NodeId;

/// Followers that must have an entry on disk, where so many exist.
pub const FOLLOWERS_MIN: usize = 2;

/// A follower's word that the chain up to a header is on its disk.
///
/// Whose word it is, the connection proves that it comes over; only the validator that hears it
/// uses it, so that nobody else needs proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FollowAck {
    /// The height of the header.
    #[n(0)]
    pub height: u64,
    /// The hash of the header.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: Digest32,
}

impl FollowAck {
    /// Says that everything up to `header` is on disk.
    pub fn of(header: &Header) -> Self {
        Self { height: header.height, hash: header.hash() }
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
