//! Sharing a key again, for other nodes or for a new epoch, without the key ever being in one place
//! (Desmedt and Jajodia 1997, with the commitments of Feldman 1987). `engine/spec/identity.md` §7.
//!
//! Each of t dealers shares its own share; whoever gets a part of every dealing adds them up with
//! the factors that turn the dealers' shares into the key. Old shares say nothing about new ones.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use minicbor::{Decode, Encode};
use thiserror::Error;
use zeroize::Zeroizing;

use super::deposit::SharingId;
use super::oprf::{Element, Key};
use super::sharing::{
    IDENTITY_NODES_MAX, KeyCommitment, combine_elements, committed_at, identity_threshold,
    lagrange, point, value_at,
};
use crate::hash::{hash, kdf};
use crate::names::NodeId;
use crate::wire::canonical;

/// What a renewal is of and for: the same at every dealer and every receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Renewal {
    /// The handle's hash.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub handle: [u8; 32],
    /// The version of the identity whose key it is.
    #[n(1)]
    pub version: u64,
    /// The sharing that the dealers hold; zeros if the owner deals.
    #[n(2)]
    pub from: SharingId,
    /// Who deals: as many as the threshold of `from`, or none if the owner does.
    #[n(3)]
    pub dealers: Vec<NodeId>,
    /// The epoch of the new sharing.
    #[n(4)]
    pub epoch: u64,
    /// Who receives, ascending.
    #[n(5)]
    pub holders: Vec<NodeId>,
    /// How many of the receivers will have to answer.
    #[n(6)]
    pub threshold: u8,
}

impl Renewal {
    /// What an owner deals to these identity nodes.
    pub fn by_owner(handle: [u8; 32], version: u64, epoch: u64, mut holders: Vec<NodeId>) -> Self {
        holders.sort_unstable();
        let (from, threshold) = (SharingId([0; 32]), identity_threshold(holders.len()));
        Self { handle, version, from, dealers: Vec::new(), epoch, holders, threshold }
    }

    /// Whether it can be meant: limits and order are kept, and the threshold is the rule's.
    pub fn is_well_formed(&self) -> bool {
        let ascends = |nodes: &[NodeId]| nodes.windows(2).all(|pair| pair[0] < pair[1]);
        ascends(&self.holders)
            && ascends(&self.dealers)
            && self.dealers.len() <= IDENTITY_NODES_MAX
            && (1..=IDENTITY_NODES_MAX).contains(&self.holders.len())
            && self.threshold == identity_threshold(self.holders.len())
    }

    fn bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }
}

/// What one dealer sends one receiver.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Dealing {
    /// Commitments to the dealer's polynomial, as many as the new threshold; the same for every
    /// receiver.
    #[n(0)]
    pub commitments: Vec<Element>,
    /// The polynomial at the receiver.
    #[n(1)]
    pub share: Key,
}

/// Deals `share` again for `receiver`.
///
/// The polynomial is derived from the share and a secret of the dealer, so that a repeated question
/// gets the same answer and nothing need be kept. A share that is erased takes it along.
pub fn deal_again(
    renewal: &Renewal,
    share: &Key,
    dealer_secret: &[u8; 32],
    receiver: &NodeId,
) -> Option<Dealing> {
    let polynomial = polynomial(renewal, share, dealer_secret);
    let commitments: Option<Vec<Element>> =
        polynomial.iter().map(|term| Element::new(RistrettoPoint::mul_base(term))).collect();
    Some(Dealing { commitments: commitments?, share: value_at(&polynomial, &point(receiver)) })
}

fn polynomial(renewal: &Renewal, share: &Key, dealer_secret: &[u8; 32]) -> Zeroizing<Vec<Scalar>> {
    let exposed = share.expose();
    let mut key = Zeroizing::new([0; 64]);
    key[..32].copy_from_slice(dealer_secret);
    key[32..].copy_from_slice(&exposed[..]);
    let renewal_bytes = renewal.bytes();
    let mut polynomial = Zeroizing::new(Vec::with_capacity(renewal.threshold.into()));
    polynomial.push(*share.scalar());
    for term in 1..renewal.threshold {
        let mut wide = Zeroizing::new([0; 64]);
        kdf(&key[..], "identity/renewal", &[&renewal_bytes, &[term]], wide.as_mut());
        polynomial.push(Scalar::from_bytes_mod_order_wide(&wide));
    }
    polynomial
}

/// Why dealings make no share.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RenewalError {
    /// A dealer's part is missing or does not fit its own commitments.
    #[error("the identity node {0:?} dealt a part that does not fit its commitments")]
    Dealer(NodeId),
    /// The dealers' shares are not shares of the committed key: one of them has another.
    #[error("the dealers' shares are not of the identity's key")]
    Key,
}

/// A share of a new sharing.
#[derive(Debug)]
pub struct RenewedShare {
    /// Names the sharing: the same at all receivers that were dealt the same.
    pub sharing: SharingId,
    /// The share.
    pub share: Key,
}

