//! Linear combinations of byte strips: the one bulk operation of every code.

use std::collections::{BTreeMap, BTreeSet};

use super::kernel::{self, Kernel};
use super::program::{Method, Pass, Program};
use super::quads;
use super::{Matrix, lagrange};

/// A matrix, or a chain of them, made ready to multiply strips.
///
/// Preparing it costs about as much as multiplying a few columns, so prepare once and keep it. Rows
/// are gathered into passes of outputs that need the same inputs, and zero coefficients cost nothing
/// where a whole pass has them. A 1 whose input no other row needs costs nothing either: the sum
/// starts from that input.
#[derive(Clone, Debug)]
pub struct Combination {
    program: Program,
}

impl Combination {
    /// Prepares output_i = sum over j of `coefficients`_ij · input_j.
    pub fn new(coefficients: &Matrix) -> Self {
        Self::chain(std::slice::from_ref(coefficients))
    }

    /// Prepares matrices one after another: the columns of each are the inputs, then the rows of all
    /// before it; the outputs are the rows of the last.
    ///
    /// For maps that have fewer products that way. A tile of what is in between stays in the caches.
    pub fn chain(matrices: &[Matrix]) -> Self {
        Self::for_kernel(kernel::chosen(), matrices)
    }

    /// Prepares the values at the points `to` of the polynomial of degree < the number of points `from`
    /// that has the inputs as its values there. Points of each are distinct.
    pub fn interpolation(from: &[u8], to: &[u8]) -> Self {
        Self::interpolation_for_kernel(kernel::chosen(), from, to)
    }

    fn interpolation_for_kernel(kernel: &'static Kernel, from: &[u8], to: &[u8]) -> Self {
        let strips: Vec<usize> = (0..from.len()).collect();
        let row = |output: usize| Row {
            output: from.len() + output,
            start: None,
            terms: sum(&lagrange(from, to[output]), &strips),
        };
        let (direct, quads) = quads::passes(kernel, from, to);
        let direct = gather(direct.into_iter().map(row).collect(), kernel);
        let passes = direct.chain(quads).collect();
        Self { program: Program::new(kernel, [from.len(), to.len(), 0], passes) }
    }

    fn for_kernel(kernel: &'static Kernel, matrices: &[Matrix]) -> Self {
        let Some((last, steps)) = matrices.split_last() else {
            return Self { program: Program::new(kernel, [0; 3], Vec::new()) };
        };
        let mut placement = Placement::new(matrices[0].columns(), last);
        let mut passes = Vec::new();
        for matrix in steps {
            let sums = placement.sums(matrix);
            let rows = sums.into_iter().filter_map(|terms| placement.place(terms));
            passes.extend(gather(rows.collect(), kernel));
        }
        passes.extend(gather(placement.outputs(last), kernel));
        let counts = [placement.inputs, last.rows(), placement.temporaries];
        Self { program: Program::new(kernel, counts, passes) }
    }

    /// Products in the field per byte of a strip.
    pub fn products(&self) -> usize {
        self.program.products()
    }

    /// What it takes per byte of a strip, in products. To write a strip, and to read what was written
    /// again, takes about as long as three products.
    pub(crate) fn cost(&self) -> usize {
        self.products() + 3 * self.program.written()
    }

    /// Overwrites the strips of `targets` with the combinations of those of `sources`.
    ///
    /// Strips are `width` bytes and lie one after another in every source and target. `workspace`
    /// holds what is in between; its bytes mean nothing before or after. Keep it for the next time.
    ///
    /// # Panics
    /// If the number of strips differs from the matrix, or a strip is not whole.
    pub fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        self.program.run(width, sources, targets, workspace);
    }
}

/// A strip to compute: the strip that it starts from, if any, and the sum of coefficients times
/// strips.
struct Row {
    output: usize,
    start: Option<usize>,
    terms: Terms,
}

/// Coefficients that are not zero, by their strips.
type Terms = BTreeMap<usize, u8>;

