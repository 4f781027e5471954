//! The single validator: when entries become final, and that crashes at any step forget nothing.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Body, CertifiedBlock, Chain, Entry, EntryError, FollowAck, Genesis, GroupCreate, NodeJoin,
    NodeRetire, NodeUpdate, Roles, Suite,
};
use kakera_engine::names::{GroupId, NodeId};
use kakera_engine::peer::{
    AckError, Place, SetupError, SubmitError, Validator, WAITING_PER_AUTHOR_MAX,
};
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const START: u64 = 1_790_000_000_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(number: u8) -> NodeId {
    node_id(&key(number))
}

const VALIDATOR: u8 = 1;
/// Operators, who submit in these tests.
const OPERATORS: [u8; 3] = [2, 3, 4];
/// Storage nodes are 10, 11, …
const STORAGE: u8 = 10;

fn genesis() -> Genesis {
    Genesis {
        suite: Suite,
        name: "clinic".into(),
        created: START,
        validators: [(id(VALIDATOR), 1)].into_iter().collect(),
        operators: OPERATORS.map(id).into(),
        code: CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 },
        key: KeyParameters::new(3, 2, 2).unwrap(),
        pointers_per_author_max: 1000,
        version: None,
        anchors: BTreeMap::new(),
    }
}

fn entry(author: u8, sequence: u64, body: Body) -> Entry {
    Entry::sign(&genesis().network_id(), &key(author), sequence, body)
}

fn join(number: u8) -> Body {
    Body::NodeJoin(NodeJoin {
        node: id(number),
        roles: Roles { storage: true, submitter: true },
        address: String::new(),
        zone: "north".into(),
        operator: id(number),
        quota_bytes: 0,
        generation: 1,
    })
}

/// An entry that can be repeated for ever.
fn update(author: u8, sequence: u64) -> Entry {
    let body = NodeUpdate {
        node: id(author),
        address: sequence.to_string(),
        quota_bytes: sequence,
        generation: 1,
    };
    entry(author, sequence, Body::NodeUpdate(body))
}

/// A validator with its disk, and followers with theirs.
struct World {
    machine: Validator,
    disk: Vec<CertifiedBlock>,
    /// Made and not yet durable.
    writing: Option<CertifiedBlock>,
    followers: BTreeMap<u8, Chain>,
    now: u64,
    rng: ChaCha20Rng,
}

impl World {
    /// With `followers` storage nodes, and one machine more that only submits: number 9.
    fn new(followers: u8, seed: u64) -> Self {
        let machine = machine(&[]).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = Self {
            machine,
            disk: Vec::new(),
            writing: None,
            followers: BTreeMap::new(),
            now: START,
            rng,
        };
        let submitter = NodeJoin {
            node: id(9),
            roles: Roles { storage: false, submitter: true },
            address: String::new(),
            zone: String::new(),
            operator: id(9),
            quota_bytes: 0,
            generation: 1,
        };
        world.submit(0, entry(VALIDATOR, 1, Body::NodeJoin(submitter)));
        for number in 0..followers {
            world.submit(0, entry(VALIDATOR, 2 + u64::from(number), join(STORAGE + number)));
        }
        world.write();
        for number in 0..followers {
            world.followers.insert(STORAGE + number, Chain::new(genesis()).unwrap());
            world.follow(STORAGE + number);
        }
        assert!(world.outcomes().iter().all(|(_, outcome)| outcome.is_ok()));
        world
    }

    fn submit(&mut self, ticket: u64, entry: Entry) {
        self.machine.handle_submit(ticket, entry);
    }

    fn make(&mut self) -> bool {
        self.now += 10;
        assert!(self.writing.is_none());
        self.writing = self.machine.poll_block(self.now, &mut self.rng);
        self.writing.is_some()
    }

    fn sync(&mut self) {
        if let Some(block) = self.writing.take() {
            self.disk.push(block);
            self.machine.handle_durable();
        }
    }

    fn write(&mut self) {
        while self.make() {
            self.sync();
        }
    }

