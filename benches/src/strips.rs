//! Buffers in which nobody suffers from where they lie.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const ALIGNMENT: usize = 64;

/// Bytes between strips, so that those of a power-of-two length do not share their cache sets.
const SKEW: usize = 192;

/// Strips of one length, each aligned to 64 bytes, at distances that are no power of two.
pub struct Strips {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
    count: usize,
}

impl Strips {
    /// `count` strips of `len` zeros.
    pub fn zeroed(count: usize, len: usize) -> Self {
        let bytes = vec![0; count * stride(len) + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len, count }
    }

    /// Strips of noise, the same for the same shape.
    pub fn noise(count: usize, len: usize) -> Self {
        let mut strips = Self::zeroed(count, len);
        ChaCha8Rng::seed_from_u64(len as u64).fill_bytes(&mut strips.bytes);
        strips
    }

    /// The strips.
    pub fn slices(&self) -> Vec<&[u8]> {
        let strips = self.bytes[self.start..].chunks(stride(self.len)).take(self.count);
        strips.map(|strip| &strip[..self.len]).collect()
    }

    /// The strips, to be written.
    pub fn slices_mut(&mut self) -> Vec<&mut [u8]> {
        let strips = self.bytes[self.start..].chunks_mut(stride(self.len)).take(self.count);
        strips.map(|strip| &mut strip[..self.len]).collect()
    }
}

fn stride(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT) + SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_aligned_and_skewed() {
        for len in [65, 4096, 65536, 1 << 20] {
            let strips = Strips::noise(3, len);
            let slices = strips.slices();
            assert!(slices.iter().all(|strip| strip.len() == len));
            assert!(slices.iter().all(|strip| strip.as_ptr().addr() % ALIGNMENT == 0));
            let distance = slices[1].as_ptr().addr() - slices[0].as_ptr().addr();
            assert!(distance > len && !distance.is_power_of_two());
        }
    }
}
