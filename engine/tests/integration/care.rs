//! What the network does about its machines: the ledger's rules of version 3, and the machines that
//! watch and keep slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ledger_network::{create_group, join};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine, upgrade};
use kakera_engine::ledger::{
    Body, EntryError, Genesis, Group, NodeDrain, NodeLost, NodeRetire, SlotFilled, State,
};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::{
    Alarm, COMPARISONS_MAX, Custody, CustodyAction, CustodySettings, Watch, WatchAction,
    WatchSettings,
};
use kakera_engine::policy::suspicion::{LadderTimes, Standing};

const GROUP: GroupId = GroupId(0);
const FIRST: u8 = 10;

/// Machines 10 and up, of which five hold the slots of a group.
fn network(machines: u8, version: u32) -> Consortium {
    let genesis = Genesis { version: Some(version), ..genesis_of(&FOUR) };
    let mut network = Consortium::of(genesis);
    let joins = (FIRST..FIRST + machines)
        .map(|number| network.say(FOUR[0], join(number, machine(number))))
        .collect();
    network.seal(joins);
    network.seal_body(FOUR[0], create_group(5, 3));
    network.seal(Vec::new());
    network
}

fn state(network: &Consortium) -> &State {
    network.chain.state()
}

/// The number of the machine in a slot.
fn holder(network: &Consortium, slot: Slot) -> u8 {
    let node = state(network).group(GROUP).unwrap().holder(slot).unwrap().node;
    (FIRST..).find(|number| machine(*number) == node).unwrap()
}

fn lose(network: &mut Consortium, number: u8) {
    let generation = state(network).node(&machine(number)).unwrap().join.generation;
    let exclusions = state(network).exclusions();
    let lost = Body::NodeLost(NodeLost { node: machine(number), generation, exclusions });
    network.vote(&FOUR[..3], &lost);
}

fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

#[test]
fn a_newcomer_fills_its_slot_and_says_so_once() {
    let mut network = network(7, 3);
    let first = slot(1);
    let lost = holder(&network, first);
    lose(&mut network, lost);
    assert!(state(&network).node(&machine(lost)).unwrap().lost.is_some());
    network.seal(Vec::new());
    let seat = *state(&network).group(GROUP).unwrap().holder(first).unwrap();
    let newcomer = holder(&network, first);
    assert!(seat.is_filling() && newcomer != lost);

    let filled = |since| Body::SlotFilled(SlotFilled { group: GROUP, slot: first, since });
    let stranger = holder(&network, slot(2));
    let refused = network.refusal(stranger, filled(seat.since));
    assert_eq!(refused, EntryError::NotAllowed(machine(stranger)));
    let not_filling = EntryError::NotFilling { group: GROUP, slot: first };
    assert_eq!(network.refusal(newcomer, filled(seat.since - 1)), not_filling);
    network.seal_body(newcomer, filled(seat.since));
    assert!(!state(&network).group(GROUP).unwrap().holder(first).unwrap().is_filling());
    assert_eq!(network.refusal(newcomer, filled(seat.since)), not_filling);
}

#[test]
fn before_version_3_none_of_it_counts() {
    let mut network = network(7, 2);
    let lost = holder(&network, slot(1));
    lose(&mut network, lost);
    network.seal(Vec::new());
    let seat = *state(&network).group(GROUP).unwrap().holder(slot(1)).unwrap();
    assert!(!seat.is_filling() && state(&network).node(&machine(lost)).unwrap().lost.is_none());
    let before = state(&network).clone();
    let newcomer = holder(&network, slot(1));
    let filled = SlotFilled { group: GROUP, slot: slot(1), since: seat.since };
    network.seal_body(newcomer, Body::SlotFilled(filled));
    network.seal_body(FOUR[0], Body::NodeDrain(NodeDrain { node: machine(newcomer) }));
    assert_eq!(before.group(GROUP), state(&network).group(GROUP));
    assert!(!state(&network).node(&machine(newcomer)).unwrap().is_draining());
}

