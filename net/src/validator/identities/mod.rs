//! The validator as an identity node: what it keeps for handles, and how it answers for them
//! (`engine/spec/identity.md`).

mod renewal;
mod store;

use bytes::Bytes;
use kakera_engine::identity::oprf::Element;
use kakera_engine::identity::{
    Dealing, Deposit, Kept, LockedOut, NodeAnswer, Registered, Renewal, RenewalTarget, Wrapping,
    identity_epoch, identity_nodes,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::Answer;
use kakera_engine::wire::{ListedIdentity, Operation, Refusal, RefusalKind, Response, canonical};
use zeroize::Zeroizing;

pub(super) use store::IdentityStore;

use crate::chain_view::ChainView;
use crate::clock::UnixClock;
use crate::random::system_random;
use crate::store::disk::Disk;

/// Identities listed by one answer: at most some 4 MiB with all their sharings.
const PAGE_LEN_MAX: usize = 256;

/// An identity node.
pub(super) struct Identities<D: Disk> {
    store: IdentityStore<D>,
    clock: UnixClock,
    network: NetworkId,
    id: NodeId,
    /// Enters what this node deals.
    secret: Zeroizing<[u8; 32]>,
}

/// Who asks.
pub(super) struct Asker {
    pub(super) machine: NodeId,
    /// The key that it proved to hold.
    pub(super) prover: Option<[u8; 32]>,
}

impl<D: Disk> Identities<D> {
    pub(super) fn new(
        store: IdentityStore<D>,
        clock: UnixClock,
        network: NetworkId,
        id: NodeId,
        secret: Zeroizing<[u8; 32]>,
    ) -> Self {
        Self { store, clock, network, id, secret }
    }

    /// Answers a request about identities.
    pub(super) fn answer(
        &self,
        operation: Operation,
        asker: &Asker,
        view: &ChainView,
    ) -> Result<Answer, Refusal> {
        match operation {
            Operation::Deposit(deposit) => self.deposit(*deposit, asker, view),
            Operation::Evaluate { handle, blinded } => self.evaluate(handle, &blinded, asker, view),
            Operation::Confirm { handle } => self.confirm(handle, asker, view),
            Operation::Recall { handle } => self.recall(handle, asker, view),
            Operation::Identities { after } => self.list(after),
            Operation::DealAgain(renewal) => self.deal_again(&renewal, asker, view),
            _ => Err(Refusal::new(RefusalKind::Invalid, "not a request about identities")),
        }
    }

    fn deposit(
        &self,
        deposit: Deposit,
        asker: &Asker,
        view: &ChainView,
    ) -> Result<Answer, Refusal> {
        let registered = registered(deposit.wrapping.handle, view)?;
        let Asker { prover, .. } = *asker;
        self.store.update(registered.handle, |before| {
            let before = before.map(|mut kept| {
                kept.settle(&registered, &self.network);
                kept
            });
            Kept::accept(before, deposit, &registered, prover, &self.network, &self.id)
                .map(|kept| (Some(kept), ()))
                .map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))
        })?;
        Ok(Answer::bare(Response::Deposited))
    }

    /// The try is durable before the passphrase is evaluated.
    fn evaluate(
        &self,
        handle: [u8; 32],
        blinded: &Element,
        asker: &Asker,
        view: &ChainView,
    ) -> Result<Answer, Refusal> {
        let kept = self.change(handle, view, |kept, _| {
            Ok(kept.take_try(&asker.machine, (self.clock)()).map(|()| kept.clone()))
        })?;
        let response = match kept {
            Err(LockedOut { until, .. }) => Response::LockedOut { until },
            Ok(kept) => Response::Evaluated(Box::new(NodeAnswer {
                shares: kept.evaluate(blinded, &mut system_random()),
                wrapping: kept.wrapping().clone(),
            })),
        };
        Ok(Answer::bare(response))
    }

    fn confirm(
        &self,
        handle: [u8; 32],
        asker: &Asker,
        view: &ChainView,
    ) -> Result<Answer, Refusal> {
        self.change(handle, view, |kept, registered| {
            require_owner(asker, registered)?;
            kept.confirm(&asker.machine);
            Ok(())
        })?;
        Ok(Answer::bare(Response::Confirmed))
    }

    fn recall(&self, handle: [u8; 32], asker: &Asker, view: &ChainView) -> Result<Answer, Refusal> {
        let wrapping = self.change(handle, view, |kept, registered| {
            require_owner(asker, registered)?;
            Ok(kept.wrapping().clone())
        })?;
        Ok(Answer::bare(Response::Recalled(Box::new(wrapping))))
    }

    fn list(&self, after: Option<[u8; 32]>) -> Result<Answer, Refusal> {
        let (handles, more) = self.store.handles(after, PAGE_LEN_MAX)?;
        let page = handles.into_iter().filter_map(|handle| {
            // One that is damaged is as lost here; the others share it again.
            let kept = self.store.read(handle).ok()??;
            Some(ListedIdentity { handle, sharings: kept.sharings().cloned().collect() })
        });
        let body = Bytes::from(canonical::encode(&page.collect::<Vec<_>>()));
        Ok(Answer { response: Response::Identities { more }, body })
    }

    fn deal_again(
        &self,
        renewal: &Renewal,
        asker: &Asker,
        view: &ChainView,
    ) -> Result<Answer, Refusal> {
        let target = target(renewal.handle, view)?;
        let meant = target.renewal(renewal.from, renewal.dealers.clone());
        if meant != *renewal || !renewal.is_well_formed() {
            let message = "this identity node is at another epoch or set of validators; try again";
            return Err(Refusal::new(RefusalKind::Unavailable, message));
        }
        if !renewal.dealers.contains(&self.id) {
            return Err(Refusal::new(RefusalKind::Invalid, "this node is no dealer of that"));
        }
        let dealt = self.change(renewal.handle, view, |kept, _| {
            let dealing = kept.deal(renewal, &self.secret, &asker.machine);
            Ok(dealing.map(|dealing| (kept.wrapping().clone(), dealing)))
        })?;
        let (wrapping, dealing) = dealt.ok_or_else(|| not_kept("this share"))?;
        let (wrapping, dealing) = (Box::new(wrapping), Box::new(dealing));
        Ok(Answer::bare(Response::Dealt { wrapping, dealing }))
    }

    /// This node's part of its own dealing.
    fn deal_to_itself(&self, renewal: &Renewal) -> Option<(Wrapping, Dealing)> {
        let kept = self.store.read(renewal.handle).ok()??;
        let dealing = kept.deal(renewal, &self.secret, &self.id)?;
        Some((kept.wrapping().clone(), dealing))
    }

    /// Changes what is kept for a handle, which must be of the ledger's version; durable on return.
    fn change<T>(
        &self,
        handle: [u8; 32],
        view: &ChainView,
        change: impl FnOnce(&mut Kept, &Registered) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let registered = registered(handle, view)?;
        self.store.update(handle, |kept| {
            let mut kept = kept.ok_or_else(|| not_kept("this identity"))?;
            kept.settle(&registered, &self.network);
            if !kept.is_current(&registered, &self.network) {
                return Err(not_kept("the last change of this identity"));
            }
            let result = change(&mut kept, &registered)?;
            Ok((Some(kept), result))
        })
    }
}

/// The identity as the ledger has it.
fn registered(handle: [u8; 32], view: &ChainView) -> Result<Registered, Refusal> {
    let identity = view.state().identity(handle);
    let registered = identity.and_then(|identity| Registered::of(handle, &identity));
    registered.ok_or_else(|| {
        let message = "this handle is not on the ledger as far as this identity node knows";
        Refusal::new(RefusalKind::NotFound, message)
    })
}

/// What the identity nodes are to hold of a handle, as far as this one knows.
fn target(handle: [u8; 32], view: &ChainView) -> Result<RenewalTarget, Refusal> {
    let version = registered(handle, view)?.version;
    let (epoch, holders) =
        (identity_epoch(view.height()), identity_nodes(view.state().validators()));
    Ok(RenewalTarget { handle, version, epoch, holders })
}

fn require_owner(asker: &Asker, registered: &Registered) -> Result<(), Refusal> {
    if asker.prover == Some(registered.key) {
        return Ok(());
    }
    Err(Refusal::new(RefusalKind::Denied, "only the identity's owner may ask for this"))
}

fn not_kept(what: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("this identity node does not have {what}"))
}
