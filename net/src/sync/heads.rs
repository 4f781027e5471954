//! Who has how much of the chain, proved, and how far away they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{
    HeadAttestation, HeadError, LightClient, Seen, SetChange, SignedHeader,
};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Response};
use rand_core::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{Replica, SyncError};
use crate::chain_store::split_changes;
use crate::clock::unix_milliseconds;
use crate::exchange::Exchange;
use crate::random::system_random;

/// How long to wait for a head, or for set changes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// How long others may answer after the first.
const GRACE: Duration = Duration::from_secs(1);
/// Heads that are so much lower than the best are as good: a chain under way is nowhere of one
/// height.
const HEIGHT_TOLERANCE: u64 = 2;

/// What a machine said its head is.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) latency: Duration,
    pub(crate) head: SignedHeader,
    attestation: HeadAttestation,
}

/// A machine that proved to have the chain up to a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) node: NodeId,
    pub(crate) height: u64,
    pub(crate) latency: Duration,
}

/// What several machines answered.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) asked: Vec<Asked>,
    /// What validators attest.
    nonce: [u8; 32],
    /// When they were asked, in Unix milliseconds: an answer to the nonce is not older.
    asked_at: u64,
}

/// Asks all at once for their heads.
pub(crate) async fn ask_heads(nodes: &[NodeId], exchange: &Exchange) -> Heads {
    let (mut nonce, asked_at) = ([0; 32], unix_milliseconds());
    system_random().fill_bytes(&mut nonce);
    let asked = ask_all(nodes, |node| {
        let exchange = exchange.clone();
        async move { ask_head(node, nonce, &exchange).await }
    });
    Heads { asked: asked.await, nonce, asked_at }
}