    /// The follower takes every durable block and says so.
    fn follow(&mut self, number: u8) {
        let chain = self.followers.get_mut(&number).unwrap();
        for block in &self.disk[chain.head().header.height as usize..] {
            chain.apply(block, None).unwrap();
        }
        let ack = FollowAck::of(&chain.head().header);
        self.machine.handle_ack(id(number), &ack).unwrap();
    }

    fn restart(&mut self) {
        self.writing = None;
        self.machine = machine(&self.disk).unwrap();
    }

    fn outcomes(&mut self) -> Vec<(u64, Result<Place, SubmitError>)> {
        std::iter::from_fn(|| self.machine.poll_outcome()).collect()
    }

    /// The place of the only entry of a block.
    fn place(&self, height: u64, index: u64) -> Place {
        let [only] = &self.disk[height as usize - 1].block.entries[..] else { panic!() };
        Place { height, index, salt: only.salt }
    }

    fn final_height(&self) -> u64 {
        self.machine.chain().head().header.height
    }
}

fn machine(disk: &[CertifiedBlock]) -> Result<Validator, SetupError> {
    let mut chain = Chain::new(genesis()).unwrap();
    let (last, earlier) = match disk.split_last() {
        Some((last, earlier)) => (Some(last.clone()), earlier),
        None => (None, disk),
    };
    earlier.iter().for_each(|block| chain.apply(block, None).unwrap());
    Validator::new(key(VALIDATOR), chain, last)
}

#[test]
fn an_entry_is_final_when_two_followers_or_all_have_it() {
    for followers in 0..=3u8 {
        let mut world = World::new(followers, 1);
        let before = world.final_height();
        world.submit(7, update(9, 1));
        world.write();
        for number in 0..followers.min(2) {
            assert_eq!(world.outcomes(), [], "{followers}");
            assert_eq!(world.final_height(), before);
            world.follow(STORAGE + number);
        }
        let place = world.place(before + 1, u64::from(followers) + 1);
        assert_eq!(world.outcomes(), [(7, Ok(place))], "{followers}");
        assert_eq!(world.final_height(), before + 1);
    }
}

#[test]
fn without_entries_and_draws_no_block_is_made() {
    let mut world = World::new(3, 2);
    assert!(!world.make());
    let genesis = genesis();
    let create = GroupCreate { code: genesis.code, key: genesis.key };
    world.submit(1, entry(OPERATORS[0], 1, Body::GroupCreate(create)));
    let blocks = world.disk.len();
    for _ in 0..2 {
        world.write();
        world.follow(STORAGE);
        world.follow(STORAGE + 1);
    }
    assert_eq!(world.disk.len(), blocks + 2, "one for the entry, one for the draw");
    assert!(world.disk[blocks + 1].block.entries.is_empty());
    let group = world.machine.chain().state().group(GroupId(0)).unwrap();
    assert_eq!(group.holders.len(), 3);
    assert!(!world.make());
}

#[test]
fn entries_that_come_while_a_block_is_pending_go_into_the_next() {
    let mut world = World::new(2, 3);
    world.submit(1, update(9, 1));
    world.write();
    world.submit(2, update(9, 2));
    world.submit(3, update(9, 3));
    assert!(!world.make(), "one pending block at most");
    world.follow(STORAGE);
    world.follow(STORAGE + 1);
    world.write();
    let newest = world.disk.last().unwrap();
    assert_eq!(newest.block.entries.len(), 2);
    assert_eq!(world.outcomes().len(), 1);
}

#[test]
fn a_lost_follower_does_not_stop_the_entry_that_retires_it() {
    let mut world = World::new(2, 4);
    // Follower 11 is gone; a block is stuck.
    world.submit(1, update(9, 1));
    world.write();
    world.follow(STORAGE);
    assert_eq!(world.outcomes(), []);
    // Somebody who may not retire it changes nothing.
    let retire = |author, sequence| {
        entry(author, sequence, Body::NodeRetire(NodeRetire { node: id(STORAGE + 1) }))
    };
    world.submit(2, retire(9, 2));
    assert_eq!(world.outcomes(), [(2, Err(EntryError::NotAllowed(id(9)).into()))]);
    world.submit(3, retire(VALIDATOR, 4));
    assert!(matches!(world.outcomes()[..], [(1, Ok(_))]));
    world.write();
    world.follow(STORAGE);
    assert!(matches!(world.outcomes()[..], [(3, Ok(_))]));
}

