//! Decoding an msr code by what S2 is between the stored points, in the names of [`msr`](super::msr).
//!
//! All nodes h store G(h, j) = g_h(x_j) at the same alpha points x_j, those of the first alpha
//! systematic nodes. Q_j(x) = S1(x, x_j) + x^alpha S2(x, x_j) has degree below 2·alpha, and
//! G(h, j) = Q_j(x_h). So Q_j follows from its values at the alpha + 1 known nodes and from
//! S2(x_i, x_j) for the other alpha - 1 stored points, and to compute from these what the missing
//! nodes store takes as many products as to encode it.
//!
//! An *edge* is such an S2(x_i, x_j), i < j. Its *sides* are G(i, j) and G(j, i), whose sum is
//! (lambda_i + lambda_j) S2(x_i, x_j). Each side is a combination of edges and of what is known, so
//! the edges are the solution of a system of alpha (alpha - 1) / 2 equations: few for a small alpha.

use super::msr::Msr;
use crate::gf::Matrix;

/// How the missing nodes' symbols follow from what is known and from edges.
pub(super) struct Edges<'a> {
    msr: &'a Msr,
    /// alpha + 1 nodes: the k slots at hand, then the virtual ones, which store zeros.
    known: &'a [usize],
    /// The other systematic nodes.
    missing: &'a [usize],
    /// Two stored points each, not both of virtual nodes.
    edges: Vec<[usize; 2]>,
    /// Contents of the slots at hand to what the missing nodes store as if all edges were zero.
    partials: Matrix,
    /// Edges to what they add to that.
    weights: Matrix,
}

impl<'a> Edges<'a> {
    /// `None` if the points of these nodes do not admit it.
    pub(super) fn new(msr: &'a Msr, known: &'a [usize], missing: &'a [usize]) -> Option<Self> {
        let edges = (0..msr.alpha).flat_map(|high| (0..high).map(move |low| [low, high]));
        let edges = edges.filter(|edge| edge.iter().any(|&point| msr.systematic[point] < msr.k));
        let edges: Vec<[usize; 2]> = edges.collect();
        let outputs = missing.len() * msr.alpha;
        let partials = Matrix::zero(outputs, msr.k * msr.alpha);
        let weights = Matrix::zero(outputs, edges.len());
        let mut edges = Self { msr, known, missing, edges, partials, weights };
        for point in 0..msr.alpha {
            edges.add_block(point)?;
        }
        Some(edges)
    }

    /// Contents of the slots at hand to the message, as chains of matrices: one of few products, and
    /// one of few strips in between.
    ///
    /// `None` if the points of these nodes do not admit it.
    pub(super) fn chains(&self) -> Option<[Vec<Matrix>; 2]> {
        let sums = self.sums();
        let solution = self.system(&sums).inverse()?;
        Some([self.by_partials(&sums, &solution), self.at_once(&sums, &solution)])
    }

    /// In steps: what the missing nodes store as if all edges were zero; the sum of the sides of each
    /// edge; the edges; the message.
    fn by_partials(&self, sums: &Matrix, solution: &Matrix) -> Vec<Matrix> {
        let edges = Matrix::zero(sums.rows(), sums.columns()).beside(solution);
        let mut message = self.copies(edges.columns() + edges.rows());
        for output in 0..self.partials.rows() {
            let row = message.row_mut(self.symbol(output));
            row[self.partials.columns() + output] = 1;
            row[edges.columns()..].copy_from_slice(self.weights.row(output));
        }
        vec![self.partials.clone(), sums.clone(), edges, message]
    }

    /// In steps: the edges; what the missing nodes store, but for one side of each edge; the message
    /// with those sides, each from the other side of its edge.
    fn at_once(&self, sums: &Matrix, solution: &Matrix) -> Vec<Matrix> {
        let contents = self.partials.columns();
        let known = Matrix::identity(contents).above(&self.partials);
        let edges = solution.mul(&sums.mul(&known));
        let derived: Vec<[usize; 2]> = self.edges.iter().map(|&edge| self.derived(edge)).collect();
        let is_direct = |&output: &usize| {
            derived.iter().all(|&[node, point]| self.output(self.node(node), point) != Some(output))
        };
        let direct: Vec<usize> = (0..self.partials.rows()).filter(is_direct).collect();
        let values = self.partials.beside(&self.weights).select_rows(&direct);
        let first = contents + self.edges.len();
        let mut message = self.copies(first + direct.len());
        for (place, &output) in direct.iter().enumerate() {
            message[(self.symbol(output), first + place)] = 1;
        }
        for (edge, &[node, point]) in derived.iter().enumerate() {
            let Some(output) = self.output(self.node(node), point) else { continue };
            let other = self.output(self.node(point), node);
            let other = other.and_then(|output| direct.binary_search(&output).ok());
            let other = other.map(|place| first + place).or(self.content(self.node(point), node));
            let row = message.row_mut(self.symbol(output));
            if let Some(other) = other {
                row[other] = 1;
            }
            row[contents + edge] = self.scale(self.edges[edge]);
        }
        vec![edges, values, message]
    }

    /// The message with the contents at hand in their places and zeros otherwise.
    fn copies(&self, columns: usize) -> Matrix {
        let (k, alpha) = (self.msr.k, self.msr.alpha);
        let mut message = Matrix::zero(k * alpha, columns);
        for (place, &node) in self.known[..k].iter().enumerate().filter(|(_, node)| **node < k) {
            for point in 0..alpha {
                message[(node * alpha + point, place * alpha + point)] = 1;
            }
        }
        message
    }

