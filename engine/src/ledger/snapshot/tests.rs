//! Any state, cut in any way, comes together again, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::code::{CodeKind, CodeParameters};
use crate::keyshare::KeyParameters;
use crate::ledger::certificate::Certificate;
use crate::ledger::genesis::{Genesis, ValidatorSet};
use crate::names::NodeId;
use crate::signature::node_id;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn genesis() -> Genesis {
    Genesis {
        suite: Suite,
        name: "snapshots".into(),
        created: 0,
        validators: ValidatorSet::from_iter([(node_id(&key()), 1)]),
        operators: BTreeSet::new(),
        code: CodeParameters { kind: CodeKind::Mbr, n: 5, k: 2, d: 3 },
        key: KeyParameters::new(5, 3, 4).expect("a code"),
        pointers_per_author_max: 1,
        version: None,
        anchors: BTreeMap::new(),
    }
}

/// A head that names this state, after no entries.
fn base_of(map: &AuthenticatedMap) -> SnapshotBase {
    let mut head = genesis().head();
    (head.header.height, head.header.state_root) = (1, map.root());
    signed(SnapshotBase { suite: Suite, head, peaks: Vec::new() })
}

fn signed(mut base: SnapshotBase) -> SnapshotBase {
    base.head.certificate = Certificate::solo(&base.head.header, &key());
    base
}

fn assembly_of(map: &AuthenticatedMap) -> SnapshotAssembly {
    SnapshotAssembly::new(genesis(), base_of(map), Vec::new()).expect("our own base")
}

fn map_of(values: &BTreeMap<Vec<u8>, Vec<u8>>) -> AuthenticatedMap {
    let mut map = AuthenticatedMap::default();
    values.iter().for_each(|(key, value)| map.write(key, value));
    map
}

fn bytes_of(map: &AuthenticatedMap, len_max: usize) -> Vec<Vec<u8>> {
    chunks_of(map, len_max).map(|chunk| chunk.to_bytes()).collect()
}

fn values() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let (key, value) = (prop::collection::vec(any::<u8>(), 1..4), 0usize..200);
    let filled = (key, value).prop_map(|(key, length)| (key.clone(), [key[0]].repeat(length)));
    prop::collection::btree_map(filled.clone().prop_map(|(key, _)| key), filled, 0..60)
        .prop_map(|map| map.into_iter().map(|(key, (_, value))| (key, value)).collect())
}

fn reads_alike(map: &AuthenticatedMap, other: &AuthenticatedMap, key: &[u8]) {
    assert_eq!(map.read(key), other.read(key));
    assert_eq!(map.prove(key), other.prove(key));
}

