//! Dense matrices of public coefficients.

use std::ops::{Index, IndexMut};

use super::{inv, mul, pow};

/// A dense matrix over the field, by rows. Its entries are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    entries: Vec<u8>,
}

impl Matrix {
    /// All entries zero.
    pub fn zero(rows: usize, columns: usize) -> Self {
        Self { rows, columns, entries: vec![0; rows * columns] }
    }

    /// The square identity.
    pub fn identity(size: usize) -> Self {
        let mut identity = Self::zero(size, size);
        for index in 0..size {
            identity[(index, index)] = 1;
        }
        identity
    }

    /// One row (1, x, x^2, …) of `columns` entries for every point x.
    pub fn vandermonde(points: &[u8], columns: usize) -> Self {
        let power = |&point| (0..columns).map(move |exponent| pow(point, exponent));
        let entries = points.iter().flat_map(power).collect();
        Self { rows: points.len(), columns, entries }
    }

    /// The rows one under another, each of `columns` entries.
    ///
    /// # Panics
    /// If a row has another length.
    pub fn from_rows<R: AsRef<[u8]>>(columns: usize, rows: impl IntoIterator<Item = R>) -> Self {
        let mut matrix = Self::zero(0, columns);
        for row in rows {
            assert_eq!(row.as_ref().len(), columns, "row length");
            matrix.entries.extend_from_slice(row.as_ref());
            matrix.rows += 1;
        }
        matrix
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[u8] {
        &self.entries[row * self.columns..][..self.columns]
    }

    /// The given rows, in the given order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self::from_rows(self.columns, rows.iter().map(|&row| self.row(row)))
    }

    /// The rows of the two, one under another.
    ///
    /// # Panics
    /// If their columns are not as many.
    pub fn above(&self, below: &Self) -> Self {
        assert_eq!(self.columns, below.columns, "column counts");
        let entries = [&self.entries[..], &below.entries].concat();
        Self { rows: self.rows + below.rows, columns: self.columns, entries }
    }

    /// The two side by side.
    ///
    /// # Panics
    /// If their rows are not as many.
    pub fn beside(&self, right: &Self) -> Self {
        assert_eq!(self.rows, right.rows, "row counts");
        let rows = (0..self.rows).map(|row| [self.row(row), right.row(row)].concat());
        Self::from_rows(self.columns + right.columns, rows)
    }

    /// The product of the two.
    ///
    /// # Panics
    /// If `right` has not as many rows as `self` has columns.
    pub fn mul(&self, right: &Self) -> Self {
        assert_eq!(self.columns, right.rows(), "shapes do not fit");
        let mut product = Self::zero(self.rows(), right.columns);
        for row in 0..self.rows() {
            for (inner, &factor) in self.row(row).iter().enumerate() {
                add_scaled(product.row_mut(row), factor, right.row(inner));
            }
        }
        product
    }

    /// The inverse; `None` if the matrix is singular or not square.
    pub fn inverse(&self) -> Option<Self> {
        let size = self.rows();
        if size != self.columns {
            return None;
        }
        let mut left = self.clone();
        let mut right = Self::identity(size);
        for column in 0..size {
            let pivot = (column..size).find(|&row| left[(row, column)] != 0)?;
            left.swap_rows(pivot, column);
            right.swap_rows(pivot, column);
            let factor = inv(left[(column, column)]);
            scale(left.row_mut(column), factor);
            scale(right.row_mut(column), factor);
            for row in (0..size).filter(|&row| row != column) {
                let factor = left[(row, column)];
                left.add_row(row, factor, column);
                right.add_row(row, factor, column);
            }
        }
        Some(right)
    }

    /// The dimension of the row space.
    pub fn rank(&self) -> usize {
        let mut reduced = self.clone();
        let mut rank = 0;
        for column in 0..self.columns {
            let Some(pivot) = (rank..self.rows()).find(|&row| reduced[(row, column)] != 0) else {
                continue;
            };
            reduced.swap_rows(pivot, rank);
            let inverse = inv(reduced[(rank, column)]);
            for row in rank + 1..self.rows() {
                let factor = mul(reduced[(row, column)], inverse);
                reduced.add_row(row, factor, rank);
            }
            rank += 1;
        }
        rank
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u8] {
        &mut self.entries[row * self.columns..][..self.columns]
    }

    fn swap_rows(&mut self, one: usize, other: usize) {
        for column in 0..self.columns {
            self.entries.swap(one * self.columns + column, other * self.columns + column);
        }
    }

    /// Adds `factor` times row `source` to another row `target`.
    fn add_row(&mut self, target: usize, factor: u8, source: usize) {
        let (before, after) = self.entries.split_at_mut(target.max(source) * self.columns);
        let low = &mut before[target.min(source) * self.columns..][..self.columns];
        let high = &mut after[..self.columns];
        if target < source { add_scaled(low, factor, high) } else { add_scaled(high, factor, low) }
    }
}

/// Adds `factor` times each of `values` to each of `sums`.
fn add_scaled(sums: &mut [u8], factor: u8, values: &[u8]) {
    if factor != 0 {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum ^= mul(factor, value);
        }
    }
}

fn scale(row: &mut [u8], factor: u8) {
    for entry in row {
        *entry = mul(*entry, factor);
    }
}

impl Index<(usize, usize)> for Matrix {
    type Output = u8;

    fn index(&self, (row, column): (usize, usize)) -> &u8 {
        &self.row(row)[column]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (row, column): (usize, usize)) -> &mut u8 {
        &mut self.row_mut(row)[column]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn square(size: usize) -> impl Strategy<Value = Matrix> {
        prop::collection::vec(any::<u8>(), size * size).prop_map(move |entries| Matrix {
            rows: size,
            columns: size,
            entries,
        })
    }

    proptest! {
        #[test]
        fn an_inverse_exists_exactly_at_full_rank(matrix in (1usize..9).prop_flat_map(square)) {
            let size = matrix.rows();
            match matrix.inverse() {
                Some(inverse) => {
                    prop_assert_eq!(matrix.mul(&inverse), Matrix::identity(size));
                    prop_assert_eq!(inverse.mul(&matrix), Matrix::identity(size));
                    prop_assert_eq!(matrix.rank(), size);
                }
                None => prop_assert!(matrix.rank() < size),
            }
        }

        #[test]
        fn a_product_has_at_most_the_inner_rank(
            left in prop::collection::vec(any::<u8>(), 18),
            right in prop::collection::vec(any::<u8>(), 18),
        ) {
            let left = Matrix { rows: 6, columns: 3, entries: left };
            let right = Matrix { rows: 3, columns: 6, entries: right };
            let product = left.mul(&right);
            prop_assert!(product.rank() <= 3);
            prop_assert_eq!(product.inverse(), None);
        }
    }

    #[test]
    fn any_rows_of_a_vandermonde_matrix_are_independent() {
        let points: Vec<u8> = (1..=20).collect();
        let matrix = Matrix::vandermonde(&points, 7);
        assert_eq!((matrix.rows(), matrix.columns()), (20, 7));
        assert_eq!(matrix.rank(), 7);
        assert_eq!(matrix.select_rows(&[19, 3, 8, 0, 11, 12, 5]).rank(), 7);
        assert_eq!(matrix.row(2)[..3], [1, 3, 5]);
    }

    #[test]
    fn a_matrix_that_is_not_square_has_no_inverse() {
        assert_eq!(Matrix::vandermonde(&[1, 2, 3], 2).inverse(), None);
        assert_eq!(Matrix::zero(2, 2).inverse(), None);
    }
}
