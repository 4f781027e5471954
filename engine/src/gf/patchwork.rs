//! Sums of products at many places of strips: for what is too short and too many for a
//! [`Combination`](super::Combination) each.

use std::collections::BTreeMap;
use std::ops::Range;

use super::kernel::{self, Kernel, Prepared};

/// Patches, one after another, ready to be computed.
#[derive(Clone, Debug)]
pub struct Patchwork {
    kernel: &'static Kernel,
    batches: Vec<Batch>,
    /// What is multiplied by: for every term as many as its patch has outputs.
    coefficients: Vec<Prepared>,
    /// Units that every strip has at least.
    lengths: Vec<usize>,
    /// Strips that are only read.
    inputs: usize,
    products: usize,
}

/// A few units at one place of a few output strips: each output is the sum over all terms of a
/// coefficient times the term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where it is written.
    pub outputs: Vec<Spot>,
    /// What is added up; without any the outputs are zero.
    pub terms: Vec<Term>,
    /// How long it is.
    pub length: usize,
}

/// Where a patch begins; places and lengths are in units that all strips of an
/// [`apply`](Patchwork::apply) have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The strip: the inputs are numbered first, then the outputs.
    pub strip: usize,
    /// The first unit in it.
    pub place: usize,
}

/// A summand of all outputs of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What is read.
    pub spot: Spot,
    /// What is added to it first, times a coefficient.
    pub coupled: Option<(u8, Spot)>,
    /// The coefficient for every output.
    pub coefficients: Vec<u8>,
}

/// Patches of one shape, one after another.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) shape: Shape,
    pub(super) outputs: Vec<Start>,
    pub(super) singles: Vec<Single>,
    pub(super) pairs: Vec<Pair>,
}

/// What a patch has of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) outputs: usize,
    pub(super) singles: usize,
    pub(super) pairs: usize,
    /// Units.
    pub(super) length: usize,
}

/// A spot in few bytes: there are many of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) strip: u32,
    pub(super) place: u32,
}

/// A term that is read at one spot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub(super) start: Start,
    /// Where its coefficients are.
    pub(super) column: u32,
}

/// A term that is read at two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) start: Start,
    pub(super) other: Start,
    /// Where the coefficient of the other is.
    pub(super) factor: u32,
    /// Where its coefficients are.
    pub(super) column: u32,
}

impl Patchwork {
    /// Prepares patches that are computed in this order, so that one can read what another before it
    /// has written.
    ///
    /// `inputs` are the strips that are only read.
    ///
    /// # Panics
    /// If a patch writes an input, a byte twice or what it reads, a term has not as many coefficients
    /// as the patch has outputs, or a strip or a place has a number beyond 32 bits.
    pub fn new(inputs: usize, patches: impl IntoIterator<Item = Patch>) -> Self {
        Self::for_kernel(kernel::chosen(), inputs, patches)
    }

    fn for_kernel(
        kernel: &'static Kernel,
        inputs: usize,
        patches: impl IntoIterator<Item = Patch>,
    ) -> Self {
        let mut lengths = Vec::new();
        let mut products = 0;
        let mut builder = Builder::new(kernel);
        let mut waiting: Option<Patch> = None;
        for patch in patches {
            patch.check(inputs, &mut lengths);
            products += patch.products();
            match waiting.as_ref().and_then(|before| before.joined(&patch)) {
                Some(both) => waiting = Some(both),
                None => builder.extend(waiting.replace(patch)),
            }
        }
        builder.extend(waiting);
        let Builder { batches, coefficients, .. } = builder;
        Self { kernel, batches, coefficients, lengths, inputs, products }
    }

    /// Products in the field per byte of a unit; a copy is none.
    pub fn products(&self) -> usize {
        self.products
    }

    /// Computes all patches, a unit being so many bytes.
    ///
    /// # Panics
    /// If there are other strips than the patches are for, or a patch is not within its strips.
    pub fn apply(&self, unit: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        assert_eq!(inputs.len(), self.inputs, "input strips");
        let strips = inputs.iter().map(|strip| strip.len()).chain(outputs.iter().map(|s| s.len()));
        assert!(self.lengths.len() <= inputs.len() + outputs.len(), "a strip that is not there");
        let fits = |(length, units): (usize, &usize)| {
            units.checked_mul(unit).is_some_and(|bytes| bytes <= length)
        };
        assert!(strips.zip(&self.lengths).all(fits), "a patch beyond its strip");
        let inputs = inputs.iter().map(|strip| strip.as_ptr().cast_mut());
        let outputs = outputs.iter_mut().map(|strip| strip.as_mut_ptr());
        let strips: Vec<*mut u8> = inputs.chain(outputs).collect();
        for batch in &self.batches {
            // SAFETY: a `Kernel` is only handed out if it runs here. All spots lie within their
            // strips, no input is written, and the outputs are borrowed for nothing else.
            unsafe { (self.kernel.sum_patches)(&self.coefficients, batch, unit, &strips) };
        }
    }
}