/// Which strips the columns of a chain stand for.
struct Placement {
    inputs: usize,
    outputs: usize,
    temporaries: usize,
    /// The strip of every column so far.
    columns: Vec<usize>,
    /// Columns that an output only repeats, and that output: they are computed there.
    repeated: BTreeMap<usize, usize>,
}

impl Placement {
    fn new(inputs: usize, last: &Matrix) -> Self {
        let outputs = last.rows();
        let columns: Vec<usize> = (0..last.columns()).collect();
        let repeat = |row: usize| Some((repeated(&sum(last.row(row), &columns))?, inputs + row));
        let repeated = (0..outputs).filter_map(repeat).collect();
        Self { inputs, outputs, temporaries: 0, columns: (0..inputs).collect(), repeated }
    }

    fn sums(&self, matrix: &Matrix) -> Vec<Terms> {
        (0..matrix.rows()).map(|row| sum(matrix.row(row), &self.columns)).collect()
    }

    /// Finds a strip for the next column; `None` if the column only repeats one.
    fn place(&mut self, terms: Terms) -> Option<Row> {
        if let Some(strip) = repeated(&terms) {
            self.columns.push(strip);
            return None;
        }
        let output = match self.repeated.get(&self.columns.len()) {
            Some(&output) => output,
            None => {
                self.temporaries += 1;
                self.inputs + self.outputs + self.temporaries - 1
            }
        };
        self.columns.push(output);
        Some(Row { output, start: None, terms })
    }

    /// The rows of the last matrix, without those that have been computed in their places.
    fn outputs(&self, last: &Matrix) -> Vec<Row> {
        let rows = self.sums(last).into_iter().enumerate();
        let rows = rows.map(|(row, terms)| Row { output: self.inputs + row, start: None, terms });
        rows.filter(|row| repeated(&row.terms) != Some(row.output)).collect()
    }
}

fn sum(row: &[u8], strips: &[usize]) -> Terms {
    let mut terms = Terms::new();
    for (&coefficient, &strip) in row.iter().zip(strips) {
        *terms.entry(strip).or_default() ^= coefficient;
    }
    terms.retain(|_, coefficient| *coefficient != 0);
    terms
}

/// The strip that a sum only repeats.
fn repeated(terms: &Terms) -> Option<usize> {
    let (&strip, &coefficient) = terms.first_key_value()?;
    (terms.len() == 1 && coefficient == 1).then_some(strip)
}

/// Gathers rows that do not need each other into passes.
fn gather(mut rows: Vec<Row>, kernel: &Kernel) -> impl Iterator<Item = Pass> {
    let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
    for &strip in rows.iter().flat_map(|row| row.terms.keys()) {
        *uses.entry(strip).or_default() += 1;
    }
    for row in &mut rows {
        let own = |&(&strip, &coefficient): &(&usize, &u8)| coefficient == 1 && uses[&strip] == 1;
        let own = row.terms.iter().find(own).map(|(&strip, _)| strip);
        row.start = repeated(&row.terms).or(own);
        row.terms.retain(|&strip, _| row.start != Some(strip));
    }
    rows.sort_by_cached_key(|row| {
        let support: Vec<usize> = row.terms.keys().copied().collect();
        (!support.is_empty(), row.start.is_some(), support, row.output)
    });
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let inputs: BTreeSet<usize> = row.terms.keys().copied().collect();
        match groups.last_mut() {
            Some(group) if group.rows.len() < kernel.sums.outputs && group.gains_by(&row) => {
                group.inputs.extend(inputs);
                group.rows.push(row);
            }
            _ => groups.push(Group { inputs, rows: vec![row] }),
        }
    }
    groups.into_iter().map(|group| group.pass(kernel))
}

/// Rows that one pass shall compute, and the inputs that at least one of them needs.
struct Group {
    inputs: BTreeSet<usize>,
    rows: Vec<Row>,
}