#[test]
fn the_same_entry_again_gets_the_same_outcome() {
    let mut world = World::new(1, 5);
    world.submit(1, update(9, 1));
    world.submit(2, update(9, 1));
    world.write();
    world.submit(3, update(9, 1));
    let other = NodeUpdate { node: id(9), address: "x".into(), quota_bytes: 0, generation: 1 };
    world.submit(4, entry(9, 1, Body::NodeUpdate(other.clone())));
    assert_eq!(world.outcomes(), [(4, Err(SubmitError::SequenceTaken(1)))]);
    world.follow(STORAGE);
    let place = world.place(2, 2);
    assert_eq!(world.outcomes(), [(1, Ok(place)), (2, Ok(place)), (3, Ok(place))]);
    world.submit(5, update(9, 1));
    assert_eq!(world.outcomes(), [(5, Ok(place))]);
    world.submit(6, entry(9, 1, Body::NodeUpdate(other)));
    let late = EntryError::Sequence { expected: 2, found: 1 };
    assert_eq!(world.outcomes(), [(6, Err(late.into()))]);
}

#[test]
fn a_refused_entry_is_named_and_those_after_it_stay() {
    let mut world = World::new(0, 6);
    world.submit(1, entry(77, 1, join(5)));
    assert_eq!(world.outcomes(), [(1, Err(EntryError::NotEnrolled(id(77)).into()))]);
    world.submit(2, update(9, 2));
    let early = EntryError::Sequence { expected: 1, found: 2 };
    assert_eq!(world.outcomes(), [(2, Err(early.into()))]);
    let mut forged = update(9, 1);
    forged.signature.0[0] ^= 1;
    world.submit(3, forged);
    assert_eq!(world.outcomes(), [(3, Err(EntryError::Signature.into()))]);
    world.submit(4, update(9, 1));
    world.write();
    assert!(matches!(world.outcomes()[..], [(4, Ok(_))]));
}

#[test]
fn who_is_enrolled_by_an_entry_on_its_way_is_expected() {
    let mut world = World::new(2, 1);
    let newcomer = id(40);
    assert!(!world.machine.expects(&newcomer));
    let sequence = world.machine.chain().state().next_sequence(&id(OPERATORS[0]));
    let Body::NodeJoin(join) = join(40) else { unreachable!() };
    let join = NodeJoin { operator: id(OPERATORS[0]), ..join };
    world.submit(1, entry(OPERATORS[0], sequence, Body::NodeJoin(join)));
    assert!(world.machine.expects(&newcomer));
    assert!(!world.machine.chain().state().is_enrolled(&newcomer));
}

#[test]
fn the_queue_is_bounded() {
    let mut world = World::new(1, 7);
    world.submit(0, update(9, 1));
    world.write();
    for sequence in 2..2 + WAITING_PER_AUTHOR_MAX as u64 {
        world.submit(sequence, update(9, sequence));
    }
    assert_eq!(world.outcomes(), []);
    world.submit(9999, update(9, 2 + WAITING_PER_AUTHOR_MAX as u64));
    assert_eq!(world.outcomes(), [(9999, Err(SubmitError::AuthorFull))]);
    for _ in 0..17 {
        world.submit(7777, update(9, 1));
    }
    assert_eq!(world.outcomes().len(), 2, "16 wait for one entry");
}

