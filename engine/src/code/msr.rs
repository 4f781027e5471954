//! Product-matrix minimum-storage regenerating code (Rashmi, Shah, Kumar 2011, §V), systematic and
//! sparse.
//!
//! A column is a pair of symmetric polynomials S1(x, y), S2(x, y) of degree below alpha = d-k+1 in
//! each variable. Node h has a point x_h and lambda_h = x_h^alpha, all distinct, and knows
//! g_h(y) = S1(x_h, y) + lambda_h S2(x_h, y). For d = 2k-2 any k = alpha+1 nodes determine both; a
//! larger d is reached by shortening: d-2k+2 further, virtual nodes store zeros and always help.
//!
//! Every node stores the values of its g at the points of the first alpha systematic nodes instead
//! of the coefficients. That is only a change of basis inside the node, but it makes a parity
//! symbol depend on d instead of k·alpha message symbols, and helpers of most systematic nodes copy
//! what they send (Rashmi, Nakkiran, Wang, Shah, Ramchandran, "Having your cake and eating it too",
//! FAST 2015).

use super::CodeParameters;
use super::construction::Matrices;
use super::msr_edges::Edges;
use crate::gf::{Matrix, div, lagrange, mul, pow};
use crate::names::Slot;

#[derive(Debug)]
pub(super) struct Msr {
    pub(super) k: usize,
    pub(super) alpha: usize,
    /// Of the n slots, then of the virtual nodes.
    points: Vec<u8>,
    /// The first k slots, then the virtual nodes: alpha + 1 nodes.
    pub(super) systematic: Vec<usize>,
}

/// The points that have distinct powers with exponent `alpha`, each the smallest of its kind.
pub(super) fn points(alpha: usize) -> Vec<u8> {
    let mut taken = [false; 256];
    (1..=255)
        .filter(|&point| !std::mem::replace(&mut taken[usize::from(pow(point, alpha))], true))
        .collect()
}

impl Msr {
    /// Takes parameters that [`CodeParameters::check`] accepts.
    pub(super) fn new(parameters: CodeParameters) -> Self {
        let [n, k, d] = [parameters.n, parameters.k, parameters.d].map(usize::from);
        let (alpha, virtual_nodes) = (d - k + 1, d + 2 - 2 * k);
        let mut points = points(alpha);
        points.truncate(n + virtual_nodes);
        let systematic = (0..k).chain(n..n + virtual_nodes).collect();
        Self { k, alpha, points, systematic }
    }

    /// What a node stores: the values of its g at these points.
    pub(super) fn stored(&self) -> Vec<u8> {
        self.points_of(&self.systematic[..self.alpha])
    }

    pub(super) fn points_of(&self, nodes: &[usize]) -> Vec<u8> {
        nodes.iter().map(|&node| self.points[node]).collect()
    }

    pub(super) fn lambda(&self, node: usize) -> u8 {
        pow(self.points[node], self.alpha)
    }

    /// k slots and the virtual nodes, which together determine everything.
    fn with_virtual_nodes(&self, slots: impl IntoIterator<Item = usize>) -> Vec<usize> {
        slots.into_iter().chain(self.systematic[self.k..].iter().copied()).collect()
    }

    /// alpha × (k · alpha): contents of the first k of `known` to the content of `node`; the other
    /// `known` nodes are the virtual ones.
    ///
    /// For nodes h, i the two numbers g_h(x_i), g_i(x_h) determine S1 and S2 at (x_h, x_i):
    /// S2 = (g_h(x_i) + g_i(x_h)) / (lambda_h + lambda_i), S1 = g_h(x_i) + lambda_h S2 (Theorem 5
    /// there). Interpolating S1 + lambda_p S2 at (·, x_h) from alpha nodes i to node p gives
    /// g_p(x_h); alpha of these values give its content.
    fn transfer(&self, known: &[usize], node: usize) -> Matrix {
        let stored = self.stored();
        let evaluations: Vec<Vec<u8>> =
            known.iter().map(|&other| lagrange(&stored, self.points[other])).collect();
        let mut values = Matrix::zero(self.alpha, self.k * self.alpha);
        for (row, &fixed) in known[..self.alpha].iter().enumerate() {
            let others: Vec<usize> = (0..known.len()).filter(|&place| place != row).collect();
            let points: Vec<u8> = others.iter().map(|&place| self.points[known[place]]).collect();
            let weights = lagrange(&points, self.points[node]);
            for (place, weight) in others.into_iter().zip(weights) {
                let scale = div(weight, self.lambda(known[place]) ^ self.lambda(fixed));
                let mut add = |source: usize, at: usize, factor: u8| {
                    if source < self.k {
                        for (symbol, &evaluation) in evaluations[at].iter().enumerate() {
                            values[(row, source * self.alpha + symbol)] ^= mul(factor, evaluation);
                        }
                    }
                };
                let lambda = self.lambda(node);
                add(row, place, mul(scale, self.lambda(known[place]) ^ lambda));
                add(place, row, mul(scale, self.lambda(fixed) ^ lambda));
            }
        }
        let points = self.points_of(&known[..self.alpha]);
        Matrix::from_rows(self.alpha, stored.iter().map(|&at| lagrange(&points, at))).mul(&values)
    }