#[test]
fn a_lost_machine_that_is_back_in_time_keeps_its_slot() {
    // Five machines, five slots: nobody can take over.
    let mut network = network(5, 3);
    let lost = holder(&network, slot(2));
    lose(&mut network, lost);
    network.seal(Vec::new());
    assert_eq!(holder(&network, slot(2)), lost);
    let Body::NodeJoin(again) = join(lost, machine(lost)) else { unreachable!() };
    let again = kakera_engine::ledger::NodeJoin { generation: 2, ..again };
    network.seal_body(FOUR[1], Body::NodeJoin(again));
    network.seal_body(FOUR[1], join(40, machine(40)));
    network.seal(Vec::new());
    assert_eq!(holder(&network, slot(2)), lost, "its draw was called off");
    assert!(!state(&network).has_pending());
}

#[test]
fn a_machine_drains_as_far_as_its_groups_bear_and_then_leaves() {
    let mut network = network(8, 3);
    let leaving = holder(&network, slot(3));
    network.seal_body(leaving, Body::NodeDrain(NodeDrain { node: machine(leaving) }));
    network.seal(Vec::new());
    let node = state(&network).node(&machine(leaving)).unwrap();
    assert!(node.slots == 0 && !node.takes_slots() && !node.retired);
    assert!(state(&network).group(GROUP).unwrap().holder(slot(3)).unwrap().is_filling());
    assert_eq!(state(&network).counts().storage_nodes, 7);
    let drain = |number| Body::NodeDrain(NodeDrain { node: machine(number) });
    assert_eq!(
        network.refusal(leaving, drain(leaving)),
        EntryError::NothingToDrain(machine(leaving))
    );
    network.seal_body(leaving, Body::NodeRetire(NodeRetire { node: machine(leaving) }));
    assert_eq!(state(&network).counts().storage_nodes, 7, "it was not counted any more");
    // k = 3: one more who left this epoch would leave no margin.
    let second = holder(&network, slot(4));
    network.seal_body(second, drain(second));
    network.seal(Vec::new());
    assert_eq!(holder(&network, slot(4)), second);
}

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> WatchSettings {
    let times = LadderTimes { suspect_after: 60 * SECOND, lost_after: 600 * SECOND };
    WatchSettings { times, probe_every: 20 * SECOND }
}

/// Lets the watcher look until `until`; `up` are the machines that answer, others hear all that are
/// in `heard`. What it wants on the ledger.
fn look(
    watch: &mut Watch,
    now: &mut Duration,
    until: Duration,
    up: &BTreeSet<u8>,
    heard: &BTreeSet<u8>,
) -> Vec<WatchAction> {
    let among = |set: &BTreeSet<u8>, node: &NodeId| set.iter().any(|n| machine(*n) == *node);
    let mut wanted = Vec::new();
    while *now < until {
        while let Some(action) = watch.poll_action(*now) {
            match action {
                WatchAction::Probe(node) => watch.handle_probed(*now, node, among(up, &node)),
                WatchAction::Inquire { witness, suspect } => {
                    // One that is gone as well does not answer.
                    if among(up, &witness) {
                        watch.handle_testimony(*now, suspect, among(heard, &suspect));
                    }
                }
                other => wanted.push(other),
            }
        }
        *now = watch.next_wake().unwrap().max(*now + SECOND);
    }
    wanted
}

#[test]
fn a_watcher_gives_up_whom_nobody_hears_and_only_then() {
    let network = network(7, 3);
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let all: BTreeSet<u8> = (10..17).collect();
    let gone = holder(&network, slot(1));
    let mut up = all.clone();
    assert_eq!(look(&mut watch, &mut now, 3600 * SECOND, &all, &all), []);
    up.remove(&gone);
    // The path is broken, not the machine.
    assert_eq!(look(&mut watch, &mut now, 7200 * SECOND, &up, &all), []);
    assert_eq!(watch.standings(now)[&machine(gone)], Standing::Suspected);
    let wanted = look(&mut watch, &mut now, 12_000 * SECOND, &up, &up);
    let lost = NodeLost { node: machine(gone), generation: 1, exclusions: None };
    assert_eq!(wanted, [WatchAction::GiveUp(lost)]);
}