#[test]
fn only_true_words_of_storage_nodes_count() {
    let mut world = World::new(2, 8);
    world.submit(1, update(9, 1));
    world.write();
    let header = world.disk.last().unwrap().block.header.clone();
    let ack = FollowAck::of(&header);
    let mut other = header.clone();
    other.time += 1;
    let fork = AckError::Fork { follower: id(STORAGE + 1), height: 2 };
    assert_eq!(world.machine.handle_ack(id(STORAGE + 1), &FollowAck::of(&other)), Err(fork));
    other.height = 9;
    let ahead = AckError::Ahead { follower: id(STORAGE + 1), height: 9, own: 2 };
    assert_eq!(world.machine.handle_ack(id(STORAGE + 1), &FollowAck::of(&other)), Err(ahead));
    // An operator's, and one node's twice.
    world.machine.handle_ack(id(OPERATORS[0]), &ack).unwrap();
    world.machine.handle_ack(id(STORAGE), &ack).unwrap();
    world.machine.handle_ack(id(STORAGE), &ack).unwrap();
    assert_eq!(world.outcomes(), []);
    world.machine.handle_ack(id(STORAGE + 1), &ack).unwrap();
    assert_eq!(world.outcomes().len(), 1);
}

#[test]
fn a_validator_must_decide_alone_and_its_pending_block_must_fit() {
    let of = |key: SigningKey, genesis: Genesis, pending| {
        Validator::new(key, Chain::new(genesis).unwrap(), pending).err()
    };
    assert_eq!(of(key(5), genesis(), None), None, "a stranger may listen");
    let mut two = genesis();
    two.validators.0.insert(id(5), 1);
    assert_eq!(of(key(5), two, None), Some(SetupError::NotAlone(id(5))));
    let mut world = World::new(0, 9);
    world.submit(1, update(9, 1));
    world.write();
    let second = world.disk[1].clone();
    assert!(matches!(of(key(VALIDATOR), genesis(), Some(second)), Some(SetupError::Pending(_))));
}

/// Faults that happened over all seeds, so that a test without faults fails.
#[derive(Default, Debug)]
struct Fired {
    crashes_before_sync: u32,
    crashes_after_sync: u32,
    acks_lost: u32,
    folders_lost: u32,
    resubmissions: u32,
}

/// What must hold whatever happens.
#[derive(Default)]
struct Promises {
    /// Every block that was ever durable anywhere, by height.
    hashes: BTreeMap<u64, [u8; 32]>,
    /// What submitters were told.
    places: BTreeMap<(u8, u64), Place>,
}

impl Promises {
    fn check(&mut self, world: &World) {
        for block in &world.disk {
            let header = &block.block.header;
            let known = self.hashes.entry(header.height).or_insert(header.hash());
            assert_eq!(*known, header.hash(), "two blocks at height {}", header.height);
        }
    }

    fn told(&mut self, world: &World, entry: (u8, u64), place: Place) {
        let holders = world.followers.values().map(|chain| chain.head().header.height);
        let holders = holders.filter(|height| *height >= place.height).count();
        assert!(holders >= world.followers.len().min(2), "final on {holders} followers");
        assert!(world.disk.len() as u64 >= place.height);
        let known = *self.places.entry(entry).or_insert(place);
        assert_eq!(known, place, "one entry, two places");
    }

    fn kept(&self, disk: &[CertifiedBlock]) {
        let mut standing = BTreeMap::new();
        let mut index = 0;
        for block in disk {
            for salted in &block.block.entries {
                let name = (salted.entry.author, salted.entry.sequence);
                let height = block.block.header.height;
                let place = Place { height, index, salt: salted.salt };
                assert_eq!(standing.insert(name, place), None, "an entry twice");
                index += 1;
            }
        }
        for ((author, sequence), place) in &self.places {
            assert_eq!(standing.get(&(id(*author), *sequence)), Some(place));
        }
    }
}

