//! Compact blocks: whole again at whoever has the chain, and nothing else is.

use crate::ledger_network::{Network, OPERATOR, VALIDATOR, create_group, genesis, join, key};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine, set};
use kakera_engine::hash::hash;
use kakera_engine::ledger::{
    BlockError, Body, CertifiedBlock, Chain, Commit, CompactBlock, Genesis, Pointer, SentBlock,
    ValidatorSet,
};
use proptest::prelude::*;

/// Restores and commits; whether that did what applying the whole block does.
fn accepts(chain: &mut Chain, bytes: &[u8]) -> Result<CertifiedBlock, BlockError> {
    let (block, checked) = CompactBlock::from_bytes(bytes)?.restore(chain, None)?;
    assert_eq!(checked.header(), &block.block.header);
    chain.commit(checked, block.certificate.clone())?;
    Ok(block)
}

/// Every block after another comes back byte for byte, and leads to the same chain.
fn assert_restored(genesis: Genesis, blocks: &[Vec<u8>]) -> Chain {
    let mut chain = Chain::new(genesis).unwrap();
    for bytes in blocks {
        let block = CertifiedBlock::from_bytes(bytes).unwrap();
        let compact = CompactBlock::of(&block, chain.validators()).unwrap().to_bytes();
        assert_eq!(accepts(&mut chain, &compact), Ok(block));
    }
    chain
}

fn alone() -> Network {
    let mut network = Network::with_machines(12);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    let pointers = (1..9)
        .map(|number| {
            let pointer = network.pointer(number, &[number; 300]);
            network.say(10 + number, Body::Pointer(pointer))
        })
        .collect();
    network.seal(pointers);
    network
}

fn four() -> Consortium {
    let mut network = Consortium::with_machines(6);
    network.seal_body(FOUR[1], create_group(5, 3));
    network.down.insert(FOUR[2]);
    let pointer = Pointer::sign(&network.id(), &key(9), vec![1; 700]);
    network.seal_body(10, Body::Pointer(pointer));
    network.change(&[201, 202, 204, 205]);
    network.seal(vec![]);
    network
}

#[test]
fn a_sent_block_is_compact_where_the_sender_knows_the_validators() {
    for (genesis, blocks) in [(genesis(), alone().blocks), (genesis_of(&FOUR), four().blocks)] {
        let mut chain = Chain::new(genesis).unwrap();
        for (place, bytes) in blocks.iter().enumerate() {
            let block = CertifiedBlock::from_bytes(bytes).unwrap();
            let known = (place % 2 == 0).then(|| chain.validators().clone());
            let sent = SentBlock::of(block.clone(), known.as_ref()).to_bytes();
            let compact = matches!(SentBlock::from_bytes(&sent), Ok(SentBlock::Compact(_)));
            assert_eq!(compact, known.is_some());
            assert!(SentBlock::from_bytes(&sent[1..]).is_err());
            let head = chain.head().clone();
            let mut other = SentBlock::from_bytes(&sent).unwrap();
            match &mut other {
                SentBlock::Whole(block) => block.block.header.time += 1,
                SentBlock::Compact(compact) => {
                    *compact = CompactBlock::of(&later(&block), chain.validators()).unwrap();
                }
            }
            assert_eq!(other.append_to(&mut chain, None).unwrap_err(), BlockError::Certificate);
            assert_eq!(chain.head(), &head);
            let sent = SentBlock::from_bytes(&sent).unwrap();
            assert_eq!(sent.append_to(&mut chain, None), Ok(block));
        }
    }
}

/// The same block with another time, which nobody signed.
fn later(block: &CertifiedBlock) -> CertifiedBlock {
    let mut later = block.clone();
    later.block.header.time += 1;
    later
}

#[test]
fn blocks_of_both_versions_come_back_whole() {
    let network = alone();
    assert_eq!(assert_restored(genesis(), &network.blocks).head(), network.chain.head());
    let network = four();
    assert_eq!(assert_restored(genesis_of(&FOUR), &network.blocks).head(), network.chain.head());
}

#[test]
fn every_single_bit_of_a_compact_block_counts() {
    for (genesis, blocks) in [(genesis(), alone().blocks), (genesis_of(&FOUR), four().blocks)] {
        let mut chain = Chain::new(genesis).unwrap();
        for bytes in &blocks[..blocks.len().min(3)] {
            let block = CertifiedBlock::from_bytes(bytes).unwrap();
            let compact = CompactBlock::of(&block, chain.validators()).unwrap().to_bytes();
            for place in 0..compact.len() {
                let mut changed = compact.clone();
                changed[place] ^= 1 << (place % 8);
                assert!(accepts(&mut chain.clone(), &changed).is_err(), "byte {place}");
            }
            accepts(&mut chain, &compact).unwrap();
        }
    }
}

