//! An identity, at its owner and at its nodes.

use kakera_engine::identity::{
    Deposit, Handle, Kept, Login, NodeAnswer, Renewal, Sharing, WrapTerms, Wrapped, deal, make_kit,
    wrap,
};
use kakera_engine::names::NodeId;
use kakera_engine::seal::Hardening;
use kakera_engine::signature::node_id;
use kakera_engine::wire::{ListedIdentity, Operation, Response, canonical};

use super::{ledger, object, rng, signing_key};

const HANDLE: [u8; 32] = [3; 32];

fn node() -> NodeId {
    node_id(&signing_key(10))
}

fn wrapped() -> Wrapped {
    let (network, hardening) = (ledger::network(), Hardening::SmallMachine);
    let terms = WrapTerms { network, handle: HANDLE, version: 1, hardening };
    wrap(&terms, &object::root(), "passphrase", &[4; 32], &mut rng())
        .unwrap_or_else(|error| panic!("a sample passphrase: {error}"))
}

fn deposit(wrapped: &Wrapped) -> Deposit {
    let sharing = Sharing::by_owner(Renewal::by_owner(HANDLE, 1, 0, vec![node()]));
    let share = deal(&wrapped.key, 1, &[node()], &mut rng()).remove(0).1;
    Deposit { wrapping: wrapped.wrapping.clone(), sharing, share }
}

fn kept() -> Kept {
    let wrapped = wrapped();
    let (registered, deposit) = (wrapped.registered, deposit(&wrapped));
    let owner = Some(registered.key);
    Kept::accept(None, deposit, &registered, owner, &ledger::network(), &node())
        .unwrap_or_else(|error| panic!("a sample deposit: {error}"))
}

fn renewal() -> Renewal {
    let mut renewal = Renewal::by_owner(HANDLE, 1, 1, vec![node()]);
    renewal.dealers = vec![node()];
    renewal.from = deposit(&wrapped()).sharing.id;
    renewal
}

fn login() -> Login {
    Login::new(&HANDLE, "passphrase", &mut rng())
        .unwrap_or_else(|error| panic!("a sample passphrase: {error}"))
}

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::Deposit(Box::new(deposit(&wrapped()))),
        Operation::Evaluate { handle: HANDLE, blinded: Box::new(*login().blinded()) },
        Operation::Confirm { handle: HANDLE },
        Operation::Recall { handle: HANDLE },
        Operation::Identities { after: Some(HANDLE) },
        Operation::DealAgain(Box::new(renewal())),
    ]
}

pub(crate) fn responses() -> Vec<Response> {
    let kept = kept();
    let wrapping = kept.wrapping().clone();
    let shares = kept.evaluate(login().blinded(), &mut rng());
    let mut responses = vec![
        Response::Deposited,
        Response::Evaluated(Box::new(NodeAnswer { wrapping: wrapping.clone(), shares })),
        Response::Confirmed,
        Response::Recalled(Box::new(wrapping.clone())),
        Response::Identities { more: true },
        Response::LockedOut { until: super::NOW },
    ];
    responses.extend(kept.deal(&renewal(), &[5; 32], &node()).map(|dealing| Response::Dealt {
        wrapping: Box::new(wrapping),
        dealing: Box::new(dealing),
    }));
    responses
}

pub(crate) fn handles() -> Vec<Vec<u8>> {
    let handle = Handle::generate("sato", &ledger::network(), &mut rng());
    handle.into_iter().map(|handle| handle.to_string().into_bytes()).collect()
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    vec![wrapped().registered.record.to_bytes()]
}

pub(crate) fn kept_files() -> Vec<Vec<u8>> {
    vec![kept().to_bytes().to_vec()]
}

pub(crate) fn listings() -> Vec<Vec<u8>> {
    let sharings = kept().sharings().cloned().collect();
    vec![canonical::encode(&vec![ListedIdentity { handle: HANDLE, sharings }])]
}

/// A kit with one share, so that each share is a kit.
pub(crate) fn kits() -> Vec<Vec<u8>> {
    let kit = make_kit(&object::root(), 1, 1, &mut rng()).into_iter().flatten();
    kit.map(|share| share.as_bytes().to_vec()).collect()
}
