//! Identities end to end without a network: owners, identity nodes, guessers and thieves.

use std::collections::{BTreeMap, BTreeSet};

use kakera_engine::identity::{
    Deposit, DepositError, Kept, KeptError, KeyCommitment, Login, LoginError, NodeAnswer, Opened,
    PublicRecord, Registered, Renewal, RenewalTarget, Sharing, WINDOW_MS_MAX, WrapTerms, Wrapped,
    accept_dealings, deal, identity_threshold, wrap,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_engine::wire::{ListedIdentity, Operation, Response, canonical};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

const NETWORK: NetworkId = NetworkId([5; 32]);
const HANDLE: [u8; 32] = [6; 32];
const RIGHT: &str = "unglazed pumice stroller";
const NOW: u64 = 1_700_000_000_000;
const OWNERS_MACHINE: NodeId = NodeId([0xaa; 32]);

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn nodes(numbers: impl IntoIterator<Item = u8>) -> Vec<NodeId> {
    numbers.into_iter().map(|number| NodeId([number; 32])).collect()
}

fn root() -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([0x42; 32]))
}

/// An identity at its nodes.
struct World {
    registered: Registered,
    kept: BTreeMap<NodeId, Kept>,
}

fn wrapped(version: u64, passphrase: &str, seed: u64) -> Wrapped {
    let hardening = Hardening::SmallMachine;
    let terms = WrapTerms { network: NETWORK, handle: HANDLE, version, hardening };
    wrap(&terms, &root(), passphrase, b"machine", &mut rng(seed)).unwrap()
}

fn deposits(wrapped: &Wrapped, holders: &[NodeId], seed: u64) -> Vec<(NodeId, Deposit)> {
    let version = wrapped.registered.version;
    let sharing = Sharing::by_owner(Renewal::by_owner(HANDLE, version, 0, holders.to_vec()));
    let threshold = identity_threshold(holders.len());
    let shares = deal(&wrapped.key, threshold, holders, &mut rng(seed));
    let deposit = |(node, share)| {
        let (wrapping, sharing) = (wrapped.wrapping.clone(), sharing.clone());
        (node, Deposit { wrapping, sharing, share })
    };
    shares.into_iter().map(deposit).collect()
}

fn accept(
    before: Option<Kept>,
    deposit: Deposit,
    registered: &Registered,
    node: &NodeId,
) -> Result<Kept, DepositError> {
    Kept::accept(before, deposit, registered, Some(registered.key), &NETWORK, node)
}

impl World {
    fn new(count: u8) -> Self {
        let wrapped = wrapped(1, RIGHT, 1);
        let registered = wrapped.registered;
        let deposits = deposits(&wrapped, &nodes(1..=count), 2);
        let kept = deposits
            .into_iter()
            .map(|(node, deposit)| (node, accept(None, deposit, &registered, &node).unwrap()))
            .collect();
        Self { registered, kept }
    }

    fn answers(&self, login: &Login, from: &[NodeId]) -> BTreeMap<NodeId, NodeAnswer> {
        let answer = |node: &NodeId| {
            let kept = &self.kept[node];
            let shares = kept.evaluate(login.blinded(), &mut rng(3));
            (*node, NodeAnswer { wrapping: kept.wrapping().clone(), shares })
        };
        from.iter().map(answer).collect()
    }

    fn open(&self, passphrase: &str, from: &[NodeId]) -> Opened {
        let login = Login::new(&HANDLE, passphrase, &mut rng(4)).unwrap();
        login.open(&NETWORK, &self.registered, &self.answers(&login, from))
    }

    fn all(&self) -> Vec<NodeId> {
        self.kept.keys().copied().collect()
    }
}

fn error(opened: Opened) -> LoginError {
    opened.root.map(|_| ()).unwrap_err()
}

#[test]
fn the_right_passphrase_opens_with_any_t_nodes_and_a_wrong_one_is_told_from_lost_nodes() {
    let world = World::new(4);
    for away in world.all() {
        let there: Vec<NodeId> = world.all().into_iter().filter(|node| *node != away).collect();
        let opened = world.open(RIGHT, &there);
        let root = opened.root.unwrap();
        assert_eq!(root.expose(), &[0x42; 32]);
        assert_eq!(opened.wrapping.unwrap().attachment(&root).unwrap()[..], *b"machine");
        assert!(opened.liars.is_empty());
    }
    assert_eq!(error(world.open("unglazed pumice", &world.all())), LoginError::WrongPassphrase);
    let few = LoginError::TooFew { right: 2, needed: 3 };
    assert_eq!(error(world.open(RIGHT, &world.all()[..2])), few);
    assert_eq!(error(world.open("unglazed pumice", &world.all()[..2])), few);
    assert_eq!(error(world.open(RIGHT, &[])), LoginError::TooFew { right: 0, needed: 0 });
}

