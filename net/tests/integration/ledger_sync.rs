//! The chain from several sources over real QUIC, honest and not: by snapshot, then by delta.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain_sources::*;
use crate::ledger_validators::{FOUR, genesis_of};
use bytes::Bytes;
use kakera_engine::ledger::{Chain, SentBlock};
use kakera_engine::names::NodeId;
use kakera_engine::peer::Answer;
use kakera_engine::wire::{BlockForm, Operation, Response};
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::store::disk::OsDisk;
use kakera_net::sync::{GATHER_BLOCKS_MIN, Gathering, SyncError, catch_up, gather};

/// Faulty sources, and what was wrong.
type Faulty = BTreeMap<NodeId, String>;

async fn gathered(
    taker: &Taker,
    interrupted: &mut Option<Gathering>,
    faulty: &mut Faulty,
) -> Result<Option<Chain>, SyncError> {
    let Taker { replica, exchange, sources, .. } = taker;
    gather(replica, GATHER_BLOCKS_MIN, sources, interrupted, faulty, exchange).await
}

async fn begin(taker: &Taker, chain: Chain) {
    let replica = Arc::clone(&taker.replica);
    tokio::task::spawn_blocking(move || replica.begin_after(chain)).await.unwrap().unwrap();
}

async fn caught_up(taker: &Taker) -> Result<u64, SyncError> {
    catch_up(&taker.replica, &taker.sources, &taker.exchange, |_| {}).await
}