/// Asks all at once and gives the answers that came until a while after the first: nobody waits for
/// the dead.
pub(super) async fn ask_all<T, F>(nodes: &[NodeId], ask: impl Fn(NodeId) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, SyncError>> + Send + 'static,
{
    let mut questions = JoinSet::new();
    for node in nodes.iter().copied() {
        let question = ask(node);
        questions.spawn(async move { (node, question.await) });
    }
    let (mut answers, mut until) = (Vec::new(), None);
    loop {
        let next = match until {
            None => questions.join_next().await,
            Some(until) => match timeout_at(until, questions.join_next()).await {
                Ok(next) => next,
                Err(_) => return answers,
            },
        };
        match next {
            None => return answers,
            Some(Ok((_, Ok(answer)))) => answers.push(answer),
            Some(Ok((node, Err(error)))) => debug!(%node, %error, "no answer"),
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
        if !answers.is_empty() {
            until.get_or_insert_with(|| Instant::now() + GRACE);
        }
    }
}

async fn ask_head(node: NodeId, nonce: [u8; 32], exchange: &Exchange) -> Result<Asked, SyncError> {
    let operation = Operation::Head { nonce };
    let begin = Instant::now();
    let answer = exchange.ask(node, &operation, Bytes::new(), HEAD_TIMEOUT, None).await?;
    match answer.response {
        Response::Head { head, attestation } => {
            Ok(Asked { node, latency: begin.elapsed(), head: *head, attestation })
        }
        other => Err(SyncError::of_other(other)),
    }
}

/// The newest head that enough validators attest, and since when that is known by our clock.
pub(crate) fn attested_head(
    light: &LightClient,
    Heads { asked, nonce, asked_at }: &Heads,
) -> Result<(Seen, u64), HeadError> {
    let now = unix_milliseconds();
    let attestations: Vec<HeadAttestation> =
        asked.iter().map(|asked| asked.attestation.clone()).collect();
    let mut newest_first: Vec<&Asked> = asked.iter().collect();
    newest_first.sort_by_key(|asked| std::cmp::Reverse(asked.head.header.height));
    let mut refused = HeadError::Unattested(light.seen().height);
    for Asked { head, .. } in newest_first {
        let mut light = light.clone();
        match light.accept_head(head, &attestations, nonce, now) {
            Ok(_) => return Ok((light.seen(), *asked_at)),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The machines whose heads are proved and not below ours, the best first: those with the highest
/// heads, or nearly so, by latency.
pub(crate) async fn rank(
    replica: &Arc<Replica>,
    asked: Vec<Asked>,
    exchange: &Exchange,
) -> Vec<Source> {
    let Ok(light) = replica.light_client() else { return Vec::new() };
    let (ours, mut sources) = (replica.height(), Vec::new());
    // Most have the same head, and each certificate is several signatures.
    let mut certified = BTreeSet::from([replica.view().head().header.hash()]);
    for Asked { node, latency, head, .. } in asked {
        let (height, hash) = (head.header.height, head.header.hash());
        if height < ours {
            debug!(%node, height, "has less than we have");
            continue;
        }
        if !certified.contains(&hash) {
            if let Err(error) = verify_head(light.clone(), node, &head, ours, exchange).await {
                debug!(%node, %error, "no source");
                continue;
            }
            certified.insert(hash);
        }
        sources.push(Source { node, height, latency });
    }
    in_order(sources)
}

/// That the validators certified a head, over the changes of their set since ours if need be.
async fn verify_head(
    mut light: LightClient,
    node: NodeId,
    head: &SignedHeader,
    ours: u64,
    exchange: &Exchange,
) -> Result<(), SyncError> {
    let checked = light.check_certified(head);
    // Only rules of version 2 can change the set, and all who follow those know the question.
    if !matches!(checked, Err(HeadError::UnknownValidators { .. })) || !speaks_new_forms(head) {
        return Ok(checked?);
    }
    for change in ask_set_changes(node, ours, head.header.height, exchange).await? {
        light.follow(&change)?;
    }
    Ok(light.check_certified(head)?)
}

/// Whether whoever has this head speaks the forms of requests that came with rules version 2.
pub(crate) fn speaks_new_forms(head: &SignedHeader) -> bool {
    head.certificate.round.is_some()
}

/// The changes of the validator set between two heights, as `node` says.
pub(crate) async fn ask_set_changes(
    node: NodeId,
    mut after: u64,
    below: u64,
    exchange: &Exchange,
) -> Result<Vec<SetChange>, SyncError> {
    let mut changes: Vec<SetChange> = Vec::new();
    loop {
        let operation = Operation::SetChanges { after };
        let answer = exchange.ask(node, &operation, Bytes::new(), HEAD_TIMEOUT, None).await?;
        let Response::SetChanges { more } = answer.response else {
            return Err(SyncError::of_other(answer.response));
        };
        let page = split_changes(&answer.body).ok_or(SyncError::Unfitting)?;
        let last = page.last().map(|change| change.header.header.height);
        changes.extend(page.into_iter().filter(|change| change.header.header.height < below));
        match last {
            Some(last) if more && last > after && last < below => after = last,
            _ => return Ok(changes),
        }
    }
}

fn in_order(mut sources: Vec<Source>) -> Vec<Source> {
    let best = best(&sources);
    sources.sort_by_key(|source| (source.lag(best), source.latency));
    sources
}

/// Of sources in order those whom one at height `ours` may follow: who leads, and who is ahead. One that
/// does not lead has to be left once it is level, so it comes last among equals.
pub(crate) fn without_circles(
    mut sources: Vec<Source>,
    ours: u64,
    leads: impl Fn(NodeId) -> bool,
) -> Vec<Source> {
    sources.retain(|source| source.height > ours || leads(source.node));
    let best = best(&sources);
    sources.sort_by_key(|source| (source.lag(best), !leads(source.node)));
    sources
}

fn best(sources: &[Source]) -> u64 {
    sources.iter().map(|source| source.height).max().unwrap_or(0)
}

impl Source {
    /// Blocks that it lacks of so many, if it is more than a few.
    fn lag(&self, best: u64) -> u64 {
        match best - self.height {
            ..=HEIGHT_TOLERANCE => 0,
            behind => behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8, height: u64, millis: u64) -> Source {
        Source { node: NodeId([number; 32]), height, latency: Duration::from_millis(millis) }
    }

    #[test]
    fn the_best_head_comes_first_and_among_equals_the_nearest() {
        let sources = vec![source(1, 90, 1), source(2, 100, 9), source(3, 98, 5), source(4, 97, 2)];
        let order: Vec<u8> = in_order(sources).iter().map(|source| source.node.0[0]).collect();
        assert_eq!(order, [3, 2, 4, 1]);
    }

    #[test]
    fn who_does_not_lead_is_followed_while_it_is_ahead_and_nobody_else_has_as_much() {
        let order = |ours, leading: u8| -> Vec<u8> {
            let sources =
                vec![source(7, 100, 1), source(2, 99, 5), source(8, 90, 1), source(1, 90, 9)];
            let allowed = without_circles(sources, ours, |node| node.0[0] < leading);
            allowed.iter().map(|source| source.node.0[0]).collect()
        };
        assert_eq!(order(90, 5), [2, 7, 1]);
        assert_eq!(order(90, 2), [7, 2, 1]);
        assert_eq!(order(100, 1), []);
    }
}
