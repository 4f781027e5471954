//! Coupled-layer minimum-storage regenerating code (Vajha et al., "Clay codes: moulding MDS codes
//! to yield an MSR code", FAST 2018) for d = n - 1, systematic.
//!
//! q = n - k, and q·t nodes stand in t *sections* of q: the first k slots, virtual nodes that store
//! zeros, and the other q slots as the last section. A node stores one symbol in each of the
//! alpha = q^t *planes*, whose number has one base-q digit per section, the first the most
//! significant. Node x of a section pairs in a plane with digit a with node a of the section in the
//! plane with digit x instead; for a = x it is alone. A pair's coupled symbols C, C* and uncoupled
//! symbols U, U* obey U = C + gamma·C*, U* = C* + gamma·C, and alone U = C. In every plane the
//! uncoupled symbols of all nodes are a Reed-Solomon codeword of dimension q·(t-1).
//!
//! Gamma differs from 0 and 1, so any two of C, C*, U, U* give the others. With q nodes lost, the
//! planes are solved in the order of their *intersection score*, how many lost nodes are alone in
//! them: if the partner of a known node is lost, its plane comes earlier.

use super::CodeParameters;
use super::construction::{Construction, GroupMap};
use super::schedule::{Layer, Operand, PlaneMap, Run, Schedule, Steps, Terms};
use crate::gf::{Matrix, inv, lagrange, mul};
use crate::names::Slot;

/// The coefficient of every pair.
const GAMMA: u8 = 2;

/// alpha at most; beyond, a strip of a full group would be shorter than a vector of 16 bytes.
pub(super) const ALPHA_MAX: usize = 1024;

/// Nodes at most, the virtual ones too: elements of the field.
pub(super) const NODES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Clay {
    shape: Shape,
    k: usize,
    n: usize,
}

/// q and t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Nodes of a section.
    pub(super) q: usize,
    /// Sections.
    pub(super) t: usize,
}

impl Shape {
    /// Takes parameters with 1 <= k < n.
    pub(super) fn of(parameters: CodeParameters) -> Self {
        let [n, q] = [parameters.n, parameters.n - parameters.k].map(usize::from);
        Self { q, t: n.div_ceil(q) }
    }

    /// Nodes, with the virtual ones.
    pub(super) fn nodes(self) -> usize {
        self.q * self.t
    }

    /// alpha, q^t; at most `usize::MAX`.
    pub(super) fn planes(self) -> usize {
        self.q.saturating_pow(self.t as u32)
    }

    /// What one more in the section's digit adds to the number of a plane.
    fn weight(self, section: usize) -> usize {
        self.q.pow((self.t - 1 - section) as u32)
    }

    /// The section's digit of a plane.
    fn digit(self, plane: usize, section: usize) -> usize {
        plane / self.weight(section) % self.q
    }

    /// The node and the plane that are paired with these; `None` if the node is alone there.
    fn partner(self, node: usize, plane: usize) -> Option<(usize, usize)> {
        let (section, x) = (node / self.q, node % self.q);
        let digit = self.digit(plane, section);
        let weight = self.weight(section);
        (digit != x).then(|| (section * self.q + digit, plane + x * weight - digit * weight))
    }

    /// The planes in which a node is alone, beta of them: those for which its repair asks.
    fn planes_alone(self, node: usize) -> Vec<usize> {
        (0..self.planes()).filter(|&plane| self.partner(node, plane).is_none()).collect()
    }
}

impl Clay {
    /// Takes parameters that [`CodeParameters::check`] accepts.
    pub(super) fn new(parameters: CodeParameters) -> Self {
        let [n, k] = [parameters.n, parameters.k].map(usize::from);
        Self { shape: Shape::of(parameters), k, n }
    }

    fn node(&self, slot: Slot) -> usize {
        let index = slot.index();
        if index < self.k { index } else { index + self.shape.nodes() - self.n }
    }

    fn nodes(&self, slots: &[Slot]) -> Vec<usize> {
        slots.iter().map(|&slot| self.node(slot)).collect()
    }

    fn is_virtual(&self, node: usize) -> bool {
        (self.k..self.k + self.shape.nodes() - self.n).contains(&node)
    }