#[test]
fn lying_nodes_are_named_and_do_not_keep_the_owner_out() {
    let world = World::new(4);
    let login = Login::new(&HANDLE, RIGHT, &mut rng(4)).unwrap();
    let mut answers = world.answers(&login, &world.all());
    // One answers another question, which its proof does not fit.
    let other = Login::new(&HANDLE, "other", &mut rng(5)).unwrap();
    let other_answers = world.answers(&other, &world.all());
    let first = world.all()[0];
    answers.insert(first, other_answers[&first].clone());
    let opened = login.open(&NETWORK, &world.registered, &answers);
    assert!(opened.root.is_ok());
    assert_eq!(opened.liars, [first]);
    // One hands out an envelope of its own making.
    let forged = wrapped(1, "of the liar", 9).wrapping;
    answers.get_mut(&first).unwrap().wrapping = forged;
    let opened = login.open(&NETWORK, &world.registered, &answers);
    assert!(opened.root.is_ok());
    assert_eq!(opened.liars, [first]);
    // Two of them are one too many: nothing opens, and nobody says that the passphrase is wrong.
    let second = world.all()[1];
    answers.insert(second, other_answers[&second].clone());
    let opened = login.open(&NETWORK, &world.registered, &answers);
    assert_eq!(opened.liars, [first, second]);
    assert_eq!(error(opened), LoginError::TooFew { right: 2, needed: 3 });
}

/// "1000 wrong passphrases: limited as specified, the right one still works for its owner after the
/// window", on virtual time and on what the nodes have on their disks.
#[test]
fn a_thousand_wrong_passphrases_are_limited_and_the_owner_comes_in_after_the_window() {
    let mut world = World::new(4);
    let (mut now, mut tried, mut windows) = (NOW, 0, 0);
    let guess = |world: &mut World, machine: NodeId, now: u64| -> Result<(), u64> {
        let mut refused = Vec::new();
        for kept in world.kept.values_mut() {
            refused.extend(kept.take_try(&machine, now).err().map(|locked| locked.until));
            // The count is what survives a restart.
            *kept = Kept::from_bytes(&kept.to_bytes()).unwrap();
        }
        if refused.len() > 1 { Err(refused[0]) } else { Ok(()) }
    };
    while tried < 1000 {
        let machine = NodeId([tried as u8; 32]);
        match guess(&mut world, machine, now) {
            Ok(()) => tried += 1,
            Err(until) => (now, windows) = (until, windows + 1),
        }
    }
    assert_eq!(windows, 1000 / 15, "15 tries a window at each node: 20 * 3 / 4");
    while guess(&mut world, NodeId([1; 32]), now).is_ok() {}
    let until = guess(&mut world, OWNERS_MACHINE, now).unwrap_err();
    assert!(until - now <= WINDOW_MS_MAX, "nobody is locked out for ever");
    guess(&mut world, OWNERS_MACHINE, until).unwrap();
    assert!(world.open(RIGHT, &world.all()).root.is_ok());
    // From now on the owner's machine has tries of its own.
    world.kept.values_mut().for_each(|kept| kept.confirm(&OWNERS_MACHINE));
    while guess(&mut world, NodeId([1; 32]), until).is_ok() {}
    guess(&mut world, OWNERS_MACHINE, until).unwrap();
}

