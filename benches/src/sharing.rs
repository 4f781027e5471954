//! Sharing 32 bytes among 20: with commitments and repair beside plain Shamir.

use std::hint::black_box;

use blahaj::Sharks;
use kakera_engine::keyshare::{
    Binding, Dealt, KeyParameters, ProvenPart, ProvenSymbol, Secret, deal, read, repair,
};
use kakera_engine::names::{Epoch, Slot};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use vsss_rs::Gf256;

use crate::contest::{Contest, Side};

const N: u8 = 20;
const K: u8 = 10;
const D: u8 = 11;
const SALT: [u8; 32] = [0xA5; 32];

/// Plain Shamir has neither commitments nor repair: at most 20 times slower is the goal.
const GOAL: f64 = 1.0 / 20.0;

pub(crate) fn contests() -> impl Iterator<Item = Contest> {
    let makers: [fn() -> Contest; 3] = [deal_and_commit, read_parts, repair_share];
    makers.into_iter().map(|contest| contest())
}

fn name(operation: &str) -> String {
    format!("keyshare/{operation}/({N},{K},{D})")
}

fn binding() -> Binding<'static> {
    let parameters = KeyParameters::new(N, K, D).expect("parameters of KS1");
    Binding { parameters, salt: &SALT, epoch: Epoch(1), coverage: None }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}

fn dealt() -> Dealt {
    deal(&binding(), &Secret::random(&mut rng()), &mut rng())
}

/// n shares and n rows.
fn deal_and_commit() -> Contest {
    let (mut rng, secret) = (rng(), Secret::random(&mut rng()));
    let ours = Side::timed("kakera", move || {
        black_box(deal(&binding(), black_box(&secret), &mut rng));
    });
    Contest::new(name("deal"), ours).beats(GOAL, blahaj_split()).beats(GOAL, vsss_split())
}

/// V from k parts, each checked against its row.
fn read_parts() -> Contest {
    let dealt = dealt();
    let parts: Vec<ProvenPart> =
        dealt.shares[..K.into()].iter().map(|share| share.prove_part(&binding())).collect();
    let ours = Side::timed("kakera", move || {
        black_box(read(&binding(), &dealt.rows, black_box(&parts)).expect("k true parts"));
    });
    Contest::new(name("read"), ours).beats(GOAL, blahaj_combine()).beats(GOAL, vsss_combine())
}

/// A share from d pair symbols, each checked against its row, and the share against its own.
fn repair_share() -> Contest {
    let dealt = dealt();
    let failed = Slot::new(1).expect("not zero");
    let helpers = &dealt.shares[1..=D.into()];
    let symbols: Vec<ProvenSymbol> = helpers
        .iter()
        .map(|share| share.prove_symbol(&binding(), failed).expect("another slot"))
        .collect();
    let ours = Side::timed("kakera", move || {
        let repaired = repair(&binding(), failed, &dealt.rows, black_box(&symbols));
        black_box(repaired.expect("d true symbols"));
    });
    Contest::new(name("repair"), ours)
        .beats(GOAL, blahaj_combine())
        .beats(GOAL, vsss_combine())
        .beside(blahaj_split())
        .beside(vsss_split())
}

fn blahaj_split() -> Side {
    let (mut rng, sharks) = (rng(), Sharks(K));
    Side::timed("blahaj split", move || {
        let dealer = sharks.dealer_rng(black_box(&SALT), &mut rng);
        black_box(dealer.take(N.into()).collect::<Vec<_>>());
    })
}

fn blahaj_combine() -> Side {
    let sharks = Sharks(K);
    let shares: Vec<_> = sharks.dealer_rng(&SALT, &mut rng()).take(K.into()).collect();
    Side::timed("blahaj combine", move || {
        black_box(sharks.recover(black_box(&shares)).expect("k shares"));
    })
}

fn vsss_split() -> Side {
    let mut rng = rng();
    Side::timed("vsss-rs split", move || {
        let shares = Gf256::split_bytes(K.into(), N.into(), black_box(SALT), &mut rng);
        black_box(shares.expect("a valid threshold"));
    })
}

fn vsss_combine() -> Side {
    let shares = Gf256::split_bytes(K.into(), N.into(), SALT, rng()).expect("a valid threshold");
    Side::timed("vsss-rs combine", move || {
        black_box(Gf256::combine_bytes(black_box(&shares[..K.into()])).expect("k shares"));
    })
}
