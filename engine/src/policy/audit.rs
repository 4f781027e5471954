//! What is looked at in an audit: drawn from public randomness, so that neither side chooses.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How many of a fragment's groups to ask for so that a holder that lacks the fraction `lacking` of
/// them is found with probability `confidence`: ⌈ln(1−confidence) / ln(1−lacking)⌉
/// (Ateniese et al., CCS 2007). Both are between 0 and 1; `None` otherwise.
pub fn challenges_needed(lacking: f64, confidence: f64) -> Option<u32> {
    let open = |value: f64| value > 0.0 && value < 1.0;
    (open(lacking) && open(confidence))
        .then(|| ((1.0 - confidence).ln() / (1.0 - lacking).ln()).ceil() as u32)
}

/// `count` distinct numbers below `total`, ascending; all of them if there are not more. Everyone
/// with the seed draws the same.
pub fn sample(seed: [u8; 32], total: u32, count: u32) -> BTreeSet<u32> {
    if count >= total {
        return (0..total).collect();
    }
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut drawn = BTreeSet::new();
    // Floyd's algorithm (Bentley and Floyd, CACM 1987): uniform, one draw a number.
    for last in total - count..total {
        let chosen = uniform_below(&mut rng, last + 1);
        if !drawn.insert(chosen) {
            drawn.insert(last);
        }
    }
    drawn
}

/// Uniform below `bound`, which is not zero: values beyond its last multiple are drawn again.
fn uniform_below(rng: &mut impl Rng, bound: u32) -> u32 {
    let last_multiple = u32::MAX - u32::MAX % bound;
    loop {
        let value = rng.next_u32();
        if value < last_multiple {
            return value % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The figures of `crypto.md` §9.
    #[test]
    fn published_numbers_of_challenges() {
        assert_eq!(challenges_needed(0.10, 0.99), Some(44));
        assert_eq!(challenges_needed(0.01, 0.99), Some(459));
        assert_eq!(challenges_needed(0.0, 0.99), None);
        assert_eq!(challenges_needed(0.5, 1.0), None);
    }

    /// A holder without a tenth of 1000 groups is found by 44 challenges as often as they say.
    #[test]
    fn a_holder_that_lacks_a_tenth_is_found() {
        let found = (0..2000u32).filter(|round| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&round.to_be_bytes());
            sample(seed, 1000, 44).iter().any(|group| *group < 100)
        });
        let found = found.count();
        // mean 1982, standard deviation 4.2
        assert!(found > 1960, "{found} of 2000");
    }

    proptest! {
        #[test]
        fn samples_are_distinct_below_the_total(seed in any::<[u8; 32]>(), total in 1u32..5000, count in 0u32..60) {
            let drawn = sample(seed, total, count);
            prop_assert_eq!(drawn.len() as u32, count.min(total));
            prop_assert!(drawn.iter().all(|number| *number < total));
            prop_assert_eq!(drawn, sample(seed, total, count));
        }
    }
}
