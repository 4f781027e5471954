//! When a put counts as stored, and when an object counts as readable.

use std::time::Duration;

use crate::code::CodeParameters;
use crate::keyshare::KeyParameters;

/// How many distinct holders must have made both parts durable before a put succeeds: one more
/// than any repair needs, so that the loss of one right after the put is repairable.
pub fn put_quorum(code: &CodeParameters, key: &KeyParameters) -> usize {
    usize::from(code.n.min(code.d.max(key.d()).saturating_add(1)))
}

/// How many slots must answer for an object to be read.
pub fn read_threshold(code: &CodeParameters, key: &KeyParameters) -> usize {
    usize::from(code.k.max(key.k()))
}

/// How many slots must have destroyed their key shares before the others cannot read any more.
pub fn destruction_quorum(key: &KeyParameters) -> usize {
    usize::from(key.n()) - usize::from(key.k()) + 1
}

/// How many helpers a repair asks at first.
pub fn repair_helpers(code: &CodeParameters, key: &KeyParameters) -> usize {
    usize::from(code.d.max(key.d()))
}

/// How many helpers must have listed their objects before a newcomer has heard of every object that
/// a put ever called stored, even if `liars` of them keep silent about some: all but a put's quorum,
/// one more, and the liars; at least as many as a read needs.
pub fn listings_needed(code: &CodeParameters, key: &KeyParameters, liars: usize) -> usize {
    let missed = usize::from(code.n) - put_quorum(code, key);
    let needed = (missed + 1 + liars).max(read_threshold(code, key));
    needed.min(usize::from(code.n).saturating_sub(1))
}

/// How long to wait before the `attempt`-th repetition (from 1) of a request that failed for a
/// reason that may pass; `None` when it should be given up.
pub fn retry_delay(attempt: u32) -> Option<Duration> {
    const DELAYS_MS: [u64; 3] = [50, 250, 1000];
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    DELAYS_MS.get(index).map(|&delay| Duration::from_millis(delay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::CodeKind;

    fn parameters(n: u8, k: u8, d: u8, key: (u8, u8)) -> (CodeParameters, KeyParameters) {
        (
            CodeParameters { kind: CodeKind::Mbr, n, k, d },
            KeyParameters::new(n, key.0, key.1).unwrap(),
        )
    }

    /// The defaults of `architecture.md` §2.
    #[test]
    fn quorums_of_the_default_networks() {
        for (n, k, d, key, quorum, threshold) in [
            (3, 2, 2, (2, 2), 3, 2),
            (5, 3, 4, (3, 4), 5, 3),
            (10, 5, 7, (5, 6), 8, 5),
            (20, 8, 14, (10, 11), 15, 10),
        ] {
            let (code, key) = parameters(n, k, d, key);
            assert_eq!(put_quorum(&code, &key), quorum);
            assert_eq!(read_threshold(&code, &key), threshold);
        }
    }

    #[test]
    fn a_newcomer_hears_of_every_object() {
        for (n, k, d, key, needed) in [
            (3, 2, 2, (2, 2), 2),
            (5, 3, 4, (3, 4), 3),
            (10, 5, 7, (5, 6), 5),
            (20, 8, 14, (10, 11), 10),
        ] {
            let (code, key) = parameters(n, k, d, key);
            assert_eq!(listings_needed(&code, &key, 1), needed);
            // Even if those who did not list, and the liar, are all that an object was put to.
            let silent = usize::from(n) - 1 - needed;
            assert!(put_quorum(&code, &key) > silent + 1 || needed == usize::from(n) - 1);
        }
    }

    #[test]
    fn retries_end() {
        assert_eq!(retry_delay(0), None);
        assert!((1..=3).all(|attempt| retry_delay(attempt).is_some()));
        assert_eq!(retry_delay(4), None);
    }
}