    /// [`transfer`](Self::transfer) from the known nodes to all that are missing, in steps: the sums
    /// D(h, i) = g_h(x_i) + g_i(x_h), which all nodes share; g_p(x_h) of every node p, which is
    /// g_h(x_p) + (lambda_h + lambda_p) S2(x_p, x_h); and its content.
    fn by_sums(&self, known: &[usize], missing: &[usize]) -> Vec<Matrix> {
        let sums = self.sums(known);
        let values = self.values(known, missing, &sums);
        let (contents, before) = (self.k * self.alpha, values.columns());
        let points = self.points_of(&known[..self.alpha]);
        let mut message = Matrix::zero(contents, before + values.rows());
        for (symbol, at) in self.stored().into_iter().enumerate() {
            let weights = lagrange(&points, at);
            for (place, &node) in missing.iter().enumerate() {
                let row = message.row_mut(node * self.alpha + symbol);
                row[before + place * self.alpha..][..self.alpha].copy_from_slice(&weights);
            }
            for (place, &node) in
                known[..self.k].iter().enumerate().filter(|(_, node)| **node < self.k)
            {
                message[(node * self.alpha + symbol, place * self.alpha + symbol)] = 1;
            }
        }
        vec![sums, values, message]
    }

    /// D(h, i) for every two of the known nodes, the earlier ones with the later ones.
    fn sums(&self, known: &[usize]) -> Matrix {
        let stored = self.stored();
        let rows = (0..known.len()).flat_map(|place| {
            let stored = &stored;
            (place + 1..known.len()).map(move |other| {
                let mut row = vec![0; self.k * self.alpha];
                for (source, at) in [(place, other), (other, place)] {
                    if source < self.k {
                        let evaluation = lagrange(stored, self.points[known[at]]);
                        row[source * self.alpha..][..self.alpha].copy_from_slice(&evaluation);
                    }
                }
                row
            })
        });
        Matrix::from_rows(self.k * self.alpha, rows)
    }

    /// g_p(x_h) for every `missing` node p and the first alpha known nodes h, from the contents and
    /// the sums.
    fn values(&self, known: &[usize], missing: &[usize], sums: &Matrix) -> Matrix {
        let stored = self.stored();
        let contents = self.k * self.alpha;
        let sum = |one: usize, other: usize| {
            let (low, high) = (one.min(other), one.max(other));
            contents + low * known.len() - low * (low + 1) / 2 + high - low - 1
        };
        let mut rows = Vec::new();
        for &node in missing {
            for (row, &fixed) in known[..self.alpha].iter().enumerate() {
                let mut value = vec![0; contents + sums.rows()];
                if row < self.k {
                    let evaluation = lagrange(&stored, self.points[node]);
                    value[row * self.alpha..][..self.alpha].copy_from_slice(&evaluation);
                }
                let others: Vec<usize> = (0..known.len()).filter(|&place| place != row).collect();
                let points: Vec<u8> =
                    others.iter().map(|&place| self.points[known[place]]).collect();
                let weights = lagrange(&points, self.points[node]);
                let factor = self.lambda(fixed) ^ self.lambda(node);
                for (place, weight) in others.into_iter().zip(weights) {
                    let scale = div(factor, self.lambda(known[place]) ^ self.lambda(fixed));
                    value[sum(row, place)] = mul(weight, scale);
                }
                rows.push(value);
            }
        }
        Matrix::from_rows(contents + sums.rows(), rows)
    }
}

impl Matrices for Msr {
    fn alpha(&self) -> usize {
        self.alpha
    }

    fn message_len(&self) -> usize {
        self.k * self.alpha
    }

    fn generator(&self, slot: Slot) -> Matrix {
        self.transfer(&self.systematic, slot.index())
    }

    fn decoders(&self, slots: &[Slot]) -> Vec<Vec<Matrix>> {
        let known = self.with_virtual_nodes(slots.iter().map(|slot| slot.index()));
        let missing: Vec<usize> = (0..self.k).filter(|node| !known.contains(node)).collect();
        let by_edges = Edges::new(self, &known, &missing).and_then(|edges| edges.chains());
        let mut chains = vec![self.by_sums(&known, &missing)];
        chains.extend(by_edges.into_iter().flatten());
        chains
    }

    /// g_h(x_f).
    fn helper(&self, failed: Slot) -> Matrix {
        let evaluation = lagrange(&self.stored(), self.points[failed.index()]);
        Matrix::from_rows(self.alpha, [evaluation])
    }

    /// The symbols are values at x_h of Q(x) = S1(x, x_f) + x^alpha S2(x, x_f), of degree below
    /// 2·alpha, and the content is S1(x, x_f) + lambda_f S2(x, x_f) at the stored points.
    fn repair(&self, failed: Slot, helpers: &[Slot]) -> Matrix {
        let nodes = self.with_virtual_nodes(helpers.iter().map(|slot| slot.index()));
        let vandermonde = Matrix::vandermonde(&self.points_of(&nodes), 2 * self.alpha);
        let Some(interpolation) = vandermonde.inverse() else {
            unreachable!("the points of distinct slots are distinct")
        };
        let lambda = self.lambda(failed.index());
        let content = self.stored().into_iter().map(|at| {
            let low = (0..self.alpha).map(|exponent| pow(at, exponent));
            let high = low.clone().map(|power| mul(lambda, power));
            low.chain(high).collect::<Vec<u8>>()
        });
        let repair = Matrix::from_rows(2 * self.alpha, content).mul(&interpolation);
        Matrix::from_rows(
            helpers.len(),
            (0..self.alpha).map(|row| &repair.row(row)[..helpers.len()]),
        )
    }
}
