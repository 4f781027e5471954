//! Systematic Reed-Solomon: k strips to m parities, in buffers given.

use std::hint::black_box;
use std::rc::Rc;

use kakera_engine::code::CodeParameters;
use kakera_engine::gf::{Combination, Matrix, lagrange};
use reed_solomon_erasure::galois_8::ReedSolomon;
use reed_solomon_simd::ReedSolomonEncoder;

use crate::contest::{Contest, Operation, Side};
use crate::isal::{Encoder, Kernel};
use crate::limit;
use crate::strips::Strips;

const KIB: usize = 1024;

/// (data strips, parity strips).
const SHAPES: [(u8, u8); 4] = [(4, 2), (6, 3), (10, 4), (20, 10)];

pub(crate) fn contests() -> impl Iterator<Item = Contest> {
    shapes().map(|shape| shape.contest(if shape.len > 64 * KIB { 1.3 } else { 2.2 }))
}

/// Of the kernels for AVX2, to be taken when ours is forced to be that.
pub(crate) fn avx2_contests() -> impl Iterator<Item = Contest> {
    shapes().filter_map(|shape| shape.avx2_contest())
}

fn shapes() -> impl Iterator<Item = Shape> {
    let lens = [64 * KIB, 1024 * KIB];
    SHAPES.into_iter().flat_map(move |(k, m)| lens.map(|len| Shape { k, m, len }))
}

/// k data strips and m parity strips of `len` bytes.
#[derive(Clone, Copy)]
struct Shape {
    k: u8,
    m: u8,
    len: usize,
}

impl Shape {
    fn contest(self, isal_goal: f64) -> Contest {
        let data = self.data();
        let contest = Contest::new(self.series(), self.ours(&data))
            .beats_if_any(isal_goal, self.isal("isa-l", Kernel::Chosen, &data))
            .beats(4.0, Side::unseen("reed-solomon-simd", self.bytes(), simd(&data, self.m)))
            .beats(3.0, self.erasure(&data));
        // Those without strips stand in the middle, so that ours, as the rivals, follows a side that
        // has just read the same strips.
        let parities = self.m.into();
        let products = limit::of_dense_products(&data, parities).into_iter();
        products
            .fold(contest, Contest::beside)
            .beside(self.code_into(&data))
            .beside(self.code_fresh(&data))
            .beside(self.copy(&data))
            .limited_by(limit::of_strips(&data, parities))
    }

    /// `None` without ISA-L.
    fn avx2_contest(self) -> Option<Contest> {
        let data = self.data();
        let isal = self.isal("isa-l for avx2", Kernel::Avx2, &data)?;
        Some(Contest::new(format!("{}/avx2", self.series()), self.ours(&data)).beats(1.0, isal))
    }

    fn parameters(self) -> CodeParameters {
        let text = format!("rs({},{},{})", self.k + self.m, self.k, self.k);
        text.parse().expect("a code of this form")
    }

    fn series(self) -> String {
        format!("code/encode/{}/{}KiB", self.parameters(), self.len / KIB)
    }

    fn data(self) -> Rc<Strips> {
        Rc::new(Strips::noise(self.k.into(), self.len))
    }

    fn bytes(self) -> u64 {
        u64::from(self.k) * self.len as u64
    }

    fn side(self, name: &'static str, data: &Rc<Strips>, encode: Encode) -> Side {
        let parity = Strips::zeroed(self.m.into(), self.len);
        Side::new(name, self.bytes(), Parity { data: data.clone(), parity, encode })
    }

    fn ours(self, data: &Rc<Strips>) -> Side {
        let [data_points, points] = [0..self.k, self.k..self.k + self.m].map(Vec::from_iter);
        let combination = Combination::interpolation(&data_points, &points);
        let apply = move |from: &[&[u8]], to: &mut [&mut [u8]]| {
            combination.apply(self.len, from, to, &mut Vec::new());
        };
        self.side("kakera", data, Box::new(apply))
    }

    fn isal(self, name: &'static str, kernel: Kernel, data: &Rc<Strips>) -> Option<Side> {
        let mut encoder = Encoder::new(kernel, &parities(self.k, self.m))?;
        Some(self.side(name, data, Box::new(move |from, to| encoder.encode(from, to))))
    }

    fn erasure(self, data: &Rc<Strips>) -> Side {
        let code = ReedSolomon::new(self.k.into(), self.m.into()).expect("a code of this size");
        let encode: Encode =
            Box::new(move |from, to| code.encode_sep(from, to).expect("strips of one length"));
        self.side("reed-solomon-erasure", data, encode)
    }

    /// What a put calls: the object in one piece, n fragments of which k are copies.
    fn code_into(self, data: &Strips) -> Side {
        let code = self.parameters().build().expect("a code of this size");
        let (object, mut fragments) = (data.slices().concat(), Vec::new());
        Side::unseen("Code::encode_into", self.bytes(), move || {
            code.encode_into(black_box(&object), &mut fragments);
            black_box(&fragments);
        })
    }

    /// The same with all fragments allocated anew.
    fn code_fresh(self, data: &Strips) -> Side {
        let code = self.parameters().build().expect("a code of this size");
        let object = data.slices().concat();
        Side::unseen("Code::encode", self.bytes(), move || {
            black_box(code.encode(black_box(&object)));
        })
    }

    /// The limit: the data read once and written once.
    fn copy(self, data: &Rc<Strips>) -> Side {
        let (data, mut copies) = (data.clone(), Strips::zeroed(self.k.into(), self.len));
        Side::unseen("memcpy", self.bytes(), move || {
            for (to, from) in copies.slices_mut().into_iter().zip(data.slices()) {
                black_box(to).copy_from_slice(black_box(from));
            }
        })
    }
}

/// m × k: the values of the interpolating polynomial at the points after the first k, as the codes
/// of Kakera and of reed-solomon-erasure have them.
fn parities(k: u8, m: u8) -> Matrix {
    let points: Vec<u8> = (0..k).collect();
    Matrix::from_rows(k.into(), (k..k + m).map(|point| lagrange(&points, point)))
}

/// Another code, which copies its input and allocates nothing after the first run.
fn simd(data: &Rc<Strips>, m: u8) -> impl FnMut() + 'static {
    let data = data.clone();
    let (k, len) = (data.slices().len(), data.slices()[0].len());
    let mut encoder = ReedSolomonEncoder::new(k, m.into(), len).expect("a code of this size");
    move || {
        for strip in data.slices() {
            encoder.add_original_shard(strip).expect("k strips of the length");
        }
        let encoded = encoder.encode().expect("all strips are there");
        black_box(encoded.recovery_iter().count());
    }
}

type Encode = Box<dyn FnMut(&[&[u8]], &mut [&mut [u8]])>;

struct Parity {
    data: Rc<Strips>,
    parity: Strips,
    encode: Encode,
}

impl Operation for Parity {
    fn run(&mut self) {
        (self.encode)(&self.data.slices(), &mut self.parity.slices_mut());
    }

    fn output(&self) -> Option<Vec<&[u8]>> {
        Some(self.parity.slices())
    }
}
