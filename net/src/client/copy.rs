//! For those who check by themselves: copies of the chain, proofs of single values, and who the
//! validators are now.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use kakera_engine::ledger::{Claim, LedgerProof, Node, SetChange, SignedHeader, StateKey};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{BODY_LEN_MAX, Operation, ProvenValue, Response, canonical};
use rand_core::Rng;
use tracing::debug;

use super::ledger::TIMEOUT;
use super::{Client, ClientError};
use crate::blocking::blocking;
use crate::chain_store::Occasion;
use crate::exchange::AddressBook;
use crate::random::system_random;
use crate::sync::{Progress, Replica, SyncError, ask_set_changes, catch_up, gather};

/// Storage nodes that are asked for blocks besides the validators.
const STORAGE_SOURCES_MAX: usize = 8;
/// The head moves between two requests only while others write.
const PROOF_ATTEMPTS: usize = 8;

impl Client {
    /// Brings a copy of the chain up to the newest head that is proved, from whoever has it, and
    /// gives the height. Blocks that the network dropped are replaced by a snapshot of what they led
    /// to. What was taken is durable even if this fails, and the next call goes on from there.
    pub async fn copy_chain(
        &self,
        replica: &Arc<Replica>,
        mut progress: impl FnMut(Progress),
    ) -> Result<u64, SyncError> {
        let sources = self.sources().await;
        let height = match catch_up(replica, &sources, &self.exchange, &mut progress).await {
            Err(SyncError::Dropped(told)) => {
                let (interrupted, faulty) = (&mut None, &mut BTreeMap::new());
                let gathered =
                    gather(replica, 1, &sources, interrupted, faulty, &self.exchange).await?;
                let chain = gathered.ok_or(SyncError::Dropped(told))?;
                let copy = Arc::clone(replica);
                blocking(move || copy.begin_after(chain)).await?;
                catch_up(replica, &sources, &self.exchange, progress).await?
            }
            caught_up => caught_up?,
        };
        let copy = Arc::clone(replica);
        blocking(move || match copy.store().is_checkpoint_due(height, Occasion::Ending) {
            true => copy.store().write_checkpoint(copy.view().snapshot()),
            false => Ok(()),
        })
        .await?;
        Ok(height)
    }

    /// The validators and some storage nodes, those that can be reached as far as is known.
    async fn sources(&self) -> Vec<NodeId> {
        // Without the registry the validators are left.
        let nodes = self.nodes().await.unwrap_or_default();
        let storage = nodes.iter().filter(|node| node.takes_slots());
        let mut storage: Vec<&Node> = storage.collect();
        while storage.len() > STORAGE_SOURCES_MAX {
            storage.swap_remove(system_random().next_u32() as usize % storage.len());
        }
        for node in &storage {
            if let Ok(address) = node.join.address.parse() {
                self.addresses.learn(node.join.node, address);
            }
        }
        let mut sources = self.order();
        sources.extend(storage.iter().map(|node| node.join.node));
        sources.sort_unstable();
        sources.dedup();
        sources.retain(|node| self.addresses.address(node).is_some());
        sources
    }

    /// The proof of a value of the newest state, or of its absence, from the genesis on.
    pub async fn prove_value(&self, key: StateKey) -> Result<LedgerProof, ClientError> {
        self.head().await?;
        let mut last = ClientError::usage("the network file names no validator");
        for validator in self.order() {
            match self.ask_proof(validator, key).await {
                Ok(proof) => return Ok(proof),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Follows the validator set from the one that is known to that of now, as somebody tells;
    /// whether it has changed.
    pub(super) async fn follow_set_changes(&self) -> bool {
        for node in self.informants() {
            // The newest header that is believed may itself change the set.
            let after = self.seen().height.saturating_sub(1);
            match ask_set_changes(node, after, u64::MAX, &self.exchange).await {
                Ok(changes) => {
                    let mut light = self.light.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut followed = false;
                    for change in &changes {
                        followed |= light.follow(change).is_ok();
                    }
                    if followed {
                        return true;
                    }
                }
                Err(error) => debug!(%node, %error, "no changes of the validators"),
            }
        }
        false
    }

    async fn ask_proof(&self, node: NodeId, key: StateKey) -> Result<LedgerProof, ClientError> {
        let (head, body) = self.ask_proven(node, key).await?;
        let wrong = |error: &dyn std::fmt::Display| {
            ClientError::integrity(format!("node {node:?}: {error}"))
        };
        let proven: Vec<ProvenValue> =
            canonical::decode(&body, BODY_LEN_MAX).map_err(|error| wrong(&error))?;
        let [ProvenValue { value, proof }] =
            <[ProvenValue; 1]>::try_from(proven).map_err(|_| ClientError::unfitting(&node))?;
        let changes = self.changes_before(node, &head).await?;
        let proof = LedgerProof::new(changes, head, Claim::State { key, value, proof });
        proof.verify(self.network.genesis.clone()).map_err(|error| wrong(&error))?;
        Ok(proof)
    }

    /// A header and the proof of a value against its state root.
    async fn ask_proven(
        &self,
        node: NodeId,
        key: StateKey,
    ) -> Result<(SignedHeader, Bytes), ClientError> {
        let (mut nonce, keys) = ([0; 32], vec![key]);
        system_random().fill_bytes(&mut nonce);
        if self.agrees() {
            let consult = Operation::Consult { keys, from: 0, nonce };
            return match self.ask_one(node, &consult).await? {
                (Response::Consulted { head, .. }, body) => Ok((*head, body)),
                _ => Err(ClientError::unfitting(&node)),
            };
        }
        for _ in 0..PROOF_ATTEMPTS {
            let proven = self.ask_one(node, &Operation::Prove(keys.clone())).await?;
            let head = self.ask_one(node, &Operation::Head { nonce }).await?;
            match (proven, head) {
                ((Response::Proven { height }, body), (Response::Head { head, .. }, _)) => {
                    if head.header.height == height {
                        return Ok((*head, body));
                    }
                }
                _ => return Err(ClientError::unfitting(&node)),
            }
        }
        Err(ClientError::moving())
    }

    async fn ask_one(
        &self,
        node: NodeId,
        operation: &Operation,
    ) -> Result<(Response, Bytes), ClientError> {
        let asked = self.exchange.ask(node, operation, Bytes::new(), TIMEOUT, None).await;
        let answer = asked.map_err(|failure| ClientError::peer(&node, &failure))?;
        match answer.response {
            Response::Refused(refusal) => Err(ClientError::refused(refusal)),
            response => Ok((response, answer.body)),
        }
    }

    /// Only rules of version 2 can change the set.
    async fn changes_before(
        &self,
        node: NodeId,
        head: &SignedHeader,
    ) -> Result<Vec<SetChange>, ClientError> {
        if head.header.validators == self.network.genesis.validators.hash() {
            return Ok(Vec::new());
        }
        ask_set_changes(node, 0, head.header.height, &self.exchange)
            .await
            .map_err(|error| ClientError::integrity(format!("node {node:?}: {error}")))
    }
}
