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
use crate::gf::{Combination, Matrix};

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

/// One strip to compute: the sum of coefficients times operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Node and plane.
    pub(super) output: (usize, usize),
    /// At most two; none gives zero.
    pub(super) terms: Vec<(u8, Operand)>,
}

/// Rows made ready: those with the same coefficients share them, and neighbours are merged.
#[derive(Debug)]
pub(super) struct Steps(Vec<(Combination, Vec<Run>)>);

#[derive(Debug)]
struct Run {
    output: (usize, usize),
    operands: Vec<Operand>,
    planes: usize,
}

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
            let mut outputs: Vec<&mut [u8]> = known.chunks_exact_mut(stride).collect();
            uncoupling.apply(width, &sources, &strips(lost, stride), &mut outputs);
            let bytes = planes.start * width..planes.end * width;
            self.solve.apply(bytes, &strips(known, stride), lost, stride);
        }
        self.coupling.apply(width, &sources, &strips(lost, stride), &mut targets);
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
        self.combination.apply(&inputs, &mut outputs);
    }
}

impl Steps {
    pub(super) fn new(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut alike: BTreeMap<Vec<u8>, Vec<Run>> = BTreeMap::new();
        for Row { output, terms } in rows {
            let (coefficients, operands): (Vec<u8>, Vec<Operand>) = terms.into_iter().unzip();
            let runs = alike.entry(coefficients).or_default();
            match runs.last_mut() {
                Some(run) if run.continues_with(output, &operands) => run.planes += 1,
                _ => runs.push(Run { output, operands, planes: 1 }),
            }
        }
        let ready = |(coefficients, runs): (Vec<u8>, Vec<Run>)| {
            let matrix = Matrix::from_rows(coefficients.len(), [coefficients]);
            (Combination::new(&matrix), runs)
        };
        Self(alike.into_iter().map(ready).collect())
    }

    fn apply(&self, width: usize, sources: &[&[u8]], lost: &[&[u8]], outputs: &mut [&mut [u8]]) {
        for (combination, runs) in &self.0 {
            for &Run { output: (node, plane), ref operands, planes } in runs {
                let strip = |operand: &Operand| match *operand {
                    Operand::Source(node, plane) => {
                        &sources[node][plane * width..][..planes * width]
                    }
                    Operand::Lost(node, plane) => &lost[node][plane * width..][..planes * width],
                };
                let output = &mut outputs[node][plane * width..][..planes * width];
                match &operands[..] {
                    [] => output.fill(0),
                    [one] => combination.apply(&[strip(one)], &mut [output]),
                    [one, other, ..] => {
                        combination.apply(&[strip(one), strip(other)], &mut [output]);
                    }
                }
            }
        }
    }

    fn products(&self) -> usize {
        let products = |(combination, runs): &(Combination, Vec<Run>)| {
            combination.products() * runs.iter().map(|run| run.planes).sum::<usize>()
        };
        self.0.iter().map(products).sum()
    }
}

impl Run {
    fn continues_with(&self, (node, plane): (usize, usize), operands: &[Operand]) -> bool {
        let follows = |(earlier, later): (&Operand, &Operand)| match (*earlier, *later) {
            (Operand::Source(node, plane), Operand::Source(other, next))
            | (Operand::Lost(node, plane), Operand::Lost(other, next)) => {
                node == other && plane + self.planes == next
            }
            _ => false,
        };
        self.output.0 == node
            && self.output.1 + self.planes == plane
            && self.operands.iter().zip(operands).all(follows)
    }
}
