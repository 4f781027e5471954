//! A dealt secret of the parameters that a test draws.

use std::collections::BTreeSet;

use kakera_engine::keyshare::{Binding, Dealt, KeyParameters, Secret, deal};
use kakera_engine::names::{Epoch, Slot};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const SALT: [u8; 32] = [9; 32];

pub(crate) fn binding(n: u8, k: u8, d: u8) -> Binding<'static> {
    let parameters = KeyParameters::new(n, k, d).unwrap();
    Binding { parameters, salt: &SALT, epoch: Epoch(3), coverage: None }
}

pub(crate) fn dealt_secret(binding: &Binding<'_>, seed: u8) -> (Secret, Dealt) {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let secret = Secret::random(&mut rng);
    let dealt = deal(binding, &secret, &mut rng);
    (secret, dealt)
}

pub(crate) fn dealt(binding: &Binding<'_>, seed: u8) -> Dealt {
    dealt_secret(binding, seed).1
}

pub(crate) fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

pub(crate) fn slots(points: &[u8]) -> BTreeSet<Slot> {
    points.iter().copied().map(slot).collect()
}

/// k, d and the slots in a random order.
pub(crate) fn group() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    let choices = |n: u8| {
        let slots: Vec<u8> = (1..=n).collect();
        (2..n, any::<bool>(), Just(slots).prop_shuffle())
    };
    (3u8..24).prop_flat_map(choices).prop_map(|(k, spare, order)| {
        let spare = spare && usize::from(k) + 1 < order.len();
        (k, k + u8::from(spare), order)
    })
}