proptest! {
    #[test]
    fn any_state_cut_into_chunks_of_any_size_comes_together(
        values in values(), len_max in 0usize..3000, order in any::<prop::sample::Index>(),
        stride in 1usize..60,
    ) {
        let map = map_of(&values);
        let chunks = bytes_of(&map, len_max);
        let leaves = chunks.iter().map(|bytes| bytes.len() > 3).filter(|full| *full).count();
        prop_assert_eq!(leaves > 0, !values.is_empty());
        for (bytes, chunk) in chunks.iter().zip(chunks_of(&map, len_max)) {
            prop_assert!(bytes.len() <= len_max.max(300 + HASHES_MAX), "{}", bytes.len());
            prop_assert_eq!(StateChunk::from_bytes(bytes), Ok(chunk));
        }

        let mut assembly = assembly_of(&map);
        let count = chunks.len();
        let stride = (1..=stride).rev().find(|stride| coprime(*stride, count)).unwrap_or(1);
        for step in 0..count {
            prop_assert!(!assembly.is_complete());
            let place = (order.index(count) + step * stride) % count;
            prop_assert_eq!(assembly.add(&chunks[place]), Ok(()));
            prop_assert_eq!(assembly.add(&chunks[place]), Err(ChunkError::Overlap));
        }
        let chain = assembly.finish().expect("every chunk is there");
        let gathered = chain.state().map();
        prop_assert_eq!(gathered.root(), map.root());
        values.keys().for_each(|key| reads_alike(gathered, &map, key));
        reads_alike(gathered, &map, b"never written");
        let mut further = (map.clone(), gathered.clone());
        further.0.write(b"later", b"value");
        further.1.write(b"later", b"value");
        prop_assert_eq!(further.0.root(), further.1.root());
    }

    #[test]
    fn requests_lead_to_every_chunk_and_sources_may_cut_differently(
        values in values(), sizes in prop::collection::vec(0usize..3000, 3), silent in 0usize..3,
    ) {
        let map = map_of(&values);
        let mut assembly = assembly_of(&map);
        let sources: Vec<NodeId> = (0..3).map(|number| NodeId([number; 32])).collect();
        let mut rounds = 0;
        while !assembly.is_complete() {
            rounds += 1;
            prop_assert!(rounds <= 1 + values.len(), "no progress");
            for (place, source) in sources.iter().enumerate() {
                let Some(within) = assembly.poll_request(*source) else { continue };
                if place == silent {
                    assembly.handle_silence(source);
                    continue;
                }
                let chunk = StateChunk::cut(&map, &within, sizes[place]).expect("it exists");
                prop_assert_eq!(assembly.handle_chunk(*source, &chunk.to_bytes()), Ok(()));
            }
        }
        prop_assert!(sources.iter().all(|source| assembly.poll_request(*source).is_none()));
        prop_assert!(assembly.faulty().is_empty());
        prop_assert_eq!(assembly.finish().expect("complete").state().map().root(), map.root());
    }

    #[test]
    fn a_damaged_chunk_is_refused_by_name(
        values in values(), len_max in 0usize..3000, pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let map = map_of(&values);
        let chunks = bytes_of(&map, len_max);
        let mut bytes = chunks[pick.index(chunks.len())].clone();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let mut assembly = assembly_of(&map);
        let sender = NodeId([7; 32]);
        let refused = assembly.handle_chunk(sender, &bytes).expect_err("damaged");
        prop_assert_eq!(refused.sender, sender);
        prop_assert_eq!(assembly.faulty().get(&sender), Some(&refused.error));
        prop_assert_eq!(assembly.poll_request(sender), None);
        prop_assert_eq!(assembly.poll_request(NodeId([8; 32])), Some(Prefix::ROOT));
    }

    #[test]
    fn a_chunk_with_leaves_left_out_added_swapped_or_moved_is_refused(
        values in values().prop_filter("two leaves", |values| values.len() > 2),
        len_max in 300usize..3000, pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), change in 0u8..8,
    ) {
        let map = map_of(&values);
        let chunks: Vec<StateChunk> = chunks_of(&map, len_max).collect();
        let place = pick.index(chunks.len());
        let mut chunk = chunks[place].clone();
        let leaf = at.index(chunk.leaves.len());
        match change {
            0 => { chunk.leaves.remove(leaf); }
            1 => { let twice = chunk.leaves[leaf].clone(); chunk.leaves.insert(leaf, twice); }
            2 => chunk.leaves[leaf].value.push(0),
            3 => chunk.leaves.reverse(),
            4 => chunk.siblings = chunk.siblings.split_off(1.min(chunk.siblings.len())),
            5 => chunk.siblings.push(PathHash([1; 32])),
            6 => chunk.siblings.iter_mut().for_each(|hash| hash.0[0] ^= 1),
            _ => chunk.leaves.extend(chunks[(place + 1) % chunks.len()].leaves.iter().cloned()),
        }
        prop_assume!(chunk != chunks[place]);
        let mut assembly = assembly_of(&map);
        let refused = assembly.add(&chunk.to_bytes()).expect_err("changed");
        prop_assert!(matches!(refused, ChunkError::Order | ChunkError::Root), "{}", refused);
    }

    #[test]
    fn chunks_that_overlap_are_refused_and_blame_nobody(
        values in values().prop_filter("several chunks", |values| values.len() > 8),
        pick in any::<prop::sample::Index>(),
    ) {
        let map = map_of(&values);
        let (small, whole) = (bytes_of(&map, 600), bytes_of(&map, CHUNK_LEN_MAX));
        prop_assume!(small.len() > 1 && whole.len() == 1);
        let part = &small[pick.index(small.len())];
        let sender = NodeId([7; 32]);
        let overlap = Err(RefusedChunk { sender, error: ChunkError::Overlap });
        for (first, second) in [(part, &whole[0]), (&whole[0], part)] {
            let mut assembly = assembly_of(&map);
            prop_assert_eq!(assembly.handle_chunk(sender, first), Ok(()));
            prop_assert_eq!(assembly.handle_chunk(sender, second), overlap.clone());
            prop_assert!(assembly.faulty().is_empty());
        }
    }

    #[test]
    fn without_one_chunk_there_is_no_chain(
        values in values(), len_max in 0usize..1000, pick in any::<prop::sample::Index>(),
    ) {
        let map = map_of(&values);
        let mut chunks = bytes_of(&map, len_max);
        let missing = chunks.remove(pick.index(chunks.len()));
        let mut assembly = assembly_of(&map);
        chunks.iter().for_each(|chunk| assert_eq!(assembly.add(chunk), Ok(())));
        prop_assert!(!assembly.is_complete());
        let within = assembly.poll_request(NodeId([7; 32])).expect("one chunk is missing");
        let last = StateChunk::cut(&map, &within, len_max).expect("it exists");
        prop_assert_eq!(last.to_bytes(), missing);
        prop_assert!(assembly.finish().is_none());
    }
}

/// 256 of them may stand above a single leaf.
const HASHES_MAX: usize = 34 * 256;

fn coprime(one: usize, other: usize) -> bool {
    if other == 0 { one == 1 } else { coprime(other, one % other) }
}

#[test]
fn a_base_of_another_network_or_log_is_refused() {
    let map = map_of(&BTreeMap::from([(vec![1], vec![2])]));
    let base = base_of(&map);
    let mut foreign = base.clone();
    foreign.head.header.network = NetworkId([9; 32]);
    let refused = |base| SnapshotAssembly::new(genesis(), signed(base), Vec::new()).err();
    assert_eq!(refused(foreign), Some(BaseError::Network(NetworkId([9; 32]))));
    let mut longer = base.clone();
    longer.head.header.log_size = 1;
    assert_eq!(refused(longer.clone()), Some(BaseError::Log));
    longer.peaks.push(PathHash([4; 32]));
    assert_eq!(refused(longer.clone()), Some(BaseError::Log));
    longer.head.header.log_root = [4; 32];
    assert_eq!(refused(longer), None);
    assert_eq!(refused(base), None);
}

#[test]
fn an_empty_state_is_one_empty_chunk() {
    let map = AuthenticatedMap::default();
    let chunks = bytes_of(&map, CHUNK_LEN_MAX);
    assert_eq!(chunks, [vec![0x82, 0x80, 0x80]]);
    let mut assembly = assembly_of(&map);
    assert_eq!(assembly.add(&chunks[0]), Ok(()));
    assert_eq!(assembly.finish().expect("complete").state().map().root(), [0; 32]);
    let mut other = assembly_of(&map_of(&BTreeMap::from([(vec![1], vec![2])])));
    assert_eq!(other.add(&chunks[0]), Err(ChunkError::Root));
}
