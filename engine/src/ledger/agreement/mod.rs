//! Byzantine agreement on the next block: a host without IO for Malachite's core, which is
//! Tendermint (Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", arXiv:1807.04938).
//!
//! One [`Agreement`] lives as long as its validator and decides one height after the other. It is
//! told which height to begin, which blocks may be decided on, what others say and what time it is;
//! it answers with [`AgreementEvent`]s, in order. **Every [`Record`] must be durable before a later
//! [`Message`] leaves the machine**: after a crash [`Agreement::resume`] goes on from the records
//! and never says anything else than was said before. Rules: `engine/spec/agreement.md`.
//!
//! Memory: the votes and at most [`PROPOSALS_PER_ROUND_MAX`] blocks of each round of one height.

mod context;
mod host;
mod message;
mod outline;
mod record;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_malachitebft_core_consensus::{Error, Input, LocallyProposedValue, Params, State, process};
use arc_malachitebft_core_types as malachite;
use ed25519_dalek::SigningKey;
use malachite::{Round, ThresholdParams, ValuePayload};
use thiserror::Error as ThisError;

use context::{Address, Context, Height, Members, Value, round_number};
use host::Host;
use message::vote_to_core;
pub use message::{MESSAGE_LEN_MAX, Message, Polka, ProposedBlock, RoundVotes};
pub use outline::{Outline, Want};
use record::inputs_of;
pub use record::{RECORD_LEN_MAX, Record};
pub use timers::Pace;
use timers::Timers;

use super::block::Block;
use super::certificate::Certificate;
use super::equivocation::Equivocation;
use super::genesis::ValidatorSet;
use super::log::Digest32;
use super::vote::SignedProposal;
use crate::names::{NetworkId, NodeId};
use crate::signature::node_id;

/// Most blocks of one round that are looked at: an honest proposer makes one.
pub const PROPOSALS_PER_ROUND_MAX: usize = 2;

/// Decides on blocks with the other validators. See the module for its contract.
pub struct Agreement {
    network: NetworkId,
    key: SigningKey,
    pace: Pace,
    /// Whether it votes; a validator that lost its voting log only listens.
    votes: bool,
    under_way: Option<UnderWay>,
    /// Proposers that let their turn pass and were not heard of since.
    suspected: BTreeSet<NodeId>,
    events: VecDeque<AgreementEvent>,
}

/// The height under way.
struct UnderWay {
    core: State<Context>,
    members: Members,
    timers: Timers,
    blocks: BTreeMap<Digest32, Arc<Block>>,
    proposals_seen: BTreeMap<u32, usize>,
    recorded: BTreeSet<Digest32>,
    wanted: Option<u32>,
    replaying: bool,
}

/// What [`Agreement::poll_event`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementEvent {
    /// To be made durable before any message that comes later leaves.
    Record(Record),
    /// To be sent to every other validator.
    Send(Message),
    /// More than two thirds agreed on this block.
    Decided {
        /// The block.
        block: Arc<Block>,
        /// Their precommits.
        certificate: Certificate,
    },
    /// A validator contradicted itself, with proof.
    Equivocated(Box<Equivocation>),
}

/// Why this validator must stop voting. Its own log or machine is at fault.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[error("agreement on height {height} failed: {reason}")]
pub struct AgreementError {
    /// The height under way.
    pub height: u64,
    /// What the core said.
    pub reason: String,
}