#[test]
fn a_block_of_one_entry_costs_little_more_than_the_entry() {
    let overhead = |bytes: &[u8], validators: &ValidatorSet| {
        let block = CertifiedBlock::from_bytes(bytes).unwrap();
        assert_eq!(block.block.entries.len(), 1);
        let entry = block.block.entries[0].entry.to_bytes().len();
        let compact = CompactBlock::of(&block, validators).unwrap().to_bytes().len();
        (compact - entry, bytes.len() - entry)
    };
    let mut single = Consortium::of(genesis_of(&FOUR[..1]));
    single.seal_body(FOUR[0], join(10, machine(10)));
    let mut all = Consortium::with_machines(6);
    all.seal_body(FOUR[1], create_group(5, 3));
    let one = ValidatorSet::from_iter([(machine(VALIDATOR), 1)]);
    assert_eq!(overhead(&alone().blocks[1], &one), (164, 509));
    assert_eq!(overhead(&single.blocks[0], &set(&FOUR[..1])), (132, 479));
    assert_eq!(overhead(&all.blocks[1], &set(&FOUR)), (325, 782));
}

#[test]
fn validators_that_do_not_exist_and_signatures_that_are_not_there_are_refused() {
    let network = four();
    let block = CertifiedBlock::from_bytes(&network.blocks[0]).unwrap();
    assert_eq!(CompactBlock::of(&block, &set(&FOUR[..3])), None);
    let mut reversed = block.clone();
    reversed.certificate.commits.reverse();
    assert_eq!(CompactBlock::of(&reversed, &set(&FOUR)), None);
    let mut twice = block.clone();
    twice.certificate.commits[1] = twice.certificate.commits[0];
    assert_eq!(CompactBlock::of(&twice, &set(&FOUR)), None);

    let chain = Chain::new(genesis_of(&FOUR)).unwrap();
    let restored = |block: &CertifiedBlock, validators: &ValidatorSet, now| {
        let compact = CompactBlock::of(block, validators).unwrap();
        compact.restore(&chain, Some(now)).map(|(block, _)| block)
    };
    let time = block.block.header.time;
    assert_eq!(restored(&block, &set(&FOUR), time), Ok(block.clone()));
    let early = restored(&block, &set(&FOUR), time - 20_000);
    assert!(matches!(early, Err(BlockError::Time { .. })), "{early:?}");

    // The fifth place of a set of five, where the chain has four.
    let last = (1..=255).find(|number| FOUR.iter().all(|four| machine(*number) > machine(*four)));
    let last = machine(last.unwrap());
    let five = FOUR.iter().map(|number| (machine(*number), 1)).chain([(last, 1)]).collect();
    let mut foreign = block.clone();
    foreign.block.header.proposer = last;
    assert_eq!(restored(&foreign, &five, time), Err(BlockError::Numbers));
    let mut foreign = block;
    let signature = foreign.certificate.commits[0].signature;
    foreign.certificate.commits.push(Commit { validator: last, signature });
    assert_eq!(restored(&foreign, &five, time), Err(BlockError::Numbers));
}

#[test]
fn the_format_is_frozen() {
    let digests = [(alone().blocks, set(&[VALIDATOR])), (four().blocks, set(&FOUR))].map(
        |(blocks, validators)| {
            let block = CertifiedBlock::from_bytes(&blocks[0]).unwrap();
            let compact = CompactBlock::of(&block, &validators).unwrap().to_bytes();
            hash("frozen", &[&compact])[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        },
    );
    assert_eq!(digests, ["146170182d12bbae", "8529b454876ef835"]);
}

proptest! {
    #[test]
    fn reading_is_total(mut bytes in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        let _ = CompactBlock::from_bytes(&bytes);
        let network = Network::with_machines(1);
        let block = CertifiedBlock::from_bytes(&network.blocks[0]).unwrap();
        let good = CompactBlock::of(&block, network.chain.validators()).unwrap().to_bytes();
        let cut = cut.index(good.len());
        bytes.splice(0..0, good[..cut].iter().copied());
        let mut chain = Chain::new(genesis()).unwrap();
        prop_assert!(bytes == good || accepts(&mut chain, &bytes).is_err());
    }
}
