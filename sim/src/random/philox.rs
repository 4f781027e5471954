//! Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
//! as easy as 1, 2, 3", SC'11, §3.2). Its output is a function of key and counter alone.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// The golden ratio and the square root of 3, less 1, as fractions of 2^32.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The block of a counter under a key, both with the least significant word first.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let (high_0, low_0) = multiply(MULTIPLIERS[0], counter[0]);
        let (high_1, low_1) = multiply(MULTIPLIERS[1], counter[2]);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
    }
    counter
}

/// As many counters at once as a loop over lanes keeps in vector registers.
pub(crate) const LANES: usize = 64;

/// Replaces [`LANES`] counters, given word by word, by their blocks under one key.
pub(super) fn philox4x32_lanes(counters: &mut [[u32; LANES]; 4], mut key: [u32; 2]) {
    let [a, b, c, d] = counters;
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        for lane in 0..LANES {
            let (high_0, low_0) = multiply(MULTIPLIERS[0], a[lane]);
            let (high_1, low_1) = multiply(MULTIPLIERS[1], c[lane]);
            a[lane] = high_1 ^ b[lane] ^ key[0];
            b[lane] = low_1;
            c[lane] = high_0 ^ d[lane] ^ key[1];
            d[lane] = low_0;
        }
    }
}

fn multiply(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_single_blocks() {
        let counters: [[u32; LANES]; 4] =
            std::array::from_fn(|word| std::array::from_fn(|lane| (word * 77 + lane * 5) as u32));
        let mut blocks = counters;
        philox4x32_lanes(&mut blocks, [3, 4]);
        for lane in 0..LANES {
            let word = |word: usize| counters[word][lane];
            let block = philox4x32([word(0), word(1), word(2), word(3)], [3, 4]);
            assert_eq!(block, [0, 1, 2, 3].map(|word| blocks[word][lane]));
        }
    }

    /// The known answers that Random123 publishes (`kat_vectors`, philox4x32 with 10 rounds).
    #[test]
    fn gives_the_known_answers() {
        let vectors = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in vectors {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }
}
