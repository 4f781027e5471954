//! Wrong input to a code is a typed error, never a panic and never wrong bytes.

use std::ops::Range;

use kakera_engine::code::{Code, CodeError, CodeParameters};
use kakera_engine::names::Slot;

const LENGTH: usize = 1000;

fn code(text: &str) -> Code {
    text.parse::<CodeParameters>().unwrap().build().unwrap()
}

fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

/// The first `count` slots, with the bytes of the same place.
fn parts(count: u8, bytes: &[Vec<u8>]) -> Vec<(Slot, &[u8])> {
    Slot::all(count).map(|slot| (slot, &bytes[slot.index()][..])).collect()
}

#[test]
fn wrong_parts_do_not_decode() {
    let code = code("mbr(10,5,7)");
    let layout = code.layout(LENGTH as u64);
    let fragments = code.encode(&[7; LENGTH]);
    let read = parts(5, &fragments);
    let decode = |parts: &[(Slot, &[u8])]| code.decode(&layout, parts);
    let with_first = |part| decode(&[&[part], &read[1..]].concat());
    assert_eq!(decode(&read), Ok(vec![7; LENGTH]));

    assert_eq!(decode(&[]), Err(CodeError::Count { needed: 5, given: 0 }));
    assert_eq!(decode(&read[..4]), Err(CodeError::Count { needed: 5, given: 4 }));
    assert_eq!(decode(&parts(6, &fragments)), Err(CodeError::Count { needed: 5, given: 6 }));
    assert_eq!(with_first(read[1]), Err(CodeError::Duplicate(slot(2))));
    let foreign = CodeError::Slot { slot: slot(11), n: 10 };
    assert_eq!(with_first((slot(11), &fragments[0])), Err(foreign));
    for bytes in [&fragments[0][1..], &[], &[0; 281]] {
        let refusal = CodeError::PartLength { slot: slot(1), needed: 280, given: bytes.len() };
        assert_eq!(with_first((slot(1), bytes)), Err(refusal));
    }
}

#[test]
fn groups_beyond_the_object_do_not_decode() {
    let code = code("mbr(10,5,7)");
    let layout = code.layout(LENGTH as u64);
    let fragments = code.encode(&[7; LENGTH]);
    let decode = |groups| code.decode_groups(&layout, groups, &parts(5, &fragments));
    let reversed = Range { start: 1, end: 0 };
    for groups in [0..2, 1..2, 2..2, 0..u32::MAX, reversed] {
        let refusal = CodeError::Groups { groups: groups.clone(), count: 1 };
        assert_eq!(decode(groups), Err(refusal));
    }
    let nothing = vec![Vec::new(); 5];
    assert_eq!(code.decode_groups(&layout, 1..1, &parts(5, &nothing)), Ok(Vec::new()));
}

#[test]
fn wrong_symbols_do_not_repair() {
    for (text, needed) in [("rs(10,5,5)", 5), ("mbr(10,5,7)", 7), ("msr(10,5,8)", 8)] {
        let code = code(text);
        let layout = code.layout(LENGTH as u64);
        let symbols = vec![vec![0; layout.symbols_len() as usize]; 10];
        let repair = |failed, count| code.repair(&layout, failed, &parts(count, &symbols));
        for count in [0, needed - 1, needed + 1, 10] {
            let given = count.into();
            let refusal = CodeError::Helpers { parameters: code.parameters(), given };
            assert_eq!(repair(slot(9), count), Err(refusal));
        }
        assert_eq!(repair(slot(3), needed), Err(CodeError::SelfRepair(slot(3))));
        assert_eq!(repair(slot(11), needed), Err(CodeError::Slot { slot: slot(11), n: 10 }));
        let mut twice = parts(needed, &symbols);
        twice[0].0 = slot(2);
        assert_eq!(code.repair(&layout, slot(9), &twice), Err(CodeError::Duplicate(slot(2))));
        let mut short = parts(needed, &symbols);
        short[1].1 = &[];
        assert!(matches!(
            code.repair(&layout, slot(9), &short),
            Err(CodeError::PartLength { given: 0, .. })
        ));
    }
}

