//! How whole numbers spread: how many there are of each size.

use serde::{Deserialize, Serialize};

/// Each power of two is divided into so many classes, so that a quantile is at most this part too large.
const CLASSES: usize = 16;
/// Below, every number has a class of its own.
const SINGLE_MAX: u64 = 2 * CLASSES as u64;

/// Counts of whole numbers by size; sums do not depend on their order. It takes 8 bytes for each class
/// up to that of the largest number, at most 7.6 KiB.
///
/// The classes are those of Gil Tene's HdrHistogram: of equal width within a power of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    counts: Vec<u64>,
    largest: u64,
}

impl Spread {
    /// One more number.
    #[inline]
    pub(crate) fn count(&mut self, number: u64) {
        let class = class_of(number);
        if class >= self.counts.len() {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.largest = self.largest.max(number);
    }

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.largest = self.largest.max(other.largest);
    }

    /// How many there are.
    pub fn numbers(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The largest of all, zero if there is none.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// What a share of all numbers, from 0 to 1, does not exceed; `zeros` more are zero. At most a
    /// sixteenth too large.
    pub fn quantile(&self, share: f64, zeros: u64) -> u64 {
        let all = self.numbers() + zeros;
        let rank = (share * all as f64).ceil() as u64;
        let mut seen = zeros;
        if seen >= rank {
            return 0;
        }
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return last_of(class).min(self.largest);
            }
        }
        self.largest
    }
}

fn class_of(number: u64) -> usize {
    if number < SINGLE_MAX {
        return number as usize;
    }
    let shift = number.ilog2() - CLASSES.ilog2();
    shift as usize * CLASSES + (number >> shift) as usize
}

/// The largest number of a class.
fn last_of(class: usize) -> u64 {
    if (class as u64) < SINGLE_MAX {
        return class as u64;
    }
    let shift = class / CLASSES - 1;
    let first = (class - shift * CLASSES) as u64;
    ((first + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_narrow() {
        for class in 0..class_of(u64::MAX) {
            let last = last_of(class);
            assert_eq!((class_of(last), class_of(last + 1)), (class, class + 1));
        }
        assert_eq!(last_of(class_of(u64::MAX)), u64::MAX);
        for number in [33, 1000, 12_345_678, u64::MAX / 3] {
            let last = last_of(class_of(number));
            assert!(last >= number && (last - number) as f64 <= number as f64 / 16.0, "{number}");
        }
    }

    #[test]
    fn quantiles_are_those_of_all_numbers() {
        let (mut even, mut odd) = (Spread::default(), Spread::default());
        for number in 0..=1000u64 {
            let half = if number.is_multiple_of(2) { &mut even } else { &mut odd };
            half.count(number);
        }
        even.add(&odd);
        assert_eq!((even.numbers(), even.largest()), (1001, 1000));
        for (share, exact) in [(0.0, 0), (0.01, 10), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let quantile = even.quantile(share, 0);
            assert!((exact..=exact + exact / 16).contains(&quantile), "{share}: {quantile}");
        }
        // Of twice as many, half of them zero, the median is zero.
        assert_eq!(even.quantile(0.5, 1001), 0);
        assert_eq!(Spread::default().quantile(0.99, 0), 0);
    }
}
