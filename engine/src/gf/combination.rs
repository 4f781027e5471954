//! Linear combinations of byte strips: the one bulk operation of every code.

use std::collections::BTreeSet;

use super::Matrix;
use super::kernel::{self, Kernel, Pass};

/// Bytes that several passes handle before the next ones, inputs and outputs together, so that all
/// of them find the inputs in the second-level cache. One pass alone reads in one run: the
/// prefetchers lose the thread at the ends of tiles.
const TILE: usize = 128 * 1024;
/// Bytes of every strip in a tile at least, so that the prefetcher sees long runs.
const RUN: usize = 4096;

/// A matrix made ready to multiply strips: output_i = sum over j of coefficient_ij · input_j.
///
/// Preparing it costs about as much as multiplying a few columns, so prepare once and keep it. Rows
/// with a single 1 become copies; the others are gathered into passes of outputs that need the same
/// inputs, and zero coefficients cost nothing where a whole pass has them.
#[derive(Clone, Debug)]
pub struct Combination {
    kernel: &'static Kernel,
    inputs: usize,
    outputs: usize,
    /// Outputs that equal an input: (input, output).
    copies: Vec<(usize, usize)>,
    passes: Vec<Pass>,
}

impl Combination {
    /// Prepares `coefficients`: one row per output, one column per input.
    pub fn new(coefficients: &Matrix) -> Self {
        Self::for_kernel(kernel::chosen(), coefficients)
    }

    fn for_kernel(kernel: &'static Kernel, coefficients: &Matrix) -> Self {
        let mut copies = Vec::new();
        let mut rows = Vec::new();
        for output in 0..coefficients.rows() {
            let row = coefficients.row(output);
            let support: BTreeSet<usize> =
                (0..row.len()).filter(|&input| row[input] != 0).collect();
            match support.first() {
                Some(&input) if support.len() == 1 && row[input] == 1 => {
                    copies.push((input, output));
                }
                _ => rows.push((support, output)),
            }
        }
        rows.sort();
        let mut groups: Vec<Group> = Vec::new();
        for (inputs, output) in rows {
            match groups.last_mut() {
                Some(group)
                    if group.outputs.len() < kernel.pass_outputs && group.gains_by(&inputs) =>
                {
                    group.inputs.extend(inputs);
                    group.outputs.push(output);
                }
                _ => groups.push(Group { inputs, outputs: vec![output] }),
            }
        }
        Self {
            kernel,
            inputs: coefficients.columns(),
            outputs: coefficients.rows(),
            copies,
            passes: groups.into_iter().map(|group| group.pass(coefficients)).collect(),
        }
    }

    /// Strips that it computes.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Products in the field per byte of a strip; copies are none.
    pub fn products(&self) -> usize {
        self.passes.iter().map(|pass| pass.coefficients.len()).sum()
    }

    /// Overwrites `outputs` with the combinations of `inputs`, all strips of one length.
    ///
    /// # Panics
    /// If the number of strips differs from the matrix, or one strip has another length.
    pub fn apply(&self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        assert_eq!((inputs.len(), outputs.len()), (self.inputs, self.outputs), "strip counts");
        let length = outputs.first().map_or(0, |strip| strip.len());
        let fits = |strip: &&[u8]| strip.len() == length || outputs.is_empty();
        assert!(inputs.iter().all(fits), "input lengths");
        assert!(outputs.iter().all(|strip| strip.len() == length), "output lengths");
        let run = TILE / (self.inputs + self.outputs).max(1);
        let run = run.max(RUN) / RUN * RUN;
        if length <= run || self.passes.len() < 2 {
            return self.apply_tile(inputs, outputs);
        }
        for start in (0..length).step_by(run) {
            let tile = start..length.min(start + run);
            let inputs: Vec<&[u8]> = inputs.iter().map(|strip| &strip[tile.clone()]).collect();
            let mut outputs: Vec<&mut [u8]> =
                outputs.iter_mut().map(|strip| &mut strip[tile.clone()]).collect();
            self.apply_tile(&inputs, &mut outputs);
        }
    }

