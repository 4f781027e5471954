//! Regenerating codes at 64 KiB a fragment, beside our Reed-Solomon of the same n and k, their own
//! encoding, and the crate that has the same code.

use std::hint::black_box;
use std::rc::Rc;

use clay_codes::ClayCode;
use kakera_engine::code::{Code, CodeParameters, GROUP_LEN};
use kakera_engine::names::Slot;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::contest::{Contest, Side};
use crate::strips::Strips;

/// Groups of an object whose fragments have 64 KiB.
const GROUPS: u64 = 4;

const CLAY_GOAL: f64 = 2.5;

pub(crate) fn contests() -> impl Iterator<Item = Contest> {
    let codes = [("mbr(10,5,9)", 0.55, 0.8), ("msr(10,5,8)", 0.3, 0.7)];
    let product_matrix = codes.into_iter().flat_map(|(text, encode_goal, repair_goal)| {
        let code = Coded::new(text);
        let baseline = || Coded::new("rs(10,5,5)").encode("rs(10,5,5) encode");
        [
            Contest::new(code.series("encode"), code.encode("kakera"))
                .beats(encode_goal, baseline())
                .beside(code.copy()),
            Contest::new(code.series("decode"), code.decode("kakera"))
                .beats(1.0, code.encode("its encode"))
                .beside(code.copy()),
            Contest::new(code.series("repair"), code.repair("kakera"))
                .beats(repair_goal, baseline())
                .beside(code.copy()),
        ]
    });
    product_matrix.chain(std::iter::once_with(clay).flatten())
}

/// The same code in both implementations; the field elements of a pair differ, and so the parities.
fn clay() -> [Contest; 3] {
    let code = Coded::new("clay(14,10,13)");
    let rival = ClayRival::new(10, 4, &code.object);
    let contest = |operation, ours: Side, theirs: Side| {
        Contest::new(code.series(operation), ours).beats(CLAY_GOAL, theirs).beside(code.copy())
    };
    [
        contest("encode", code.encode("kakera"), rival.encode()),
        contest("decode", code.decode("kakera"), rival.decode()),
        contest("repair", code.repair("kakera"), rival.repair()),
    ]
}

/// A code, an object and its fragments.
struct Coded {
    code: Rc<Code>,
    object: Rc<Vec<u8>>,
    fragments: Rc<Vec<Vec<u8>>>,
}

impl Coded {
    fn new(text: &str) -> Self {
        let parameters: CodeParameters = text.parse().expect("a code of this form");
        let code = parameters.build().expect("a code of this size");
        let group = code.layout(u64::MAX).message_range(0).end;
        let mut object = vec![0; (GROUPS * group) as usize];
        ChaCha8Rng::seed_from_u64(group).fill_bytes(&mut object);
        let fragments = code.encode(&object);
        Self { code: Rc::new(code), object: Rc::new(object), fragments: Rc::new(fragments) }
    }

    fn series(&self, operation: &str) -> String {
        let parameters = self.code.parameters();
        format!("code/{operation}/{parameters}/{}KiB", GROUPS * GROUP_LEN / 1024)
    }

    fn bytes(&self) -> u64 {
        self.object.len() as u64
    }

    fn encode(&self, name: &'static str) -> Side {
        let (code, object) = (self.code.clone(), self.object.clone());
        let mut fragments = Vec::new();
        Side::unseen(name, self.bytes(), move || {
            code.encode_into(black_box(&object), &mut fragments);
            black_box(&fragments);
        })
    }

    /// From the last k slots, with as few systematic ones among them as can be.
    fn decode(&self, name: &'static str) -> Side {
        let (code, fragments) = (self.code.clone(), self.fragments.clone());
        let layout = code.layout(self.bytes());
        let (parameters, mut object) = (code.parameters(), Vec::new());
        let slots: Vec<Slot> =
            Slot::all(parameters.n).skip((parameters.n - parameters.k).into()).collect();
        Side::unseen(name, self.bytes(), move || {
            let parts: Vec<(Slot, &[u8])> =
                slots.iter().map(|&slot| (slot, &fragments[slot.index()][..])).collect();
            let groups = 0..layout.group_count();
            code.decode_groups_into(&layout, groups, black_box(&parts), &mut object)
                .expect("k fragments decode");
            black_box(&object);
        })
    }