    /// The side that follows from the other one, as a stored point for the node and one for the
    /// symbol: if only one is missing, that one; else by turns, so that the blocks keep as many
    /// outputs each.
    fn derived(&self, [low, high]: [usize; 2]) -> [usize; 2] {
        let is_missing = |point: usize| self.missing.contains(&self.node(point));
        let lower = !is_missing(high) || is_missing(low) && (low + high).is_multiple_of(2);
        if lower { [low, high] } else { [high, low] }
    }

    /// Finds G(m, j) of the missing nodes for the stored point j: Q_j is interpolated.
    fn add_block(&mut self, point: usize) -> Option<()> {
        let (k, alpha) = (self.msr.k, self.msr.alpha);
        let block = self.block(point)?;
        for place in 0..self.missing.len() {
            let output = place * alpha + point;
            let (values, s2) = block.row(place).split_at(alpha + 1);
            for (source, &value) in values[..k].iter().enumerate() {
                self.partials[(output, source * alpha + point)] = value;
            }
            for (edge, &[low, high]) in self.edges.iter().enumerate() {
                // The other point, among those without this one.
                if low == point {
                    self.weights[(output, edge)] = s2[high - 1];
                } else if high == point {
                    self.weights[(output, edge)] = s2[low];
                }
            }
        }
        Some(())
    }

    /// missing × 2·alpha: the values of Q of the stored point at the known nodes, and S2 at the other
    /// stored points, to its values at the missing nodes.
    fn block(&self, point: usize) -> Option<Matrix> {
        let alpha = self.msr.alpha;
        let values = |nodes: &[usize]| Matrix::vandermonde(&self.msr.points_of(nodes), 2 * alpha);
        let others: Vec<usize> = (0..alpha).filter(|&other| other != point).collect();
        let s2 = Matrix::vandermonde(&self.msr.stored(), alpha).select_rows(&others);
        let s2 = Matrix::zero(others.len(), alpha).beside(&s2);
        Some(values(self.missing).mul(&values(self.known).above(&s2).inverse()?))
    }

    /// Contents, and what the missing nodes store, to the sums of the sides of each edge.
    fn sums(&self) -> Matrix {
        let contents = self.partials.columns();
        let mut sums = Matrix::zero(self.edges.len(), contents + self.partials.rows());
        for (row, &[low, high]) in self.edges.iter().enumerate() {
            for (node, point) in [(self.node(low), high), (self.node(high), low)] {
                let missing = self.output(node, point).map(|output| contents + output);
                if let Some(column) = missing.or(self.content(node, point)) {
                    sums[(row, column)] = 1;
                }
            }
        }
        sums
    }

    /// Edges to the sums of their sides, as if the contents were zero.
    fn system(&self, sums: &Matrix) -> Matrix {
        let edges = self.edges.len();
        let mut system =
            sums.mul(&Matrix::zero(self.partials.columns(), edges).above(&self.weights));
        for (row, &edge) in self.edges.iter().enumerate() {
            system[(row, row)] ^= self.scale(edge);
        }
        system
    }

    /// The sum of an edge's sides over the edge.
    fn scale(&self, edge: [usize; 2]) -> u8 {
        let [low, high] = edge.map(|point| self.msr.lambda(self.node(point)));
        low ^ high
    }

    /// The node at whose point, the `point`-th, all nodes store.
    fn node(&self, point: usize) -> usize {
        self.msr.systematic[point]
    }

    /// Where G(node, point) is among the contents, if a slot at hand stores it.
    fn content(&self, node: usize, point: usize) -> Option<usize> {
        let place = self.known[..self.msr.k].iter().position(|&known| known == node)?;
        Some(place * self.msr.alpha + point)
    }

    /// Where it is among what the missing nodes store, if it is there.
    fn output(&self, node: usize, point: usize) -> Option<usize> {
        let place = self.missing.iter().position(|&missing| missing == node)?;
        Some(place * self.msr.alpha + point)
    }

    /// Which symbol of the message that is.
    fn symbol(&self, output: usize) -> usize {
        self.missing[output / self.msr.alpha] * self.msr.alpha + output % self.msr.alpha
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::code::CodeParameters;
    use crate::code::construction::{Matrices, product};
    use crate::names::Slot;

    /// Of all sets of k slots, those that admit the chains; each chain has to undo the generators.
    fn admitted(text: &str) -> [usize; 2] {
        let parameters: CodeParameters = text.parse().unwrap();
        let (msr, k) = (Msr::new(parameters), u32::from(parameters.k));
        let slots: Vec<Slot> = Slot::all(parameters.n).collect();
        let generators: Vec<Matrix> = slots.iter().map(|&slot| msr.generator(slot)).collect();
        let mut counts = [0; 2];
        for set in (0u32..1 << parameters.n).filter(|set| set.count_ones() == k) {
            let is_in = |slot: &&Slot| set >> slot.index() & 1 == 1;
            let slots: Vec<Slot> = slots.iter().filter(is_in).copied().collect();
            let contents = slots.iter().map(|slot| generators[slot.index()].clone());
            let contents = contents.reduce(|above, below| above.above(&below)).unwrap();
            let chains = msr.decoders(&slots);
            counts[1] += 1;
            counts[0] += usize::from(chains.len() == 3);
            for chain in chains {
                assert_eq!(product(&chain).mul(&contents), Matrix::identity(msr.message_len()));
            }
        }
        counts
    }

    #[test]
    fn chains_give_the_message_of_almost_any_slots() {
        let codes = ["msr(4,2,3)", "msr(7,4,6)", "msr(8,4,7)", "msr(9,5,8)", "msr(10,5,8)"];
        assert_eq!(codes.map(admitted), [[5, 6], [33, 35], [70, 70], [126, 126], [249, 252]]);
    }
}
