//! Whole objects through every code: decode from any k, repair from any d or k, ranges, traffic and
//! frozen formats.

use kakera_engine::code::{Code, CodeError, CodeParameters, GROUP_LEN, HelperAnswer};
use kakera_engine::names::Slot;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// Every code under test, with the BLAKE3 hash of the fragments of a fixed object.
const CODES: [(&str, &str); 30] = [
    ("rs(3,2,2)", "7545e9af613d7e1012650cef8433ec86b94108e3b623e8a6b646896ecf54b48e"),
    ("rs(4,2,2)", "f638ca34f6d5f4339ebc8e473d7cec83e0e90cb9e20cb98f8f39c658b3f90e25"),
    ("rs(5,3,3)", "613287aa9bb3b35d3df1b6f675fd83283c39f0e9826acb4c45e93e767d4ebf47"),
    ("rs(10,5,5)", "6d20c6c3fa737e9213471d7e028e1b8560836a50ccfee0496e7f05321d78312e"),
    ("rs(20,8,8)", "f251cb8cc0e2ec58aed1c7728f37666d008701baf9b8c319a13f36c2105e7ee1"),
    ("rs(20,10,10)", "dafb49ccab1b0b35e478ce6cc6083db06e6c7a95e705ffc287db7984c53354df"),
    ("mbr(3,2,2)", "51fe2c04a5de54be34697826dc1c1d846b5d7cd8c771c04f117f37e85f460f91"),
    ("mbr(4,2,3)", "62d27462917b49062011fbd3c27e0b65e7d965337a27104d8fda38688b252137"),
    ("mbr(5,3,4)", "1ddf3ca13e9e1ef66d72b69229eb44a99c5eac9b06d9716bd1dc422bfbc4112f"),
    ("mbr(10,5,7)", "a45fd495b4eeb95389317686aebf0007ab72f25bbf2b3641d89fc5fc49d814e0"),
    ("mbr(10,5,8)", "2529c2fd79c8fcc9949bf321ad6c40501c525b36a94bcc823f73ba033a054460"),
    ("mbr(10,5,9)", "488772e7a5729b648153baa1d83886eaa05781def78ac9ffd67982336f443de5"),
    ("mbr(20,8,14)", "d1cc9f5bc165ad5c6b9ebf4076ef4a06772a1fa1cbf1e0cb65b67d21ba47a410"),
    ("mbr(20,10,18)", "82b9512e5df0b5579db5ca2c8dcacbe0fce12226e565a404b4f2d5a996f1eb74"),
    ("mbr(20,10,19)", "d3407963b457315105bf5124c21e0e70a64fbaa7b6b816a37305d3e0f7f533eb"),
    ("msr(3,2,2)", "b2ffb721847176f015926e9ea672b63edae03478c2a1a4f806249d4c0055b149"),
    ("msr(4,2,3)", "984ffaf4db2f2fabe6b69215ba1c0530fd6408f91b04b9c449c7b8e4b04a543f"),
    ("msr(5,3,4)", "034518c14ddbb82ba7287702ac701ef952b44a27af2a515aab0319f7ecef282b"),
    ("msr(10,5,8)", "bd3027748190e06433aba92be11bb5743b93e659e4e23b37961c00fe04537f88"),
    ("msr(10,5,9)", "69aa23d6cd2295125775a4cd000f6a3924d060dbcc53decd6a622b0754e10a4f"),
    ("msr(20,8,14)", "539e497e4962e455dc87f1d87a57c52e445f72b4c41d7052418310c487021f2f"),
    ("msr(20,10,18)", "f08f9cfc0a8f8a9f6d0a1f4e2891e138ef4d93bfea2b19d98bc05dbe23a820a5"),
    ("msr(20,10,19)", "dbcb0d529522e7c0732307cb6c63b78545cfa1aac76e0da02771feeee413ea24"),
    ("clay(3,2,2)", "7545e9af613d7e1012650cef8433ec86b94108e3b623e8a6b646896ecf54b48e"),
    ("clay(4,2,3)", "07ace41a17f5db23344faa63ee1c32fd484e5461457195a8b358d914c1d531b6"),
    ("clay(5,3,4)", "fc29641c7a7a84348f82bcefa73f2ebf6161c72242b0e3644f656052602803a7"),
    ("clay(6,4,5)", "11086cdaebe22cda57e63831a94c58eea487560fb03323841dff411937ae8d81"),
    ("clay(9,6,8)", "f8f88d273e2c7bc9a354bbbb60585acff20a78e9bb1f28a855cc8f585b2b83d1"),
    ("clay(10,5,9)", "bdc29ec97ea2d8d24a2c498a983c0866c9dd5dc126e5d79ae71b57b7e391d278"),
    ("clay(14,10,13)", "81990ce993011e2dcb3c618d3c06b354f413b8550914c4f52202cf334e747b39"),
];