    fn apply_tile(&self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        for &(input, output) in &self.copies {
            outputs[output].copy_from_slice(inputs[input]);
        }
        for pass in &self.passes {
            self.kernel.run(pass, inputs, outputs);
        }
    }
}

/// Outputs that one pass shall compute, and the inputs that at least one of them needs.
struct Group {
    inputs: BTreeSet<usize>,
    outputs: Vec<usize>,
}

impl Group {
    /// Whether computing a row that needs `support` here is cheaper than in a pass of its own.
    ///
    /// The costs are vector operations: 3 to load an input and make it ready, 4 to multiply it and
    /// add it to one output.
    fn gains_by(&self, support: &BTreeSet<usize>) -> bool {
        let cost = |inputs: usize, outputs: usize| inputs * (3 + 4 * outputs);
        let (inputs, outputs) = (self.inputs.len(), self.outputs.len());
        cost(self.inputs.union(support).count(), outputs + 1)
            <= cost(inputs, outputs) + cost(support.len(), 1)
    }

    fn pass(self, matrix: &Matrix) -> Pass {
        let inputs: Vec<usize> = self.inputs.into_iter().collect();
        let coefficients_of =
            |&input: &usize| self.outputs.iter().map(move |&output| matrix[(output, input)]);
        let coefficients = inputs.iter().flat_map(coefficients_of).collect();
        Pass { outputs: self.outputs, inputs, coefficients }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gf::{POLYNOMIAL, oracle};

    /// Many zeros and ones, as in the matrices of systematic codes.
    fn coefficient() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0), Just(1), any::<u8>()]
    }

    /// Up to more outputs than any kernel has in a pass, dense and sparse.
    fn matrix() -> impl Strategy<Value = Matrix> {
        let entry = prop_oneof![coefficient().boxed(), any::<u8>().boxed()];
        (0usize..18, 0usize..12).prop_flat_map(move |(rows, columns)| {
            let row = prop::collection::vec(entry.clone(), columns);
            prop::collection::vec(row, rows).prop_map(move |rows| Matrix::from_rows(columns, rows))
        })
    }

    fn expected(matrix: &Matrix, inputs: &[&[u8]], length: usize) -> Vec<Vec<u8>> {
        let sum = |row: usize, at: usize| {
            matrix.row(row).iter().zip(inputs).fold(0, |sum, (&coefficient, input)| {
                sum ^ oracle::mul(POLYNOMIAL, coefficient, input[at])
            })
        };
        (0..matrix.rows()).map(|row| (0..length).map(|at| sum(row, at)).collect()).collect()
    }

    proptest! {
        #[test]
        fn every_kernel_equals_the_oracle(
            matrix in matrix(),
            length in prop_oneof![0usize..600, 4000usize..4300],
            skew in 0usize..65,
            seed in any::<u64>(),
        ) {
            let stride = length + skew;
            let bytes = noise(seed, skew + stride * matrix.columns());
            let inputs: Vec<&[u8]> =
                (0..matrix.columns()).map(|i| &bytes[skew + i * stride..][..length]).collect();
            let expected = expected(&matrix, &inputs, length);
            for kernel in kernel::available() {
                let combination = Combination::for_kernel(kernel, &matrix);
                let mut buffer = noise(seed ^ 1, skew + stride * matrix.rows());
                let before = buffer.clone();
                let mut outputs: Vec<&mut [u8]> = buffer[skew..]
                    .chunks_exact_mut(stride.max(1))
                    .map(|chunk| &mut chunk[..length])
                    .collect();
                if length == 0 {
                    outputs = (0..matrix.rows()).map(|_| <&mut [u8]>::default()).collect();
                }
                combination.apply(&inputs, &mut outputs);
                for (output, expected) in outputs.iter().zip(&expected) {
                    prop_assert_eq!(&output[..], &expected[..], "{}", kernel.name);
                }
                if length > 0 {
                    for row in 0..matrix.rows() {
                        let gap = skew + row * stride + length..skew + (row + 1) * stride;
                        prop_assert_eq!(&buffer[gap.clone()], &before[gap], "{}", kernel.name);
                    }
                }
            }
        }
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }
}