impl Patch {
    fn spots(&self) -> impl Iterator<Item = Spot> {
        let read = self.terms.iter().flat_map(|term| {
            [Some(term.spot), term.coupled.map(|(_, other)| other)].into_iter().flatten()
        });
        self.outputs.iter().copied().chain(read)
    }

    /// Notes how long its strips have to be.
    ///
    /// # Panics
    /// As [`Patchwork::new`] says.
    fn check(&self, inputs: usize, lengths: &mut Vec<usize>) {
        assert!(self.outputs.iter().all(|spot| spot.strip >= inputs), "an input that is written");
        assert!(self.is_apart(), "a patch that overlaps itself");
        let counts = self.terms.iter().map(|term| term.coefficients.len());
        assert!(counts.into_iter().all(|count| count == self.outputs.len()), "coefficients");
        for Spot { strip, place } in self.spots() {
            let Some(end) = place.checked_add(self.length) else { panic!("a patch without end") };
            lengths.resize(lengths.len().max(strip + 1), 0);
            lengths[strip] = lengths[strip].max(end);
        }
    }

    fn products(&self) -> usize {
        let products = match &self.terms[..] {
            [Term { coupled: None, coefficients, .. }] if coefficients[..] == [1] => 0,
            terms => {
                let coupled = terms.iter().filter(|term| term.coupled.is_some()).count();
                terms.len() * self.outputs.len() + coupled
            }
        };
        products * self.length
    }

    /// Whether it writes nothing twice and reads nothing that it writes.
    fn is_apart(&self) -> bool {
        let apart = |one: &Spot, other: &Spot| {
            one.strip != other.strip || one.place.abs_diff(other.place) >= self.length
        };
        let spots: Vec<Spot> = self.spots().collect();
        let written = 0..self.outputs.len();
        written
            .into_iter()
            .all(|one| spots[one + 1..].iter().all(|other| apart(&spots[one], other)))
    }

    /// One patch for this and the next, if that does the same right after it.
    fn joined(&self, next: &Self) -> Option<Self> {
        let coupling = |term: &Term| term.coupled.map(|(coefficient, _)| coefficient);
        let alike = |(one, other): (&Term, &Term)| {
            one.coefficients == other.coefficients && coupling(one) == coupling(other)
        };
        let follows = |(one, other): (Spot, Spot)| {
            one.strip == other.strip && one.place + self.length == other.place
        };
        let continues = self.outputs.len() == next.outputs.len()
            && self.terms.len() == next.terms.len()
            && self.terms.iter().zip(&next.terms).all(alike)
            && self.spots().zip(next.spots()).all(follows);
        let both = continues.then(|| Self { length: self.length + next.length, ..self.clone() });
        both.filter(Self::is_apart)
    }
}

/// A patchwork under construction.
struct Builder {
    kernel: &'static Kernel,
    batches: Vec<Batch>,
    coefficients: Vec<Prepared>,
    /// Where coefficients are.
    columns: BTreeMap<Vec<u8>, u32>,
}

impl Builder {
    fn new(kernel: &'static Kernel) -> Self {
        let (batches, coefficients, columns) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { kernel, batches, coefficients, columns }
    }

    /// Adds a patch, cut into as many as the kernel needs.
    fn extend(&mut self, patch: Option<Patch>) {
        let Some(patch) = patch else { return };
        let outputs = patch.outputs.len();
        let parts = outputs.div_ceil(self.kernel.patch_outputs);
        for part in 0..parts {
            self.add(&patch, outputs * part / parts..outputs * (part + 1) / parts);
        }
    }

    /// Adds some of a patch's outputs.
    fn add(&mut self, patch: &Patch, outputs: Range<usize>) {
        let (mut singles, mut pairs) = (Vec::new(), Vec::new());
        for Term { spot, coupled, coefficients } in &patch.terms {
            let (start, column) = (Start::from(*spot), self.column(&coefficients[outputs.clone()]));
            match *coupled {
                None => singles.push(Single { start, column }),
                Some((factor, other)) => {
                    let factor = self.column(&[factor]);
                    pairs.push(Pair { start, other: other.into(), factor, column });
                }
            }
        }
        let outputs: Vec<Start> = patch.outputs[outputs].iter().map(|&spot| spot.into()).collect();
        let shape = Shape {
            outputs: outputs.len(),
            singles: singles.len(),
            pairs: pairs.len(),
            length: patch.length,
        };
        match self.batches.last_mut() {
            Some(batch) if batch.shape == shape => {
                batch.outputs.extend(outputs);
                batch.singles.extend(singles);
                batch.pairs.extend(pairs);
            }
            _ => self.batches.push(Batch { shape, outputs, singles, pairs }),
        }
    }

    /// Where these coefficients are.
    fn column(&mut self, coefficients: &[u8]) -> u32 {
        let next = in_few_bytes(self.coefficients.len());
        let column = *self.columns.entry(coefficients.to_vec()).or_insert(next);
        if column == next {
            self.coefficients.extend(coefficients.iter().map(|&c| (self.kernel.prepare)(c)));
        }
        column
    }
}

