//! How symbols of a clay code follow from others, as patches; with the names of [`clay`](super::clay).

use super::clay::Shape;
use super::schedule::Schedule;
use crate::gf::{Matrix, Patch, Patchwork, Spot, Term, div, inv, lagrange, mul};

/// The coefficient of every pair.
const GAMMA: u8 = 2;

/// What a helper sends for a failed node: what it stores in the planes in which that is alone.
pub(super) fn helper(shape: Shape, failed: usize) -> Schedule {
    let planes = shape.planes_alone(failed);
    Schedule {
        source_planes: shape.planes(),
        target_planes: planes.len(),
        lost: 0,
        copies: Vec::new(),
        steps: Patchwork::new(
            1,
            planes.into_iter().enumerate().map(|(place, plane)| {
                patch(Spot { strip: 1, place }, &vec![(1, Spot { strip: 0, place: plane })])
            }),
        ),
    }
}

/// What is known and what is solved for: in every plane the uncoupled symbols of all nodes are a
/// codeword, so those of q nodes follow from the others.
pub(super) struct Solution {
    shape: Shape,
    /// q nodes that are solved for.
    lost: Vec<usize>,
    /// The other nodes.
    known: Vec<usize>,
    /// lost × known.
    codeword: Matrix,
    spots: Spots,
}

/// Where symbols are: the strips are the sources, then the wanted nodes, then the kept ones.
pub(super) struct Spots {
    /// Nodes that are at hand; known nodes besides store zeros.
    pub(super) sources: Vec<usize>,
    /// Planes that every source has, in ascending order.
    pub(super) planes: Vec<usize>,
    /// Nodes whose content is computed.
    pub(super) wanted: Vec<usize>,
    /// Nodes whose uncoupled symbols are kept.
    pub(super) kept: Vec<usize>,
}

/// A sum of at most two products.
type Symbol = Vec<(u8, Spot)>;

impl Solution {
    pub(super) fn new(shape: Shape, lost: Vec<usize>, spots: Spots) -> Self {
        let known: Vec<usize> = (0..shape.nodes()).filter(|node| !lost.contains(node)).collect();
        let points: Vec<u8> = known.iter().map(|&node| node as u8).collect();
        let rows = lost.iter().map(|&node| lagrange(&points, node as u8));
        let codeword = Matrix::from_rows(points.len(), rows);
        Self { shape, lost, known, codeword, spots }
    }

    /// From all that the sources store. The lost nodes are kept.
    pub(super) fn transfer(&self) -> Schedule {
        let Spots { sources, wanted, .. } = &self.spots;
        let is_solved = wanted.iter().any(|node| self.lost.contains(node));
        let solved = if is_solved { self.solved() } else { Vec::new() };
        let coupled = wanted.iter().flat_map(|&node| {
            (0..self.shape.planes()).filter_map(move |plane| self.coupled(node, plane))
        });
        let copies = wanted.iter().enumerate().filter_map(|(target, node)| {
            Some((sources.iter().position(|source| source == node)?, target))
        });
        Schedule {
            source_planes: self.shape.planes(),
            target_planes: self.shape.planes(),
            lost: self.lost.len(),
            copies: copies.collect(),
            steps: Patchwork::new(sources.len(), solved.into_iter().chain(coupled)),
        }
    }

    /// To the content of the failed node, whose section is lost, from the planes in which it is
    /// alone. There partners outside of its section are at hand. In other planes it is the partner of
    /// a node of its section, whose C is sent and whose U is solved for: U = C + gamma·C* gives C*.
    pub(super) fn repair(&self, failed: usize) -> Schedule {
        let scales = self.lost.iter().map(|&node| if node == failed { 1 } else { inv(GAMMA) });
        let scales: Vec<u8> = scales.collect();
        let steps = self.spots.planes.iter().map(|&plane| {
            let known = self.known.iter().enumerate().filter_map(|(column, &node)| {
                let scaled = |row| mul(scales[row], self.codeword[(row, column)]);
                term(&self.uncoupled(node, plane), (0..scales.len()).map(scaled))
            });
            let sent = self.lost.iter().enumerate().filter_map(|(row, &node)| {
                let column =
                    (0..scales.len()).map(|other| if other == row { scales[row] } else { 0 });
                term(&symbol([(1, self.spots.stored(node, plane)), (0, None)]), column)
            });
            let outputs = self.lost.iter().filter_map(|&node| {
                let partner = self.shape.partner(node, plane);
                self.spots.target(failed, partner.map_or(plane, |(_, plane)| plane))
            });
            Patch { outputs: outputs.collect(), terms: known.chain(sent).collect(), length: 1 }
        });
        Schedule {
            source_planes: self.spots.planes.len(),
            target_planes: self.shape.planes(),
            lost: 0,
            copies: Vec::new(),
            steps: Patchwork::new(self.spots.sources.len(), steps),
        }
    }