#[test]
fn who_fails_the_audits_of_enough_others_is_given_up_though_it_answers() {
    let mut network = network(7, 3);
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let all: BTreeSet<u8> = (10..17).collect();
    let cheat = holder(&network, slot(1));
    let suspects = [machine(cheat)];
    // One accuser may lie.
    watch.handle_suspects(machine(holder(&network, slot(2))), &suspects);
    assert_eq!(look(&mut watch, &mut now, 3600 * SECOND, &all, &all), []);
    watch.handle_suspects(machine(holder(&network, slot(3))), &suspects);
    let wanted = look(&mut watch, &mut now, 7200 * SECOND, &all, &all);
    let lost = NodeLost { node: machine(cheat), generation: 1, exclusions: None };
    assert_eq!(wanted, [WatchAction::GiveUp(lost)]);

    // It does not come back by itself, whoever has forgotten meanwhile what it did.
    lose(&mut network, cheat);
    network.seal(Vec::new());
    watch.handle_state(now, state(&network).clone());
    for point in [2, 3] {
        watch.handle_suspects(machine(holder(&network, slot(point))), &[]);
    }
    assert_eq!(look(&mut watch, &mut now, 90_000 * SECOND, &all, &all), []);
    // Nor where the watcher has begun anew, with what it remembered.
    let forgetful = Watch::new(settings());
    let remembering = Watch::new(settings()).remembering(watch.barred().clone());
    for (mut restarted, takes_back) in [(forgetful, true), (remembering, false)] {
        let mut now = Duration::ZERO;
        restarted.handle_state(now, state(&network).clone());
        let wanted = look(&mut restarted, &mut now, 3600 * SECOND, &all, &all);
        assert_eq!(matches!(wanted[..], [WatchAction::Readmit(_), ..]), takes_back);
    }
    // Its operator lets it in again.
    let Body::NodeJoin(again) = join(cheat, machine(cheat)) else { unreachable!() };
    let again = kakera_engine::ledger::NodeJoin { generation: 2, ..again };
    network.seal_body(FOUR[0], Body::NodeJoin(again));
    watch.handle_state(now, state(&network).clone());
    assert_eq!(look(&mut watch, &mut now, 100_000 * SECOND, &all, &all), []);
    assert_eq!(watch.standings(now)[&machine(cheat)], Standing::Alive);
    // Given up for silence, it comes back.
    lose(&mut network, cheat);
    network.seal(Vec::new());
    watch.handle_state(now, state(&network).clone());
    let wanted = look(&mut watch, &mut now, 101_000 * SECOND, &all, &all);
    assert!(matches!(wanted[..], [WatchAction::Readmit(_), ..]), "{wanted:?}");
}

/// A liar that is honest in its other groups has a third of its neighbours against it at most.
#[test]
fn who_fails_the_audits_of_one_group_only_is_given_up() {
    let mut network = network(20, 3);
    for _ in 0..11 {
        network.seal_body(FOUR[0], create_group(5, 3));
    }
    network.seal(Vec::new());
    let members = |group: &Group| group.holders.iter().map(|holder| holder.node).collect();
    let groups: Vec<BTreeSet<NodeId>> =
        state(&network).groups().map(|(_, group)| members(group)).collect();
    let neighbours = |node: &NodeId| -> BTreeSet<NodeId> {
        let of_it = groups.iter().filter(|group| group.contains(node));
        of_it.flatten().copied().filter(|other| other != node).collect()
    };
    let cheat = *groups[0].iter().max_by_key(|node| neighbours(node).len()).unwrap();
    assert!(neighbours(&cheat).len() >= 9, "three are a third of them at most");

    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let all: BTreeSet<u8> = (10..30).collect();
    let mut accusers = groups[0].iter().filter(|node| **node != cheat);
    for accuser in accusers.by_ref().take(2) {
        watch.handle_suspects(*accuser, &[cheat]);
    }
    assert_eq!(look(&mut watch, &mut now, 3600 * SECOND, &all, &all), []);
    watch.handle_suspects(*accusers.next().unwrap(), &[cheat]);
    let wanted = look(&mut watch, &mut now, 7200 * SECOND, &all, &all);
    let lost = NodeLost { node: cheat, generation: 1, exclusions: None };
    assert_eq!(wanted, [WatchAction::GiveUp(lost)]);
}