fn code(text: &str) -> Code {
    text.parse::<CodeParameters>().unwrap().build().unwrap()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn parts<'a>(slots: &[Slot], bytes: &'a [Vec<u8>]) -> Vec<(Slot, &'a [u8])> {
    slots.iter().map(|&slot| (slot, &bytes[slot.index()][..])).collect()
}

/// A code, all its slots in random order, and an object.
fn case() -> impl Strategy<Value = (&'static str, Vec<Slot>, Vec<u8>)> {
    let length = prop_oneof![0usize..300, 15_000usize..40_000, 80_000usize..500_000];
    (select(&CODES[..]), length, any::<u64>()).prop_flat_map(|((text, _), length, seed)| {
        let slots: Vec<Slot> = Slot::all(code(text).parameters().n).collect();
        let shuffled = subsequence(slots.clone(), slots.len()).prop_shuffle();
        (Just(text), shuffled, Just(noise(seed, length)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_k_fragments_give_the_object((text, slots, data) in case()) {
        let code = code(text);
        let layout = code.layout(data.len() as u64);
        let fragments = code.encode(&data);
        prop_assert_eq!(fragments.len(), usize::from(code.parameters().n));
        prop_assert!(fragments.iter().all(|f| f.len() as u64 == layout.fragment_len()));
        let read = parts(&slots[..code.parameters().k.into()], &fragments);
        prop_assert_eq!(code.decode(&layout, &read).unwrap(), &data[..]);
        for &slot in &slots[..2] {
            let fragment = code.encode_slot(&layout, &data, slot).unwrap();
            prop_assert_eq!(&fragment, &fragments[slot.index()]);
        }
    }

    #[test]
    fn any_d_helpers_restore_a_fragment((text, slots, data) in case()) {
        let code = code(text);
        let layout = code.layout(data.len() as u64);
        let fragments = code.encode(&data);
        let (failed, helpers) = (slots[0], &slots[1..=code.parameters().d.into()]);
        let symbols: Vec<Vec<u8>> = fragments
            .iter()
            .map(|fragment| code.helper_symbols(&layout, failed, fragment).unwrap())
            .collect();
        prop_assert!(symbols.iter().all(|s| s.len() as u64 == layout.symbols_len()));
        let repaired = code.repair(&layout, failed, &parts(helpers, &symbols)).unwrap();
        prop_assert_eq!(&repaired, &fragments[failed.index()]);
    }

    #[test]
    fn whoever_survives_restores_a_fragment(
        (text, slots, data) in case(),
        survivors in any::<Index>(),
    ) {
        let code = code(text);
        let [n, k, d] =
            [code.parameters().n, code.parameters().k, code.parameters().d].map(usize::from);
        let layout = code.layout(data.len() as u64);
        let fragments = code.encode(&data);
        let (failed, survivors) = (slots[0], &slots[1..=k + survivors.index(n - k)]);
        let plan = code.plan_repair(failed, survivors).unwrap();
        let answers: Vec<Vec<u8>> = fragments
            .iter()
            .map(|fragment| match plan.answer() {
                HelperAnswer::Symbols => code.helper_symbols(&layout, failed, fragment).unwrap(),
                HelperAnswer::Fragment => fragment.clone(),
            })
            .collect();
        prop_assert_eq!(plan.answer() == HelperAnswer::Symbols, survivors.len() >= d);
        let answers = parts(plan.helpers(), &answers);
        let bytes: usize = answers.iter().map(|(_, bytes)| bytes.len()).sum();
        prop_assert_eq!(bytes as u64, plan.traffic_len(&layout));
        let repaired = code.repair(&layout, failed, &answers).unwrap();
        prop_assert_eq!(&repaired, &fragments[failed.index()]);
    }

    #[test]
    fn a_range_needs_only_its_groups(
        (text, slots, data) in case(),
        [one, other] in any::<[Index; 2]>(),
    ) {
        let code = code(text);
        let layout = code.layout(data.len() as u64);
        let (one, other) = (one.index(data.len() + 1), other.index(data.len() + 1));
        let bytes = one.min(other)..one.max(other);
        let groups = layout.groups_covering(bytes.start as u64..bytes.end as u64);
        prop_assert_eq!(groups.is_empty(), bytes.is_empty());
        let piece = |fragment: &Vec<u8>| {
            let start = layout.piece_range(groups.start).start as usize;
            let end = layout.piece_range(groups.end).start as usize;
            fragment[start..end].to_vec()
        };
        let pieces: Vec<Vec<u8>> = code.encode(&data).iter().map(piece).collect();
        let read = parts(&slots[..code.parameters().k.into()], &pieces);
        let decoded = code.decode_groups(&layout, groups.clone(), &read).unwrap();
        let first = layout.message_range(groups.start).start as usize;
        prop_assert_eq!(&decoded, &data[first..first + decoded.len()]);
        if !bytes.is_empty() {
            prop_assert!(first <= bytes.start && bytes.end <= first + decoded.len());
        }
    }
}

#[test]
fn rs_is_the_code_of_reed_solomon_erasure() {
    let more = ["rs(12,8,8)", "rs(30,20,20)", "rs(42,20,20)"];
    for text in CODES[..6].iter().map(|&(text, _)| text).chain(more) {
        let code = code(text);
        let [n, k] = [code.parameters().n, code.parameters().k].map(usize::from);
        let mut fragments = code.encode(&noise(7, 20_000 * k));
        let oracle = ReedSolomon::new(k, n - k).unwrap();
        assert!(oracle.verify(&fragments).unwrap(), "{text}");
        fragments[n - 1][0] ^= 1;
        assert!(!oracle.verify(&fragments).unwrap(), "{text}");
    }
}

/// Bytes stored on all slots and bytes sent for one repair, in thousandths of the object.
fn costs(text: &str) -> (usize, usize) {
    let code = code(text);
    let [n, d] = [code.parameters().n, code.parameters().d].map(usize::from);
    // One full group, so that nothing is rounded up.
    let width = GROUP_LEN as usize / code.alpha();
    let data = noise(3, code.message_len() * width);
    let layout = code.layout(data.len() as u64);
    let fragments = code.encode(&data);
    let stored: usize = fragments.iter().map(Vec::len).sum();
    assert_eq!(stored, n * code.alpha() * width);
    let failed = Slot::new(1).unwrap();
    let symbols = fragments[1..=d]
        .iter()
        .map(|fragment| code.helper_symbols(&layout, failed, fragment).unwrap().len());
    let sent: usize = symbols.sum();
    assert_eq!(sent, d * code.beta() * width);
    [stored, sent].map(|bytes| (1000 * bytes + data.len() / 2) / data.len()).into()
}

/// The table of the design: MBR stores n·2d / (k(2d-k+1)) and sends as much as a node stores; MSR
/// stores n/k and sends d / (k(d-k+1)).
#[test]
fn storage_and_repair_meet_the_bounds() {
    assert_eq!(costs("rs(10,5,5)"), (2000, 1000));
    assert_eq!(costs("mbr(10,5,9)"), (2571, 257));
    assert_eq!(costs("mbr(10,5,7)"), (2800, 280));
    assert_eq!(costs("mbr(14,10,13)"), (2141, 153));
    assert_eq!(costs("mbr(14,10,12)"), (2240, 160));
    assert_eq!(costs("mbr(20,10,19)"), (2621, 131));
    assert_eq!(costs("mbr(20,10,15)"), (2857, 143));
    assert_eq!(costs("mbr(20,8,14)"), (3333, 167));
    assert_eq!(costs("mbr(50,20,49)"), (3101, 62));
    assert_eq!(costs("msr(10,5,9)"), (2000, 360));
    assert_eq!(costs("msr(20,10,19)"), (2000, 190));
    assert_eq!(costs("msr(20,8,14)"), (2500, 250));
    assert_eq!(costs("clay(14,10,13)"), (1400, 325));
    assert_eq!(costs("clay(10,5,9)"), (2000, 360));
    assert_eq!(costs("clay(20,10,19)"), (2000, 190));
    assert_eq!(costs("clay(50,20,49)"), (2500, 82));
}

/// A fragment of every slot, so that each kind of section is the failed one's.
#[test]
fn clay_repairs_every_slot_from_all_others() {
    for text in ["clay(4,2,3)", "clay(5,3,4)", "clay(9,6,8)", "clay(14,10,13)"] {
        let code = code(text);
        let data = noise(5, 2 * code.message_len() + 1);
        let layout = code.layout(data.len() as u64);
        let fragments = code.encode(&data);
        for failed in Slot::all(code.parameters().n) {
            let symbols: Vec<Vec<u8>> = fragments
                .iter()
                .map(|fragment| code.helper_symbols(&layout, failed, fragment).unwrap())
                .collect();
            let others: Vec<Slot> =
                Slot::all(code.parameters().n).filter(|&slot| slot != failed).collect();
            let repaired = code.repair(&layout, failed, &parts(&others, &symbols)).unwrap();
            assert_eq!(repaired, fragments[failed.index()], "{text} slot {failed}");
        }
    }
}

#[test]
fn a_plan_says_what_to_ask_of_whom() {
    let code = code("clay(14,10,13)");
    let slots: Vec<Slot> = Slot::all(14).collect();
    // one full group of 163,840 bytes: each of 13 sends a quarter of its 16 KiB
    let layout = code.layout(163_840);
    let plan = code.plan_repair(slots[4], &[&slots[..4], &slots[5..]].concat()).unwrap();
    assert_eq!((plan.answer(), plan.helpers().len()), (HelperAnswer::Symbols, 13));
    assert_eq!(plan.traffic_len(&layout), 13 * 4096);
    // one of them less, and there are no helpers but k whole fragments
    let plan = code.plan_repair(slots[4], &slots[5..]).unwrap_err();
    assert_eq!(plan, CodeError::Survivors { parameters: code.parameters(), given: 9 });
    let plan = code.plan_repair(slots[1], &slots[2..]).unwrap();
    assert_eq!((plan.answer(), plan.helpers()), (HelperAnswer::Fragment, &slots[2..12]));
    assert_eq!(plan.traffic_len(&layout), 10 * 16_384);
}

/// A changed hash is a changed format.
#[test]
fn fragments_are_frozen() {
    let data: Vec<u8> = (0..300_001u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let digest = |text: &'static str| {
        let mut hasher = blake3::Hasher::new();
        for fragment in code(text).encode(&data) {
            hasher.update(&fragment);
        }
        (text, hasher.finalize().to_hex().to_string())
    };
    assert_eq!(
        CODES.map(|(text, _)| digest(text)),
        CODES.map(|(text, frozen)| (text, frozen.to_owned()))
    );
}

/// A group is 16 KiB of every fragment; only the last may be shorter, and it has no fill.
#[test]
fn layout_of_an_object_of_three_groups() {
    let code = code("mbr(10,5,7)");
    assert_eq!((code.alpha(), code.beta(), code.message_len()), (7, 1, 25));
    let layout = code.layout(2 * 58_500 + 26);
    assert_eq!(layout.group_count(), 3);
    assert_eq!([0, 1, 2, 3].map(|group| layout.group_width(group)), [2340, 2340, 2, 0]);
    assert_eq!(layout.message_range(1), 58_500..117_000);
    assert_eq!(layout.message_range(2), 117_000..117_026);
    assert_eq!(layout.piece_range(1), 16_384..32_768);
    assert_eq!(layout.piece_range(2), 32_768..32_782);
    assert_eq!(layout.piece_range(3), 32_782..32_782);
    assert_eq!((layout.fragment_len(), layout.symbols_len()), (32_782, 4682));
    assert_eq!(layout.groups_covering(58_499..58_501), 0..2);
    assert_eq!(layout.groups_covering(117_026..u64::MAX), 0..0);
    assert_eq!(layout.groups_covering(0..u64::MAX), 0..3);
    let exact = code.layout(58_500);
    assert_eq!((exact.group_count(), exact.fragment_len()), (1, 7 * 2340));
    let empty = code.layout(0);
    assert_eq!((empty.group_count(), empty.fragment_len(), empty.symbols_len()), (0, 0, 0));
}

/// Lengths come from descriptors that others wrote.
#[test]
fn layouts_of_absurd_lengths_are_bounded() {
    for (text, _) in CODES {
        let layout = code(text).layout(u64::MAX);
        assert_eq!(layout.group_count(), u32::MAX);
        assert_eq!(layout.piece_range(u32::MAX).start, layout.fragment_len());
        assert_eq!(layout.message_range(u32::MAX).end, layout.coded_len());
        assert_eq!(layout.groups_covering(0..u64::MAX), 0..u32::MAX);
    }
}
