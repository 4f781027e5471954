//! A message of every kind.

use kakera_engine::keyshare::renewal::Complaint;
use kakera_engine::keyshare::{Coverage, RenewedRows};
use kakera_engine::ledger::{FollowAck, HeadAttestation, Inclusion, Prefix, StateKey};
use kakera_engine::names::{Epoch, GroupId, NodeId, ObjectId};
use kakera_engine::object::GroupHashes;
use kakera_engine::signature::{Signature, node_id};
use kakera_engine::wire::{
    Audit, Authorisation, BlockForm, Degraded, DestructionReceipt, GroupRange, Inventory,
    InventoryPage, InventorySummary, ListedShare, MisfitProof, NodeStatus, Operation, Orders,
    OrdersPage, PartReference, ProvenValue, Read, Receipt, RefreshPlace, RefreshStage, RefreshStep,
    RefreshWord, Refusal, RefusalKind, RenewedShare, RepairProgress, RepairTotals, Request,
    Response, Session, Shred, ShredOrder, SignedPost, Store, SymbolStatement, Symbols,
    VouchedDescriptor, canonical,
};

use super::{NOW, ledger, object, signing_key};

const HOLDER: u8 = 10;

/// The connection over which the sample requests came.
pub(crate) fn session() -> Session {
    Session {
        network: ledger::network(),
        author: node_id(&signing_key(11)),
        receiver: node_id(&signing_key(HOLDER)),
        exporter: [6; 32],
    }
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let capability = Some(&signing_key(12));
    let encode = |operation| Request::encode(operation, &session(), NOW + 1000, capability);
    all_operations().iter().map(encode).collect()
}

pub(crate) fn operations() -> Vec<Vec<u8>> {
    all_operations().iter().map(canonical::encode).collect()
}

pub(crate) fn responses() -> Vec<Vec<u8>> {
    all_responses().iter().map(Response::to_header).collect()
}

pub(crate) fn proven_values() -> Vec<Vec<u8>> {
    let (chain, _) = ledger::chain();
    let (value, proof) = chain.state_proof(&StateKey::Counts);
    let (_, absence) = chain.state_proof(&StateKey::NodeAt(99));
    vec![canonical::encode(&vec![
        ProvenValue { value, proof },
        ProvenValue { value: None, proof: absence },
    ])]
}

pub(crate) fn misfit_proofs() -> Vec<Vec<u8>> {
    let (binding, lost) = (object::descriptor().binding(), object::lost_slot());
    let shares = &object::sealed().shares;
    let symbols = shares.iter().filter_map(|share| share.prove_symbol(&binding, lost)).collect();
    let proofs = [MisfitProof::Share(symbols), MisfitProof::Fragment(object::slots().to_vec())];
    proofs.iter().map(canonical::encode).collect()
}

pub(crate) fn inventory_pages() -> Vec<Vec<u8>> {
    let objects = vec![ObjectId([1; 32]), ObjectId([2; 32])];
    vec![canonical::encode(&InventoryPage { objects, more: true })]
}

fn part() -> PartReference {
    PartReference {
        group: GroupId(0),
        slot: object::slots()[0],
        object: object::sealed().object_id,
    }
}

fn vouched() -> VouchedDescriptor {
    let sealed = object::sealed();
    VouchedDescriptor {
        descriptor: sealed.descriptor.encode(),
        authorisation: Authorisation::sign(&ledger::network(), &sealed.object_id, &signing_key(11)),
    }
}

fn refresh_place() -> RefreshPlace {
    RefreshPlace { group: GroupId(0), epoch: Epoch(3), attempt: 1, slot: object::slots()[0] }
}

pub(crate) fn refresh_posts() -> Vec<Vec<u8>> {
    let step = RefreshStep { place: refresh_place(), stage: RefreshStage::Complain };
    let complaint =
        canonical::encode(&Complaint { against: object::slots().into_iter().collect() });
    let post =
        SignedPost::sign(&ledger::network(), &step, &[1; 32], complaint, &signing_key(HOLDER));
    vec![canonical::encode(&vec![post.clone(), post])]
}