    /// The contents of k slots to those of other nodes.
    fn transfer(&self, slots: &[Slot], wanted: &[usize]) -> Box<dyn GroupMap> {
        let sources = self.nodes(slots);
        let at_hand = |node: &usize| sources.contains(node) || self.is_virtual(*node);
        let (known, lost) = (0..self.shape.nodes()).partition(at_hand);
        let all: Vec<usize> = (0..self.alpha()).collect();
        let copied = wanted.iter().all(|node| sources.contains(node));
        let solved = if copied { Vec::new() } else { all.clone() };
        Box::new(Solution::new(self.shape, (&sources, &all), known, lost, solved).schedule(wanted))
    }
}

impl Construction for Clay {
    fn alpha(&self) -> usize {
        self.beta() * self.shape.q
    }

    fn beta(&self) -> usize {
        self.shape.weight(0)
    }

    fn message_len(&self) -> usize {
        self.k * self.alpha()
    }

    fn encoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        let systematic: Vec<Slot> = Slot::all(self.k as u8).collect();
        self.transfer(&systematic, &self.nodes(slots))
    }

    fn decoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        let message: Vec<usize> = (0..self.k).collect();
        self.transfer(slots, &message)
    }

    /// What it stores in the planes in which the failed node is alone.
    fn helper(&self, failed: Slot) -> Box<dyn GroupMap> {
        let planes = self.shape.planes_alone(self.node(failed));
        let copy = |(place, plane)| Run {
            output: (0, place),
            planes: 1,
            terms: [Some((1, Operand::Source(0, plane))), None],
        };
        Box::new(Schedule {
            source_planes: self.alpha(),
            target_planes: self.beta(),
            layers: Vec::new(),
            solve: PlaneMap::new(&Matrix::zero(0, 0)),
            coupling: Steps::new(planes.into_iter().enumerate().map(copy)),
        })
    }

    /// In the planes that the helpers send, partners outside the failed node's section are at hand
    /// too; the q uncoupled symbols of that section are solved for. They are what the failed node
    /// stores in these planes, and with what its partners store there they give the rest.
    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap> {
        let failed = self.node(failed);
        let section = failed / self.shape.q;
        let (known, lost) =
            (0..self.shape.nodes()).partition(|node| node / self.shape.q != section);
        let sent = self.shape.planes_alone(failed);
        let sources = self.nodes(helpers);
        let solution = Solution::new(self.shape, (&sources, &sent), known, lost, sent.clone());
        Box::new(solution.schedule(&[failed]))
    }

    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap> {
        self.transfer(slots, &[self.node(failed)])
    }
}

/// Which symbols are at hand and which are solved for, and from this how others follow.
struct Solution {
    shape: Shape,
    /// Place of every node among the sources, and of every plane in a source.
    sources: Places,
    source_planes: usize,
    /// Nodes whose uncoupled symbols follow from sources, plane by plane.
    known: Vec<usize>,
    /// The q other nodes.
    lost: Vec<usize>,
    /// Place of every node among the lost ones, and of every plane in the order of solving.
    solved: Places,
    /// Planes that are solved together, in their order.
    layers: Vec<Vec<usize>>,
}

struct Places {
    nodes: Vec<Option<usize>>,
    planes: Vec<Option<usize>>,
}

impl Solution {
    /// `sources` are nodes and the planes that each of them gives; `solved` are planes too. Nodes
    /// that are known but no source store zeros.
    fn new(
        shape: Shape,
        sources: (&[usize], &[usize]),
        known: Vec<usize>,
        lost: Vec<usize>,
        mut solved: Vec<usize>,
    ) -> Self {
        let score = |&plane: &usize| {
            lost.iter().filter(|&&node| shape.partner(node, plane).is_none()).count()
        };
        solved.sort_by_cached_key(score);
        let layers = solved.chunk_by(|one, next| score(one) == score(next)).map(<[_]>::to_vec);
        Self {
            shape,
            sources: Places::new(shape, sources.0, sources.1),
            source_planes: sources.1.len(),
            layers: layers.collect(),
            solved: Places::new(shape, &lost, &solved),
            known,
            lost,
        }
    }

    /// To the contents of the nodes `wanted`.
    fn schedule(&self, wanted: &[usize]) -> Schedule {
        let all: Vec<usize> = (0..self.shape.planes()).collect();
        let stored = wanted.iter().enumerate().flat_map(|(target, &node)| {
            self.runs(node, &all).map(move |planes| Run {
                output: (target, planes[0]),
                planes: planes.len(),
                terms: self.coupled(node, planes[0]),
            })
        });
        Schedule {
            source_planes: self.source_planes,
            target_planes: all.len(),
            layers: self.layers.iter().map(|planes| self.layer(planes)).collect(),
            solve: PlaneMap::new(&self.plane_matrix()),
            coupling: Steps::new(stored),
        }
    }

