//! Asking the validators, none of which is believed by itself (`engine/spec/validator.md` §5).
//!
//! A validator that does not answer soon is left to answer later while another is asked, and is
//! asked last for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use kakera_engine::ledger::{
    Entry, HeadAttestation, Inclusion, SignedHeader, StateKey, Validator, ValidatorSet,
    VerifiedHead,
};
use kakera_engine::names::NodeId;
use kakera_engine::peer::Answer;
use kakera_engine::wire::{BODY_LEN_MAX, Operation, ProvenValue, RefusalKind, Response, canonical};
use rand_core::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::ledger::{Submitted, TIMEOUT};
use super::{Client, ClientError, ErrorKind};
use crate::clock::unix_milliseconds;
use crate::exchange::AddressBook;
use crate::random::system_random;

/// How long one validator has to itself to answer a question, and to make an entry final.
const READ_PATIENCE: Duration = Duration::from_millis(300);
const POST_PATIENCE: Duration = Duration::from_secs(1);
/// How long to look for others when an entry was not taken.
const CHANGES_PATIENCE: Duration = Duration::from_secs(2);
/// How long a validator that did not answer is asked last.
const SUSPICION: Duration = Duration::from_secs(30);

/// Validators that did not answer, and when.
#[derive(Default)]
pub(super) struct Suspects(Mutex<BTreeMap<NodeId, Instant>>);

impl Suspects {
    fn suspect(&self, validators: impl IntoIterator<Item = NodeId>) {
        let now = Instant::now();
        let suspected = validators.into_iter().map(|validator| (validator, now));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(suspected);
    }

    fn clear(&self, validator: &NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(validator);
    }

    fn contains(&self, validator: &NodeId) -> bool {
        let suspects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.get(validator).is_some_and(|since| since.elapsed() < SUSPICION)
    }
}

/// Validators whose answers to one question are used: several questions that are asked at once need
/// answers of several.
#[derive(Default)]
struct Taken(Mutex<BTreeSet<NodeId>>);

impl Taken {
    fn insert(&self, validator: NodeId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(validator)
    }
}

/// The newest head, and values of its state.
pub(super) struct Consulted {
    pub(super) head: VerifiedHead,
    pub(super) signed: SignedHeader,
    pub(super) values: Vec<Option<Vec<u8>>>,
}

/// What one validator answers.
struct Word {
    head: Box<SignedHeader>,
    attestation: HeadAttestation,
    body: Bytes,
}

impl Client {
    /// The newest head and the proven values under the keys.
    pub(super) async fn consult(&self, keys: &[StateKey]) -> Result<Consulted, ClientError> {
        self.learn_validators().await;
        self.consult_known(keys).await
    }

    /// Puts an entry on the ledger and returns when it is proven to be there.
    pub(super) async fn post(&self, entry: Entry) -> Result<Submitted, ClientError> {
        match self.post_once(&entry).await {
            // The entry may have changed the validators, or all that are known were replaced. Said
            // again it has the same place, which those prove who are known then.
            Err(error) if error.is_passing() || error.kind() == ErrorKind::Integrity => {
                match timeout(CHANGES_PATIENCE, self.follow_set_changes()).await {
                    Ok(true) => {
                        self.learn_validators().await;
                        self.post_once(&entry).await
                    }
                    Ok(false) | Err(_) => Err(error),
                }
            }
            posted => posted,
        }
    }

    async fn post_once(&self, entry: &Entry) -> Result<Submitted, ClientError> {
        let operation = Operation::Post(Box::new(entry.clone()));
        let order = self.order();
        let (validator, answer) =
            self.ask_in_turn(&order, operation, POST_PATIENCE, &Taken::default()).await?;
        let Response::Posted { height, inclusion } = answer.response else {
            return Err(ClientError::unfitting(&validator));
        };
        let index = self.check_inclusion(entry, &inclusion)?;
        Ok(Submitted { height, index })
    }

    fn check_inclusion(&self, entry: &Entry, inclusion: &Inclusion) -> Result<u64, ClientError> {
        let light = self.light.lock().unwrap_or_else(PoisonError::into_inner);
        light
            .check_inclusion(entry, inclusion)
            .map_err(|error| ClientError::integrity(format!("the entry's place: {error}")))
    }

    async fn consult_known(&self, keys: &[StateKey]) -> Result<Consulted, ClientError> {
        let begin = Instant::now();
        loop {
            match self.consult_once(keys).await {
                Err(error) if error.is_passing() && begin.elapsed() < TIMEOUT => {}
                // The validators may be others than those that are known.
                Err(error) if error.kind() == ErrorKind::Integrity => {
                    if !self.follow_set_changes().await {
                        return Err(error);
                    }
                    self.learn_validators().await;
                }
                consulted => return consulted,
            }
        }
    }

