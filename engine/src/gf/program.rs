//! Passes over strips: what a kernel is given to do.

use super::kernel::{Kernel, PassKernel, Prepared};
use super::quads::{self, QUAD};

/// Bytes that several passes handle before the next ones, all strips together, so that all of them
/// find the inputs in the second-level cache. One pass alone reads in one run: the prefetchers lose
/// the thread at the ends of tiles.
const TILE: usize = 128 * 1024;
/// Bytes of every strip in a tile at least, so that the prefetchers see long runs.
const RUN: usize = 4096;
/// Bytes between temporary strips beyond their length, so that not all of them fall into the same
/// sets of a cache.
const SKEW: usize = 192;

/// Outputs that are computed together.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) method: Method,
    /// Strips that are read.
    pub(super) inputs: Vec<usize>,
    /// For every sum the strip that it starts from; empty if all start from zero.
    pub(super) starts: Vec<usize>,
    /// Strips that are written.
    pub(super) outputs: Vec<usize>,
    /// As the method needs them.
    pub(super) coefficients: Vec<Prepared>,
}

/// How a pass computes its outputs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    /// Each is the strip that it starts from, or zero, and the sum of all inputs times its
    /// coefficients: for every input that for every output.
    Sums,
    /// They are the values of a polynomial at quads of points, as the inputs are
    /// ([`quads::coefficients`]).
    Quads,
}

/// Passes one after another over the strips of a caller and temporary ones.
///
/// Strips are numbered: the inputs, the outputs, the temporary strips.
#[derive(Clone, Debug)]
pub(super) struct Program {
    kernel: &'static Kernel,
    inputs: usize,
    outputs: usize,
    temporaries: usize,
    passes: Vec<Pass>,
}

/// Where the strips of a pass begin, in its order. Inputs and starts are only read.
pub(super) struct Strips<'a> {
    pub(super) inputs: &'a [*mut u8],
    pub(super) starts: &'a [*mut u8],
    pub(super) outputs: &'a [*mut u8],
    /// Bytes of each.
    pub(super) length: usize,
}

impl Program {
    /// `counts` are those of inputs, outputs and temporary strips.
    ///
    /// # Panics
    /// If a pass names a strip that there is not, writes one that is an input of the program or of
    /// its own, or has more outputs than the kernel.
    pub(super) fn new(kernel: &'static Kernel, counts: [usize; 3], passes: Vec<Pass>) -> Self {
        let [inputs, outputs, temporaries] = counts;
        let strips = inputs + outputs + temporaries;
        for pass in &passes {
            let read = || pass.inputs.iter().chain(&pass.starts);
            assert!(read().all(|&strip| strip < strips), "a strip that is not there");
            let written = |strip: &usize| (inputs..strips).contains(strip);
            assert!(pass.outputs.iter().all(written), "a strip that cannot be written");
            assert!(!read().any(|strip| pass.outputs.contains(strip)), "an output that is read");
            assert!(
                (1..=pass.kernel(kernel).outputs).contains(&pass.outputs.len()),
                "outputs of a pass"
            );
            assert!([0, pass.outputs.len()].contains(&pass.starts.len()), "starts of a pass");
            assert_eq!(pass.coefficients.len(), pass.coefficient_count(), "coefficients of a pass");
        }
        Self { kernel, inputs, outputs, temporaries, passes }
    }

    /// Products in the field per byte of a strip.
    pub(super) fn products(&self) -> usize {
        self.passes.iter().map(Pass::products).sum()
    }

    /// Strips that are written.
    pub(super) fn written(&self) -> usize {
        self.passes.iter().map(|pass| pass.outputs.len()).sum()
    }