impl Agreement {
    /// No height is under way yet.
    pub fn new(network: NetworkId, key: SigningKey, pace: Pace, votes: bool) -> Self {
        Self {
            network,
            key,
            pace,
            votes,
            under_way: None,
            suspected: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// The height under way.
    pub fn height(&self) -> Option<u64> {
        self.under_way.as_ref().map(|under_way| under_way.core.height().0)
    }

    /// Begins a height, whatever was under way. `now` is any clock that only runs forward.
    pub fn begin(
        &mut self,
        height: u64,
        validators: &ValidatorSet,
        now: Duration,
    ) -> Result<(), AgreementError> {
        self.resume(height, validators, &[], now)
    }

    /// Begins a height from what the voting log has of it.
    pub fn resume(
        &mut self,
        height: u64,
        validators: &ValidatorSet,
        records: &[Record],
        now: Duration,
    ) -> Result<(), AgreementError> {
        let (inputs, blocks) = inputs_of(height, records);
        let mut under_way = UnderWay::new(self, height, validators);
        under_way.recorded = blocks.keys().copied().collect();
        under_way.blocks = blocks;
        under_way.replaying = true;
        under_way.core.index_wal_entries(&inputs);
        self.under_way = Some(under_way);
        let start = Input::StartHeight(
            Height(height),
            Members::new(validators),
            !inputs.is_empty(),
            None,
            malachite::VoteExtensionPolicy::Disabled,
        );
        let outcome = [start].into_iter().chain(inputs).try_for_each(|input| self.feed(input, now));
        if let Some(under_way) = &mut self.under_way {
            under_way.core.reset_entries_index();
            under_way.replaying = false;
        }
        outcome
    }

    /// Ends the height under way: its block came another way, or was decided.
    pub fn end(&mut self) {
        self.under_way = None;
    }

    /// The round in which this validator should put a block forward now.
    pub fn wants_block(&self) -> Option<u32> {
        self.under_way.as_ref()?.wanted
    }

    /// The block to put forward in `round`. Ignored when the round has passed.
    pub fn propose(
        &mut self,
        round: u32,
        block: Arc<Block>,
        now: Duration,
    ) -> Result<(), AgreementError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        under_way.wanted = None;
        let value = Value::new(block);
        under_way.blocks.insert(value.id.0, Arc::clone(&value.block));
        let height = under_way.core.height();
        self.feed(Input::Propose(LocallyProposedValue::new(height, Round::new(round), value)), now)
    }

    /// Whether a proposal is of the height under way, by the proposer of its round and signed by
    /// it, and not one too many: worth the work of checking its block. To be asked once for each:
    /// good or bad, the block counts.
    pub fn welcomes(&mut self, proposed: &ProposedBlock) -> bool {
        let proposal = &proposed.proposal;
        let genuine = proposed.is_consistent() && self.is_due(proposal);
        if !genuine || self.knows(&proposal.value) {
            return genuine;
        }
        let Some(under_way) = &mut self.under_way else { return false };
        let seen = under_way.proposals_seen.entry(proposal.round).or_default();
        *seen += 1;
        *seen <= PROPOSALS_PER_ROUND_MAX
    }

    /// Whether a proposal is of the height under way, by the proposer of its round and signed by it.
    pub fn is_due(&self, proposal: &SignedProposal) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| {
            let height = under_way.core.height().0;
            proposal.height == height
                && proposal.validator == under_way.members.set().proposer(height, proposal.round)
                && proposal.verifies(&self.network)
        })
    }

    /// Whether a block was checked already at this height.
    pub fn knows(&self, id: &Digest32) -> bool {
        self.block(id).is_some()
    }

    /// A block that was checked already at this height.
    pub fn block(&self, id: &Digest32) -> Option<&Arc<Block>> {
        self.under_way.as_ref().and_then(|under_way| under_way.blocks.get(id))
    }

    /// Takes a message of another validator, of the height under way. **The block of a proposal
    /// must have been checked**, unless it is [known](Self::knows): what is handed over here counts
    /// as valid. An outline must have been completed.
    pub fn handle_message(
        &mut self,
        message: &Message,
        now: Duration,
    ) -> Result<(), AgreementError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        if message.height() != under_way.core.height().0 {
            return Ok(());
        }
        let input = match message {
            Message::Proposal(ProposedBlock { proposal, block }) => {
                // The block that was checked stands, whatever now comes under the same header.
                let checked = under_way.blocks.entry(proposal.value);
                let block = checked.or_insert_with(|| Arc::clone(block));
                let proposed = ProposedBlock { proposal: *proposal, block: Arc::clone(block) };
                Some(Input::Proposal(proposed.to_core()))
            }
            Message::Vote(vote) => Some(Input::Vote(vote_to_core(vote))),
            Message::Polka(polka) => polka.to_core().map(Input::PolkaCertificate),
            Message::Round(votes) => votes.to_core().map(Input::RoundCertificate),
            Message::Outline(_) | Message::Want(_) => None,
        };
        input.map_or(Ok(()), |input| self.feed(input, now))
    }

    /// A validator was heard of: it is given its full time again when its turn comes.
    pub fn heard_of(&mut self, validator: &NodeId) {
        self.suspected.remove(validator);
    }

    /// When [`Agreement::handle_time`] has something to do.
    pub fn next_wake(&self) -> Option<Duration> {
        self.under_way.as_ref().and_then(|under_way| under_way.timers.next())
    }

    /// Lets what has taken too long take its course.
    pub fn handle_time(&mut self, now: Duration) -> Result<(), AgreementError> {
        loop {
            let Some(under_way) = &mut self.under_way else { return Ok(()) };
            let Some(timeout) = under_way.timers.pop_due(now) else { return Ok(()) };
            if timeout.kind == malachite::TimeoutKind::Propose {
                let height = under_way.core.height().0;
                let late = under_way.members.set().proposer(height, round_number(timeout.round));
                self.suspected.insert(late);
            }
            self.feed(Input::TimeoutElapsed(timeout), now)?;
        }
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<AgreementEvent> {
        self.events.pop_front()
    }

    /// Runs the core on one input and performs what it asks for.
    fn feed(&mut self, input: Input<Context>, now: Duration) -> Result<(), AgreementError> {
        let Self { network, key, pace, under_way, suspected, events, .. } = self;
        let Some(UnderWay { core, members, timers, blocks, recorded, wanted, replaying, .. }) =
            under_way
        else {
            return Ok(());
        };
        let (height, replaying) = (core.height().0, *replaying);
        let mut host = Host {
            network,
            key,
            members,
            timers,
            blocks,
            recorded,
            wanted,
            events,
            suspected,
            pace,
            height,
            replaying,
            now,
        };
        let result: Result<(), Error<Context>> = process!(
            input: input,
            state: core,
            metrics: &(),
            with: effect => Ok::<_, Error<Context>>(host.perform(effect))
        );
        result.map_err(|error| AgreementError { height, reason: error.to_string() })
    }
}

impl UnderWay {
    fn new(agreement: &Agreement, height: u64, validators: &ValidatorSet) -> Self {
        let members = Members::new(validators);
        let params = Params {
            address: Address(node_id(&agreement.key)),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalOnly,
            enabled: agreement.votes,
        };
        // Messages of later heights wait outside, so that the core needs no room for them.
        let core = State::new(Context, Height(height), members.clone(), params, 0, 0);
        Self {
            core,
            members,
            timers: Timers::default(),
            blocks: BTreeMap::new(),
            proposals_seen: BTreeMap::new(),
            recorded: BTreeSet::new(),
            wanted: None,
            replaying: false,
        }
    }
}
