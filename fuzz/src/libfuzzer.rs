//! One libFuzzer program for all targets; `KAKERA_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::OnceLock;

use kakera_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("KAKERA_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            panic!("KAKERA_FUZZ_TARGET='{name}' is no target");
        };
        TARGET.get_or_init(|| *target);
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.accepts)(data);
        }
    }
);