pub(crate) fn refresh_lists() -> Vec<Vec<u8>> {
    let share = |byte| ListedShare { object: ObjectId([byte; 32]), epoch: Epoch(byte.into()) };
    vec![canonical::encode(&vec![share(1), share(2)])]
}

pub(crate) fn refresh_words() -> Vec<Vec<u8>> {
    let signature = Signature::sign(&signing_key(HOLDER), "refreshed", &[]);
    let word = |root| canonical::encode(&RefreshWord { root, signature });
    vec![word(None), word(Some([1; 32]))]
}

fn renewed_rows() -> RenewedRows {
    let descriptor = object::descriptor();
    let of = (descriptor.key, Epoch(3));
    let objects = [(object::sealed().object_id, descriptor.salt)];
    let rows = vec![Some((descriptor.rows.clone(), Coverage::default()))];
    let (_, renewed) = RenewedRows::batch(of, &objects, rows);
    renewed.into_iter().flatten().next().expect("an object that is not left out")
}

fn order() -> ShredOrder {
    let (sealed, network) = (object::sealed(), ledger::network());
    let write_key = object::root().write_key(&sealed.descriptor.salt);
    ShredOrder::sign(&network, vouched(), &sealed.object_id, &write_key)
}

pub(crate) fn orders_pages() -> Vec<Vec<u8>> {
    let page = OrdersPage { orders: vec![order()], more_after: Some(object::sealed().object_id) };
    vec![canonical::encode(&page)]
}

fn all_operations() -> Vec<Operation> {
    let (chain, _) = ledger::chain();
    let (group, slot, lost) = (GroupId(0), object::slots()[0], object::lost_slot());
    let header = &chain.head().header;
    let mut operations = vec![
        Operation::Store(Box::new(Store {
            object: vouched(),
            share: object::sealed().shares[0].clone(),
        })),
        Operation::Read(Read {
            part: part(),
            groups: Some(GroupRange { first: 0, count: 1 }),
            descriptor: true,
            key_part: true,
        }),
        Operation::Inventory(Inventory {
            group,
            slot,
            lost,
            after: Some(ObjectId([1; 32])),
            limit: 100,
        }),
        Operation::Symbols(Symbols { part: part(), lost, describe: true }),
        Operation::Witness { part: part(), lost },
        Operation::Misfit { part: part(), auditor: lost },
        Operation::Repair { group, slot },
        Operation::Status,
        Operation::Head { nonce: [1; 32] },
        Operation::Prove(vec![StateKey::Counts, StateKey::Group(group)]),
        Operation::Follow { from: 1, acknowledged: Some(FollowAck::of(header)), form: None },
        Operation::Follow { from: 1, acknowledged: None, form: Some(BlockForm::Compact) },
        Operation::SetChanges { after: 1 },
        Operation::Snapshot,
        Operation::SnapshotChunk { height: 1, within: Prefix::ROOT },
        Operation::Confer { head: 1 },
        Operation::Summary { group, slot, lost },
        Operation::Shred(Box::new(Shred { slot, order: order() })),
        Operation::Orders(Orders {
            group,
            slot,
            known: InventorySummary::of(&[ObjectId([1; 32])]),
            after: Some(ObjectId([1; 32])),
        }),
        Operation::Testify { suspect: node_id(&signing_key(HOLDER)) },
        Operation::Degraded(Degraded { part: part(), lost, helpers: object::slots().to_vec() }),
        Operation::Audit(Audit { part: part(), auditor: lost, nonce: [3; 32], groups: vec![0, 2] }),
        Operation::Consult { keys: vec![StateKey::Counts], from: 1, nonce: [1; 32] },
        Operation::RenewedSymbols(Symbols { part: part(), lost, describe: true }),
        Operation::PairSymbols(Symbols { part: part(), lost, describe: false }),
        Operation::ListShares { group, slot },
        Operation::Refresh(RefreshStep { place: refresh_place(), stage: RefreshStage::Vouch }),
        Operation::Deal { place: refresh_place(), dealer: lost },
    ];
    let entries = || ledger::first_entries().into_iter().map(Box::new);
    operations.extend(entries().map(Operation::Submit));
    operations.extend(entries().map(Operation::Post));
    operations.extend(super::identity::operations());
    operations
}