#[test]
fn a_watcher_that_hears_nobody_blames_itself() {
    let network = network(9, 3);
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let (all, few) = ((10..19).collect(), BTreeSet::from([10, 11]));
    look(&mut watch, &mut now, 600 * SECOND, &all, &all);
    assert_eq!(look(&mut watch, &mut now, 9000 * SECOND, &few, &few), []);
    // What it did not hear meanwhile is forgiven.
    assert_eq!(look(&mut watch, &mut now, 9500 * SECOND, &all, &all), []);
}

#[test]
fn one_at_a_time_is_given_up_and_nobody_who_cannot_be_replaced() {
    let mut network = network(7, 3);
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let all: BTreeSet<u8> = (10..17).collect();
    look(&mut watch, &mut now, 600 * SECOND, &all, &all);
    let gone: Vec<u8> = (1..=3).map(|point| holder(&network, slot(point))).collect();
    let up: BTreeSet<u8> = all.difference(&gone.iter().copied().collect()).copied().collect();
    let mut given_up = Vec::new();
    for _ in 0..60 {
        let until = now + 60 * SECOND;
        for action in look(&mut watch, &mut now, until, &up, &up) {
            let WatchAction::GiveUp(lost) = action else { panic!("{action:?}") };
            let number = *all.iter().find(|number| machine(**number) == lost.node).unwrap();
            lose(&mut network, number);
            network.seal(Vec::new());
            given_up.push(number);
            watch.handle_state(now, state(&network).clone());
        }
        let filling = state(&network).groups().flat_map(|(_, group)| group.holders.clone());
        assert!(filling.filter(|holder| holder.is_filling()).count() <= 1);
        // The newcomers fill their slots, but late.
        if now.as_secs() % 900 < 60 {
            let group = state(&network).group(GROUP).unwrap().clone();
            for (place, seat) in Slot::all(5).zip(&group.holders) {
                if seat.is_filling() {
                    let filled = SlotFilled { group: GROUP, slot: place, since: seat.since };
                    let newcomer = holder(&network, place);
                    network.seal_body(newcomer, Body::SlotFilled(filled));
                }
            }
            watch.handle_state(now, state(&network).clone());
        }
    }
    // Two spares for three: the third stays a member, since nobody could take over.
    assert_eq!(given_up.len(), 2, "{given_up:?}");
    // One of the two is back.
    let back: BTreeSet<u8> = up.iter().copied().chain([given_up[0]]).collect();
    let until = now + 200 * SECOND;
    let wanted = look(&mut watch, &mut now, until, &back, &back);
    let WatchAction::Readmit(again) = &wanted[0] else { panic!("{wanted:?}") };
    assert_eq!((again.node, again.generation), (machine(given_up[0]), 2));
}

/// A draw cannot know who is gone: else nobody could be given up until it is forgotten.
#[test]
fn a_newcomer_that_is_gone_itself_is_given_up_too() {
    let mut network = network(8, 3);
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let mut up: BTreeSet<u8> = (10..18).collect();
    look(&mut watch, &mut now, 600 * SECOND, &up, &up);
    let first = holder(&network, slot(1));
    up.remove(&first);
    let lost = |number| {
        WatchAction::GiveUp(NodeLost { node: machine(number), generation: 1, exclusions: None })
    };
    assert_eq!(look(&mut watch, &mut now, 2000 * SECOND, &up, &up), [lost(first)]);
    lose(&mut network, first);
    network.seal(Vec::new());
    watch.handle_state(now, state(&network).clone());
    let newcomer = holder(&network, slot(1));
    up.remove(&newcomer);
    assert_eq!(look(&mut watch, &mut now, 4000 * SECOND, &up, &up), [lost(newcomer)]);
}