    /// U of the lost nodes: plane by plane, each after those of which it needs symbols.
    fn solved(&self) -> Vec<Patch> {
        let score = |plane: usize| {
            self.lost.iter().filter(|&&node| self.shape.partner(node, plane).is_none()).count()
        };
        let solve = |plane: usize| {
            let terms = self.known.iter().enumerate().filter_map(|(column, &node)| {
                let column = (0..self.lost.len()).map(|row| self.codeword[(row, column)]);
                term(&self.uncoupled(node, plane), column)
            });
            let outputs = self.lost.iter().filter_map(|&node| self.spots.kept(node, plane));
            Patch { outputs: outputs.collect(), terms: terms.collect(), length: 1 }
        };
        let planes = (0..self.shape.planes()).map(|plane| (score(plane), solve(plane)));
        let mut planes: Vec<(usize, Patch)> = planes.collect();
        planes.sort_by_key(|(score, Patch { terms, .. })| {
            // Of one score those one after another that are computed alike: it is faster.
            let coupled = terms.iter().filter(|term| term.coupled.is_some()).count();
            (*score, terms.len(), coupled)
        });
        planes.into_iter().map(|(_, patch)| patch).collect()
    }

    /// U of a known node.
    fn uncoupled(&self, node: usize, plane: usize) -> Symbol {
        let own = self.spots.stored(node, plane);
        let Some((partner, partner_plane)) = self.shape.partner(node, plane) else {
            return symbol([(1, own), (0, None)]);
        };
        match self.spots.kept(partner, partner_plane) {
            // U = C + gamma (U* + gamma C)
            Some(kept) => symbol([(1 ^ mul(GAMMA, GAMMA), own), (GAMMA, Some(kept))]),
            None => symbol([(1, own), (GAMMA, self.spots.stored(partner, partner_plane))]),
        }
    }

    /// Computes C of a wanted node from what is kept, and its partner's with it where both are;
    /// `None` if it is computed elsewhere.
    fn coupled(&self, node: usize, plane: usize) -> Option<Patch> {
        let (output, own) = (self.spots.target(node, plane)?, self.spots.kept(node, plane)?);
        let Some((partner, partner_plane)) = self.shape.partner(node, plane) else {
            return Some(patch(output, &vec![(1, own)]));
        };
        let Some(other) = self.spots.kept(partner, partner_plane) else {
            let stored = self.spots.stored(partner, partner_plane);
            return Some(patch(output, &symbol([(1, Some(own)), (GAMMA, stored)])));
        };
        let scale = inv(1 ^ mul(GAMMA, GAMMA));
        let coupled = vec![scale, mul(scale, GAMMA)];
        let Some(partner_output) = self.spots.target(partner, partner_plane) else {
            return Some(patch(output, &vec![(coupled[0], own), (coupled[1], other)]));
        };
        let mirrored = coupled.iter().rev().copied().collect();
        let terms = [(own, coupled), (other, mirrored)];
        let terms = terms.map(|(spot, coefficients)| Term { spot, coupled: None, coefficients });
        let outputs = vec![output, partner_output];
        (node < partner).then(|| Patch { outputs, terms: terms.to_vec(), length: 1 })
    }
}

impl Spots {
    /// C of a node at hand; that of a virtual node is zero. Where the node is wanted too, its copy:
    /// strips of a message are at distances that share the sets of a cache.
    fn stored(&self, node: usize, plane: usize) -> Option<Spot> {
        let strip = place(&self.sources, node)?;
        let source = Spot { strip, place: self.planes.binary_search(&plane).ok()? };
        self.target(node, plane).or(Some(source))
    }

    /// Where C of a wanted node is written.
    fn target(&self, node: usize, plane: usize) -> Option<Spot> {
        let strip = self.sources.len() + place(&self.wanted, node)?;
        Some(Spot { strip, place: plane })
    }

    /// Where U of a kept node is.
    fn kept(&self, node: usize, plane: usize) -> Option<Spot> {
        let strip = self.sources.len() + self.wanted.len() + place(&self.kept, node)?;
        Some(Spot { strip, place: plane })
    }
}

fn place(list: &[usize], index: usize) -> Option<usize> {
    list.iter().position(|&listed| listed == index)
}

/// Without what is zero.
fn symbol(terms: [(u8, Option<Spot>); 2]) -> Symbol {
    terms.into_iter().filter_map(|(coefficient, spot)| Some((coefficient, spot?))).collect()
}

/// A symbol, times a coefficient for every output; `None` if it is zero.
fn term(symbol: &Symbol, column: impl IntoIterator<Item = u8>) -> Option<Term> {
    let (&(scale, spot), other) = symbol.split_first()?;
    let coupled = other.first().map(|&(coefficient, other)| (div(coefficient, scale), other));
    let coefficients = column.into_iter().map(|coefficient| mul(scale, coefficient)).collect();
    Some(Term { spot, coupled, coefficients })
}

/// A symbol at one spot.
fn patch(output: Spot, symbol: &Symbol) -> Patch {
    Patch { outputs: vec![output], terms: Vec::from_iter(term(symbol, [1])), length: 1 }
}