fn all_responses() -> Vec<Response> {
    let (chain, _) = ledger::chain();
    let (head, holder, network) = (chain.head(), signing_key(HOLDER), ledger::network());
    let descriptor = object::descriptor();
    let share = &object::sealed().shares[0];
    let mut responses = vec![
        Response::Refused(Refusal::new(RefusalKind::Denied, "not for you")),
        Response::Stored(Receipt::sign(&network, part(), descriptor.epoch, &holder)),
        Response::Read {
            descriptor: Some(descriptor.encode()),
            key_part: Some(share.prove_part(&descriptor.binding())),
            hashes: Some(GroupHashes::of(&[1; 40_000])),
            renewed: None,
        },
        Response::Shredded(DestructionReceipt::sign(&network, part(), descriptor.epoch, &holder)),
        Response::Orders,
        Response::Inventory,
        Response::Witness,
        Response::Misfit,
        Response::Repair(RepairProgress {
            objects_found: 5,
            liars: vec![node_id(&holder)],
            last_failure: Some("too few helpers".to_owned()),
            ..RepairProgress::default()
        }),
        Response::Status(NodeStatus {
            version: "0.1.0".to_owned(),
            objects: 1,
            bytes: 2,
            quota: 3,
            height: 4,
            suspects: Some(vec![NodeId([7; 32])]),
            repairs: Some(RepairTotals { running: 1, symbol_bytes: 7, ..RepairTotals::default() }),
        }),
        Response::Submitted { height: 1, index: 2 },
        Response::Head {
            head: Box::new(head.clone()),
            attestation: HeadAttestation::sign(&head.header, [1; 32], NOW, &holder),
        },
        Response::Proven { height: 1 },
        Response::Blocks { head: 2 },
        Response::SetChanges { more: true },
        Response::Snapshot(Box::new(super::snapshot::snapshot().base().clone())),
        Response::SnapshotChunk,
        Response::Conferred { head: 2 },
        Response::Testimony { heard: true },
        Response::Summary(InventorySummary::of(&[ObjectId([1; 32])])),
        Response::Shares,
        Response::Refreshed,
        Response::RowsTaken,
        Response::Read {
            descriptor: None,
            key_part: None,
            hashes: None,
            renewed: Some(Box::new(RenewedShare { share: share.clone(), rows: renewed_rows() })),
        },
        Response::Consulted {
            head: Box::new(head.clone()),
            attestation: HeadAttestation::sign(&head.header, [1; 32], NOW, &holder),
        },
    ];
    responses.extend(chain.entry_proof(0).map(|proof| Response::Posted {
        height: 1,
        inclusion: Box::new(Inclusion { head: head.clone(), salt: [1; 16], proof }),
    }));
    responses.extend(super::identity::responses());
    let hashes = GroupHashes::of(&[1; 40_000]);
    responses.extend(
        share
            .answer_audit(&descriptor.binding(), object::lost_slot(), &[3; 32])
            .map(|answer| Response::Audit { answer, hashes }),
    );
    if let Some(key_symbol) = share.prove_symbol(&descriptor.binding(), object::lost_slot()) {
        let statement = SymbolStatement {
            network: &network,
            part: &part(),
            lost: object::lost_slot(),
            key_symbol: &key_symbol,
            fragment_symbols: [5; 32],
            epoch: None,
        };
        let signature = statement.sign(&holder);
        responses.push(Response::RenewedSymbols {
            key_symbol: key_symbol.clone(),
            epoch: Epoch(3),
            signature,
            object: Some(vouched()),
            rows: Some(Box::new(renewed_rows())),
        });
        responses.push(Response::Symbols { key_symbol, signature, object: Some(vouched()) });
    }
    responses
}