/// A thief's dictionary, tried against what was on the disks of some nodes and on the ledger.
fn dictionary_attack(
    disks: &[(NodeId, Vec<u8>)],
    registered: &Registered,
) -> Result<&'static str, LoginError> {
    let stolen = disks.iter().map(|(node, bytes)| (*node, Kept::from_bytes(bytes).unwrap()));
    let world = World { registered: *registered, kept: stolen.collect() };
    let mut last = LoginError::WrongPassphrase;
    for guess in ["123456", "kakera", RIGHT, "correct horse"] {
        match world.open(guess, &world.all()).root {
            Ok(_) => return Ok(guess),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// With t disks a dictionary finds the passphrase, so the test can fail; with t - 1 it cannot even
/// tell a right guess from a wrong one.
#[test]
fn the_disks_of_fewer_than_t_nodes_allow_no_offline_guess() {
    let world = World::new(4);
    let disks: Vec<(NodeId, Vec<u8>)> =
        world.kept.iter().map(|(node, kept)| (*node, kept.to_bytes().to_vec())).collect();
    assert_eq!(dictionary_attack(&disks[..3], &world.registered), Ok(RIGHT));
    assert_eq!(dictionary_attack(&disks[1..], &world.registered), Ok(RIGHT));
    let few = Err(LoginError::TooFew { right: 2, needed: 3 });
    assert_eq!(dictionary_attack(&disks[..2], &world.registered), few);
    assert_eq!(dictionary_attack(&disks[2..], &world.registered), few);
}

/// Fewer than t shares fit every key (`sharing::tests`); the only other thing on disks and ledger that
/// depends on the key is a hash of the public key, of which no logarithm can be taken.
#[test]
fn no_disk_has_the_public_key() {
    let wrapped = wrapped(1, RIGHT, 1);
    let world = World::new(4);
    let public = wrapped.key.public().unwrap().to_bytes();
    for kept in world.kept.values() {
        let bytes = kept.to_bytes();
        assert!(!bytes.windows(32).any(|window| window == public));
    }
    assert_eq!(
        world.registered.record.commitment,
        KeyCommitment::of(&wrapped.key.public().unwrap())
    );
}

#[test]
fn another_passphrase_takes_effect_with_the_ledger_and_ends_the_old_one() {
    let mut world = World::new(4);
    let next = wrapped(2, "mauve gravel antics", 7);
    for (node, deposit) in deposits(&next, &nodes(1..=4), 8) {
        let before = world.kept.remove(&node);
        let kept = accept(before, deposit, &world.registered, &node).unwrap();
        world.kept.insert(node, Kept::from_bytes(&kept.to_bytes()).unwrap());
    }
    // A crash of the owner here changes nothing.
    assert!(world.open(RIGHT, &world.all()).root.is_ok());
    world.registered = next.registered;
    assert!(world.kept.values_mut().all(|kept| kept.settle(&next.registered, &NETWORK)));
    assert!(world.kept.values_mut().all(|kept| !kept.settle(&next.registered, &NETWORK)));
    assert!(world.open("mauve gravel antics", &world.all()).root.is_ok());
    assert_eq!(error(world.open(RIGHT, &world.all())), LoginError::WrongPassphrase);
}

#[test]
fn deposits_that_do_not_fit_are_refused() {
    let first = wrapped(1, RIGHT, 1);
    let registered = first.registered;
    let node = NodeId([1; 32]);
    let fresh = |wrapped: &Wrapped| deposits(wrapped, &nodes(1..=4), 2).remove(0).1;
    let refused = |deposit, prover| {
        Kept::accept(None, deposit, &registered, prover, &NETWORK, &node).unwrap_err()
    };
    assert_eq!(refused(fresh(&first), None), DepositError::NotOwner);
    assert_eq!(refused(fresh(&first), Some([9; 32])), DepositError::NotOwner);
    let owner = Some(registered.key);
    let third = wrapped(3, RIGHT, 1);
    let version = DepositError::Version { expected: 1, found: 3 };
    assert_eq!(refused(fresh(&third), owner), version);
    // Of this version, with another key than the ledger's.
    assert_eq!(refused(fresh(&wrapped(1, RIGHT, 55)), owner), DepositError::Unfitting);
    let mut other_handle = fresh(&first);
    other_handle.wrapping.handle = [7; 32];
    assert_eq!(refused(other_handle, owner), DepositError::Unfitting);
    let mut other_envelope = fresh(&first);
    other_envelope.wrapping.envelope[0] ^= 1;
    assert_eq!(refused(other_envelope, owner), DepositError::Unfitting);
    let mut of_others = fresh(&first);
    of_others.sharing = Sharing::by_owner(Renewal::by_owner(HANDLE, 1, 0, nodes(2..=5)));
    assert_eq!(refused(of_others, owner), DepositError::Unfitting);
    let mut low_threshold = fresh(&first);
    let mut terms = low_threshold.sharing.terms.clone();
    terms.threshold = 1;
    low_threshold.sharing = Sharing::by_owner(terms);
    assert_eq!(refused(low_threshold, owner), DepositError::Unfitting);
}

/// Validators change one after the other until none of the first is left; the owner notices nothing.
#[test]
fn identity_nodes_change_until_none_of_the_first_is_left() {
    let mut world = World::new(4);
    let sets: [[u8; 4]; 4] = [[2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6, 7], [5, 6, 7, 8]];
    for (epoch, set) in sets.into_iter().enumerate() {
        let target =
            RenewalTarget { handle: HANDLE, version: 1, epoch: epoch as u64, holders: nodes(set) };
        renew(&mut world, &target);
        // Until the old shares are forgotten, both sharings open.
        assert!(world.open(RIGHT, &world.all()).root.is_ok());
        settle(&mut world, &target);
        assert_eq!(world.all(), target.holders);
        assert!(world.kept.values().all(|kept| kept.sharings().count() == 1));
    }
    assert!(world.open(RIGHT, &world.all()[1..]).root.is_ok());
    assert_eq!(error(world.open("pumice", &world.all())), LoginError::WrongPassphrase);
}

fn listed(world: &World) -> BTreeMap<NodeId, Vec<Sharing>> {
    let list = |(node, kept): (&NodeId, &Kept)| (*node, kept.sharings().cloned().collect());
    world.kept.iter().map(list).collect()
}

/// Every holder gets its share by its own plan.
fn renew(world: &mut World, target: &RenewalTarget) {
    for holder in &target.holders {
        let plan = target.plan(holder, &listed(world));
        let Some(renewal) = plan.wanted.first() else { continue };
        let dealings: Vec<_> = renewal
            .dealers
            .iter()
            .map(|dealer| world.kept[dealer].deal(renewal, &dealer.0, holder).unwrap())
            .collect();
        let commitment = &world.registered.record.commitment;
        let renewed = accept_dealings(renewal, &dealings, holder, commitment).unwrap();
        let wrapping = world.kept[&renewal.dealers[0]].wrapping().clone();
        let before = world.kept.remove(holder);
        let kept = Kept::with_renewed(before, wrapping, renewal, renewed).unwrap();
        world.kept.insert(*holder, Kept::from_bytes(&kept.to_bytes()).unwrap());
    }
}

fn settle(world: &mut World, target: &RenewalTarget) {
    let listed = listed(world);
    world.kept.retain(|node, _| target.holders.contains(node));
    for (node, kept) in &mut world.kept {
        let plan = target.plan(node, &listed);
        assert_eq!((plan.settled.len(), plan.wanted.len()), (1, 0));
        kept.forget_others(&plan.settled);
    }
}

#[test]
fn nothing_is_forgotten_for_a_sharing_that_is_not_here() {
    let mut world = World::new(1);
    let kept = world.kept.values_mut().next().unwrap();
    assert!(!kept.forget_others(&BTreeSet::new()));
    assert_eq!(kept.sharings().count(), 1);
}

#[test]
fn a_damaged_file_is_told_from_one_of_another_time() {
    let world = World::new(1);
    let bytes = world.kept.values().next().unwrap().to_bytes();
    assert!(Kept::from_bytes(&bytes).is_ok());
    for place in [0, 1, 40, bytes.len() - 1] {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1;
        assert!(matches!(Kept::from_bytes(&changed), Err(KeptError::Damaged(_))));
    }
    assert!(matches!(Kept::from_bytes(&bytes[..10]), Err(KeptError::Damaged(_))));
}

/// Frozen: a changed value is another format (spec/identity.md §8).
#[test]
fn formats_are_frozen() {
    let world = World::new(4);
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let record = world.registered.record.to_bytes();
    assert_eq!(PublicRecord::from_bytes(&record).unwrap(), world.registered.record);
    assert_eq!(hash(&record), "31ad52adbcaf3f6f");
    assert_eq!(hash(&world.kept.values().next().unwrap().to_bytes()), "8851e9467f8c47a1");
}

/// Frozen as the formats are (spec/wire.md).
#[test]
fn messages_are_frozen() {
    let (first, holders) = (wrapped(1, RIGHT, 1), nodes(1..=4));
    let deposit = deposits(&first, &holders, 2).remove(0).1;
    let world = World::new(4);
    let kept = &world.kept[&holders[0]];
    let login = Login::new(&HANDLE, RIGHT, &mut rng(4)).unwrap();
    let target = RenewalTarget { handle: HANDLE, version: 1, epoch: 1, holders: holders.clone() };
    let renewal = target.renewal(deposit.sharing.id, holders[..3].to_vec());
    let dealing = kept.deal(&renewal, &[1; 32], &holders[1]).unwrap();
    let shares = kept.evaluate(login.blinded(), &mut rng(3));
    let wrapping = kept.wrapping().clone();
    let answer = NodeAnswer { wrapping: wrapping.clone(), shares };
    let listed = ListedIdentity { handle: HANDLE, sharings: vec![deposit.sharing.clone()] };
    let operations = [
        Operation::Deposit(Box::new(deposit)),
        Operation::Evaluate { handle: HANDLE, blinded: Box::new(*login.blinded()) },
        Operation::Confirm { handle: HANDLE },
        Operation::Recall { handle: HANDLE },
        Operation::Identities { after: Some(HANDLE) },
        Operation::DealAgain(Box::new(renewal)),
    ];
    let responses = [
        Response::Deposited,
        Response::Evaluated(Box::new(answer)),
        Response::Confirmed,
        Response::Recalled(Box::new(wrapping.clone())),
        Response::Identities { more: true },
        Response::Dealt { wrapping: Box::new(wrapping), dealing: Box::new(dealing) },
        Response::LockedOut { until: NOW },
    ];
    let mut bytes: Vec<u8> = operations.iter().flat_map(canonical::encode).collect();
    bytes.extend(responses.iter().flat_map(canonical::encode));
    bytes.extend(canonical::encode(&listed));
    assert_eq!(blake3::hash(&bytes).to_hex()[..16], *"ed60670fbe6b2615");
}
