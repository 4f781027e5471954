//! Performs what the core asks for: signs, verifies, records, sends, keeps time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_malachitebft_core_consensus::{
    ConsensusMsg, Effect, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg,
};
use arc_malachitebft_core_types as malachite;
use ed25519_dalek::SigningKey;
use malachite::{CertificateError, SignedMessage};

use super::AgreementEvent;
use super::context::{Context, Members, Proposal, round_number};
use super::message::{
    Message, Polka, ProposedBlock, RoundVotes, proposal_from_core, vote_from_core,
};
use super::record::records_of;
use super::timers::{Pace, Timers};
use crate::ledger::block::Block;
use crate::ledger::certificate::{Certificate, Commit};
use crate::ledger::equivocation::Equivocation;
use crate::ledger::genesis::ValidatorSet;
use crate::ledger::log::Digest32;
use crate::ledger::vote::{SignedProposal, SignedVote, VoteKind};
use crate::names::{NetworkId, NodeId};
use crate::signature::Signature;

/// The core only wants to know whether a certificate holds; what is wrong helps nobody.
const UNJUSTIFIED: CertificateError<Context> = CertificateError::VerificationError(None);

/// What the core's effects act on.
pub(super) struct Host<'a> {
    pub(super) network: &'a NetworkId,
    pub(super) key: &'a SigningKey,
    pub(super) members: &'a Members,
    pub(super) timers: &'a mut Timers,
    pub(super) blocks: &'a BTreeMap<Digest32, Arc<Block>>,
    pub(super) recorded: &'a mut BTreeSet<Digest32>,
    pub(super) wanted: &'a mut Option<u32>,
    pub(super) events: &'a mut VecDeque<AgreementEvent>,
    pub(super) suspected: &'a BTreeSet<NodeId>,
    pub(super) pace: &'a Pace,
    pub(super) height: u64,
    /// The log is being read: what it has is not to be written again.
    pub(super) replaying: bool,
    pub(super) now: Duration,
}

