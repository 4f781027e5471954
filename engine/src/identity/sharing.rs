//! A key of the oblivious function shared t-of-m among identity nodes: Shamir over the scalars, each
//! node at the point that its name hashes to. `engine/spec/identity.md` §3.

use std::collections::BTreeMap;

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, MultiscalarMul};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::oprf::{Element, Evaluation, Key, random_scalar};
use crate::hash::{hash, kdf};
use crate::names::NodeId;

/// Most identity nodes of one handle.
pub const IDENTITY_NODES_MAX: usize = 32;
/// Most subsets of answers that are tried until one gives the committed key. With fewer answers than
/// this allows, every lie of fewer than m - t + 1 nodes is found.
const SUBSETS_MAX: usize = 4096;

/// How many of `nodes` identity nodes must answer: the least majority. More than a third fewer may
/// be down, and a minority learns nothing.
pub fn identity_threshold(nodes: usize) -> u8 {
    (nodes / 2 + 1) as u8
}

/// What names a key without telling anything of it, not even to who computes discrete logarithms:
/// `H("identity/key"; public key)`. It stays the same when the key is shared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct KeyCommitment(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl KeyCommitment {
    /// The commitment to the key with this public key.
    pub fn of(public: &Element) -> Self {
        Self(hash("identity/key", &[&public.to_bytes()]))
    }
}

/// Shares `key` among `nodes`: any `threshold` of the shares, each with its node's name, determine
/// it, and fewer say nothing of it.
pub fn deal(
    key: &Key,
    threshold: u8,
    nodes: &[NodeId],
    rng: &mut impl CryptoRng,
) -> Vec<(NodeId, Key)> {
    let mut polynomial = Zeroizing::new(vec![*key.scalar()]);
    polynomial.extend((1..threshold).map(|_| random_scalar(rng)));
    nodes.iter().map(|node| (*node, value_at(&polynomial, &point(node)))).collect()
}

/// The value of a polynomial, by Horner's rule.
pub(super) fn value_at(polynomial: &[Scalar], point: &Scalar) -> Key {
    let sum = polynomial.iter().rev().fold(Scalar::ZERO, |sum, term| sum * point + term);
    Key::from_scalar(sum)
}

/// Where a node's share stands; two nodes share a point, or stand at zero, with probability 2^-252.
pub(super) fn point(node: &NodeId) -> Scalar {
    let mut wide = [0; 64];
    kdf(&[], "identity/point", &[node.as_bytes()], &mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// The factors with which values at the points of `nodes` give the value at `target`.
pub(super) fn lagrange(nodes: &[NodeId], target: &Scalar) -> Vec<Scalar> {
    let points: Vec<Scalar> = nodes.iter().map(point).collect();
    let factor = |own: usize| {
        let others = points.iter().enumerate().filter(|(place, _)| *place != own);
        let (above, below) = others
            .fold((Scalar::ONE, Scalar::ONE), |(above, below), (_, other)| {
                (above * (target - other), below * (points[own] - other))
            });
        above * below.invert()
    };
    (0..points.len()).map(factor).collect()
}

pub(super) fn combine_elements(factors: &[Scalar], elements: &[Element]) -> Option<Element> {
    let points = elements.iter().map(Element::point);
    Element::new(RistrettoPoint::multiscalar_mul(factors, points))
}

/// What came of the answers to one blinded element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The element evaluated under the whole key; `None` while too few answers fit.
    pub element: Option<Element>,
    /// Nodes that answered with something false.
    pub liars: Vec<NodeId>,
}

/// Joins the answers of one sharing to `blinded`.
///
/// An answer counts if its proof holds, so that it belongs to the public share that it names; a set
/// of `threshold` answers is right if their public shares add up to the committed key. Then every
/// other answer is compared with what its public share must be, and who sent a false one is named.
pub fn combine(
    answers: &BTreeMap<NodeId, Evaluation>,
    threshold: u8,
    commitment: &KeyCommitment,
    blinded: &Element,
) -> Combined {
    let (proven, unproven): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(_, answer)| answer.verifies(blinded));
    let mut liars: Vec<NodeId> = unproven.into_iter().map(|(node, _)| *node).collect();
    let right = subsets(proven.len(), threshold.into()).take(SUBSETS_MAX).find_map(|subset| {
        let nodes: Vec<NodeId> = subset.iter().map(|place| *proven[*place].0).collect();
        let keys: Vec<Element> = subset.iter().map(|place| proven[*place].1.key).collect();
        let factors = lagrange(&nodes, &Scalar::ZERO);
        let whole = combine_elements(&factors, &keys)?;
        let elements: Vec<Element> = subset.iter().map(|place| proven[*place].1.element).collect();
        let element = combine_elements(&factors, &elements)?;
        (KeyCommitment::of(&whole) == *commitment).then_some((nodes, keys, element))
    });
    let Some((nodes, keys, element)) = right else {
        return Combined { element: None, liars };
    };
    let expected = |node: &NodeId| combine_elements(&lagrange(&nodes, &point(node)), &keys);
    let false_keys = proven.iter().filter(|(node, answer)| expected(node) != Some(answer.key));
    liars.extend(false_keys.map(|(node, _)| **node));
    Combined { element: Some(element), liars }
}

