//! The standard's own vectors of 256 bits in one group, shares made by another implementation
//! (python-shamir-mnemonic 0.3.0), and what must be refused.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Vectors 19 and 22 of SLIP-0039, made with the passphrase "TREZOR".
const ONE_OF_ONE: &str = "theory painting academic academic armed sweater year military elder \
     discuss acne wildlife boring employer fused large satoshi bundle carbon diagnose anatomy \
     hamster leaves tracks paces beyond phantom capital marvel lips brave detect luck";
const TWO_OF_THREE: [&str; 2] = [
    "humidity disease academic always aluminum jewelry energy woman receiver strategy amuse \
     duckling lying evidence network walnut tactics forget hairy rebound impulse brother survive \
     clothes stadium mailman rival ocean reward venture always armed unwrap",
    "humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage \
     benefit public busy prepare sharp friar change work slow purchase ruler again tricycle involve \
     viral wireless mixture anatomy desert cargo upgrade",
];
/// Vector 21: a padding that is not zero, with a right checksum.
const PADDED: &str = "theory painting academic academic campus sweater year military elder discuss \
     acne wildlife boring employer fused large satoshi bundle carbon diagnose anatomy hamster leaves \
     tracks paces beyond phantom capital marvel lips facility obtain sister";
/// Of several groups.
const GROUPED: &str = "wildlife deal beard romp alcohol space mild usual clothes union nuclear \
     testify course research heat listen task location thank hospital slice smell failure fawn \
     helpful priest ambition average recover lecture process dough stadium";
/// By the other implementation, extendable, without a passphrase, of the bytes 0 to 31.
const EXTENDABLE: [&str; 3] = [
    "teacher apart academic acid auction spider daughter miracle elevator facility aviation ajar \
     argue formal analysis voice smirk voter express insect lair inside aviation program deploy \
     coding daughter express verdict platform webcam bolt tenant",
    "teacher apart academic agency arcade typical ladle pistol alive fitness employer density \
     priority valid intend agency hospital source render ladle galaxy dilemma presence fused \
     snapshot element physics retailer axle group undergo plastic tofu",
    "teacher apart academic always anxiety theory mama theater junction galaxy often advance wolf \
     estimate voting blimp drug window rhythm anatomy dream veteran false chew viral plains club \
     priest lips desert stilt fantasy slush",
];
/// As above, three of these are needed, of 32 bytes 0x77.
const THREE_OF_FOUR: [&str; 4] = [
    "modify type academic acne amuse loan ancestor viral reject saver satoshi prevent western sled \
     display saver organize dough pitch sunlight staff election pickup romantic average craft pecan \
     quiet provide educate miracle downtown buyer",
    "modify type academic agree avoid scared shaft capture faint research budget favorite chest \
     award express superior enjoy spider laden paper dynamic august filter makeup should genre \
     birthday justice smug birthday echo volume decrease",
    "modify type academic amazing argue spend carve item pink breathe rumor swimming strike pencil \
     stilt stadium burden viral purple capital beyond emission enemy jump laundry express voice \
     shrimp force grief equip ounce reunion",
    "modify type academic arcade anxiety multiple switch moisture editor gasoline briefing closet \
     adapt gross program smart rumor budget guard golden wine ambition railroad expand replace \
     already enforce adorn divorce deal often fancy method",
];