impl Group {
    /// Whether computing a row here is cheaper than in a pass of its own; never for copies.
    ///
    /// The costs are vector operations: 3 to load an input and make it ready, 4 to multiply it and
    /// add it to one output.
    fn gains_by(&self, row: &Row) -> bool {
        let alike = self.rows.iter().all(|other| other.start.is_some() == row.start.is_some());
        let cost = |inputs: usize, outputs: usize| inputs * (3 + 4 * outputs);
        let together = row.terms.keys().filter(|strip| !self.inputs.contains(strip)).count();
        let together = cost(self.inputs.len() + together, self.rows.len() + 1);
        alike
            && !row.terms.is_empty()
            && together <= cost(self.inputs.len(), self.rows.len()) + cost(row.terms.len(), 1)
    }

    fn pass(self, kernel: &Kernel) -> Pass {
        let coefficient = |row: &Row, input| row.terms.get(input).copied().unwrap_or(0);
        let prepared =
            |input| self.rows.iter().map(move |row| (kernel.prepare)(coefficient(row, input)));
        Pass {
            method: Method::Sums,
            coefficients: self.inputs.iter().flat_map(prepared).collect(),
            starts: self.rows.iter().filter_map(|row| row.start).collect(),
            outputs: self.rows.iter().map(|row| row.output).collect(),
            inputs: self.inputs.into_iter().collect(),
        }
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

    /// Dense and sparse, up to more outputs than any kernel has in a pass.
    fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Matrix> {
        let sparse = prop_oneof![5 => Just(0), 2 => Just(1), 1 => any::<u8>()];
        let entry = prop_oneof![coefficient().boxed(), any::<u8>().boxed(), sparse.boxed()];
        let row = prop::collection::vec(entry, columns);
        prop::collection::vec(row, rows).prop_map(move |rows| Matrix::from_rows(columns, rows))
    }

    /// One matrix or several, the columns of each the inputs and all rows before.
    fn chain() -> impl Strategy<Value = Vec<Matrix>> {
        let rows = prop::collection::vec(0usize..18, 1..4);
        (rows, 0usize..12).prop_flat_map(|(rows, inputs)| {
            let columns = rows.iter().scan(inputs, |columns, rows| {
                *columns += rows;
                Some(*columns - rows)
            });
            let matrices = rows.iter().zip(columns).map(|(&rows, columns)| matrix(rows, columns));
            matrices.collect::<Vec<_>>()
        })
    }

    fn expected(chain: &[Matrix], inputs: &[&[u8]], length: usize) -> Vec<Vec<u8>> {
        let mut strips: Vec<Vec<u8>> = inputs.iter().map(|strip| strip.to_vec()).collect();
        let mut rows = Vec::new();
        for matrix in chain {
            let sum = |row: usize, at: usize| {
                matrix.row(row).iter().zip(&strips).fold(0, |sum, (&coefficient, strip)| {
                    sum ^ oracle::mul(POLYNOMIAL, coefficient, strip[at])
                })
            };
            let row = |row: usize| (0..length).map(|at| sum(row, at)).collect();
            rows = (0..matrix.rows()).map(row).collect();
            strips.extend_from_slice(&rows);
        }
        rows
    }

    proptest! {
        #[test]
        fn every_kernel_equals_the_oracle(
            chain in chain(),
            length in prop_oneof![8 => 0usize..600, 1 => 4000usize..4300, 1 => 8000usize..8300],
            skew in 0usize..65,
            seed in any::<u64>(),
        ) {
            let (columns, rows) = (chain[0].columns(), chain[chain.len() - 1].rows());
            let stride = length + skew;
            let bytes = noise(seed, skew + stride * columns);
            let inputs: Vec<&[u8]> =
                (0..columns).map(|i| &bytes[skew + i * stride..][..length]).collect();
            let expected = expected(&chain, &inputs, length);
            for kernel in kernel::available() {
                let combination = Combination::for_kernel(kernel, &chain);
                let mut buffer = noise(seed ^ 1, skew + stride * rows);
                let before = buffer.clone();
                let mut outputs: Vec<&mut [u8]> = buffer[skew..]
                    .chunks_exact_mut(stride.max(1))
                    .map(|chunk| &mut chunk[..length])
                    .collect();
                combination.apply(length, &inputs, &mut outputs, &mut vec![7; 3]);
                for (output, expected) in outputs.iter().zip(&expected) {
                    prop_assert_eq!(&output[..], &expected[..], "{}", kernel.name);
                }
                if length > 0 {
                    for row in 0..rows {
                        let gap = skew + row * stride + length..skew + (row + 1) * stride;
                        prop_assert_eq!(&buffer[gap.clone()], &before[gap], "{}", kernel.name);
                    }
                }
            }
        }
    }

    /// Whole quads in any order to a run of points, whole or cut off, and some that are copied.
    fn points() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let quads: Vec<u8> = (0..64).collect();
        let from = prop::sample::subsequence(quads, 1..9).prop_shuffle();
        (from, 0u8..64, 1usize..40, prop::collection::vec(any::<prop::sample::Index>(), 0..3))
            .prop_map(|(quads, first, count, copied)| {
                let from: Vec<u8> =
                    quads.iter().flat_map(|&quad| (0..4).map(move |i| 4 * quad + i)).collect();
                let others =
                    (4 * first..=u8::MAX).filter(|point| !from.contains(point)).take(count);
                let copied: BTreeSet<u8> = copied.iter().map(|index| *index.get(&from)).collect();
                let to = copied.iter().copied().chain(others).collect();
                (from, to)
            })
    }

