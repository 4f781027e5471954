//! Padmé padding (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
//! with PURBs", PETS 2019, §4.3).

/// Below this every length looks the same.
pub const PADDED_LEN_MIN: u64 = 4096;

/// The smallest permitted length that holds `length` bytes, at least [`PADDED_LEN_MIN`].
///
/// Permitted lengths have a mantissa no longer than their exponent's bit length, so at most
/// O(log log length) bits of the length leak, for at most 12 % more bytes. Powers of two are
/// permitted. Lengths above 2^63 are returned unchanged.
pub fn padme(length: u64) -> u64 {
    if length <= PADDED_LEN_MIN {
        return PADDED_LEN_MIN;
    }
    let exponent = length.ilog2();
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - mantissa_bits)) - 1;
    length.checked_add(mask).map_or(length, |sum| sum & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_lengths() {
        assert_eq!(padme(0), 4096);
        assert_eq!(padme(4096), 4096);
        assert_eq!(padme(4097), 4352);
        assert_eq!(padme(1_000_000), 1_015_808);
        assert_eq!(padme(4 << 20), 4 << 20);
        assert_eq!(padme(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn holds_the_length_within_twelve_percent_and_is_idempotent(length in 4096u64..1 << 40) {
            let padded = padme(length);
            prop_assert!(padded >= length && (padded - length) * 100 <= length * 12);
            prop_assert_eq!(padme(padded), padded);
        }

        #[test]
        fn is_monotonic(shorter in 0u64..1 << 24, more in 0u64..1 << 24) {
            prop_assert!(padme(shorter) <= padme(shorter + more));
        }
    }
}