#[test]
fn a_vote_is_cast_anew_once_another_machine_was_given_up() {
    let mut network = network(8, 3);
    network.vote(&FOUR[..3], &upgrade(8));
    let (mut watch, mut now) = (Watch::new(settings()), Duration::ZERO);
    watch.handle_state(now, state(&network).clone());
    let mut up: BTreeSet<u8> = (10..18).collect();
    look(&mut watch, &mut now, 600 * SECOND, &up, &up);
    let [gone, other] = [1, 2].map(|point| holder(&network, slot(point)));
    up.remove(&gone);
    let vote = |exclusions| {
        WatchAction::GiveUp(NodeLost { node: machine(gone), generation: 1, exclusions })
    };
    assert_eq!(look(&mut watch, &mut now, 2000 * SECOND, &up, &up), [vote(Some(0))]);

    // The other validators chose another, whose slot is being filled: one at a time.
    lose(&mut network, other);
    network.seal(Vec::new());
    watch.handle_state(now, state(&network).clone());
    up.remove(&other);
    assert_eq!(look(&mut watch, &mut now, 3000 * SECOND, &up, &up), []);
    let newcomer = holder(&network, slot(2));
    let since = state(&network).group(GROUP).unwrap().holder(slot(2)).unwrap().since;
    let filled = SlotFilled { group: GROUP, slot: slot(2), since };
    network.seal_body(newcomer, Body::SlotFilled(filled));
    watch.handle_state(now, state(&network).clone());
    assert_eq!(look(&mut watch, &mut now, 4000 * SECOND, &up, &up), [vote(Some(1))]);
}

#[test]
fn a_node_repairs_few_slots_at_a_time_and_tells_when_one_is_whole() {
    let mut network = network(7, 3);
    for _ in 0..3 {
        network.seal_body(FOUR[0], create_group(5, 3));
        network.seal(Vec::new());
    }
    let first = slot(1);
    let lost = holder(&network, first);
    lose(&mut network, lost);
    network.seal(Vec::new());
    network.seal(Vec::new());
    let newcomer = holder(&network, first);
    let mut custody = Custody::new(machine(newcomer), CustodySettings::default());
    let mut now = Duration::ZERO;
    custody.handle_state(now, state(&network));
    let begun: Vec<CustodyAction> = std::iter::from_fn(|| custody.poll_action(now)).collect();
    assert_eq!(begun.len(), 2.min(custody.slots().0));
    // What the ledger waits for comes first.
    assert_eq!(begun[0], CustodyAction::Repair(GROUP, first, None));
    now += SECOND;
    custody.handle_repaired(now, GROUP, first, false);
    // Two seconds until the next attempt.
    let now = now + 2 * SECOND;
    begun[1..].iter().for_each(|action| repaired(&mut custody, now, action));
    let mut told = Vec::new();
    while let Some(action) = custody.poll_action(now) {
        match action {
            CustodyAction::Tell(filled) => {
                custody.handle_told(now, &filled, true);
                told.push(filled);
            }
            repair => repaired(&mut custody, now, &repair),
        }
    }
    assert_eq!(custody.slots().1, 0, "all are whole");
    let since = state(&network).group(GROUP).unwrap().holder(first).unwrap().since;
    let filled = SlotFilled { group: GROUP, slot: first, since };
    assert_eq!(told.iter().filter(|other| **other == filled).count(), 1);
    network.seal_body(newcomer, Body::SlotFilled(filled));
    custody.handle_state(now, state(&network));
    custody.handle_alarm(now, Alarm::Damage(GROUP, first));
    assert_eq!(custody.poll_action(now), Some(CustodyAction::Repair(GROUP, first, None)));
}