/// Adds up what every dealer of the renewal dealt to `receiver`, in the order of the dealers.
pub fn accept_dealings(
    renewal: &Renewal,
    dealings: &[Dealing],
    receiver: &NodeId,
    commitment: &KeyCommitment,
) -> Result<RenewedShare, RenewalError> {
    let own_point = point(receiver);
    for (place, dealer) in renewal.dealers.iter().enumerate() {
        let fits = dealings.get(place).is_some_and(|dealing| {
            dealing.commitments.len() == usize::from(renewal.threshold)
                && dealing.share.public().is_some()
                && dealing.share.public() == committed_at(&dealing.commitments, &own_point)
        });
        if !fits {
            return Err(RenewalError::Dealer(*dealer));
        }
    }
    let factors = lagrange(&renewal.dealers, &Scalar::ZERO);
    let public_shares: Vec<Element> =
        dealings.iter().map(|dealing| dealing.commitments[0]).collect();
    let whole = combine_elements(&factors, &public_shares);
    if whole.map(|whole| KeyCommitment::of(&whole)) != Some(*commitment) {
        return Err(RenewalError::Key);
    }
    let terms = factors.iter().zip(dealings);
    let share: Scalar = terms.map(|(factor, dealing)| factor * dealing.share.scalar()).sum();
    let commitments = dealings.iter().flat_map(|dealing| &dealing.commitments);
    let commitments: Vec<u8> = commitments.flat_map(|element| element.to_bytes()).collect();
    let sharing = SharingId(hash("identity/sharing", &[&renewal.bytes(), &commitments]));
    Ok(RenewedShare { sharing, share: Key::from_scalar(share) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::identity::sharing::deal;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn nodes(first: u8, count: u8) -> Vec<NodeId> {
        (first..first + count).map(|number| NodeId([number; 32])).collect()
    }

    fn renewal(dealers: &[NodeId], holders: Vec<NodeId>, threshold: u8) -> Renewal {
        let (from, dealers) = (SharingId([1; 32]), dealers.to_vec());
        Renewal { handle: [2; 32], version: 1, from, dealers, epoch: 3, holders, threshold }
    }

    struct Scene {
        key: Key,
        commitment: KeyCommitment,
        shares: Vec<(NodeId, Key)>,
        renewal: Renewal,
    }

    fn scene(old: (u8, u8), new: (u8, u8), seed: u64) -> Scene {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let key = Key::generate(&mut rng);
        let commitment = KeyCommitment::of(&key.public().unwrap());
        let shares = deal(&key, old.1, &nodes(1, old.0), &mut rng);
        let dealers: Vec<NodeId> =
            shares.iter().rev().take(old.1.into()).map(|(node, _)| *node).collect();
        // Some nodes stay, some are new.
        let renewal = renewal(&dealers, nodes(2, new.0), new.1);
        Scene { key, commitment, shares, renewal }
    }

    impl Scene {
        fn dealings(&self, receiver: &NodeId) -> Vec<Dealing> {
            let deals = self.renewal.dealers.iter().map(|dealer| {
                let share = &self.shares.iter().find(|(node, _)| node == dealer).unwrap().1;
                deal_again(&self.renewal, share, &dealer.0, receiver).unwrap()
            });
            deals.collect()
        }

        fn accept(&self, receiver: &NodeId) -> Result<RenewedShare, RenewalError> {
            let dealings = self.dealings(receiver);
            accept_dealings(&self.renewal, &dealings, receiver, &self.commitment)
        }
    }

    fn whole(shares: &[(NodeId, &Key)]) -> Scalar {
        let nodes: Vec<NodeId> = shares.iter().map(|(node, _)| *node).collect();
        let factors = lagrange(&nodes, &Scalar::ZERO);
        factors.iter().zip(shares).map(|(factor, (_, share))| factor * share.scalar()).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_new_shares_are_of_the_same_key(
            old in (1u8..6).prop_flat_map(|count| (Just(count), 1..=count)),
            new in (1u8..6).prop_flat_map(|count| (Just(count), 1..=count)),
            seed: u64,
        ) {
            let scene = scene(old, new, seed);
            let accepted: Vec<(NodeId, RenewedShare)> = scene.renewal.holders.iter()
                .map(|holder| (*holder, scene.accept(holder).unwrap()))
                .collect();
            prop_assert!(accepted.iter().all(|(_, new)| new.sharing == accepted[0].1.sharing));
            let shares: Vec<(NodeId, &Key)> =
                accepted.iter().map(|(node, new)| (*node, &new.share)).collect();
            let last = shares.len() - usize::from(new.1);
            prop_assert_eq!(whole(&shares[..usize::from(new.1)]), *scene.key.scalar());
            prop_assert_eq!(whole(&shares[last..]), *scene.key.scalar());
        }
    }

    #[test]
    fn old_and_new_shares_do_not_mix() {
        let scene = scene((3, 2), (3, 2), 4);
        let node = NodeId([2; 32]);
        let new = scene.accept(&node).unwrap();
        let old = &scene.shares[0];
        assert_ne!(whole(&[(old.0, &old.1), (node, &new.share)]), *scene.key.scalar());
    }

    #[test]
    fn false_dealings_are_found() {
        let scene = scene((3, 2), (3, 2), 5);
        let node = scene.renewal.holders[0];
        let accept = |dealings: &[Dealing]| {
            accept_dealings(&scene.renewal, dealings, &node, &scene.commitment).unwrap_err()
        };
        let second = RenewalError::Dealer(scene.renewal.dealers[1]);
        let mut dealings = scene.dealings(&node);
        assert_eq!(accept(&dealings[..1]), second);
        dealings[1].share = dealings[0].share.clone();
        assert_eq!(accept(&dealings), second);
        dealings[1].commitments.truncate(1);
        assert_eq!(accept(&dealings), second);
        // A dealing that fits itself, of another share.
        let other = deal_again(&scene.renewal, &scene.key, &[0; 32], &node).unwrap();
        dealings[1] = other;
        assert_eq!(accept(&dealings), RenewalError::Key);
    }

    #[test]
    fn a_repeated_question_gets_the_same_answer() {
        let scene = scene((3, 2), (4, 3), 6);
        let node = scene.renewal.holders[1];
        let (first, second) = (scene.accept(&node).unwrap(), scene.accept(&node).unwrap());
        assert_eq!(first.sharing, second.sharing);
        assert_eq!(first.share.scalar(), second.share.scalar());
    }
}
