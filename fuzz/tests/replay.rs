//! What the fuzzer knows, in every ordinary test run: the samples are valid, mutations of them and
//! all earlier findings do no harm.

use std::path::Path;

use kakera_fuzz::{TARGETS, Target};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const MUTATIONS_A_SAMPLE: usize = 200;

#[test]
fn every_target_accepts_its_samples() {
    for target in TARGETS {
        let samples = (target.samples)();
        assert!(!samples.is_empty(), "{}", target.name);
        for (index, sample) in samples.iter().enumerate() {
            assert!((target.accepts)(sample), "{}: sample {index} is refused", target.name);
        }
    }
}

#[test]
fn mutated_samples_do_no_harm() {
    for target in TARGETS {
        let refused: usize = (target.samples)().iter().map(|sample| mutate(target, sample)).sum();
        assert!(refused > 0, "{}: nothing was ever refused", target.name);
    }
}

#[test]
fn empty_and_long_inputs_are_refused() {
    for target in TARGETS {
        assert!(!(target.accepts)(&[]), "{}", target.name);
        for byte in [0x00, 0x9f, 0xff] {
            assert!(!(target.accepts)(&vec![byte; 1 << 20]), "{}: {byte:#x}", target.name);
        }
    }
}

#[test]
fn earlier_findings_do_no_harm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for folder in root.read_dir().unwrap().map(Result::unwrap).filter(|e| e.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("regressions of '{name}', no target"));
        for input in folder.path().read_dir().unwrap() {
            (target.accepts)(&std::fs::read(input.unwrap().path()).unwrap());
        }
    }
}

/// Runs `target` on mutations of `sample` that are the same in every run; how many were refused.
fn mutate(target: &Target, sample: &[u8]) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(sample.len() as u64);
    let mut below = |limit: usize| rng.next_u32() as usize % limit.max(1);
    let mut refused = 0;
    for _ in 0..MUTATIONS_A_SAMPLE {
        let mut input = sample.to_vec();
        for _ in 0..=below(3) {
            let place = below(input.len());
            match below(5) {
                0 => input.truncate(place),
                1 => input.insert(place, below(256) as u8),
                2 if !input.is_empty() => input[place] ^= 1 << below(8),
                3 if !input.is_empty() => input[place] = [0x1b, 0x5b, 0x9b, 0x9f, 0xff][below(5)],
                _ => input.extend_from_within(place..),
            }
        }
        refused += usize::from(!(target.accepts)(&input));
    }
    refused
}