    proptest! {
        #[test]
        fn interpolation_equals_the_matrix(
            (from, to) in points(),
            length in prop_oneof![8 => 0usize..600, 1 => 4000usize..4300, 1 => 8000usize..8300],
            seed in any::<u64>(),
        ) {
            let matrix = Matrix::from_rows(from.len(), to.iter().map(|&point| lagrange(&from, point)));
            let bytes = noise(seed, length * from.len() + 1);
            let inputs: Vec<&[u8]> = (0..from.len()).map(|i| &bytes[1 + i * length..][..length]).collect();
            let expected = expected(&[matrix], &inputs, length);
            for kernel in kernel::available() {
                let combination = Combination::interpolation_for_kernel(kernel, &from, &to);
                let mut outputs = vec![vec![0; length]; to.len()];
                let mut targets: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
                combination.apply(length, &inputs, &mut targets, &mut Vec::new());
                prop_assert_eq!(&outputs, &expected, "{}", kernel.name);
            }
        }
    }

    /// More strips than prefetchers follow, and more bytes than the caches hold.
    #[test]
    fn every_kernel_agrees_on_what_exceeds_the_caches() {
        let (columns, rows, length) = (16, 3, 256 * 1024 + 37);
        let matrix = Matrix::vandermonde(&[2, 3, 4], columns);
        let bytes = noise(5, columns * length);
        let inputs: Vec<&[u8]> = bytes.chunks_exact(length).collect();
        let made = kernel::available().map(|kernel| {
            let mut outputs = vec![vec![0; length]; rows];
            let mut targets: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let combination = Combination::for_kernel(kernel, std::slice::from_ref(&matrix));
            combination.apply(length, &inputs, &mut targets, &mut Vec::new());
            (kernel.name, outputs)
        });
        let made: Vec<(&str, Vec<Vec<u8>>)> = made.collect();
        for at in (0..length).step_by(4093).chain(length - 64..length) {
            let column: Vec<u8> = inputs.iter().map(|input| input[at]).collect();
            for (kernel, outputs) in &made {
                for (row, output) in outputs.iter().enumerate() {
                    let terms = matrix.row(row).iter().zip(&column);
                    let sum = terms.fold(0, |sum, (&c, &y)| sum ^ oracle::mul(POLYNOMIAL, c, y));
                    assert_eq!(output[at], sum, "{kernel}, row {row} at {at}");
                }
            }
        }
        let (_, first) = &made[0];
        assert!(made.iter().all(|(_, outputs)| outputs == first));
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }
}
