//! Drives the engine's [`Watch`]: asks the storage nodes for signs of life, and votes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::Body;
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Watch, WatchAction, WatchSettings};
use kakera_engine::wire::{Operation, Response};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::barred;
use super::service::Service;
use crate::blocking::blocking;
use crate::exchange::Exchange;
use crate::store::disk::OsDisk;

/// The chain's state is looked at no more often than this, however fast blocks come.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a node may take to give a sign of life, or to try for one of another.
const SIGN_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// What came of a question. No suspects: no sign of life.
enum Heard {
    Sign { node: NodeId, suspects: Option<Vec<NodeId>> },
    Testimony { suspect: NodeId, heard: bool },
    Nothing,
}

impl Service {
    /// Watches as long as it lives. A validator that is not of the set watches too, and its votes
    /// are refused: it may become one at any time.
    pub(super) async fn watch(
        self: Arc<Self>,
        settings: WatchSettings,
        exchange: Exchange,
        disk: OsDisk,
    ) -> Infallible {
        let start = Instant::now();
        let mut kept = barred::read(&disk);
        let mut watch = Watch::new(settings).remembering(kept.clone());
        let mut views = self.desk.views();
        let mut questions = JoinSet::new();
        let mut looked = None;
        loop {
            let view = views.take_newest();
            if looked != Some(view.height()) {
                looked = Some(view.height());
                watch.handle_state(start.elapsed(), view.state().clone());
                if *watch.barred() != kept {
                    kept = watch.barred().clone();
                    let (disk, kept) = (disk.clone(), kept.clone());
                    blocking(move || barred::write(&disk, &kept)).await;
                }
            }
            while let Some(action) = watch.poll_action(start.elapsed()) {
                self.follow(action, settings, &exchange, &mut questions);
            }
            let wake = watch.next_wake().map_or(LOOK_EVERY, |w| w.saturating_sub(start.elapsed()));
            tokio::select! {
                biased;
                Some(heard) = questions.join_next() => match heard {
                    Ok(Heard::Sign { node, suspects }) => {
                        if let Some(suspects) = &suspects {
                            watch.handle_suspects(node, suspects);
                        }
                        watch.handle_probed(start.elapsed(), node, suspects.is_some());
                    }
                    Ok(Heard::Testimony { suspect, heard }) => {
                        watch.handle_testimony(start.elapsed(), suspect, heard);
                    }
                    Ok(Heard::Nothing) => {}
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Ok(()) = views.changed() => tokio::time::sleep(LOOK_EVERY).await,
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    fn follow(
        &self,
        action: WatchAction,
        settings: WatchSettings,
        exchange: &Exchange,
        questions: &mut JoinSet<Heard>,
    ) {
        let timeout = settings.times.suspect_after.min(SIGN_TIMEOUT_MAX);
        let exchange = exchange.clone();
        let ask = async move |of: NodeId, operation: Operation| {
            let answer = exchange.ask(of, &operation, Bytes::new(), timeout, None).await;
            answer.ok().map(|answer| answer.response)
        };
        match action {
            WatchAction::Probe(node) => {
                questions.spawn(async move {
                    let suspects = match ask(node, Operation::Status).await {
                        Some(Response::Status(status)) => Some(status.suspects.unwrap_or_default()),
                        _ => None,
                    };
                    Heard::Sign { node, suspects }
                });
            }
            WatchAction::Inquire { witness, suspect } => {
                questions.spawn(async move {
                    match ask(witness, Operation::Testify { suspect }).await {
                        Some(Response::Testimony { heard }) => Heard::Testimony { suspect, heard },
                        _ => Heard::Nothing,
                    }
                });
            }
            WatchAction::GiveUp(lost) => {
                warn!(node = %lost.node, "silent to all for too long: voting that it is lost");
                self.post_own(Body::NodeLost(lost));
            }
            WatchAction::Readmit(join) => {
                info!(node = %join.node, "a lost node is back: enrolling it again");
                self.post_own(Body::NodeJoin(join));
            }
        }
    }

    fn post_own(&self, body: Body) {
        self.desk.act(|machine| machine.post(body));
        self.desk.notify_writer();
    }
}