    /// One validator gives the values, so many others attest the head that one of all is honest.
    async fn consult_once(&self, keys: &[StateKey]) -> Result<Consulted, ClientError> {
        let (order, set) = (self.order(), self.validators());
        let needed = witnesses_needed(&order, &set);
        let mut nonce = [0; 32];
        system_random().fill_bytes(&mut nonce);
        let seen = self.seen().height;
        let stripe = |first: usize| -> Vec<NodeId> {
            let own = order.iter().skip(first).step_by(needed);
            let others = order.iter().enumerate().filter(|(place, _)| place % needed != first);
            own.chain(others.map(|(_, validator)| validator)).copied().collect()
        };
        let source = stripe(0);
        let taken = Taken::default();
        let values = self.ask_word(&source, keys, seen, nonce, &taken);
        let witnesses = (1..needed).map(|first| {
            let (order, taken) = (stripe(first), &taken);
            async move { self.ask_word(&order, &[], 0, nonce, taken).await }
        });
        let (word, witnesses) = tokio::join!(values, join_all(witnesses));
        let (mut word, witnesses) = (word?, witnesses.into_iter().collect::<Result<Vec<_>, _>>()?);
        let others = witnesses.iter().map(|word| word.attestation.validator);
        let witnessing: BTreeSet<NodeId> = others.chain([word.attestation.validator]).collect();
        if !set.vouches(&witnessing) {
            return Err(ClientError::too_few_validators(witnessing.len(), needed));
        }
        let attested = witnesses.iter().map(|word| word.attestation.height).max().unwrap_or(0);
        let mut attestations = vec![word.attestation.clone()];
        attestations.extend(witnesses.into_iter().map(|word| word.attestation));
        if attested > word.attestation.height {
            word = self.ask_word(&source, keys, attested, nonce, &Taken::default()).await?;
        }
        self.believe(keys, word, &attestations, &nonce)
    }

    fn believe(
        &self,
        keys: &[StateKey],
        word: Word,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
    ) -> Result<Consulted, ClientError> {
        let Word { head: signed, body, .. } = word;
        let head = self.accept_head(&signed, attestations, nonce)?;
        let values = verified_values(&head, keys, &body)?;
        Ok(Consulted { head, signed: *signed, values })
    }

    pub(super) fn accept_head(
        &self,
        signed: &SignedHeader,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
    ) -> Result<VerifiedHead, ClientError> {
        let mut light = self.light.lock().unwrap_or_else(PoisonError::into_inner);
        let head = light
            .accept_head(signed, attestations, nonce, unix_milliseconds())
            .map_err(|error| ClientError::head(&error))?;
        if signed.certificate.round.is_some() {
            self.agrees.store(true, Ordering::Relaxed);
        }
        Ok(head)
    }

    async fn ask_word(
        &self,
        order: &[NodeId],
        keys: &[StateKey],
        from: u64,
        nonce: [u8; 32],
        taken: &Taken,
    ) -> Result<Word, ClientError> {
        let operation = Operation::Consult { keys: keys.to_vec(), from, nonce };
        let (validator, answer) = self.ask_in_turn(order, operation, READ_PATIENCE, taken).await?;
        match answer.response {
            Response::Consulted { head, attestation } => {
                Ok(Word { head, attestation, body: answer.body })
            }
            _ => Err(ClientError::unfitting(&validator)),
        }
    }