    /// Overwrites the strips of `targets`, which like those of `sources` are `width` bytes each, one
    /// after another. `workspace` is for the temporary strips, and its bytes mean nothing.
    ///
    /// # Panics
    /// If the number of strips differs from the program, or a strip is not whole.
    pub(super) fn run(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        if width == 0 {
            return;
        }
        let tile = self.tile().min(width);
        let mut strips = self.begin(width, sources, targets);
        workspace.resize(workspace.len().max(self.temporaries * (tile + SKEW)), 0);
        let temporaries = workspace.chunks_exact_mut(tile + SKEW).map(<[u8]>::as_mut_ptr);
        strips.extend(temporaries.take(self.temporaries));
        let mut bound = Vec::with_capacity(strips.len());
        for start in (0..width).step_by(tile) {
            let length = tile.min(width - start);
            for pass in &self.passes {
                // SAFETY: the passes were checked when the program was made, and a `Kernel` is only
                // handed out if it runs here. All strips have the bytes from `start` on, the
                // temporary ones those of a tile, and what is written is borrowed for nothing else.
                unsafe {
                    match pass.copies() {
                        Some([from, to]) => strips[from].copy_to_nonoverlapping(strips[to], length),
                        None => {
                            let strips = pass.bind(&strips, length, &mut bound);
                            (pass.kernel(self.kernel).combine)(&pass.coefficients, &strips);
                        }
                    }
                }
            }
            for strip in &mut strips[..self.inputs + self.outputs] {
                *strip = strip.wrapping_add(tile);
            }
        }
    }

    /// Where the strips begin, without the temporary ones.
    ///
    /// # Panics
    /// As [`run`](Self::run) says.
    fn begin(&self, width: usize, sources: &[&[u8]], targets: &mut [&mut [u8]]) -> Vec<*mut u8> {
        let mut strips = Vec::with_capacity(self.inputs + self.outputs + self.temporaries);
        for source in sources {
            let whole = source.chunks_exact(width);
            assert!(whole.remainder().is_empty(), "an input that is not whole");
            strips.extend(whole.map(|strip| strip.as_ptr().cast_mut()));
        }
        assert_eq!(strips.len(), self.inputs, "inputs");
        for target in targets {
            let mut whole = target.chunks_exact_mut(width);
            strips.extend(whole.by_ref().map(<[u8]>::as_mut_ptr));
            assert!(whole.into_remainder().is_empty(), "an output that is not whole");
        }
        assert_eq!(strips.len(), self.inputs + self.outputs, "outputs");
        strips
    }

    /// Bytes of every strip that all passes handle before the next ones.
    fn tile(&self) -> usize {
        let strips = self.inputs + self.outputs + self.temporaries;
        match self.passes.len() {
            0 | 1 => usize::MAX,
            _ => (TILE / strips.max(1)).max(RUN) / RUN * RUN,
        }
    }
}

impl Pass {
    /// The part of the kernel that computes it.
    ///
    /// # Panics
    /// If the kernel has none.
    fn kernel(&self, kernel: &'static Kernel) -> &'static PassKernel {
        match self.method {
            Method::Sums => &kernel.sums,
            Method::Quads => kernel.quads.as_ref().expect("a kernel for quads"),
        }
    }

    fn coefficient_count(&self) -> usize {
        match self.method {
            Method::Sums => self.inputs.len() * self.outputs.len(),
            Method::Quads => quads::coefficient_count(
                self.inputs.len() / QUAD,
                self.outputs.len().div_ceil(QUAD),
            ),
        }
    }

    fn products(&self) -> usize {
        match self.method {
            Method::Sums => self.coefficients.len(),
            Method::Quads => {
                quads::products(self.inputs.len() / QUAD, self.outputs.len().div_ceil(QUAD))
            }
        }
    }

    /// The strip that it only copies, and where to.
    fn copies(&self) -> Option<[usize; 2]> {
        match (&self.inputs[..], &self.starts[..], &self.outputs[..]) {
            ([], &[from], &[to]) => Some([from, to]),
            _ => None,
        }
    }

    /// Its strips among those of the program, through a buffer for the pointers.
    fn bind<'a>(
        &self,
        strips: &[*mut u8],
        length: usize,
        buffer: &'a mut Vec<*mut u8>,
    ) -> Strips<'a> {
        buffer.clear();
        for part in [&self.inputs, &self.starts, &self.outputs] {
            buffer.extend(part.iter().map(|&strip| strips[strip]));
        }
        let (inputs, rest) = buffer.split_at(self.inputs.len());
        let (starts, outputs) = rest.split_at(self.starts.len());
        Strips { inputs, starts, outputs, length }
    }
}