impl From<Spot> for Start {
    fn from(Spot { strip, place }: Spot) -> Self {
        Self { strip: in_few_bytes(strip), place: in_few_bytes(place) }
    }
}

/// Kernels trust these numbers, so none may be cut.
fn in_few_bytes(number: usize) -> u32 {
    let Ok(number) = u32::try_from(number) else { panic!("{number} is beyond 32 bits") };
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gf::{POLYNOMIAL, oracle};

    const INPUTS: usize = 2;
    const STRIPS: usize = 4;
    const UNITS: usize = 12;

    fn coefficient() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0), Just(1), any::<u8>()]
    }

    fn spot(strips: Range<usize>, length: usize) -> impl Strategy<Value = Spot> {
        (strips, 0..=UNITS - length).prop_map(|(strip, place)| Spot { strip, place })
    }

    /// Reads any strip, also what was written before.
    fn term(outputs: usize, length: usize) -> impl Strategy<Value = Term> {
        let coupled = prop::option::of((coefficient(), spot(0..STRIPS, length)));
        let coefficients = prop::collection::vec(coefficient(), outputs);
        (spot(0..STRIPS, length), coupled, coefficients)
            .prop_map(|(spot, coupled, coefficients)| Term { spot, coupled, coefficients })
    }

    /// Up to more outputs than any kernel has in a patch.
    fn patch() -> impl Strategy<Value = Patch> {
        (1usize..9, 1usize..3).prop_flat_map(|(outputs, length)| {
            let terms = prop::collection::vec(term(outputs, length), 0..6);
            let spots = prop::collection::vec(spot(INPUTS..STRIPS, length), outputs);
            (spots, terms).prop_map(move |(outputs, terms)| Patch { outputs, terms, length })
        })
    }

    fn compute(patch: &Patch, unit: usize, strips: &mut [Vec<u8>]) {
        let product = |a, b| oracle::mul(POLYNOMIAL, a, b);
        for at in 0..patch.length * unit {
            let byte = |spot: Spot| strips[spot.strip][spot.place * unit + at];
            let sum = |output: usize| {
                patch.terms.iter().fold(0, |sum, Term { spot, coupled, coefficients }| {
                    let other = coupled.map_or(0, |(factor, other)| product(factor, byte(other)));
                    sum ^ product(coefficients[output], byte(*spot) ^ other)
                })
            };
            let sums: Vec<u8> = (0..patch.outputs.len()).map(sum).collect();
            for (spot, sum) in patch.outputs.iter().zip(sums) {
                strips[spot.strip][spot.place * unit + at] = sum;
            }
        }
    }

    proptest! {
        #[test]
        fn every_kernel_equals_the_oracle(
            patches in prop::collection::vec(patch().prop_filter("overlapping", Patch::is_apart), 1..5),
            repeat in 1usize..4,
            unit in 0usize..80,
            bytes in prop::collection::vec(any::<u8>(), STRIPS * UNITS * 80),
        ) {
            // Neighbours that are alike are computed in one.
            let shifted = |patch: &Patch, by: usize| {
                let mut patch = patch.clone();
                let terms = patch.terms.iter_mut();
                let read = terms.flat_map(|term| {
                    [Some(&mut term.spot), term.coupled.as_mut().map(|(_, other)| other)]
                });
                for spot in patch.outputs.iter_mut().chain(read.flatten()) {
                    spot.place += by * patch.length;
                }
                patch
            };
            let patches: Vec<Patch> = patches
                .iter()
                .flat_map(|patch| (0..repeat).map(move |by| shifted(patch, by)))
                .filter(|patch| patch.spots().all(|spot| spot.place + patch.length <= UNITS))
                .collect();
            let before: Vec<Vec<u8>> =
                (0..STRIPS).map(|strip| bytes[strip * UNITS * 80..][..UNITS * unit].to_vec()).collect();
            let mut expected = before.clone();
            for patch in &patches {
                compute(patch, unit, &mut expected);
            }
            for kernel in kernel::available() {
                let patchwork = Patchwork::for_kernel(kernel, INPUTS, patches.iter().cloned());
                let mut strips = before.clone();
                let (inputs, outputs) = strips.split_at_mut(INPUTS);
                let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
                let mut outputs: Vec<&mut [u8]> =
                    outputs.iter_mut().map(Vec::as_mut_slice).collect();
                patchwork.apply(unit, &inputs, &mut outputs);
                prop_assert_eq!(&strips, &expected, "{}", kernel.name);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a patch beyond its strip")]
    fn a_patch_beyond_its_strip_is_not_computed() {
        let patch =
            Patch { outputs: vec![Spot { strip: 1, place: 1 }], terms: Vec::new(), length: 2 };
        Patchwork::new(1, [patch]).apply(8, &[&[0; 16]], &mut [&mut [0; 16]]);
    }
}
