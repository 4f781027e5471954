//! A linear map in layers, for codes whose matrix would be too large to multiply by.
//!
//! Per column and node there is one symbol in every *plane*. What the sources store is *coupled*:
//! to uncouple it combines at most two symbols. The uncoupled symbols of all nodes in one plane are
//! a codeword of one small code, so those of the lost nodes follow from the known ones with the
//! same matrix in every plane. Coupling again gives what the targets store.
//!
//! The strips of a node lie plane after plane, so what is done alike in neighbouring planes is done
//! in one go.

use std::collections::BTreeMap;
use std::ops::Range;

use super::construction::GroupMap;
use crate::gf::{Combination, Matrix, PairRun, PairSum};

/// Bytes between the uncoupled strips of one node and the next beyond their length, so that the
/// strips of all nodes do not fall into the same lines of a cache.
const SKEW: usize = 192;

/// A layered map from sources to targets, both with one strip per plane.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Planes that a source has.
    pub(super) source_planes: usize,
    /// Planes that a target has.
    pub(super) target_planes: usize,
    /// In the order in which they can be solved; each may use lost symbols of those before.
    pub(super) layers: Vec<Layer>,
    /// Uncoupled symbols of the known nodes to those of the lost ones in the same plane.
    pub(super) solve: PlaneMap,
    /// Symbols of sources, and uncoupled ones of lost nodes, to the targets.
    pub(super) coupling: Steps,
}

/// The planes that can be solved at one time, as places in the order of all.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) planes: Range<usize>,
    /// Symbols of sources, and uncoupled ones of lost nodes, to the known nodes.
    pub(super) uncoupling: Steps,
}

/// A matrix that applies in every plane.
#[derive(Debug)]
pub(super) struct PlaneMap {
    known: usize,
    lost: usize,
    combination: Combination,
}

/// A strip that a step reads: a node (a source, or a lost node) and the place of a plane in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A symbol that a source holds.
    Source(usize, usize),
    /// An uncoupled symbol of a lost node.
    Lost(usize, usize),
}

/// Neighbouring strips to compute alike: a sum of coefficients times operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Node and place of the first plane.
    pub(super) output: (usize, usize),
    pub(super) planes: usize,
    pub(super) terms: Terms,
}

/// Coefficients and what they multiply, in the first plane of a run; none gives zero.
pub(super) type Terms = [Option<(u8, Operand)>; 2];

/// Runs made ready: those with the same coefficients are one sum, and neighbours are merged.
#[derive(Debug)]
pub(super) struct Steps(Vec<PairSum>);

impl GroupMap for Schedule {
    fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        let sources: Vec<&[u8]> = sources
            .iter()
            .flat_map(|source| source.chunks_exact(self.source_planes * width))
            .collect();
        let mut targets: Vec<&mut [u8]> = targets
            .iter_mut()
            .flat_map(|target| target.chunks_exact_mut(self.target_planes * width))
            .collect();
        let planes = self.layers.last().map_or(0, |layer| layer.planes.end);
        let stride = planes * width + SKEW;
        workspace.resize((self.solve.known + self.solve.lost) * stride, 0);
        let (known, lost) = workspace.split_at_mut(self.solve.known * stride);
        for Layer { planes, uncoupling } in &self.layers {
            let inputs = [&sources[..], &strips(lost, stride)].concat();
            uncoupling.apply(
                width,
                &inputs,
                &mut known.chunks_exact_mut(stride).collect::<Vec<_>>(),
            );
            let bytes = planes.start * width..planes.end * width;
            self.solve.apply(bytes, &strips(known, stride), lost, stride);
        }
        let inputs = [&sources[..], &strips(lost, stride)].concat();
        self.coupling.apply(width, &inputs, &mut targets);
    }

    fn products(&self) -> usize {
        let layer = |layer: &Layer| {
            layer.uncoupling.products() + layer.planes.len() * self.solve.combination.products()
        };
        self.layers.iter().map(layer).sum::<usize>() + self.coupling.products()
    }
}

fn strips(bytes: &[u8], stride: usize) -> Vec<&[u8]> {
    bytes.chunks_exact(stride).collect()
}

impl PlaneMap {
    pub(super) fn new(matrix: &Matrix) -> Self {
        let (known, lost) = (matrix.columns(), matrix.rows());
        Self { known, lost, combination: Combination::new(matrix) }
    }

    fn apply(&self, bytes: Range<usize>, known: &[&[u8]], lost: &mut [u8], stride: usize) {
        let inputs: Vec<&[u8]> = known.iter().map(|strip| &strip[bytes.clone()]).collect();
        let mut outputs: Vec<&mut [u8]> =
            lost.chunks_exact_mut(stride).map(|strip| &mut strip[bytes.clone()]).collect();
        self.combination.apply(&inputs, &mut outputs, &mut Vec::new());
    }
}

impl Steps {
    /// Takes the number of sources, and runs with their neighbours next to them.
    pub(super) fn new(sources: usize, runs: impl IntoIterator<Item = Run>) -> Self {
        let mut alike: BTreeMap<[u8; 2], Vec<Run>> = BTreeMap::new();
        for run in runs {
            let coefficients = run.terms.map(|term| term.map_or(0, |(coefficient, _)| coefficient));
            let runs = alike.entry(coefficients).or_default();
            match runs.last_mut() {
                Some(last) if last.is_continued_by(&run) => last.planes += run.planes,
                _ => runs.push(run),
            }
        }
        let ready = |(coefficients, runs): ([u8; 2], Vec<Run>)| {
            PairSum::new(coefficients, runs.into_iter().map(|run| run.places(sources)).collect())
        };
        Self(alike.into_iter().map(ready).collect())
    }

    /// `inputs` are the sources, then the lost nodes.
    fn apply(&self, width: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        for sum in &self.0 {
            sum.apply(width, inputs, outputs);
        }
    }

    fn products(&self) -> usize {
        self.0.iter().map(PairSum::products).sum()
    }
}

impl Run {
    /// Where the terms are among the sources and, after them, the lost nodes.
    fn places(&self, sources: usize) -> PairRun {
        let place = |term: Option<(u8, Operand)>| {
            term.map(|(_, operand)| match operand {
                Operand::Source(node, place) => (node, place),
                Operand::Lost(node, place) => (sources + node, place),
            })
        };
        let [one, other] = self.terms.map(place);
        // Any strip that is as long serves for what is multiplied by zero.
        let zero = one.or(other).unwrap_or((sources, self.output.1));
        let inputs = [one, other].map(|place| place.unwrap_or(zero));
        PairRun { inputs, output: self.output, length: self.planes }
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        let end = |term: Option<(u8, Operand)>| term.map(|(_, operand)| operand.after(self.planes));
        let start = |term: Option<(u8, Operand)>| term.map(|(_, operand)| operand);
        (self.output.0, self.output.1 + self.planes) == next.output
            && self.terms.map(end) == next.terms.map(start)
    }
}

impl Operand {
    fn after(self, planes: usize) -> Self {
        match self {
            Self::Source(node, place) => Self::Source(node, place + planes),
            Self::Lost(node, place) => Self::Lost(node, place + planes),
        }
    }
}