    /// The newcomer's part: the symbols of the d slots after the first to the first's fragment.
    fn repair(&self, name: &'static str) -> Side {
        let code = self.code.clone();
        let layout = code.layout(self.bytes());
        let mut slots = Slot::all(code.parameters().n);
        let failed = slots.next().expect("a code has slots");
        let helpers = slots.take(code.parameters().d.into());
        let symbols: Vec<(Slot, Vec<u8>)> = helpers
            .map(|slot| {
                let symbols = code.helper_symbols(&layout, failed, &self.fragments[slot.index()]);
                (slot, symbols.expect("a fragment of the layout"))
            })
            .collect();
        let mut fragment = Vec::new();
        Side::unseen(name, layout.fragment_len(), move || {
            let parts: Vec<(Slot, &[u8])> =
                symbols.iter().map(|(slot, symbols)| (*slot, &symbols[..])).collect();
            code.repair_into(&layout, failed, black_box(&parts), &mut fragment)
                .expect("d symbols repair");
            black_box(&fragment);
        })
    }

    /// The limit: the object read once and written once.
    fn copy(&self) -> Side {
        let (object, mut copy) = (self.object.clone(), self.object.to_vec());
        Side::unseen("memcpy", self.bytes(), move || {
            black_box(&mut copy).copy_from_slice(black_box(&object));
        })
    }
}

/// The crate clay-codes by its calls without copies.
struct ClayRival {
    code: Rc<ClayCode>,
    object: Rc<Vec<u8>>,
    chunks: Rc<Vec<Vec<u8>>>,
}

impl ClayRival {
    fn new(k: usize, m: usize, object: &Rc<Vec<u8>>) -> Self {
        let code = ClayCode::new(k, m, k + m - 1).expect("a code of this size");
        let chunks = Rc::new(code.encode(object));
        Self { code: Rc::new(code), object: object.clone(), chunks }
    }

    fn side(&self, bytes: usize, operation: impl FnMut() + 'static) -> Side {
        Side::unseen("clay-codes", bytes as u64, operation)
    }

    fn encode(&self) -> Side {
        let (code, object) = (self.code.clone(), self.object.clone());
        let mut chunks = Strips::zeroed(code.n, code.chunk_size(object.len()));
        self.side(self.object.len(), move || {
            code.encode_into(black_box(&object), &mut chunks.slices_mut())
                .expect("n chunks of the size");
        })
    }

    /// From the last k chunks.
    fn decode(&self) -> Side {
        let (code, chunks) = (self.code.clone(), self.chunks.clone());
        self.side(self.object.len(), move || {
            let lost = code.n - code.k;
            let rows: Vec<Option<&[u8]>> = (chunks.iter().enumerate())
                .map(|(node, chunk)| (node >= lost).then_some(&chunk[..]))
                .collect();
            black_box(code.decode_rows(black_box(&rows)).expect("k chunks decode"));
        })
    }

    /// The first chunk from the sub-chunks that it needs of all others.
    fn repair(&self) -> Side {
        let (code, chunk_size) = (self.code.clone(), self.chunks[0].len());
        let others: Vec<usize> = (1..code.n).collect();
        let sub_chunk = chunk_size / code.sub_chunk_no;
        let needed = code.minimum_to_repair(0, &others).expect("all others are there");
        let parts: Vec<(usize, Vec<u8>)> = needed
            .into_iter()
            .map(|(node, indices)| {
                let of = |index| &self.chunks[node][index * sub_chunk..][..sub_chunk];
                (node, indices.into_iter().map(of).collect::<Vec<_>>().concat())
            })
            .collect();
        self.side(chunk_size, move || {
            let mut rows = vec![None; code.n];
            for (node, part) in &parts {
                rows[*node] = Some(&part[..]);
            }
            let repaired = code.repair_rows(0, black_box(&rows), chunk_size);
            black_box(repaired.expect("d parts repair"));
        })
    }
}
