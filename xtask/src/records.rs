//! Records whose contents follow from seeds: every byte can be checked, and none is kept.

use std::fs;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::Value;

const RECORD_LEN_MAX: u64 = 6 * 1024 * 1024;

/// The content that a seed stands for: mostly small, some of several objects.
pub(crate) fn content(seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bits = rng.next_u32() % (RECORD_LEN_MAX.ilog2() + 1);
    let length = rng.next_u64() % (2 << bits).min(RECORD_LEN_MAX);
    let mut bytes = vec![0; length as usize];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Whether the file has the content of this seed, bit for bit.
pub(crate) fn holds(path: &Path, seed: u64) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == content(seed))
}

/// The records' names in the answer of `ls`.
pub(crate) fn listed_names(answer: &Value) -> Vec<String> {
    let records = answer["records"].as_array().into_iter().flatten();
    records.filter_map(|record| Some(record["name"].as_str()?.to_owned())).collect()
}