fn flipped(answer: Answer, place: usize) -> Answer {
    let mut body = answer.body.to_vec();
    body[place] ^= 1;
    Answer { body: body.into(), ..answer }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_comes_from_all_at_once_and_the_chain_goes_on_from_it() {
    let sources = [201, 202, 203].map(Source::honest);
    let taker = Taker::from(&sources.each_ref());
    let chain = gathered(&taker, &mut None, &mut Faulty::new()).await.unwrap().unwrap();
    assert_eq!(chain.head().header.height, MILESTONE);
    for source in &sources {
        assert!(source.asked(is_chunk) > 0, "{}", source.number);
    }
    begin(&taker, chain).await;
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT);
    let whole = crate::chain_sources::chain(HEIGHT);
    assert_eq!(taker.replica.view().head(), whole.head());

    // As after retention: from the anchor on everything verifies, and more can follow.
    let folder = taker.into_folder();
    let disk = OsDisk::open(folder.path()).unwrap();
    let store = ChainStore::open(&disk, CHAIN_FILE).unwrap();
    assert_eq!((store.first_height(), store.height()), (MILESTONE + 1, HEIGHT));
    for chain in
        [store.replay(genesis_of(&FOUR), u64::MAX), store.load(genesis_of(&FOUR), u64::MAX)]
    {
        let chain = chain.unwrap();
        assert_eq!((chain.head(), chain.state().root()), (whole.head(), whole.state().root()));
        assert_eq!(chain.set_changes(), whole.set_changes());
    }
    drop((store, disk));
    sources.iter().for_each(|source| source.grow_to(HEIGHT + 20));
    let taker = Taker::in_folder(folder, &sources.each_ref());
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT + 20);
    assert!(gathered(&taker, &mut None, &mut Faulty::new()).await.unwrap().is_none(), "too near");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_a_false_chunk_or_head_is_named_and_asked_no_more() {
    let false_chunk = Source::new(201, HEIGHT, |asked, _, answer| {
        Some(if is_chunk(asked) { flipped(answer, 40) } else { answer })
    });
    // A head above all others that nobody certified.
    let false_head = Source::new(202, HEIGHT + 64, |_, _, answer| {
        Some(match answer.response {
            Response::Snapshot(base) => {
                let mut bytes = base.to_bytes();
                let place = bytes.windows(2).position(|pair| pair == [0x19, 0x01]).unwrap();
                bytes[place + 2] ^= 1;
                let base = kakera_engine::ledger::SnapshotBase::from_bytes(&bytes).unwrap();
                Answer::bare(Response::Snapshot(Box::new(base)))
            }
            response => Answer { response, body: answer.body },
        })
    });
    let honest = Source::honest(203);
    let taker = Taker::from(&[&false_chunk, &false_head, &honest]);
    let mut faulty = Faulty::new();
    let chain = gathered(&taker, &mut None, &mut faulty).await.unwrap().unwrap();
    assert_eq!(chain.head(), crate::chain_sources::chain(MILESTONE).head());
    assert_eq!(faulty.keys().copied().collect::<Vec<_>>(), {
        let mut expected = vec![id(201), id(202)];
        expected.sort_unstable();
        expected
    });
    assert!(faulty[&id(201)].contains("chunk"), "{}", faulty[&id(201)]);
    assert!(faulty[&id(202)].contains("certificate"), "{}", faulty[&id(202)]);
    assert_eq!(false_head.asked(is_chunk), 0);
    let before = false_chunk.asked(is_chunk);
    gathered(&taker, &mut None, &mut faulty).await.unwrap().unwrap();
    assert_eq!(false_chunk.asked(is_chunk), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gathering_that_was_interrupted_goes_on_with_others() {
    let failing = Source::new(201, HEIGHT, |asked, nth, answer| {
        Some(if is_chunk(asked) && nth >= 3 { unavailable() } else { answer })
    });
    let taker = Taker::from(&[&failing]);
    let (mut interrupted, mut faulty) = (None, Faulty::new());
    let error = gathered(&taker, &mut interrupted, &mut faulty).await.err().unwrap();
    assert!(matches!(error, SyncError::Refused(_)), "{error}");
    assert!(interrupted.is_some() && faulty.is_empty());

    let (alone, other) = (Source::honest(202), Source::honest(203));
    let resumed = Taker::from(&[&other]);
    let chain = gathered(&resumed, &mut interrupted, &mut faulty).await.unwrap().unwrap();
    assert_eq!(chain.head().header.height, MILESTONE);
    let fresh = Taker::from(&[&alone]);
    gathered(&fresh, &mut None, &mut faulty).await.unwrap().unwrap();
    assert!(other.asked(is_chunk) < alone.asked(is_chunk), "nothing is asked for twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_falls_silent_holds_nobody_up() {
    let silent = Source::new(201, HEIGHT, |asked, _, answer| (!is_chunk(asked)).then_some(answer));
    let honest = Source::honest(202);
    let taker = Taker::from(&[&silent, &honest]);
    let begin = std::time::Instant::now();
    let mut faulty = Faulty::new();
    gathered(&taker, &mut None, &mut faulty).await.unwrap().unwrap();
    assert!(begin.elapsed().as_secs() < 12 && faulty.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_stays_while_it_is_gathered() {
    let source = Source::honest(201);
    let failing = Source::new(202, HEIGHT, |asked, nth, answer| {
        Some(if is_chunk(asked) && nth >= 1 { unavailable() } else { answer })
    });
    let mut interrupted = None;
    let taker = Taker::from(&[&failing]);
    gathered(&taker, &mut interrupted, &mut Faulty::new()).await.err().unwrap();
    // One chunk of it is asked for; then the chain goes on far beyond.
    let first =
        Operation::SnapshotChunk { height: MILESTONE, within: kakera_engine::ledger::Prefix::ROOT };
    let timeout = std::time::Duration::from_secs(10);
    let taker = Taker::from(&[&source]);
    let answer = taker.exchange.ask(id(201), &first, Bytes::new(), timeout, None).await.unwrap();
    assert!(matches!(answer.response, Response::SnapshotChunk));
    source.grow_to(HEIGHT + 64);
    let chain = gathered(&taker, &mut interrupted, &mut Faulty::new()).await.unwrap().unwrap();
    assert_eq!(chain.head().header.height, MILESTONE);
    let chain = gathered(&taker, &mut None, &mut Faulty::new()).await.unwrap().unwrap();
    assert_eq!(chain.head().header.height, 352, "whoever begins now gets the newest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_from_the_next_source_where_the_last_one_failed() {
    // Ten blocks, then nothing.
    let failing = Source::new(201, HEIGHT, |asked, nth, answer| match asked {
        Operation::Follow { .. } if nth > 0 => Some(unavailable()),
        Operation::Follow { .. } => {
            let mut end = 0;
            for _ in 0..10 {
                let length: [u8; 4] = answer.body[end..end + 4].try_into().unwrap();
                end += 4 + u32::from_be_bytes(length) as usize;
            }
            Some(Answer { body: answer.body.slice(..end), ..answer })
        }
        _ => Some(answer),
    });
    // One block less, so that it comes second.
    let other = Source::new(202, HEIGHT - 5, |_, _, answer| Some(answer));
    let taker = Taker::from(&[&failing, &other]);
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT - 5);
    assert_eq!(failing.followed_from(), [1, 11]);
    assert_eq!(other.followed_from()[0], 11);
    assert_eq!(taker.replica.view().head(), crate::chain_sources::chain(HEIGHT - 5).head());

    // Interrupted and begun anew, it goes on from there.
    let folder = taker.into_folder();
    let third = Source::honest(203);
    let taker = Taker::in_folder(folder, &[&third]);
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT);
    assert_eq!(third.followed_from(), [HEIGHT - 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_withholds_or_spoils_blocks_is_left_for_another() {
    let withholding = Source::new(201, HEIGHT + 10, |asked, _, answer| {
        Some(match asked {
            Operation::Follow { .. } => Answer { body: Bytes::new(), ..answer },
            _ => answer,
        })
    });
    let spoiling = Source::new(202, HEIGHT + 5, |asked, _, answer| {
        Some(match asked {
            Operation::Follow { .. } => flipped(answer, 600),
            _ => answer,
        })
    });
    let honest = Source::honest(203);
    let taker = Taker::from(&[&withholding, &spoiling, &honest]);
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT);
    assert!(!withholding.followed_from().is_empty() && !spoiling.followed_from().is_empty());

    let taker = Taker::from(&[&withholding]);
    let error = caught_up(&taker).await.err().unwrap();
    assert!(matches!(error, SyncError::Withheld(height) if height == HEIGHT + 10), "{error}");
    assert!(matches!(caught_up(&Taker::from(&[])).await, Err(SyncError::NoSource)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_compact_and_one_that_is_wrong_is_asked_for_as_a_whole() {
    let source = Source::new(201, HEIGHT, |asked, _, answer| {
        let Operation::Follow { form: Some(BlockForm::Compact), .. } = asked else {
            return Some(answer);
        };
        // A compact block whose signatures are damaged.
        Some(flipped(answer, 4 + 3 + 600))
    });
    let taker = Taker::from(&[&source]);
    assert_eq!(caught_up(&taker).await.unwrap(), HEIGHT);
    assert_eq!(source.followed_from()[..2], [1, 1]);

    let source = Source::honest(202);
    let ask = |form| {
        let operation = Operation::Follow { from: 50, acknowledged: None, form };
        let timeout = std::time::Duration::from_secs(10);
        let exchange = Taker::from(&[&source]).exchange;
        async move { exchange.ask(id(202), &operation, Bytes::new(), timeout, None).await.unwrap() }
    };
    let (whole, compact) = (ask(None).await.body, ask(Some(BlockForm::Compact)).await.body);
    let count = HEIGHT as usize + 1 - 50;
    let saved = (whole.len() - compact.len()) / count;
    assert!((400..500).contains(&saved), "{saved} bytes a block");
    let length = u32::from_be_bytes(compact[..4].try_into().unwrap()) as usize;
    let first = SentBlock::from_bytes(&compact[4..4 + length]).unwrap();
    assert!(matches!(first, SentBlock::Compact(_)));
}
