//! The only one who writes: blocks, and what a validator must remember before it speaks.
//!
//! Without clock, threads or network, so that the very same code runs on simulated disks.

use std::sync::Arc;

use kakera_engine::ledger::{CertifiedBlock, CheckedBlock, SentBlock};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Clock, Work};
use kakera_engine::wire::Remark;
use rand_core::CryptoRng;
use tracing::{error, warn};

use super::ValidatorError;
use super::desk::Desk;
use super::voting_log::VotingLog;
use crate::chain_store::ChainStore;
use crate::store::disk::Disk;
use crate::watch;

/// Writes the chain and the voting log of one validator.
pub(super) struct Writer<D: Disk> {
    store: Arc<ChainStore<D>>,
    /// None if nobody knows what this validator said before: then it says nothing.
    voting_log: Option<VotingLog<D>>,
    durable: watch::Sender<u64>,
    told_fault: bool,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(store: Arc<ChainStore<D>>, voting_log: Option<VotingLog<D>>) -> Self {
        let durable = watch::Sender::new(store.height());
        Self { store, voting_log, durable, told_fault: false }
    }

    /// The newest durable height, whenever it grows.
    pub(super) fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Does all there is to do now. `tell` gets what one of the other validators, or all, are to hear,
    /// when it may leave.
    pub(super) fn work(
        &mut self,
        desk: &Desk,
        clock: Clock,
        random: &mut impl CryptoRng,
        mut tell: impl FnMut(Option<NodeId>, Remark),
    ) -> Result<(), ValidatorError> {
        desk.act(|machine| machine.handle_time(clock));
        loop {
            let busy = if desk.act(|machine| machine.decides_alone()) {
                self.make_block(desk, clock, random)?
            } else {
                self.confer(desk, clock, random, &mut tell)?
            };
            if !busy {
                return Ok(());
            }
        }
    }

    /// The next block of a validator that decides alone.
    fn make_block(
        &mut self,
        desk: &Desk,
        clock: Clock,
        random: &mut impl CryptoRng,
    ) -> Result<bool, ValidatorError> {
        let block = desk.act(|machine| machine.poll_block(clock.unix_millis, random));
        let Some(block) = block else { return Ok(false) };
        self.store(desk, &block)?;
        Ok(true)
    }

    /// What agreement wants done.
    fn confer(
        &mut self,
        desk: &Desk,
        clock: Clock,
        random: &mut impl CryptoRng,
        tell: &mut impl FnMut(Option<NodeId>, Remark),
    ) -> Result<bool, ValidatorError> {
        let work: Vec<Work> =
            desk.act(|machine| std::iter::from_fn(|| machine.poll_work(clock, random)).collect());
        self.tell_fault(desk);
        let (mut records, mut rest) = (Vec::new(), Vec::new());
        for work in work {
            match work {
                Work::Record(record) => records.push(record),
                other => rest.push(other),
            }
        }
        if let Some(voting_log) = &mut self.voting_log
            && !records.is_empty()
        {
            voting_log.append(&records)?;
        }
        let busy = !rest.is_empty();
        for work in rest {
            match work {
                Work::Record(_) => {}
                Work::Send(message) => tell(None, Remark::Message(Box::new(message))),
                Work::Tell(peer, message) => tell(Some(peer), Remark::Message(Box::new(message))),
                Work::Share(entry) => tell(None, Remark::Entry(entry)),
                Work::Block(block) => {
                    self.store(desk, &block)?;
                    if let Some(voting_log) = &mut self.voting_log {
                        voting_log.handle_settled()?;
                    }
                }
            }
        }
        Ok(busy)
    }

    fn store(&self, desk: &Desk, block: &CertifiedBlock) -> Result<(), ValidatorError> {
        self.store.append(std::slice::from_ref(block))?;
        desk.act(|machine| machine.handle_durable());
        self.durable.send(block.block.header.height);
        Ok(())
    }

    /// Takes blocks that the others decided on, the first of height `from`, up to the first that is
    /// not good.
    pub(super) fn catch_up(
        &mut self,
        desk: &Desk,
        clock: Clock,
        from: u64,
        blocks: Vec<SentBlock>,
    ) -> Result<(), ValidatorError> {
        let mut chain = desk.act(|machine| machine.chain().tip());
        let mut good: Vec<(CertifiedBlock, CheckedBlock)> = Vec::new();
        // A block may wait for its followers where one validator decided alone.
        if chain.head().header.height < self.store.height() {
            return Ok(());
        }
        for (height, block) in (from..).zip(blocks) {
            if height <= chain.head().header.height {
                continue;
            }
            match block.check(&chain, None) {
                Ok((block, checked)) => {
                    chain.append_certified(checked.clone(), block.certificate.clone());
                    good.push((block, checked));
                }
                Err(error) => {
                    warn!(height, %error, "another validator sent a wrong block");
                    break;
                }
            }
        }
        let Some((newest, _)) = good.last() else { return Ok(()) };
        let height = newest.block.header.height;
        let blocks: Vec<CertifiedBlock> = good.iter().map(|(block, _)| block.clone()).collect();
        self.store.append(&blocks)?;
        desk.act(|machine| {
            for (block, checked) in good {
                machine.handle_stored(block, checked, clock);
            }
        });
        self.durable.send(height);
        Ok(())
    }

    fn tell_fault(&mut self, desk: &Desk) {
        let fault = desk.act(|machine| machine.fault().cloned());
        if let Some(fault) = fault
            && !self.told_fault
        {
            error!("this validator votes no more, and only follows the others: {fault}");
            self.told_fault = true;
        }
    }
}
