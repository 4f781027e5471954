//! Random words in a row, made in batches.

use super::philox::{LANES, philox4x32_lanes};

/// Words of a batch.
const BATCH: usize = 4 * LANES;

/// The words of blocks 0, 1, 2, ... of one key, in order.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    /// The upper words of every counter.
    high: [u32; 2],
    /// The number of the next batch's first block.
    block: u64,
    batch: [u32; BATCH],
    used: usize,
}

impl Stream {
    pub(super) fn new(key: [u32; 2], high: [u32; 2]) -> Self {
        Self { key, high, block: 0, batch: [0; BATCH], used: BATCH }
    }

    /// The next 32 random bits.
    #[inline]
    pub fn word(&mut self) -> u32 {
        if self.used == BATCH {
            self.refill();
        }
        self.used += 1;
        self.batch[self.used - 1]
    }

    /// Uniform below `bound`, which is not zero; off by at most bound / 2^32.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(bound)) >> 32) as u32
    }

    #[inline(never)]
    fn refill(&mut self) {
        let number = |lane: usize| self.block + lane as u64;
        let blocks = philox4x32_lanes(
            [
                std::array::from_fn(|lane| number(lane) as u32),
                std::array::from_fn(|lane| (number(lane) >> 32) as u32),
                [self.high[0]; LANES],
                [self.high[1]; LANES],
            ],
            self.key,
        );
        for (word, lanes) in blocks.iter().enumerate() {
            for (lane, &bits) in lanes.iter().enumerate() {
                self.batch[4 * lane + word] = bits;
            }
        }
        self.block += LANES as u64;
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use crate::random::{Draw, Purpose, Source};

    #[test]
    fn words_are_those_of_the_draws_in_order() {
        let source = Source::new(5, 1 << 40 | 9);
        let mut stream = source.stream(Purpose::Placement);
        for number in 0..50 {
            let word = [0, 1, 2, 3].map(|_| u64::from(stream.word()));
            let draw = Draw([word[1] << 32 | word[0], word[3] << 32 | word[2]]);
            assert_eq!(draw, source.draw(0, Purpose::Placement, number));
        }
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
