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
use super::clay_solution::{self, Solution, Spots};
use super::construction::{Construction, GroupMap};
use crate::names::Slot;

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
    pub(super) fn partner(self, node: usize, plane: usize) -> Option<(usize, usize)> {
        let (section, x) = (node / self.q, node % self.q);
        let digit = self.digit(plane, section);
        let weight = self.weight(section);
        (digit != x).then(|| (section * self.q + digit, plane + x * weight - digit * weight))
    }

    /// The planes in which a node is alone, beta of them: those for which its repair asks.
    pub(super) fn planes_alone(self, node: usize) -> Vec<usize> {
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
        let (sources, all) = (self.nodes(slots), (0..self.alpha()).collect());
        let at_hand = |node: &usize| sources.contains(node) || self.is_virtual(*node);
        let lost: Vec<usize> = (0..self.shape.nodes()).filter(|node| !at_hand(node)).collect();
        let spots = Spots { sources, planes: all, wanted: wanted.to_vec(), kept: lost.clone() };
        Box::new(Solution::new(self.shape, lost, spots).transfer())
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
        Box::new(clay_solution::helper(self.shape, self.node(failed)))
    }

    /// From the planes in which the failed node is alone.
    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap> {
        let (failed, q) = (self.node(failed), self.shape.q);
        let section = failed / q * q..(failed / q + 1) * q;
        let spots = Spots {
            sources: self.nodes(helpers),
            planes: self.shape.planes_alone(failed),
            wanted: vec![failed],
            kept: Vec::new(),
        };
        Box::new(Solution::new(self.shape, section.collect(), spots).repair(failed))
    }

    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap> {
        self.transfer(slots, &[self.node(failed)])
    }
}