fn crash_run(seed: u64, fired: &mut Fired) -> [u8; 32] {
    let followers = (seed % 4) as u8;
    let mut world = World::new(followers, seed);
    let mut dice = ChaCha20Rng::seed_from_u64(seed ^ 0xd1ce);
    let mut promises = Promises::default();
    let (mut next, mut ticket) = (BTreeMap::from([(9u8, 1u64)]), 0);
    for number in 0..followers {
        next.insert(STORAGE + number, 1);
    }
    let mut tickets: BTreeMap<u64, (u8, u64)> = BTreeMap::new();
    let mut sent: BTreeSet<(u8, u64)> = BTreeSet::new();
    let mut acks: Vec<(u8, FollowAck)> = Vec::new();
    let authors: Vec<u8> = next.keys().copied().collect();
    for _ in 0..300 {
        let pick = |dice: &mut ChaCha20Rng, most: usize| dice.next_u32() as usize % most;
        match pick(&mut dice, 16) {
            0..=3 => {
                let author = authors[pick(&mut dice, authors.len())];
                let sequence = next[&author];
                if !tickets.values().any(|name| *name == (author, sequence)) {
                    ticket += 1;
                    fired.resubmissions += u32::from(!sent.insert((author, sequence)));
                    tickets.insert(ticket, (author, sequence));
                    world.submit(ticket, update(author, sequence));
                }
            }
            4..=6 if world.writing.is_none() => drop(world.make()),
            7..=9 => world.sync(),
            10..=12 if followers > 0 => {
                let number = STORAGE + pick(&mut dice, followers.into()) as u8;
                let chain = world.followers.get_mut(&number).unwrap();
                if let Some(block) = world.disk.get(chain.head().header.height as usize) {
                    chain.apply(block, None).unwrap();
                }
                acks.push((number, FollowAck::of(&chain.head().header)));
            }
            13 if !acks.is_empty() => {
                let (number, ack) = acks.swap_remove(pick(&mut dice, acks.len()));
                if pick(&mut dice, 4) == 0 {
                    fired.acks_lost += 1;
                } else {
                    world.machine.handle_ack(id(number), &ack).unwrap();
                }
            }
            14 => {
                // Killed, before or after the block being written reached the disk.
                if let Some(block) = world.writing.take() {
                    if pick(&mut dice, 2) == 0 {
                        fired.crashes_after_sync += 1;
                        world.disk.push(block);
                    } else {
                        fired.crashes_before_sync += 1;
                    }
                }
                world.restart();
                tickets.clear();
            }
            15 if followers > 0 && pick(&mut dice, 4) == 0 => {
                // The folder is lost: the longest chain of enough followers replaces it. One that
                // is not asked may be the longest.
                let mut asked: Vec<&Chain> = world.followers.values().collect();
                if followers > 1 {
                    asked.swap_remove(pick(&mut dice, asked.len()));
                }
                let height =
                    asked.iter().map(|chain| chain.head().header.height).max().unwrap_or(0);
                let everywhere =
                    world.followers.values().all(|chain| chain.head().header.height <= height);
                if everywhere {
                    fired.folders_lost += 1;
                    promises.hashes.retain(|known, _| *known <= height);
                    world.disk.truncate(height as usize);
                    world.restart();
                    tickets.clear();
                }
                for (name, place) in &promises.places {
                    assert!(place.height <= height, "{name:?} is on enough followers");
                }
            }
            _ => {}
        }
        promises.check(&world);
        for (ticket, outcome) in world.outcomes() {
            let Some(name) = tickets.remove(&ticket) else { continue };
            match outcome {
                Ok(place) => {
                    promises.told(&world, name, place);
                    next.insert(name.0, name.1 + 1);
                }
                // It became final before a crash, unknown to the submitter.
                Err(SubmitError::Entry(EntryError::Sequence { expected, found })) => {
                    assert_eq!(expected, found + 1);
                    next.insert(name.0, expected);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    // When all is well again, everything becomes final.
    world.sync();
    for _ in 0..3 {
        world.write();
        (0..followers).for_each(|number| world.follow(STORAGE + number));
    }
    assert_eq!(world.final_height(), world.disk.len() as u64);
    promises.check(&world);
    promises.kept(&world.disk);
    world.machine.chain().head().header.hash()
}

#[test]
fn crashes_at_any_step_forget_nothing_and_fork_nothing() {
    let mut fired = Fired::default();
    for seed in 0..60 {
        println!("seed {seed}");
        crash_run(seed, &mut fired);
    }
    println!("{fired:?}");
    let Fired { crashes_before_sync, crashes_after_sync, acks_lost, folders_lost, resubmissions } =
        fired;
    let counts = [crashes_before_sync, crashes_after_sync, acks_lost, folders_lost, resubmissions];
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn a_seed_repeats_its_run_exactly() {
    let run = || crash_run(7, &mut Fired::default());
    assert_eq!(run(), run());
}
