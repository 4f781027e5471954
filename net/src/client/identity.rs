//! The owner's side of identities: depositing at the identity nodes, and opening with their help
//! (`engine/spec/identity.md`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::identity::{
    Deposit, Handle, Login, LoginError, NodeAnswer, Registered, Renewal, Sharing, WrapTerms,
    Wrapped, deal, identity_epoch, identity_nodes, identity_threshold, wrap,
};
use kakera_engine::ledger::{Body, Identity, IdentityRecord, StateKey};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Answer, AskFailure};
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_engine::wire::{Operation, Response};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Client, ClientError};
use crate::blocking::blocking;
use crate::clock::unix_milliseconds;
use crate::random::system_random;

/// How long to wait for the other nodes once enough have answered.
const LATE: Duration = Duration::from_millis(500);
/// How long a deposit is offered to the nodes that have not taken it: until enough have, and then,
/// since who misses it has to have a share dealt by the others.
const DEPOSIT_TIME_MAX: Duration = Duration::from_secs(20);
const DEPOSIT_LATE: Duration = Duration::from_secs(3);
/// Between two offers: nodes are not all equally far.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What opened.
pub struct OpenedIdentity {
    /// The vault's root.
    pub root: VaultRoot,
    /// What the owner sealed beside it.
    pub attachment: Zeroizing<Vec<u8>>,
    /// What the ledger says.
    pub registered: Registered,
    /// Identity nodes that answered with something false.
    pub liars: Vec<NodeId>,
}

/// A passphrase that an owner chose, and what it is hardened with.
pub struct NewPassphrase {
    /// The passphrase.
    pub passphrase: Zeroizing<String>,
    /// What a guess costs.
    pub hardening: Hardening,
}

impl Client {
    /// Makes an identity under a new handle; returns when enough identity nodes keep it.
    pub async fn create_identity(
        &self,
        handle: &Handle,
        root: &VaultRoot,
        attachment: &[u8],
        new: NewPassphrase,
    ) -> Result<(), ClientError> {
        let hash = self.hash_handle(handle).await?;
        let wrapped = self.wrap(hash, 1, root, attachment, new).await?;
        // The record first: identity nodes keep nothing that is not on the ledger.
        self.submit(self.record(&wrapped, root)).await?;
        self.deposit(&wrapped, root).await
    }

    /// Wraps the root anew: another passphrase, another key of the oblivious function. The old
    /// passphrase opens nothing once this returns.
    pub async fn rewrap_identity(
        &self,
        opened: &OpenedIdentity,
        new: NewPassphrase,
    ) -> Result<(), ClientError> {
        let Registered { handle, version, .. } = opened.registered;
        let wrapped = self.wrap(handle, version + 1, &opened.root, &opened.attachment, new).await?;
        // The deposits first: until the record is final the old version opens, then the new one.
        self.deposit(&wrapped, &opened.root).await?;
        self.submit(self.record(&wrapped, &opened.root)).await?;
        Ok(())
    }

    /// Opens an identity with its passphrase, which takes one of its tries.
    pub async fn open_identity(
        &self,
        handle: &Handle,
        passphrase: Zeroizing<String>,
    ) -> Result<OpenedIdentity, ClientError> {
        let hash = self.hash_handle(handle).await?;
        let registered = self.registered(hash).await?.ok_or_else(ClientError::no_identity)?;
        let login = Login::new(&hash, &passphrase, &mut system_random())
            .map_err(|error| ClientError::usage(error.to_string()))?;
        let (answers, locked_until) = self.evaluate(hash, &login).await?;
        let network = *self.network();
        let opened =
            blocking(move || (login.open(&network, &registered, &answers), answers.len())).await;
        let (opened, answered) = opened;
        let root = match opened.root {
            Ok(root) => root,
            Err(LoginError::TooFew { .. }) if locked_until.is_some() => {
                let until = locked_until.unwrap_or(0);
                let minutes = until.saturating_sub(unix_milliseconds()).div_ceil(60_000);
                return Err(ClientError::locked_out(minutes));
            }
            Err(error) => return Err(ClientError::login(&error, answered, &opened.liars)),
        };
        let attachment = opened.wrapping.and_then(|wrapping| wrapping.attachment(&root));
        let attachment = attachment
            .ok_or_else(|| ClientError::integrity("the identity's attachment does not open"))?;
        self.confirm(hash, &root).await;
        Ok(OpenedIdentity { root, attachment, registered, liars: opened.liars })
    }

