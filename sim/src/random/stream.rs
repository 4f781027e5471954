//! Random words in a row, made in batches.

use super::philox::{LANES, philox4x32_lanes};

/// Words of a batch.
const BATCH: usize = 4 * LANES;

/// The words of blocks 0, 1, 2, ... of one key: the first words of some blocks, then the second words
/// of these, and so on.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    /// The upper words of every counter.
    high: [u32; 2],
    /// The number of the next batch's first block.
    block: u64,
    batch: [[u32; LANES]; 4],
    used: usize,
}

impl Stream {
    pub(super) fn new(key: [u32; 2], high: [u32; 2]) -> Self {
        Self { key, high, block: 0, batch: [[0; LANES]; 4], used: BATCH }
    }

    /// The next 32 random bits.
    #[inline]
    pub fn word(&mut self) -> u32 {
        if self.used == BATCH {
            self.refill();
        }
        self.used += 1;
        self.batch.as_flattened()[self.used - 1]
    }

    /// The next words, as many as a loop over lanes takes at once. What is left of fewer than these is
    /// passed over.
    #[inline]
    pub fn words(&mut self) -> &[u32; LANES] {
        let mut next = self.used.div_ceil(LANES);
        if next == self.batch.len() {
            self.refill();
            next = 0;
        }
        self.used = (next + 1) * LANES;
        &self.batch[next]
    }

    /// Words of which the upper parts of their products with `outcomes`, which is not zero, are exactly
    /// uniform (Lemire, "Fast random integer generation in an interval", ACM TOMACS 29 (2019)).
    #[inline]
    pub fn draw_words(&mut self, outcomes: u32, words: &mut [u32; LANES]) {
        let excess = outcomes.wrapping_neg() % outcomes;
        let is_excess = |word: u32| word.wrapping_mul(outcomes) < excess;
        words.copy_from_slice(self.words());
        while words.iter().fold(false, |any, &word| any | is_excess(word)) {
            let others = self.words();
            for (word, other) in words.iter_mut().zip(others) {
                *word = if is_excess(*word) { *other } else { *word };
            }
        }
    }

    /// Uniform below `bound`, which is not zero; off by at most bound / 2^32.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(bound)) >> 32) as u32
    }

    #[inline(never)]
    fn refill(&mut self) {
        let number = |lane: usize| self.block + lane as u64;
        self.batch = [
            std::array::from_fn(|lane| number(lane) as u32),
            std::array::from_fn(|lane| (number(lane) >> 32) as u32),
            [self.high[0]; LANES],
            [self.high[1]; LANES],
        ];
        philox4x32_lanes(&mut self.batch, self.key);
        self.block += LANES as u64;
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::LANES;
    use crate::random::{Draw, Purpose, Source};

    #[test]
    fn words_are_those_of_the_draws() {
        let source = Source::new(5, 1 << 40 | 9);
        let mut stream = source.stream(Purpose::Placement);
        for batch in 0..3 {
            let words = [0, 1, 2, 3].map(|_| (*stream.words()).map(u64::from));
            for lane in 0..LANES {
                let [a, b, c, d] = words.map(|words| words[lane]);
                let draw = Draw([b << 32 | a, d << 32 | c]);
                let number = (batch * LANES + lane) as u32;
                assert_eq!(draw, source.draw(0, Purpose::Placement, number));
            }
        }
        let word = stream.clone().word();
        assert_eq!(stream.words()[0], word);
        stream.word();
        assert_eq!(stream.clone().words()[0], stream.words()[0]);
    }

    #[test]
    fn below_is_even() {
        let mut stream = Source::new(5, 0).stream(Purpose::Placement);
        let mut hits = [0u32; 7];
        (0..70_000).for_each(|_| hits[stream.below(7) as usize] += 1);
        // Five standard deviations of a count of mean 10 000.
        assert!(hits.iter().all(|&count| count.abs_diff(10_000) < 480), "{hits:?}");
    }
}