#[test]
fn wrong_fragments_do_not_repair() {
    let code = code("mbr(10,5,7)");
    let layout = code.layout(LENGTH as u64);
    let fragments = code.encode(&[7; LENGTH]);
    let repair = |parts: &[(Slot, &[u8])]| code.repair(&layout, slot(9), parts);
    let read = parts(5, &fragments);
    assert_eq!(repair(&read).as_ref(), Ok(&fragments[8]));
    let with_first = |part| [&[part], &read[1..]].concat();
    let short = with_first((slot(1), &fragments[0][1..]));
    let refusal = CodeError::PartLength { slot: slot(1), needed: 280, given: 279 };
    assert_eq!(repair(&short), Err(refusal));
    let itself = with_first((slot(9), &fragments[8]));
    assert_eq!(repair(&itself), Err(CodeError::SelfRepair(slot(9))));
}

/// What the caller is told when a code wants more helpers than there are.
#[test]
fn a_shortage_of_helpers_names_the_way_out() {
    let message = |text, count: u8| {
        let code = code(text);
        let layout = code.layout(LENGTH as u64);
        let symbols = vec![vec![0; layout.symbols_len() as usize]; count.into()];
        code.repair(&layout, slot(14), &parts(count, &symbols)).unwrap_err().to_string()
    };
    assert_eq!(
        message("clay(14,10,13)", 12),
        "12 answers to repair a fragment of clay(14,10,13), where all the other 13 slots give \
         symbols; try: the whole fragments of 10 slots"
    );
    assert_eq!(
        message("mbr(14,10,12)", 11),
        "11 answers to repair a fragment of mbr(14,10,12), where exactly 12 helpers give symbols; \
         try: the whole fragments of 10 slots"
    );
    let code = code("clay(14,10,13)");
    let left: Vec<Slot> = Slot::all(9).collect();
    let plan = |failed, survivors: &[Slot]| code.plan_repair(slot(failed), survivors);
    assert_eq!(
        plan(14, &left).unwrap_err().to_string(),
        "9 slots are left of clay(14,10,13); try: bring back 1"
    );
    assert_eq!(plan(9, &left), Err(CodeError::SelfRepair(slot(9))));
    assert_eq!(plan(15, &left), Err(CodeError::Slot { slot: slot(15), n: 14 }));
    assert_eq!(plan(14, &[slot(3), slot(3)]), Err(CodeError::Duplicate(slot(3))));
}

#[test]
fn wrong_objects_and_slots_are_refused() {
    let code = code("mbr(10,5,7)");
    let layout = code.layout(LENGTH as u64);
    let fragment = [0; 280];
    let foreign = CodeError::Slot { slot: slot(11), n: 10 };
    assert_eq!(code.helper_symbols(&layout, slot(11), &fragment), Err(foreign.clone()));
    assert_eq!(code.encode_slot(&layout, &[0; LENGTH], slot(11)), Err(foreign));
    assert_eq!(
        code.helper_symbols(&layout, slot(1), &fragment[1..]),
        Err(CodeError::Length { needed: 280, given: 279 })
    );
    assert_eq!(
        code.encode_slot(&layout, &[0; LENGTH + 1], slot(1)),
        Err(CodeError::Length { needed: 1000, given: 1001 })
    );
}

#[test]
fn a_layout_of_another_code_is_refused() {
    let refusal = || CodeError::ForeignLayout("mbr(10,5,7)".parse().unwrap());
    let foreign = code("rs(10,5,5)").layout(LENGTH as u64);
    let code = code("mbr(10,5,7)");
    assert_eq!(code.decode(&foreign, &[]), Err(refusal()));
    assert_eq!(code.repair(&foreign, slot(1), &[]), Err(refusal()));
    assert_eq!(code.helper_symbols(&foreign, slot(1), &[]), Err(refusal()));
    assert_eq!(code.encode_slot(&foreign, &[], slot(1)), Err(refusal()));
}