/// The subsets of 0..n with k members, none if k is zero.
fn subsets(n: usize, k: usize) -> impl Iterator<Item = Vec<usize>> {
    let first = (0 < k && k <= n).then(|| (0..k).collect::<Vec<usize>>());
    std::iter::successors(first, move |subset| {
        let last = (0..k).rev().find(|place| subset[*place] < n - k + place)?;
        let mut next = subset[..last].to_vec();
        next.extend((subset[last] + 1..).take(k - last));
        Some(next)
    })
}

/// The public shares that belong to the commitments of a polynomial: its value at a point, in the
/// exponent.
pub(super) fn committed_at(commitments: &[Element], point: &Scalar) -> Option<Element> {
    let value = commitments
        .iter()
        .rev()
        .fold(RistrettoPoint::identity(), |sum, commitment| sum * point + commitment.point());
    Element::new(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::identity::oprf::Blinding;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn nodes(count: u8) -> Vec<NodeId> {
        (1..=count).map(|number| NodeId([number; 32])).collect()
    }

    struct Scene {
        key: Key,
        blinding: Blinding,
        answers: BTreeMap<NodeId, Evaluation>,
        threshold: u8,
    }

    fn scene(count: u8, threshold: u8, seed: u64) -> Scene {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let key = Key::generate(&mut rng);
        let blinding = Blinding::new(b"passphrase", &mut rng);
        let shares = deal(&key, threshold, &nodes(count), &mut rng);
        let answers = shares
            .iter()
            .map(|(node, share)| (*node, share.evaluate(&blinding.blinded, &mut rng).unwrap()))
            .collect();
        Scene { key, blinding, answers, threshold }
    }

    impl Scene {
        fn combine(&self) -> Combined {
            let commitment = KeyCommitment::of(&self.key.public().unwrap());
            combine(&self.answers, self.threshold, &commitment, &self.blinding.blinded)
        }

        fn expected(&self) -> Option<Element> {
            let mut rng = ChaCha20Rng::seed_from_u64(0);
            Some(self.key.evaluate(&self.blinding.blinded, &mut rng).unwrap().element)
        }

        /// A node that answers with another share, and a proof for it.
        fn lie_with_another_key(&mut self, node: NodeId) {
            let mut rng = ChaCha20Rng::seed_from_u64(77);
            let answer = Key::generate(&mut rng).evaluate(&self.blinding.blinded, &mut rng);
            self.answers.insert(node, answer.unwrap());
        }
    }

    #[test]
    fn thresholds_are_majorities() {
        let thresholds = [1, 2, 3, 4, 7, 10, 32].map(identity_threshold);
        assert_eq!(thresholds, [1, 2, 2, 3, 4, 6, 17]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_t_answers_give_the_value_and_fewer_none(
            (count, threshold) in (1u8..8).prop_flat_map(|count| (Just(count), 1..=count)),
            seed: u64,
            keep in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut scene = scene(count, threshold, seed);
            scene.answers.retain(|node, _| keep[usize::from(node.0[0]) - 1]);
            let enough = scene.answers.len() >= threshold.into();
            let combined = scene.combine();
            prop_assert_eq!(combined.element, scene.expected().filter(|_| enough));
            prop_assert!(combined.liars.is_empty());
        }
    }

    #[test]
    fn liars_are_named_whatever_they_say() {
        let mut scene = scene(7, 3, 5);
        scene.lie_with_another_key(NodeId([1; 32]));
        let borrowed = scene.answers[&NodeId([3; 32])].clone();
        scene.answers.insert(NodeId([2; 32]), borrowed);
        let wrong = scene.answers.get_mut(&NodeId([7; 32])).unwrap();
        wrong.element = scene.blinding.blinded;
        let combined = scene.combine();
        assert_eq!(combined.element, scene.expected());
        assert_eq!(combined.liars, [NodeId([7; 32]), NodeId([1; 32]), NodeId([2; 32])]);
    }

    #[test]
    fn without_t_honest_answers_nothing_comes_out() {
        let mut scene = scene(4, 3, 6);
        scene.lie_with_another_key(NodeId([1; 32]));
        scene.lie_with_another_key(NodeId([2; 32]));
        assert_eq!(scene.combine(), Combined { element: None, liars: vec![] });
    }

    /// Shares of fewer than t nodes are as likely under every key: with them fixed, each key has
    /// exactly one polynomial.
    #[test]
    fn fewer_than_t_shares_fit_every_key() {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let key = Key::generate(&mut rng);
        let shares = deal(&key, 3, &nodes(5), &mut rng);
        let stolen = &shares[..2];
        for _ in 0..8 {
            let other = Key::generate(&mut rng);
            // The polynomial through the stolen shares with the other key at zero.
            let third = NodeId([9; 32]);
            let known = [stolen[0].0, stolen[1].0, third];
            let factors = lagrange(&known, &Scalar::ZERO);
            let rest = factors[0] * stolen[0].1.scalar() + factors[1] * stolen[1].1.scalar();
            let third_share = (other.scalar() - rest) * factors[2].invert();
            let whole = rest + factors[2] * third_share;
            assert_eq!(whole, *other.scalar());
        }
    }

    #[test]
    fn subsets_are_all_and_in_order() {
        assert_eq!(subsets(4, 2).count(), 6);
        assert_eq!(subsets(3, 3).collect::<Vec<_>>(), [[0, 1, 2]]);
        assert_eq!(subsets(2, 3).count() + subsets(2, 0).count(), 0);
    }
}