impl Host<'_> {
    /// Performs an effect and says how the core goes on.
    pub(super) fn perform(&mut self, effect: Effect<Context>) -> Resume<Context> {
        match effect {
            Effect::CancelAllTimeouts(go_on) => {
                self.timers.clear();
                *self.wanted = None;
                go_on.resume_with(())
            }
            Effect::CancelTimeout(timeout, go_on) => {
                self.timers.cancel(timeout);
                if timeout.kind == malachite::TimeoutKind::Propose {
                    *self.wanted = None;
                }
                go_on.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, go_on) => {
                let proposer =
                    self.members.set().proposer(self.height, round_number(timeout.round));
                let time = self.pace.time_for(timeout, self.suspected.contains(&proposer));
                self.timers.schedule(timeout, self.now.saturating_add(time));
                go_on.resume_with(())
            }
            Effect::GetValue(_, round, _, go_on) => {
                *self.wanted = round.as_u32();
                go_on.resume_with(())
            }
            Effect::WalAppend(_, input, go_on) => {
                if !self.replaying {
                    let records = records_of(self.height, &input, self.recorded);
                    self.events.extend(records.into_iter().map(AgreementEvent::Record));
                }
                go_on.resume_with(())
            }
            Effect::PublishConsensusMsg(message, go_on) => {
                self.send(match message {
                    SignedConsensusMsg::Vote(vote) => Message::Vote(vote_from_core(&vote)),
                    SignedConsensusMsg::Proposal(proposal) => {
                        Message::Proposal(ProposedBlock::from_core(&proposal))
                    }
                });
                go_on.resume_with(())
            }
            Effect::PublishLivenessMsg(message, go_on) => {
                self.send(match message {
                    LivenessMsg::Vote(vote) => Message::Vote(vote_from_core(&vote)),
                    LivenessMsg::PolkaCertificate(polka) => {
                        Message::Polka(Polka::from_core(&polka))
                    }
                    LivenessMsg::SkipRoundCertificate(votes) => {
                        Message::Round(RoundVotes::from_core(&votes))
                    }
                });
                go_on.resume_with(())
            }
            Effect::RepublishVote(vote, go_on) => {
                self.send(Message::Vote(vote_from_core(&vote)));
                go_on.resume_with(())
            }
            Effect::RepublishRoundCertificate(votes, go_on) => {
                self.send(Message::Round(RoundVotes::from_core(&votes)));
                go_on.resume_with(())
            }
            Effect::Decide(certificate, _, go_on) => {
                self.decide(&certificate);
                go_on.resume_with(())
            }
            Effect::Finalize(_, _, evidence, go_on) => {
                self.accuse(evidence);
                go_on.resume_with(())
            }
            Effect::SignVote(vote, go_on) => {
                let signed = vote.to_vote().sign(self.network, self.key);
                go_on.resume_with(SignedMessage::new(vote, signed.signature))
            }
            Effect::SignProposal(proposal, go_on) => {
                let signature = self.sign_proposal(&proposal);
                go_on.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(message, _, go_on) => go_on.resume_with(self.verifies(message)),
            Effect::VerifyPolkaCertificate(polka, _, _, go_on) => {
                let votes: Vec<_> =
                    polka.votes(&Context).map(|vote| vote_from_core(&vote)).collect();
                let holds = self.are_votes_of(&votes, |set, voters| set.decides(voters));
                go_on.resume_with(holds.then_some(()).ok_or(UNJUSTIFIED))
            }
            Effect::VerifyRoundCertificate(round, _, _, go_on) => {
                let holds = self.justifies_round(&RoundVotes::from_core(&round));
                go_on.resume_with(holds.then_some(()).ok_or(UNJUSTIFIED))
            }
            // Made of votes that were verified one by one; the chain verifies it once more.
            Effect::VerifyCommitCertificate(_, _, _, go_on) => go_on.resume_with(Ok(())),
            // Blocks that others decided are checked by the chain, never given to the core.
            Effect::VerifyExtendedCommitCertificate(_, _, _, _, go_on) => {
                go_on.resume_with(Err(UNJUSTIFIED))
            }
            Effect::StartRound(_, _, _, _, go_on)
            | Effect::RestreamProposal(_, _, _, _, _, go_on)
            | Effect::CertVerifiedSyncValue(_, _, go_on)
            | Effect::CertRejectedSyncValue(_, _, _, go_on) => go_on.resume_with(()),
            Effect::ExtendVote(_, _, _, _, go_on) => go_on.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, go_on) => go_on.resume_with(Ok(())),
        }
    }

    fn send(&mut self, message: Message) {
        self.events.push_back(AgreementEvent::Send(message));
    }

    fn decide(&mut self, decided: &malachite::CommitCertificate<Context>) {
        let Some(block) = self.blocks.get(&decided.value_id.0) else {
            unreachable!("the core decides only on blocks that it was given");
        };
        let signatures = decided.commit_signatures.iter();
        let commits =
            signatures.map(|one| Commit { validator: one.address.0, signature: one.signature });
        let certificate = Certificate::of_round(round_number(decided.round), commits);
        self.events.push_back(AgreementEvent::Decided { block: Arc::clone(block), certificate });
    }

    fn accuse(&mut self, evidence: MisbehaviorEvidence<Context>) {
        for (one, other) in evidence.votes.into_iter().flat_map(|(_, pairs)| pairs) {
            self.accuse_of(Equivocation::Votes(vote_from_core(&one), vote_from_core(&other)));
        }
        for (_, pairs) in evidence.proposals.iter() {
            for (one, other) in pairs {
                let proposals = (proposal_from_core(one), proposal_from_core(other));
                self.accuse_of(Equivocation::Proposals(proposals.0, proposals.1));
            }
        }
    }

    fn accuse_of(&mut self, equivocation: Equivocation) {
        self.events.push_back(AgreementEvent::Equivocated(Box::new(equivocation)));
    }

    fn sign_proposal(&self, proposal: &Proposal) -> Signature {
        let Proposal { height, round, pol_round, value, .. } = proposal;
        let (round, pol_round) = (round_number(*round), pol_round.as_u32());
        SignedProposal::sign(self.network, height.0, round, pol_round, value.id.0, self.key)
            .signature
    }

    fn verifies(&self, message: SignedMessage<Context, ConsensusMsg<Context>>) -> bool {
        let signature = message.signature;
        match message.message {
            ConsensusMsg::Vote(vote) => {
                SignedVote { vote: vote.to_vote(), signature }.verifies(self.network)
            }
            ConsensusMsg::Proposal(proposal) => {
                proposal_from_core(&SignedMessage::new(proposal, signature)).verifies(self.network)
            }
        }
    }

    fn justifies_round(&self, round: &RoundVotes) -> bool {
        if round.skip {
            return self.are_votes_of(&round.votes, |set, voters| set.vouches(voters));
        }
        let precommits = |vote: &SignedVote| vote.vote.kind == VoteKind::Precommit;
        round.votes.iter().all(precommits)
            && self.are_votes_of(&round.votes, |set, voters| set.decides(voters))
    }

    /// Votes of distinct validators of the set, enough of them, every signature genuine.
    fn are_votes_of(
        &self,
        votes: &[SignedVote],
        enough: impl Fn(&ValidatorSet, &BTreeSet<NodeId>) -> bool,
    ) -> bool {
        let set = self.members.set();
        let voters: BTreeSet<NodeId> = votes.iter().map(|vote| vote.vote.validator).collect();
        voters.len() == votes.len()
            && voters.iter().all(|voter| set.contains(voter))
            && enough(set, &voters)
            && votes.iter().all(|vote| vote.verifies(self.network))
    }
}
