//! A linear map as a chain of sparse matrices, for maps with fewer products that way.
//!
//! What a symmetric matrix shares between its rows is computed once, into strips of a workspace
//! that are small enough to stay in the first caches.

use super::construction::GroupMap;
use crate::gf::{Combination, Matrix};

/// Bytes between one strip of the workspace and the next beyond their length, so that not all of
/// them fall into the same sets of a cache.
const SKEW: usize = 192;

/// Matrices one after another: the columns of each are the inputs, then the rows of all before it.
/// The rows of the last are the outputs.
#[derive(Debug)]
pub(super) struct Chain(Vec<Combination>);

impl Chain {
    pub(super) fn new(matrices: &[Matrix]) -> Self {
        Self(without_aliases(matrices).iter().map(Combination::new).collect())
    }
}

impl GroupMap for Chain {
    fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        let Some((last, steps)) = self.0.split_last() else { return };
        let stride = width + SKEW;
        let rows: usize = steps.iter().map(Combination::outputs).sum();
        workspace.resize(rows * stride, 0);
        let mut free = &mut workspace[..];
        let mut inputs: Vec<&[u8]> =
            sources.iter().flat_map(|source| source.chunks_exact(width)).collect();
        for step in steps {
            let (strips, rest) = free.split_at_mut(step.outputs() * stride);
            let mut outputs: Vec<&mut [u8]> =
                strips.chunks_exact_mut(stride).map(|strip| &mut strip[..width]).collect();
            step.apply(&inputs, &mut outputs);
            inputs.extend(outputs.into_iter().map(|strip| &*strip));
            free = rest;
        }
        let mut outputs: Vec<&mut [u8]> =
            targets.iter_mut().flat_map(|target| target.chunks_exact_mut(width)).collect();
        last.apply(&inputs, &mut outputs);
    }

    fn products(&self) -> usize {
        self.0.iter().map(Combination::products).sum()
    }
}

/// The one matrix that a chain is equal to.
pub(super) fn product(matrices: &[Matrix]) -> Matrix {
    let inputs = matrices.first().map_or(0, Matrix::columns);
    let mut known = Matrix::identity(inputs);
    for (place, matrix) in matrices.iter().enumerate() {
        let rows = matrix.mul(&known);
        if place + 1 == matrices.len() {
            return rows;
        }
        known = stack(&known, &rows);
    }
    known
}

/// The same chain without rows that only repeat a column: those after it read the column instead.
fn without_aliases(matrices: &[Matrix]) -> Vec<Matrix> {
    let inputs = matrices.first().map_or(0, Matrix::columns);
    // For every column of the given chain the column of the new one.
    let mut places: Vec<usize> = (0..inputs).collect();
    let mut columns = inputs;
    let mut chain = Vec::new();
    for (step, matrix) in matrices.iter().enumerate() {
        let mut rows = Vec::new();
        for row in (0..matrix.rows()).map(|row| matrix.row(row)) {
            let mut moved = vec![0; columns];
            for (&place, &entry) in places.iter().zip(row) {
                moved[place] ^= entry;
            }
            rows.push(moved);
        }
        if step + 1 < matrices.len() {
            let mut kept = Vec::new();
            for row in rows {
                match alias(&row) {
                    Some(place) => places.push(place),
                    None => {
                        places.push(columns + kept.len());
                        kept.push(row);
                    }
                }
            }
            rows = kept;
        }
        chain.push(Matrix::from_rows(columns, &rows));
        columns += rows.len();
    }
    chain
}

/// The column that the row repeats.
fn alias(row: &[u8]) -> Option<usize> {
    let mut present = (0..row.len()).filter(|&column| row[column] != 0);
    let first = present.next().filter(|&column| row[column] == 1);
    if present.next().is_none() { first } else { None }
}

fn stack(above: &Matrix, below: &Matrix) -> Matrix {
    let rows =
        [above, below].into_iter().flat_map(|part| (0..part.rows()).map(|row| part.row(row)));
    Matrix::from_rows(above.columns(), rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Matrix> {
        let entry = prop_oneof![4 => Just(0), 2 => Just(1), 1 => any::<u8>()];
        let row = prop::collection::vec(entry, columns);
        prop::collection::vec(row, rows).prop_map(move |rows| Matrix::from_rows(columns, rows))
    }

    proptest! {
        #[test]
        fn a_chain_is_the_product_of_its_matrices(
            first in matrix(4, 6),
            second in matrix(3, 10),
            third in matrix(5, 13),
            bytes in prop::collection::vec(any::<u8>(), 6 * 70),
        ) {
            let chain = [first, second, third];
            let mut expected = vec![0; 5 * 70];
            let mut outputs: Vec<&mut [u8]> = expected.chunks_exact_mut(70).collect();
            let inputs: Vec<&[u8]> = bytes.chunks_exact(70).collect();
            Combination::new(&product(&chain)).apply(&inputs, &mut outputs);
            let mut result = vec![7; 5 * 70];
            Chain::new(&chain).apply(70, &[&bytes], &mut [&mut result], &mut vec![9; 3]);
            prop_assert_eq!(result, expected);
            prop_assert_eq!(product(&without_aliases(&chain)), product(&chain));
        }
    }
}