    /// What is kept for the identity of a root that came from a recovery kit; without an attachment
    /// if no identity node has it.
    pub async fn recall_identity(
        &self,
        handle: &Handle,
        root: VaultRoot,
    ) -> Result<OpenedIdentity, ClientError> {
        let hash = self.hash_handle(handle).await?;
        let registered = self.registered(hash).await?.ok_or_else(ClientError::no_identity)?;
        let owner = root.identity_key();
        if owner.verifying_key().to_bytes() != registered.key {
            return Err(ClientError::usage("the recovery kit belongs to another handle"));
        }
        let network = *self.network();
        let operation = Operation::Recall { handle: hash };
        let mut attachment = Zeroizing::new(Vec::new());
        for (_, answer) in
            self.ask_all(operation, Some(&owner), |answers| self.is_majority(answers)).await?
        {
            let Ok(Answer { response: Response::Recalled(wrapping), .. }) = answer else {
                continue;
            };
            let is_own = wrapping.is_of(&network, &registered);
            if let Some(found) = is_own.then(|| wrapping.attachment(&root)).flatten() {
                attachment = found;
                break;
            }
        }
        Ok(OpenedIdentity { root, attachment, registered, liars: Vec::new() })
    }

    async fn hash_handle(&self, handle: &Handle) -> Result<[u8; 32], ClientError> {
        let (handle, network) = (handle.clone(), *self.network());
        handle.check_network(&network).map_err(|error| ClientError::usage(error.to_string()))?;
        Ok(blocking(move || handle.hash(&network)).await)
    }

    async fn registered(&self, handle: [u8; 32]) -> Result<Option<Registered>, ClientError> {
        let found: Vec<Option<Identity>> = self.values(vec![StateKey::Identity(handle)]).await?;
        match found.into_iter().flatten().next() {
            None => Ok(None),
            Some(identity) => Registered::of(handle, &identity).map(Some).ok_or_else(|| {
                ClientError::usage("the identity was made by a newer program; upgrade this one")
            }),
        }
    }

    async fn wrap(
        &self,
        handle: [u8; 32],
        version: u64,
        root: &VaultRoot,
        attachment: &[u8],
        new: NewPassphrase,
    ) -> Result<Wrapped, ClientError> {
        let network = *self.network();
        let root = VaultRoot::from_bytes(Zeroizing::new(*root.expose()));
        let attachment = Zeroizing::new(attachment.to_vec());
        let wrapped = blocking(move || {
            let NewPassphrase { passphrase, hardening } = new;
            let terms = WrapTerms { network, handle, version, hardening };
            wrap(&terms, &root, &passphrase, &attachment, &mut system_random())
        });
        wrapped.await.map_err(|error| ClientError::usage(error.to_string()))
    }

    fn record(&self, wrapped: &Wrapped, root: &VaultRoot) -> Body {
        let Registered { handle, version, key, record } = wrapped.registered;
        let (owner, record) = (root.identity_key(), record.to_bytes());
        let network = self.network();
        Body::IdentityRecord(IdentityRecord::sign(network, &owner, key, handle, version, record))
    }