fn root(byte: u8) -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([byte; 32]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_vectors_of_the_standard_open() {
    let open = |shares: &[&str]| hex(&*open_with(shares, b"TREZOR").unwrap());
    assert_eq!(
        open(&[ONE_OF_ONE]),
        "989baf9dcaad5b10ca33dfd8cc75e42477025dce88ae83e75a230086a0e00e92"
    );
    assert_eq!(
        open(&TWO_OF_THREE),
        "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae"
    );
}

#[test]
fn shares_of_another_implementation_open() {
    let expected: Vec<u8> = (0..32).collect();
    for pair in [[0, 1], [0, 2], [2, 1]] {
        let shares = pair.map(|place| EXTENDABLE[place]);
        assert_eq!(open_kit(&shares).unwrap().expose()[..], expected);
    }
    assert_eq!(open_kit(&EXTENDABLE).unwrap().expose()[..], expected);
    assert_eq!(open_kit(&THREE_OF_FOUR[1..]).unwrap().expose(), &[0x77; 32]);
}

#[test]
fn what_is_no_kit_is_told_apart() {
    let refused = |shares: &[&str]| open_kit(shares).unwrap_err();
    assert_eq!(refused(&[]), KitError::TooFew { needed: 1, given: 0 });
    let twice = [EXTENDABLE[0], EXTENDABLE[0]];
    assert_eq!(refused(&twice), KitError::TooFew { needed: 2, given: 1 });
    assert_eq!(refused(&[EXTENDABLE[0], THREE_OF_FOUR[0]]), KitError::Mixed);
    assert_eq!(refused(&["duckling enlarge academic"]), KitError::Length(3));
    assert_eq!(refused(&[&ONE_OF_ONE.replace("luck", "lucky")]), KitError::Word("lucky".into()));
    assert_eq!(refused(&[&ONE_OF_ONE.replace("luck", "lunar")]), KitError::Checksum);
    assert_eq!(
        refused(&[&ONE_OF_ONE.replace("theory painting", "painting theory")]),
        KitError::Checksum
    );
    assert_eq!(refused(&[PADDED]), KitError::Kind);
    assert_eq!(refused(&[GROUPED]), KitError::Kind);
}

#[test]
fn four_letters_of_a_word_and_capitals_are_enough() {
    let shares = [0, 1].map(|place| {
        let cut = EXTENDABLE[place].split_whitespace().map(|word| {
            let mut word = word.to_ascii_uppercase();
            word.truncate(4);
            word
        });
        cut.collect::<Vec<_>>().join("  ")
    });
    assert!(open_kit(&shares).is_ok());
}

/// The words fit the checksum, the value is another's: two shares of another secret with the same
/// header.
#[test]
fn a_forged_share_is_noticed() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let header = Header { identifier: 5, extendable: true, exponent: 0, member_threshold: 2 };
    let values = |byte, rng: &mut ChaCha20Rng| split(&Zeroizing::new([byte; 32]), 2, 3, rng);
    let (own, forged) = (values(1, &mut rng), values(2, &mut rng));
    let share = |index: u8, values: &[Value]| header.words(index, &values[usize::from(index)]);
    assert!(open_kit(&[share(0, &own), share(1, &own), share(2, &own)]).is_ok());
    let shares = [share(0, &own), share(1, &forged)];
    assert_eq!(open_kit(&shares).unwrap_err(), KitError::Forged);
    let shares = [share(0, &own), share(1, &own), share(2, &forged)];
    assert_eq!(open_kit(&shares).unwrap_err(), KitError::Forged);
    let shares = [share(0, &own), share(1, &own), share(1, &forged)];
    assert_eq!(open_kit(&shares).unwrap_err(), KitError::Forged);
}

#[test]
fn impossible_numbers_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for (threshold, shares) in [(0, 0), (0, 1), (1, 2), (3, 2), (2, 17), (2, 1)] {
        assert_eq!(make_kit(&root(1), threshold, shares, &mut rng), Err(KitError::Numbers));
    }
    assert_eq!(make_kit(&root(1), 1, 1, &mut rng).unwrap().len(), 1);
}

#[test]
fn the_word_list_is_the_standards() {
    let words: Vec<&str> = LIST.lines().collect();
    assert_eq!(words.len(), 1024);
    let mut starts: Vec<&str> = words.iter().map(|word| &word[..4]).collect();
    starts.dedup();
    assert!(starts.len() == 1024 && words.is_sorted());
}

#[test]
fn multiplication_has_inverses() {
    assert_eq!(multiply(0x57, 0x83), 0xc1);
    assert!((1..=255).all(|value| multiply(value, invert(value)) == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn any_t_shares_of_a_kit_open_it(
        (threshold, shares) in (2u8..6).prop_flat_map(|shares| (2..=shares, Just(shares))),
        byte: u8,
        seed: u64,
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let kit = make_kit(&root(byte), threshold, shares, &mut rng).unwrap();
        let last = &kit[usize::from(shares - threshold)..];
        let opened = open_kit(last).unwrap();
        prop_assert_eq!(opened.expose(), &[byte; 32]);
        let (needed, given) = (usize::from(threshold), usize::from(threshold) - 1);
        prop_assert_eq!(open_kit(&last[1..]).unwrap_err(), KitError::TooFew { needed, given });
    }
}
