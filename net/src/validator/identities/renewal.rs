//! Sharing the keys of identities again when the validators change or an epoch begins: driven by
//! whoever needs a share.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::identity::{
    Dealing, Kept, Renewal, RenewalPlan, Sharing, Wrapping, accept_dealings, identity_epoch,
    identity_nodes,
};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{BODY_LEN_MAX, ListedIdentity, Operation, Response, canonical};
use tracing::{debug, info, warn};

use super::super::service::Service;
use super::{registered, target};
use crate::blocking::blocking;
use crate::chain_view::ChainView;
use crate::exchange::Exchange;

const PATIENCE: Duration = Duration::from_secs(10);
/// Between rounds while something is not settled.
const PAUSE_BUSY: Duration = Duration::from_secs(2);
/// Between rounds when nothing is to do: a share may be lost without any change on the ledger.
const PAUSE_IDLE: Duration = Duration::from_secs(600);
/// Groups of dealers tried in one round for one handle.
const ATTEMPTS_MAX: usize = 8;

/// What every node lists of some handles.
type Listing = BTreeMap<[u8; 32], BTreeMap<NodeId, Vec<Sharing>>>;

impl Service {
    /// Keeps this node's shares those of the present validators and epoch, as long as it lives.
    pub(in super::super) async fn renew_identities(
        self: Arc<Self>,
        exchange: Exchange,
    ) -> Infallible {
        let mut views = self.desk.views();
        let aim = |view: &ChainView| {
            (identity_epoch(view.height()), identity_nodes(view.state().validators()))
        };
        loop {
            let view = views.take_newest();
            let settled = self.renew_all(&exchange, &view).await;
            let pause = tokio::time::sleep(if settled { PAUSE_IDLE } else { PAUSE_BUSY });
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = &mut pause => break,
                    changed = views.changed() => {
                        // The sender is our own.
                        let _ = changed;
                        if aim(&views.newest()) != aim(&view) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// One round over all handles, in bounded memory; tells whether all of them are settled.
    async fn renew_all(self: &Arc<Self>, exchange: &Exchange, view: &Arc<ChainView>) -> bool {
        let (mut after, mut settled) = (None, true);
        loop {
            let (listing, next) = self.list_everywhere(exchange, view, after).await;
            for (handle, listed) in listing {
                settled &= self.renew(exchange, view, handle, &listed).await;
            }
            match next {
                Some(last) => after = Some(last),
                None => return settled,
            }
        }
    }

    /// The handles after one, up to where every node that answered has been read; `None` beside it
    /// when that is the end.
    async fn list_everywhere(
        self: &Arc<Self>,
        exchange: &Exchange,
        view: &ChainView,
        after: Option<[u8; 32]>,
    ) -> (Listing, Option<[u8; 32]>) {
        let (mut listing, mut bound) = (Listing::new(), None::<[u8; 32]>);
        let mut asked = BTreeSet::new();
        let mut to_ask: BTreeSet<NodeId> =
            identity_nodes(view.state().validators()).into_iter().collect();
        to_ask.insert(self.id);
        while let Some(node) = to_ask.pop_first() {
            asked.insert(node);
            let Some((page, more)) = self.list_one(exchange, node, after).await else { continue };
            let last = page.last().map(|listed| listed.handle);
            if more {
                bound = bound.min(last).or(last);
            }
            for ListedIdentity { handle, sharings } in page {
                // Who has left the validators may still have what it held.
                let holders = sharings.iter().flat_map(|sharing| &sharing.terms.holders);
                to_ask.extend(holders.filter(|holder| !asked.contains(*holder)).copied());
                listing.entry(handle).or_default().insert(node, sharings);
            }
        }
        if let Some(bound) = bound {
            listing.retain(|handle, _| *handle <= bound);
        }
        (listing, bound)
    }

    async fn list_one(
        self: &Arc<Self>,
        exchange: &Exchange,
        node: NodeId,
        after: Option<[u8; 32]>,
    ) -> Option<(Vec<ListedIdentity>, bool)> {
        let (response, body) = if node == self.id {
            let service = Arc::clone(self);
            let answer = blocking(move || service.identities.list(after)).await.ok()?;
            (answer.response, answer.body)
        } else {
            let operation = Operation::Identities { after };
            let answer = exchange.ask(node, &operation, Bytes::new(), PATIENCE, None).await.ok()?;
            (answer.response, answer.body)
        };
        let Response::Identities { more } = response else { return None };
        let page: Vec<ListedIdentity> = canonical::decode(&body, BODY_LEN_MAX).ok()?;
        let ascends = page.windows(2).all(|pair| pair[0].handle < pair[1].handle);
        let begins = page.first().is_none_or(|first| Some(first.handle) > after);
        (ascends && begins && (!page.is_empty() || !more)).then_some((page, more))
    }

    /// Does for one handle what the plan says; tells whether it is settled.
    async fn renew(
        self: &Arc<Self>,
        exchange: &Exchange,
        view: &Arc<ChainView>,
        handle: [u8; 32],
        listed: &BTreeMap<NodeId, Vec<Sharing>>,
    ) -> bool {
        // A handle that others have and the chain here has not: it is on its way, or a lie.
        let Ok(target) = target(handle, view) else {
            return listed.keys().all(|node| *node == self.id);
        };
        let RenewalPlan { settled, wanted } = target.plan(&self.id, listed);
        for renewal in wanted.iter().take(ATTEMPTS_MAX) {
            if self.obtain(exchange, view, renewal).await {
                break;
            }
        }
        if !settled.is_empty() && wanted.is_empty() {
            let (service, leaves) = (Arc::clone(self), !target.holders.contains(&self.id));
            let forgotten = blocking(move || {
                service.identities.store.update(handle, |kept| {
                    let kept = kept.filter(|_| !leaves).map(|mut kept| {
                        kept.forget_others(&settled);
                        kept
                    });
                    Ok((kept, ()))
                })
            });
            return forgotten.await.is_ok();
        }
        false
    }

    /// Gets a share of a renewal from its dealers; tells whether it is durable here.
    async fn obtain(
        self: &Arc<Self>,
        exchange: &Exchange,
        view: &Arc<ChainView>,
        renewal: &Renewal,
    ) -> bool {
        let Ok(registered) = registered(renewal.handle, view) else { return false };
        let (mut dealings, mut wrapping) = (Vec::new(), None);
        for dealer in &renewal.dealers {
            let Some((kept, dealing)) = self.ask_dealer(exchange, *dealer, renewal).await else {
                debug!(%dealer, "a dealer does not deal now");
                return false;
            };
            if !kept.is_of(&exchange.network(), &registered) {
                warn!(%dealer, "an identity node keeps what is not its owner's");
                return false;
            }
            wrapping = Some(kept);
            dealings.push(dealing);
        }
        let commitment = &registered.record.commitment;
        let renewed = match accept_dealings(renewal, &dealings, &self.id, commitment) {
            Ok(renewed) => renewed,
            Err(error) => {
                warn!(%error, "a key was not shared again");
                return false;
            }
        };
        let Some(wrapping) = wrapping else { return false };
        let (service, renewal) = (Arc::clone(self), renewal.clone());
        let stored = blocking(move || {
            service.identities.store.update(renewal.handle, |before| {
                let added = Kept::with_renewed(before.clone(), wrapping, &renewal, renewed);
                let is_added = added.is_some();
                Ok((added.or(before), is_added))
            })
        });
        let stored = matches!(stored.await, Ok(true));
        if stored {
            info!("a share of an identity's key was dealt again");
        }
        stored
    }

    async fn ask_dealer(
        self: &Arc<Self>,
        exchange: &Exchange,
        dealer: NodeId,
        renewal: &Renewal,
    ) -> Option<(Wrapping, Dealing)> {
        if dealer == self.id {
            let (service, renewal) = (Arc::clone(self), renewal.clone());
            return blocking(move || service.identities.deal_to_itself(&renewal)).await;
        }
        let operation = Operation::DealAgain(Box::new(renewal.clone()));
        let answer = exchange.ask(dealer, &operation, Bytes::new(), PATIENCE, None).await.ok()?;
        match answer.response {
            Response::Dealt { wrapping, dealing } => Some((*wrapping, *dealing)),
            _ => None,
        }
    }
}