    /// Deals the key and gives every identity node its part. Durable at so many that a third may be
    /// lost, or an error.
    async fn deposit(&self, wrapped: &Wrapped, root: &VaultRoot) -> Result<(), ClientError> {
        let Registered { handle, version, .. } = wrapped.registered;
        let head = self.head().await?;
        let nodes = identity_nodes(&self.validators());
        let epoch = identity_epoch(head.header().height);
        let sharing = Sharing::by_owner(Renewal::by_owner(handle, version, epoch, nodes.clone()));
        let threshold = sharing.terms.threshold;
        let owner = root.identity_key();
        let needed = nodes.len() - (nodes.len() - 1) / 3;
        let mut missing = deal(&wrapped.key, threshold, &nodes, &mut system_random());
        let (begin, mut enough) = (Instant::now(), None::<Instant>);
        let until = |enough: Option<Instant>| {
            enough.map_or(begin + DEPOSIT_TIME_MAX, |since| since + DEPOSIT_LATE)
        };
        while Instant::now() < until(enough) {
            let mut asking = JoinSet::new();
            for (node, share) in &missing {
                let deposit = Deposit {
                    wrapping: wrapped.wrapping.clone(),
                    sharing: sharing.clone(),
                    share: share.clone(),
                };
                let (node, operation) = (*node, Operation::Deposit(Box::new(deposit)));
                let (exchange, owner) = (self.exchange.clone(), owner.clone());
                asking.spawn(async move {
                    let asked =
                        exchange.ask(node, &operation, Bytes::new(), PATIENCE, Some(&owner)).await;
                    (node, matches!(asked, Ok(Answer { response: Response::Deposited, .. })))
                });
            }
            // One that is gone must not hold up who waits for the others.
            while let Ok(Some(Ok((node, done)))) =
                tokio::time::timeout_at(until(enough), asking.join_next()).await
            {
                missing.retain(|(other, _)| !done || *other != node);
                if nodes.len() - missing.len() >= needed {
                    enough.get_or_insert_with(Instant::now);
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        if enough.is_some() {
            return Ok(());
        }
        Err(ClientError::identity_nodes(nodes.len() - missing.len(), needed))
    }

    /// Asks every identity node to evaluate; gives their answers, and until when the identity is
    /// locked if some say so.
    async fn evaluate(
        &self,
        handle: [u8; 32],
        login: &Login,
    ) -> Result<(BTreeMap<NodeId, NodeAnswer>, Option<u64>), ClientError> {
        let operation = Operation::Evaluate { handle, blinded: Box::new(*login.blinded()) };
        let enough = |answers: &[Asked]| {
            let shares = answers.iter().filter_map(|(_, answer)| match answer {
                Ok(Answer { response: Response::Evaluated(answer), .. }) => Some(&answer.shares),
                _ => None,
            });
            let mut counts = BTreeMap::<_, u8>::new();
            shares.flatten().any(|share| {
                let count = counts.entry((share.sharing, share.threshold)).or_default();
                *count += 1;
                *count >= share.threshold
            })
        };
        let (mut answers, mut locked) = (BTreeMap::new(), None);
        for (node, answer) in self.ask_all(operation, None, enough).await? {
            match answer.map(|answer| answer.response) {
                Ok(Response::Evaluated(answer)) => drop(answers.insert(node, *answer)),
                Ok(Response::LockedOut { until }) => locked = locked.max(Some(until)),
                _ => {}
            }
        }
        Ok((answers, locked))
    }

    /// Tells the identity nodes that the try was the owner's. One that does not hear it counts one
    /// try more.
    async fn confirm(&self, handle: [u8; 32], root: &VaultRoot) {
        let owner = root.identity_key();
        let enough = |answers: &[Asked]| self.is_majority(answers);
        let confirmed = self.ask_all(Operation::Confirm { handle }, Some(&owner), enough);
        // They are all told; what they answer changes nothing.
        let _ = confirmed.await;
    }

    fn is_majority(&self, answers: &[Asked]) -> bool {
        let answered = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
        answered >= usize::from(identity_threshold(identity_nodes(&self.validators()).len()))
    }

    /// Asks all identity nodes at once. Once there are `enough` answers the others have little time
    /// left.
    async fn ask_all(
        &self,
        operation: Operation,
        capability: Option<&SigningKey>,
        enough: impl Fn(&[Asked]) -> bool,
    ) -> Result<Vec<Asked>, ClientError> {
        self.learn_validators().await;
        let (mut asking, operation) = (JoinSet::new(), Arc::new(operation));
        for node in identity_nodes(&self.validators()) {
            let (exchange, operation) = (self.exchange.clone(), Arc::clone(&operation));
            let capability = capability.cloned();
            asking.spawn(async move {
                let capability = capability.as_ref();
                (node, exchange.ask(node, &operation, Bytes::new(), PATIENCE, capability).await)
            });
        }
        let mut answers = Vec::new();
        loop {
            let next = if enough(&answers) {
                tokio::time::timeout(LATE, asking.join_next()).await.unwrap_or(None)
            } else {
                asking.join_next().await
            };
            match next {
                Some(Ok(answer)) => answers.push(answer),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => return Ok(answers),
            }
        }
    }
}

/// A node and what it answered.
type Asked = (NodeId, Result<Answer, AskFailure>);