    fn layer(&self, planes: &[usize]) -> Layer {
        let place = |plane: usize| self.solved.planes[plane].unwrap_or_default();
        let known = self.known.iter().enumerate().flat_map(|(output, &node)| {
            self.runs(node, planes).map(move |planes| Run {
                output: (output, place(planes[0])),
                planes: planes.len(),
                terms: self.uncoupled(node, planes[0]),
            })
        });
        let first = place(planes[0]);
        Layer { planes: first..first + planes.len(), uncoupling: Steps::new(known) }
    }

    /// Cuts `planes` into neighbours, also in the order of solving, in which a node pairs alike.
    fn runs<'a>(
        &'a self,
        node: usize,
        planes: &'a [usize],
    ) -> impl Iterator<Item = &'a [usize]> + 'a {
        let weight = self.shape.weight(node / self.shape.q);
        let place = |plane: usize| self.solved.planes[plane];
        planes.chunk_by(move |&one, &next| {
            one + 1 == next
                && one / weight == next / weight
                && place(next) == place(one).map(|place| place + 1)
        })
    }

    /// lost × known: interpolates the codeword of a plane.
    fn plane_matrix(&self) -> Matrix {
        let points: Vec<u8> = self.known.iter().map(|&node| node as u8).collect();
        Matrix::from_rows(points.len(), self.lost.iter().map(|&node| lagrange(&points, node as u8)))
    }

    /// How U of a known node follows.
    fn uncoupled(&self, node: usize, plane: usize) -> Terms {
        let own = self.source(node, plane);
        match self.shape.partner(node, plane) {
            None => sum([(1, own), (0, None)]),
            Some(partner) => match self.solved(partner) {
                // U = C + gamma (U* + gamma C)
                Some(solved) => sum([(1 ^ mul(GAMMA, GAMMA), own), (GAMMA, Some(solved))]),
                None => sum([(1, own), (GAMMA, self.source(partner.0, partner.1))]),
            },
        }
    }

    /// How C of any node follows.
    fn coupled(&self, node: usize, plane: usize) -> Terms {
        let own = self.source(node, plane);
        if own.is_some() {
            return sum([(1, own), (0, None)]);
        }
        let solved = self.solved((node, plane));
        let Some(partner) = self.shape.partner(node, plane) else {
            return sum([(1, solved), (0, None)]);
        };
        let partner_source = self.source(partner.0, partner.1);
        match (solved, self.solved(partner)) {
            (Some(_), None) => sum([(1, solved), (GAMMA, partner_source)]),
            (Some(_), partner_solved) => {
                let scale = inv(1 ^ mul(GAMMA, GAMMA));
                sum([(scale, solved), (mul(scale, GAMMA), partner_solved)])
            }
            // U* = C* + gamma C
            (None, partner_solved) => {
                sum([(inv(GAMMA), partner_solved), (inv(GAMMA), partner_source)])
            }
        }
    }

    /// C of a node, if a source gives it; that of a virtual node is zero.
    fn source(&self, node: usize, plane: usize) -> Option<Operand> {
        Some(Operand::Source(self.sources.nodes[node]?, self.sources.planes[plane]?))
    }

    /// U of a lost node, if its plane is solved.
    fn solved(&self, (node, plane): (usize, usize)) -> Option<Operand> {
        Some(Operand::Lost(self.solved.nodes[node]?, self.solved.planes[plane]?))
    }
}

impl Places {
    fn new(shape: Shape, nodes: &[usize], planes: &[usize]) -> Self {
        let places = |size: usize, present: &[usize]| {
            let mut places = vec![None; size];
            for (place, &index) in present.iter().enumerate() {
                places[index] = Some(place);
            }
            places
        };
        Self { nodes: places(shape.nodes(), nodes), planes: places(shape.planes(), planes) }
    }
}

/// Without the symbols that are zero.
fn sum(terms: [(u8, Option<Operand>); 2]) -> Terms {
    terms.map(|(coefficient, operand)| Some((coefficient, operand?)))
}