#[test]
fn many_slots_are_compared_at_a_steady_pace() {
    const GROUPS: u32 = 200;
    let mut network = network(5, 3);
    for _ in 1..GROUPS {
        network.seal_body(FOUR[0], create_group(5, 3));
    }
    network.seal(Vec::new());
    let settings = CustodySettings::default();
    let mut custody = Custody::new(machine(FIRST), settings);
    custody.handle_state(Duration::ZERO, state(&network));
    // Each takes a second, and whenever it is over the machine is asked again.
    let compare = |custody: &mut Custody, from: Duration, until: Duration| {
        let mut counts = BTreeMap::<GroupId, u32>::new();
        let mut now = from;
        while now < until {
            if let Some(CustodyAction::Repair(group, slot, _)) = custody.poll_action(now) {
                *counts.entry(group).or_default() += 1;
                now += SECOND;
                custody.handle_repaired(now, group, slot, true);
            } else {
                now = custody.next_wake().unwrap();
            }
        }
        counts
    };
    let at_start = compare(&mut custody, Duration::ZERO, GROUPS * SECOND);
    assert!(at_start.len() == GROUPS as usize && at_start.values().all(|count| *count == 1));
    // In each ten minutes as many as may be, so that all have their turn within fourteen.
    let in_three_hours = compare(&mut custody, 1000 * SECOND, 11_800 * SECOND);
    let all: u32 = in_three_hours.values().sum();
    assert!((2600..=COMPARISONS_MAX * 18 + 1).contains(&all), "{all}");
    assert!(in_three_hours.len() == GROUPS as usize);
    assert!(in_three_hours.values().all(|count| (10..=15).contains(count)), "{in_three_hours:?}");
    // What is damaged does not wait.
    let (now, group) = (11_800 * SECOND, GroupId(7));
    let held = state(&network).group(group).unwrap().slot_of(&machine(FIRST)).unwrap();
    custody.handle_alarm(now, Alarm::Damage(group, held));
    assert_eq!(custody.poll_action(now), Some(CustodyAction::Repair(group, held, None)));
}

/// What a put missed is not found out by three failed audits first; nor does an auditor that asks for
/// what never was keep anybody busy.
#[test]
fn a_slot_that_an_auditor_finds_wanting_is_compared_with_it_soon() {
    let network = network(5, 3);
    let settings = CustodySettings::default();
    let mut custody = Custody::new(machine(FIRST), settings);
    custody.handle_state(Duration::ZERO, state(&network));
    let (group, held) = (GROUP, state(&network).group(GROUP).unwrap());
    let (held, auditor) = (held.slot_of(&machine(FIRST)).unwrap(), held.slot_of(&machine(12)));
    let wanting = Alarm::Wanting { group, slot: held, auditor: auditor.unwrap() };
    assert_eq!(custody.poll_action(Duration::ZERO), Some(CustodyAction::Repair(group, held, None)));
    custody.handle_repaired(Duration::ZERO, group, held, true);

    let mut compared = Vec::new();
    // Until the first visit is due.
    for second in 1..150 {
        let now = second * SECOND;
        custody.handle_alarm(now, wanting);
        if let Some(action) = custody.poll_action(now) {
            assert_eq!(action, CustodyAction::Repair(group, held, auditor));
            custody.handle_repaired(now, group, held, true);
            compared.push(second);
        }
    }
    assert_eq!(compared, [60, 120]);
    // One question is enough, however soon after a comparison it comes.
    custody.handle_alarm(125 * SECOND, wanting);
    assert_eq!(custody.poll_action(149 * SECOND), None);
    let compare = CustodyAction::Repair(group, held, auditor);
    assert_eq!(custody.poll_action(180 * SECOND), Some(compare));
    custody.handle_repaired(180 * SECOND, group, held, true);

    // One that never stops asking keeps the node from nobody's visit.
    let mut hosts = BTreeSet::new();
    for second in 181..180 + 5 * 600 {
        let now = second * SECOND;
        custody.handle_alarm(now, wanting);
        if let Some(CustodyAction::Repair(_, _, helper)) = custody.poll_action(now) {
            hosts.extend(helper);
            custody.handle_repaired(now, group, held, true);
        }
    }
    assert_eq!(hosts.len(), 4, "all others of the group: {hosts:?}");
}

