//! Sums of two products at many places of strips: for what is too short and too many for a
//! [`Combination`](super::Combination) each.

use super::kernel::{self, Kernel, Prepared};

/// The same two coefficients at many places, ready to be applied.
#[derive(Clone, Debug)]
pub struct PairSum {
    kernel: &'static Kernel,
    pub(super) coefficients: [Prepared; 2],
    /// Products that a run takes per byte.
    run_products: usize,
    pub(super) runs: Vec<PairRun>,
    /// Runs of which another one reads the same inputs the other way round.
    pub(super) mirrored: Vec<MirroredRun>,
    /// Units that every input and every output strip has at least.
    input_lengths: Vec<usize>,
    output_lengths: Vec<usize>,
}

/// Where one sum reads and writes; lengths are in units that the strips of an
/// [`apply`](PairSum::apply) have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairRun {
    /// For each coefficient an input strip and where in it the run begins. The input of a zero
    /// coefficient does not count, but exists.
    pub inputs: [(usize, usize); 2],
    /// The output strip and where in it the run begins.
    pub output: (usize, usize),
    /// How long it is.
    pub length: usize,
}

/// A run, and the output of the one that mirrors it.
pub(super) type MirroredRun = (PairRun, (usize, usize));

impl PairSum {
    /// Prepares output = first coefficient · first input + second coefficient · second input.
    ///
    /// Runs are computed in any order, so none may write where another one does.
    pub fn new(coefficients: [u8; 2], runs: Vec<PairRun>) -> Self {
        Self::for_kernel(kernel::chosen(), coefficients, runs)
    }

    fn for_kernel(kernel: &'static Kernel, coefficients: [u8; 2], all: Vec<PairRun>) -> Self {
        let inputs = all.iter().flat_map(|run| run.inputs.map(|input| (input, run.length)));
        let outputs = all.iter().map(|run| (run.output, run.length));
        let (input_lengths, output_lengths) = (lengths(inputs), lengths(outputs));
        let (runs, mirrored) = gather(all);
        let run_products = match coefficients {
            [1, 0] | [0, 1] => 0,
            _ => coefficients.iter().filter(|&&coefficient| coefficient != 0).count(),
        };
        let coefficients = coefficients.map(kernel.prepare);
        Self { kernel, coefficients, run_products, runs, mirrored, input_lengths, output_lengths }
    }

    /// Overwrites the runs in `outputs`, a unit being so many bytes.
    ///
    /// # Panics
    /// If a run is not within its strips.
    pub fn apply(&self, unit: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        self.kernel.sum_pairs(self, unit, inputs, outputs);
    }

    /// Whether every run, a unit being so many bytes, lies within strips of these.
    pub(super) fn fits(&self, unit: usize, inputs: &[&[u8]], outputs: &[&mut [u8]]) -> bool {
        self.input_lengths.len() <= inputs.len()
            && self.output_lengths.len() <= outputs.len()
            && self
                .input_lengths
                .iter()
                .zip(inputs)
                .all(|(units, strip)| units * unit <= strip.len())
            && self
                .output_lengths
                .iter()
                .zip(outputs)
                .all(|(units, strip)| units * unit <= strip.len())
    }

    /// Products in the field per byte of a unit; a copy is none.
    pub fn products(&self) -> usize {
        let singles = self.runs.iter().map(|run| run.length);
        let pairs = self.mirrored.iter().map(|(run, _)| 2 * run.length);
        self.run_products * singles.chain(pairs).sum::<usize>()
    }
}

/// Runs without and with a mirrored one, sorted so that neighbours read the same.
fn gather(mut all: Vec<PairRun>) -> (Vec<PairRun>, Vec<MirroredRun>) {
    all.sort_by_key(|run| {
        let [one, other] = run.inputs;
        (one.min(other), one.max(other), run.length)
    });
    let (mut runs, mut mirrored) = (Vec::new(), Vec::new());
    let mut rest = &all[..];
    while let [run, after @ ..] = rest {
        match after {
            [next, after @ ..]
                if next.length == run.length && next.inputs == [run.inputs[1], run.inputs[0]] =>
            {
                mirrored.push((*run, next.output));
                rest = after;
            }
            _ => {
                runs.push(*run);
                rest = after;
            }
        }
    }
    (runs, mirrored)
}

/// How long every strip has to be so that these runs lie within theirs.
fn lengths(runs: impl Iterator<Item = ((usize, usize), usize)>) -> Vec<usize> {
    let mut lengths = Vec::new();
    for ((strip, place), length) in runs {
        lengths.resize(lengths.len().max(strip + 1), 0);
        lengths[strip] = lengths[strip].max(place + length);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gf::{POLYNOMIAL, oracle};

    const STRIPS: usize = 3;
    const UNITS: usize = 12;

    /// One run for each output strip; the last may mirror the first.
    fn runs() -> impl Strategy<Value = Vec<PairRun>> {
        let run = |strip| {
            (1usize..=UNITS).prop_flat_map(move |length| {
                let start = move || 0..=UNITS - length;
                ([(0..STRIPS, start()), (0..STRIPS, start())], start())
                    .prop_map(move |(inputs, at)| PairRun { inputs, output: (strip, at), length })
            })
        };
        (run(0), run(1), run(2), any::<bool>()).prop_map(|(one, other, last, mirrored)| {
            let [first, second] = one.inputs;
            let mirror = PairRun { inputs: [second, first], output: (2, one.output.1), ..one };
            vec![if mirrored { mirror } else { last }, other, one]
        })
    }

    fn coefficient() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0), Just(1), any::<u8>()]
    }

    fn expected(
        [one, other]: [u8; 2],
        runs: &[PairRun],
        unit: usize,
        inputs: &[Vec<u8>],
        mut outputs: Vec<Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        for run in runs {
            for at in 0..run.length * unit {
                let [first, second] =
                    run.inputs.map(|(strip, place)| inputs[strip][place * unit + at]);
                outputs[run.output.0][run.output.1 * unit + at] =
                    oracle::mul(POLYNOMIAL, one, first) ^ oracle::mul(POLYNOMIAL, other, second);
            }
        }
        outputs
    }

    proptest! {
        #[test]
        fn every_kernel_equals_the_oracle(
            coefficients in [coefficient(), coefficient()],
            runs in runs(),
            unit in 0usize..80,
            bytes in prop::collection::vec(any::<u8>(), 2 * STRIPS * UNITS * 80),
        ) {
            let strip = |index: usize| bytes[index * UNITS * 80..][..UNITS * unit].to_vec();
            let inputs: Vec<Vec<u8>> = (0..STRIPS).map(strip).collect();
            let before: Vec<Vec<u8>> = (STRIPS..2 * STRIPS).map(strip).collect();
            let expected = expected(coefficients, &runs, unit, &inputs, before.clone());
            let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            for kernel in kernel::available() {
                let mut outputs = before.clone();
                let mut strips: Vec<&mut [u8]> =
                    outputs.iter_mut().map(Vec::as_mut_slice).collect();
                let sum = PairSum::for_kernel(kernel, coefficients, runs.clone());
                sum.apply(unit, &inputs, &mut strips);
                prop_assert_eq!(&outputs, &expected, "{}", kernel.name);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a run beyond its strip")]
    fn a_run_beyond_its_strip_is_not_computed() {
        let run = PairRun { inputs: [(0, 0), (0, 1)], output: (0, 0), length: 2 };
        PairSum::new([1, 2], vec![run]).apply(8, &[&[0; 16]], &mut [&mut [0; 16]]);
    }
}