    /// Asks one validator after the other until one answers that is not `taken`, which it is then. A
    /// refusal counts once so many refuse that one of them is honest.
    async fn ask_in_turn(
        &self,
        order: &[NodeId],
        operation: Operation,
        patience: Duration,
        taken: &Taken,
    ) -> Result<(NodeId, Answer), ClientError> {
        let operation = Arc::new(operation);
        let (mut asking, mut order) = (JoinSet::new(), order.iter().copied());
        let (mut silent, mut refusers) = (BTreeSet::new(), BTreeSet::new());
        let mut last = None;
        loop {
            if let Some(validator) = order.next() {
                silent.insert(validator);
                let (exchange, operation) = (self.exchange.clone(), Arc::clone(&operation));
                asking.spawn(async move {
                    let body = Bytes::new();
                    (validator, exchange.ask(validator, &operation, body, TIMEOUT, None).await)
                });
            }
            let left = order.len();
            let patience = if left == 0 { TIMEOUT } else { patience };
            let (validator, answer) = match timeout(patience, asking.join_next()).await {
                Err(_) => {
                    self.suspects.suspect(silent.iter().copied());
                    continue;
                }
                Ok(Some(answered)) => {
                    answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
                }
                Ok(None) => break,
            };
            silent.remove(&validator);
            match answer {
                Ok(Answer { response: Response::Refused(refusal), .. }) => {
                    refusers.insert(validator);
                    let passing = refusal.kind == RefusalKind::Unavailable;
                    let believed = self.validators().vouches(&refusers);
                    last = Some(ClientError::refused(refusal));
                    if believed && !passing {
                        break;
                    }
                }
                Ok(answer) => {
                    self.suspects.clear(&validator);
                    if taken.insert(validator) {
                        self.suspects.suspect(silent);
                        return Ok((validator, answer));
                    }
                }
                Err(failure) => {
                    self.suspects.suspect([validator]);
                    last = Some(ClientError::peer(&validator, &failure));
                }
            }
        }
        Err(last.unwrap_or_else(|| ClientError::usage("the network file names no validator")))
    }

    /// The known validators in the order in which to ask them.
    pub(super) fn order(&self) -> Vec<NodeId> {
        let set = self.validators();
        let mut known: Vec<NodeId> = set.0.keys().copied().collect();
        known.retain(|validator| self.addresses.address(validator).is_some());
        let first = self.first_validator.load(Ordering::Relaxed) % known.len().max(1);
        known.rotate_left(first);
        known.sort_by_key(|validator| self.suspects.contains(validator));
        known
    }

    /// The validators as far as this client knows: those of the newest head that it believed.
    pub fn validators(&self) -> ValidatorSet {
        self.light.lock().unwrap_or_else(PoisonError::into_inner).validators().clone()
    }

    /// Asks where those validators listen that the network file does not know. Whoever tells is not
    /// believed: who listens there has to prove that it is the validator.
    pub(super) async fn learn_validators(&self) {
        for informant in self.informants() {
            let set = self.validators();
            let unknown = set.0.keys().filter(|id| self.addresses.address(id).is_none());
            let unknown: Vec<NodeId> = unknown.copied().collect();
            if unknown.is_empty() {
                return;
            }
            let keys = unknown.iter().copied().map(StateKey::Validator).collect();
            let operation = Operation::Prove(keys);
            let answer =
                self.exchange.ask(informant, &operation, Bytes::new(), READ_PATIENCE, None).await;
            let told = answer
                .ok()
                .and_then(|it| canonical::decode::<Vec<ProvenValue>>(&it.body, BODY_LEN_MAX).ok());
            for (validator, told) in unknown.into_iter().zip(told.unwrap_or_default()) {
                let registered = told.value.and_then(|bytes| {
                    canonical::decode::<Validator>(&bytes, BODY_LEN_MAX).ok()?.address.parse().ok()
                });
                if let Some(address) = registered {
                    self.addresses.learn(validator, address);
                }
            }
        }
    }

    /// Who may know of other validators: those that are known, then those of the network file.
    pub(super) fn informants(&self) -> Vec<NodeId> {
        let mut informants = self.order();
        let written = self.network.addresses.keys().filter(|node| !informants.contains(node));
        let written: Vec<NodeId> = written.copied().collect();
        informants.extend(written);
        informants
    }
}

/// How many validators, from the first of the order on, hold more than a third of the power.
fn witnesses_needed(order: &[NodeId], set: &ValidatorSet) -> usize {
    let mut witnesses = BTreeSet::new();
    let vouching = order.iter().position(|validator| {
        witnesses.insert(*validator);
        set.vouches(&witnesses)
    });
    vouching.map_or(order.len(), |place| place + 1).max(1)
}

/// The values, if the body proves all of them.
pub(super) fn verified_values(
    head: &VerifiedHead,
    keys: &[StateKey],
    body: &[u8],
) -> Result<Vec<Option<Vec<u8>>>, ClientError> {
    let proven: Vec<ProvenValue> = canonical::decode(body, BODY_LEN_MAX)
        .map_err(|error| ClientError::integrity(error.to_string()))?;
    let holds = proven.len() == keys.len()
        && keys
            .iter()
            .zip(&proven)
            .all(|(key, proven)| head.verify_state(key, proven.value.as_deref(), &proven.proof));
    if holds {
        Ok(proven.into_iter().map(|proven| proven.value).collect())
    } else {
        Err(ClientError::integrity("a validator sent a value without its proof"))
    }
}