#[test]
fn one_visit_compares_all_that_two_share_and_a_round_of_visits_each_pair_once() {
    const ROUNDS: u32 = 3;
    let mut network = network(12, 3);
    for _ in 1..30 {
        network.seal_body(FOUR[0], create_group(5, 3));
    }
    network.seal(Vec::new());
    let own = machine(FIRST);
    let settings = CustodySettings::default();
    let mut custody = Custody::new(own, settings);
    custody.handle_state(Duration::ZERO, state(&network));
    let (mut now, mut visits, mut longest) = (Duration::ZERO, Vec::new(), Duration::ZERO);
    let mut compared = BTreeMap::<_, u32>::new();
    let mut last = BTreeMap::<_, Duration>::new();
    // Each slot has four helpers.
    while now < settings.compare_every * 4 * ROUNDS {
        let Some(action) = custody.poll_action(now) else {
            now = custody.next_wake().unwrap();
            continue;
        };
        let CustodyAction::Repair(group, slot, helper) = action else { panic!("{action:?}") };
        custody.handle_repaired(now, group, slot, true);
        let since = last.insert((group, slot), now);
        let Some(helper) = helper else { continue };
        longest = longest.max(now - since.unwrap());
        let other = state(&network).group(group).unwrap().holder(helper).unwrap().node;
        *compared.entry((group, slot, other)).or_default() += 1;
        if visits.last() != Some(&other) {
            visits.push(other);
        }
    }
    let groups = state(&network).groups().filter(|(_, group)| group.slot_of(&own).is_some());
    assert_eq!(compared.len(), 4 * groups.count());
    let expected = ROUNDS - 1..=ROUNDS + 1;
    assert!(compared.values().all(|count| expected.contains(count)), "{compared:?}");
    let others: BTreeSet<NodeId> = compared.keys().map(|(_, _, other)| *other).collect();
    assert!(expected.contains(&(visits.len() as u32 / others.len() as u32)), "{visits:?}");
    assert!(longest < settings.compare_every * 3, "{longest:?}");
}

#[test]
fn a_slot_that_is_not_whole_is_no_matter_of_visits() {
    let network = network(5, 3);
    let mut custody = Custody::new(machine(FIRST), CustodySettings::default());
    custody.handle_state(Duration::ZERO, state(&network));
    let mut now = Duration::ZERO;
    let mut next = |custody: &mut Custody, whole| {
        let action = loop {
            match custody.poll_action(now) {
                Some(action) => break action,
                None => now = custody.next_wake().unwrap(),
            }
        };
        let CustodyAction::Repair(group, slot, helper) = action else { panic!("{action:?}") };
        custody.handle_repaired(now, group, slot, whole);
        helper
    };
    assert_eq!(next(&mut custody, true), None);
    let first: BTreeSet<_> = (0..4).map(|_| next(&mut custody, true)).collect();
    let own = state(&network).group(GROUP).unwrap().slot_of(&machine(FIRST)).unwrap();
    let others = (1..=5).map(slot).filter(|slot| *slot != own).map(Some);
    assert_eq!(first, others.collect());
    assert!(next(&mut custody, false).is_some());
    assert_eq!(next(&mut custody, false), None);
    assert_eq!(next(&mut custody, true), None);
    assert!(next(&mut custody, true).is_some());
}

fn repaired(custody: &mut Custody, now: Duration, action: &CustodyAction) {
    if let CustodyAction::Repair(group, slot, _) = action {
        custody.handle_repaired(now, *group, *slot, true);
    }
}
