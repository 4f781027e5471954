//! Formats of KS1: frozen bytes, canonical decoding, and what types must not do.

use kakera_engine::hash::hash;
use kakera_engine::keyshare::renewal::{
    Answer, CheckValues, Complaint, Dealer, DealerPost, DealtRows, Leaves, Terms,
};
use kakera_engine::keyshare::{
    AuditAnswer, Binding, Coverage, Dealt, DegradedHelp, KeyParameters, ProvenPart, ProvenSymbol,
    Secret, Share, Symbol, deal, root,
};
use kakera_engine::names::{Epoch, Slot};
use kakera_engine::wire::canonical::{decode, encode};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zeroize::ZeroizeOnDrop;

const SALT: [u8; 32] = [0xA5; 32];

fn binding(n: u8, k: u8, d: u8) -> Binding<'static> {
    Binding {
        parameters: KeyParameters::new(n, k, d).unwrap(),
        salt: &SALT,
        epoch: Epoch(1),
        coverage: None,
    }
}

fn dealt(binding: &Binding<'_>) -> Dealt {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let secret = Secret::random(&mut rng);
    deal(binding, &secret, &mut rng)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A changed hash is a new version of the format (spec §7).
#[test]
fn formats_are_frozen() {
    let frozen = |n, k, d| {
        let binding = binding(n, k, d);
        let Dealt { shares, rows } = dealt(&binding);
        let first = Slot::new(1).unwrap();
        let shares_bytes: Vec<u8> = shares.iter().flat_map(encode).collect();
        let symbols = shares.iter().filter_map(|share| share.prove_symbol(&binding, first));
        let mut proofs: Vec<u8> = symbols.flat_map(|symbol| encode(&symbol)).collect();
        proofs.extend(shares.iter().flat_map(|share| encode(&share.prove_part(&binding))));
        [hash("test", &[&shares_bytes]), root(&binding, &rows), hash("test", &[&proofs])]
            .map(|digest| hex(&digest[..16]))
    };
    assert_eq!(
        frozen(3, 2, 2),
        [
            "846ffb81b5401d73d3acd21738fbefcf",
            "d63ae8bc87f97420cfdb6fece5c5c3b5",
            "07334ce4788ba813fc32771112436302"
        ]
    );
    assert_eq!(
        frozen(5, 3, 4),
        [
            "01e088e46c289109436c0cc2d6f91818",
            "64f842a3ebc0221e3a460608bdf4579b",
            "82ec39249552779737624dc25c35da1b"
        ]
    );
    assert_eq!(
        frozen(20, 10, 11),
        [
            "ea6bfe809bfaef9ecf30d94c44a75f2c",
            "4a0977948c30fd36d5fa38f1eafe129a",
            "5c6c26e28ce62b43b07f984101748641"
        ]
    );
}

/// A changed hash is a new version of the format (spec §7).
#[test]
fn formats_between_holders_are_frozen() {
    let digest = |bytes: Vec<u8>| hex(&hash("test", &[&bytes])[..16]);
    let binding = binding(5, 3, 4);
    let Dealt { shares, .. } = dealt(&binding);
    let slot = |point| Slot::new(point).unwrap();
    let help = shares[0].help_degraded(&binding, slot(5), &Slot::all(3).collect()).unwrap();
    let audit = shares[0].answer_audit(&binding, slot(2), &[1; 32]).unwrap();
    let terms =
        Terms::refresh(binding.parameters, Epoch(2), Slot::all(5).collect(), vec![SALT]).unwrap();
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let mut dealer = Dealer::of_zero(&terms, slot(1), &mut rng).unwrap();
    let (_, rows) = dealer.rows().next().unwrap();
    let (post, rows) = (encode(dealer.post()), encode(rows));
    // Ten pairs of digests; two sharings of four symbols.
    assert_eq!((post.len(), rows.len()), (3 + 10 * 32, 1 + 2 * (1 + 1 + 2 + 128)));
    let complaint = Complaint { against: [slot(1)].into() };
    assert_eq!(encode(&complaint), [0x81, 1]);
    assert_eq!(encode(&dealer.answer()), [0xa0]);
    dealer.handle_complaint(slot(2), &complaint);
    assert_eq!(encode(&dealer.answer()), [0xa0], "with (5, 3, 4) nobody may be faulty");
    let coverage: Coverage = decode(&[0x82, 0x82, 1, 3, 0x81, 0x82, 1, 3], 9).unwrap();
    assert!(!coverage.covers(slot(1), slot(3)));
    let frozen = [
        "d3fa292ecdd43aa3f007bd3639de6f64",
        "e2137db6e5bb045ba5ac40b59aba06fd",
        "eb6d687d761a7c712c34897c530f48ee",
        "48cb9de2441ae07db5b7ab3726d4bb32",
    ];
    assert_eq!([encode(&help), encode(&audit), post, rows].map(digest), frozen);
}

#[test]
fn malformed_messages_between_holders_are_refused() {
    for bytes in [
        [0x82, 0x82, 1, 3, 0x81, 0x82, 3, 1].as_slice(), // a pair the wrong way round
        &[0x82, 0x82, 1, 3, 0x81, 0x82, 1, 2],           // between slots of which one was absent
        &[0x82, 0x82, 1, 3, 0x81, 0x82, 1, 1],           // with itself
        &[0x82, 0x82, 3, 1, 0x80],                       // not ascending
        &[0x82, 0x82, 1, 1, 0x80],                       // twice
        &[0x82, 0x81, 0, 0x80],                          // slot 0
    ] {
        assert!(decode::<Coverage>(bytes, 99).is_err(), "{bytes:?}");
    }
    assert!(decode::<Complaint>(&[0x82, 2, 1], 9).is_err());
    assert!(decode::<Complaint>(&[0x81, 0], 9).is_err());
    let string = |length: u8| [&[0x58, length], vec![0; usize::from(length)].as_slice()].concat();
    assert!(decode::<DealerPost>(&string(64), 99).is_ok());
    assert!(decode::<DealerPost>(&string(65), 99).is_err());
    assert!(decode::<Leaves>(&string(63), 99).is_err());
    assert!(decode::<CheckValues>(&string(48), 99).is_ok());
    assert!(decode::<CheckValues>(&string(40), 99).is_err());
    assert!(decode::<AuditAnswer>(&string(32), 99).is_ok());
    assert!(decode::<AuditAnswer>(&string(33), 99).is_err());
    assert!(decode::<DegradedHelp>(&[0x82, 0x80, 0x40], 99).is_err());
    assert!(decode::<DealtRows>(&[0x81, 0x82, 1, 0x40], 99).is_err());
    assert!(decode::<Answer>(&[0xa1, 0, 0x80], 99).is_err());
}

/// The row of spec §3, written out for three slots.
#[test]
fn a_row_is_the_tree_of_the_specification() {
    let binding = binding(3, 2, 2);
    let Dealt { shares, rows } = dealt(&binding);
    let epoch = 1u64.to_be_bytes();
    let pair = |low: u8, high: u8| {
        let symbol = shares[usize::from(low) - 1].pair_symbol(Slot::new(high).unwrap());
        hash("ks/pair", &[&SALT, &epoch, &[low, high], symbol.expose()])
    };
    let part =
        hash("ks/part", &[&SALT, &epoch, &[2, 2], shares[1].prove_part(&binding).part().expose()]);
    let row = hash("ks/node", &[&hash("ks/node", &[&pair(1, 2), &pair(2, 3)]), &part]);
    assert_eq!(rows[1].0, row);
    let expected =
        hash("ks/root", &[&SALT, &epoch, &[3, 2, 2], &rows[0].0, &rows[1].0, &rows[2].0]);
    assert_eq!(root(&binding, &rows), expected);
}

#[test]
fn sizes_are_those_of_the_specification() {
    let binding = binding(20, 10, 11);
    let Dealt { shares, .. } = dealt(&binding);
    assert_eq!(binding.parameters.share_len(), 352);
    // array, slot, byte string with a two-byte length
    assert_eq!(encode(&shares[0]).len(), 1 + 1 + 3 + 352);
    let symbol = shares[0].prove_symbol(&binding, Slot::new(2).unwrap()).unwrap();
    assert_eq!(encode(&symbol).len(), 1 + 1 + (2 + 32) + (2 + 5 * 32));
    // The part of d = k + 1 is the last 32 bytes of the share.
    let part = shares[0].prove_part(&binding);
    assert_eq!(encode(&part).len(), 1 + 1 + (2 + 32) + (2 + 3 * 32));
    assert!(encode(&shares[0]).ends_with(part.part().expose()));
}

#[test]
fn parameters_outside_the_code_do_not_exist() {
    for n in 0..=255 {
        for k in 0..=255u8 {
            for d in [0, 1, 2, k.wrapping_sub(1), k, k.wrapping_add(1), k.wrapping_add(2), 255] {
                let valid = k >= 2 && d < n && (d == k || u16::from(d) == u16::from(k) + 1);
                assert_eq!(KeyParameters::new(n, k, d).is_ok(), valid, "({n}, {k}, {d})");
            }
        }
    }
    assert_eq!(decode::<KeyParameters>(&[0x83, 5, 3, 4], 9), Ok(binding(5, 3, 4).parameters));
    assert!(decode::<KeyParameters>(&[0x83, 5, 1, 2], 9).is_err());
    assert!(decode::<KeyParameters>(&[0x83, 5, 3, 5], 9).is_err());
    assert!(decode::<KeyParameters>(&[0x84, 5, 3, 4, 0], 9).is_err());
}

#[test]
fn malformed_shares_are_refused() {
    let share = encode(&dealt(&binding(5, 3, 4)).shares[0]);
    assert!(decode::<Share>(&share, 4096).is_ok());
    let with = |slot: u8, length: usize| {
        let mut bytes = vec![0x82, slot, 0x59];
        bytes.extend((length as u16).to_be_bytes());
        bytes.resize(5 + length, 0);
        decode::<Share>(&bytes, 16384)
    };
    assert!(with(1, 32 * 254).is_ok());
    for (slot, length) in [(0, 320), (1, 288 + 1), (1, 319), (1, 32 * 255)] {
        assert!(with(slot, length).is_err(), "slot {slot}, {length} bytes");
    }
    assert!(decode::<Share>(&[0x82, 1, 0x40], 9).is_err());
    let one_column = [[0x82, 1, 0x58, 32].as_slice(), &[0; 32]].concat();
    assert!(decode::<Share>(&one_column, 99).is_err());
}

proptest! {
    #[test]
    fn decoders_are_total(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let binding = binding(5, 3, 4);
        if let Ok(share) = decode::<Share>(&bytes, 400) {
            share.row(&binding);
        }
        let _ = decode::<ProvenSymbol>(&bytes, 400);
        let _ = decode::<ProvenPart>(&bytes, 400);
    }

    /// Shapes that decode, with contents of the peer's choice, never panic and never verify.
    #[test]
    fn hostile_contents_are_refused(
        slot in 1u8..,
        columns in 2usize..40,
        path in prop::collection::vec(any::<u8>(), 0..300),
        symbol: [u8; 32],
    ) {
        let binding = binding(5, 3, 4);
        let rows = dealt(&binding).rows;
        let first = Slot::new(1).unwrap();
        let body = |path: &[u8]| {
            let mut bytes = Vec::new();
            let mut encoder = minicbor::Encoder::new(&mut bytes);
            encoder.array(3).unwrap().u8(slot).unwrap().bytes(&symbol).unwrap().bytes(path).unwrap();
            bytes
        };
        let proven: ProvenSymbol = decode(&body(&path), 400).unwrap();
        prop_assert!(rows.iter().all(|row| proven.verify(&binding, first, row).is_err()));
        let proven: ProvenPart = decode(&body(&path), 400).unwrap();
        prop_assert!(rows.iter().all(|row| proven.verify(&binding, row).is_err()));
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.array(2).unwrap().u8(slot).unwrap().bytes(&symbol.repeat(columns)).unwrap();
        let share: Share = decode(&bytes, 2000).unwrap();
        prop_assert!(!rows.contains(&share.row(&binding)));
        share.prove_part(&binding);
        for failed in 1..=255 {
            share.prove_symbol(&binding, Slot::new(failed).unwrap());
        }
    }
}

#[test]
fn secrets_are_wiped_and_never_shown() {
    fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<Secret>();
    wiped::<Share>();
    wiped::<Symbol>();
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let secret = Secret::random(&mut rng);
    let binding = binding(3, 2, 2);
    let Dealt { shares, .. } = deal(&binding, &secret, &mut rng);
    assert_eq!(format!("{secret:?}"), "Secret");
    assert_eq!(
        format!("{:?}", shares[0]),
        "Share { slot: Slot(1), columns: [Symbol(secret), Symbol(secret)] }"
    );
    let part = format!("{:?}", shares[0].prove_part(&binding));
    assert!(part.contains("part: Symbol(secret)"), "{part}");
}

/// What is in scope of a repair, an audit or a renewal cannot name V.
#[test]
fn repair_and_renewal_import_nothing_that_holds_the_secret() {
    for source in [
        include_str!("../../src/keyshare/repair.rs"),
        include_str!("../../src/keyshare/commitment.rs"),
        include_str!("../../src/keyshare/share.rs"),
        include_str!("../../src/keyshare/symbol.rs"),
        include_str!("../../src/keyshare/parameters.rs"),
        include_str!("../../src/keyshare/audit.rs"),
        include_str!("../../src/keyshare/coverage.rs"),
        include_str!("../../src/keyshare/degraded.rs"),
        include_str!("../../src/keyshare/locate.rs"),
        include_str!("../../src/keyshare/message.rs"),
        include_str!("../../src/keyshare/renewal/check.rs"),
        include_str!("../../src/keyshare/renewal/dealer.rs"),
        include_str!("../../src/keyshare/renewal/dealing.rs"),
        include_str!("../../src/keyshare/renewal/messages.rs"),
        include_str!("../../src/keyshare/renewal/terms.rs"),
        include_str!("../../src/keyshare/renewal/vouching.rs"),
    ] {
        for forbidden in ["Secret", "deal::", "read::", "keyshare::deal", "keyshare::read", "::*"] {
            assert!(!source.contains(forbidden), "{forbidden}");
        }
    }
}
