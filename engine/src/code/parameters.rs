//! Which code, and how large.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::Code;
use super::clay::{self, Clay};
use super::construction::Construction;
use super::mbr::Mbr;
use super::msr::{self, Msr};
use super::recent::Recent;
use super::rs::Rs;

/// The codes that were built last. That they are kept cannot be seen but in the time it takes.
static BUILT: Recent<CodeParameters, Code, 8> = Recent::new();

/// The family of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CodeKind {
    /// Systematic Reed-Solomon: least storage, a repair reads k fragments.
    #[n(0)]
    Rs,
    /// Product-matrix minimum-bandwidth regenerating: least repair traffic.
    #[n(1)]
    Mbr,
    /// Product-matrix minimum-storage regenerating: least storage, repair from d >= 2k-2 nodes.
    #[n(2)]
    Msr,
    /// Coupled-layer minimum-storage regenerating: least storage for any k, repair from all n-1
    /// others.
    #[n(3)]
    Clay,
}

/// A code and its size. [`build`](Self::build) tells whether such a code exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct CodeParameters {
    /// The family.
    #[n(0)]
    pub kind: CodeKind,
    /// Fragments of an object, 2 to 255.
    #[n(1)]
    pub n: u8,
    /// Fragments that give the object back.
    #[n(2)]
    pub k: u8,
    /// Helpers of a repair, k to n-1; for `rs` it is k, for `clay` n-1.
    #[n(3)]
    pub d: u8,
}

/// Why there is no code of these parameters. Whoever chose them is to blame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParametersError {
    /// The text has another form.
    #[error("'{0}' is not a code; try: mbr(10,5,7)")]
    Malformed(String),
    /// The sizes are out of order.
    #[error("{0}: a code needs 1 <= k <= d < n")]
    Order(CodeParameters),
    /// An `rs` repair reads k fragments, neither more nor fewer.
    #[error("{0}: rs repairs from exactly k fragments; try: {1}")]
    RsHelpers(CodeParameters, CodeParameters),
    /// Product-matrix `msr` needs d >= 2k-2.
    #[error("{parameters}: msr needs d >= 2k-2 = {needed} helpers; try: {alternative}")]
    MsrHelpers {
        /// What was asked for.
        parameters: CodeParameters,
        /// 2k-2.
        needed: u16,
        /// The nearest code that exists.
        alternative: CodeParameters,
    },
    /// Too few elements of GF(256) have distinct powers with exponent d-k+1 (Rashmi, Shah, Kumar
    /// 2011, §V.A).
    #[error(
        "{parameters}: msr needs n+d-2k+2 = {needed} points of GF(256) with distinct powers \
         x^(d-k+1), and there are {available}; try: {alternative}"
    )]
    MsrPoints {
        /// What was asked for.
        parameters: CodeParameters,
        /// Points that the construction takes.
        needed: usize,
        /// 255 / gcd(d-k+1, 255).
        available: usize,
        /// The nearest code that exists.
        alternative: CodeParameters,
    },
    /// A `clay` repair needs every other slot.
    #[error("{0}: clay repairs from all the {d} others, neither fewer nor some; try: {1}", d = .1.d)]
    ClayHelpers(CodeParameters, CodeParameters),
    /// The symbols of a slot do not fit into a group of the layout, or the nodes not into GF(256).
    #[error(
        "{parameters}: clay needs (n-k)^ceil(n/(n-k)) <= 1024 symbols a slot and at most 256 \
         nodes, and these would be {symbols} and {nodes}; try: {alternative}"
    )]
    ClaySize {
        /// What was asked for.
        parameters: CodeParameters,
        /// alpha, at most `usize::MAX`.
        symbols: usize,
        /// Slots and virtual nodes.
        nodes: usize,
        /// A code of the same size that exists.
        alternative: CodeParameters,
    },
}

impl CodeParameters {
    /// The code itself.
    ///
    /// The last few codes of a process are kept, with all that they have prepared, so it is cheap to
    /// build a code again for every object.
    pub fn build(self) -> Result<Code, ParametersError> {
        self.check()?;
        Ok(BUILT.or_make(self, || Code::new(self, self.construction())))
    }

    fn construction(self) -> Arc<dyn Construction> {
        match self.kind {
            CodeKind::Rs => Arc::new(Rs::new(self)),
            CodeKind::Mbr => Arc::new(Mbr::new(self)),
            CodeKind::Msr => Arc::new(Msr::new(self)),
            CodeKind::Clay => Arc::new(Clay::new(self)),
        }
    }

    /// Whether such a code exists, without building it.
    pub fn check(self) -> Result<(), ParametersError> {
        if self.k < 1 || self.d < self.k || self.n <= self.d {
            return Err(ParametersError::Order(self));
        }
        match self.kind {
            CodeKind::Rs if self.d != self.k => {
                Err(ParametersError::RsHelpers(self, Self { d: self.k, ..self }))
            }
            CodeKind::Rs | CodeKind::Mbr => Ok(()),
            CodeKind::Msr => self.check_msr(),
            CodeKind::Clay => self.check_clay(),
        }
    }

    fn check_msr(self) -> Result<(), ParametersError> {
        let parameters = self;
        let (needed, available) = self.msr_points();
        if u16::from(self.d) < self.msr_helpers_min() {
            let (needed, alternative) = (self.msr_helpers_min(), self.msr_alternative());
            Err(ParametersError::MsrHelpers { parameters, needed, alternative })
        } else if available < needed {
            let alternative = self.msr_alternative();
            Err(ParametersError::MsrPoints { parameters, needed, available, alternative })
        } else {
            Ok(())
        }
    }

    fn check_clay(self) -> Result<(), ParametersError> {
        let shape = clay::Shape::of(self);
        let (symbols, nodes) = (shape.planes(), shape.nodes());
        if symbols > clay::ALPHA_MAX || nodes > clay::NODES_MAX {
            let alternative = Self { kind: CodeKind::Msr, ..self }.msr_alternative();
            Err(ParametersError::ClaySize { parameters: self, symbols, nodes, alternative })
        } else if self.d != self.n - 1 {
            Err(ParametersError::ClayHelpers(self, Self { d: self.n - 1, ..self }))
        } else {
            Ok(())
        }
    }

    fn msr_helpers_min(self) -> u16 {
        2 * u16::from(self.k) - 2
    }

    /// Points that `msr` needs, and points that there are.
    fn msr_points(self) -> (usize, usize) {
        let virtual_nodes = u16::from(self.d).saturating_sub(self.msr_helpers_min());
        let available = msr::points(usize::from(self.d - self.k) + 1).len();
        (usize::from(self.n) + usize::from(virtual_nodes), available)
    }

    /// The `msr` code with the nearest d that exists, or else the `mbr` code of the same size.
    fn msr_alternative(self) -> Self {
        (self.k..self.n)
            .map(|d| Self { d, ..self })
            .filter(|candidate| {
                let (needed, available) = candidate.msr_points();
                u16::from(candidate.d) >= self.msr_helpers_min() && available >= needed
            })
            .min_by_key(|candidate| candidate.d.abs_diff(self.d))
            .unwrap_or(Self { kind: CodeKind::Mbr, ..self })
    }
}

impl fmt::Display for CodeParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({},{},{})", self.kind, self.n, self.k, self.d)
    }
}

impl fmt::Display for CodeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rs => "rs",
            Self::Mbr => "mbr",
            Self::Msr => "msr",
            Self::Clay => "clay",
        })
    }
}

impl FromStr for CodeParameters {
    type Err = ParametersError;

    /// Reads the form that `Display` writes and nothing else; `check` is left to the caller.
    fn from_str(text: &str) -> Result<Self, ParametersError> {
        parse(text)
            .filter(|parameters| parameters.to_string() == text)
            .ok_or_else(|| ParametersError::Malformed(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<CodeParameters> {
    let (kind, sizes) = text.strip_suffix(')')?.split_once('(')?;
    let kind = match kind {
        "rs" => CodeKind::Rs,
        "mbr" => CodeKind::Mbr,
        "msr" => CodeKind::Msr,
        "clay" => CodeKind::Clay,
        _ => return None,
    };
    let mut sizes = sizes.splitn(3, ',').map(str::parse);
    let mut size = || sizes.next()?.ok();
    Some(CodeParameters { kind, n: size()?, k: size()?, d: size()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::wire::canonical;

    fn parameters(text: &str) -> CodeParameters {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        parameters(text).build().unwrap_err().to_string()
    }

    #[test]
    fn text_and_encoding_round_trip() {
        let parameters = CodeParameters { kind: CodeKind::Mbr, n: 10, k: 5, d: 7 };
        assert_eq!(parameters.to_string(), "mbr(10,5,7)");
        assert_eq!("mbr(10,5,7)".parse(), Ok(parameters));
        let encoded = canonical::encode(&parameters);
        assert_eq!(encoded, [0x84, 1, 10, 5, 7]);
        assert_eq!(canonical::decode(&encoded, 16), Ok(parameters));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "mbr",
            "mbr(10,5)",
            "mbr(10,5,7",
            "mbr(10,5,07)",
            "mbr(10,5,7,8)",
            "mbr(10,5,300)",
            "xor(3,2,2)",
            "mbr (10,5,7)",
            "mbr(10,5,+7)",
        ] {
            let malformed = ParametersError::Malformed(text.to_owned());
            assert_eq!(text.parse::<CodeParameters>(), Err(malformed));
        }
    }

    #[test]
    fn a_refusal_names_the_condition_and_a_way_out() {
        assert_eq!(refusal("mbr(5,5,4)"), "mbr(5,5,4): a code needs 1 <= k <= d < n");
        assert_eq!(refusal("mbr(5,3,5)"), "mbr(5,3,5): a code needs 1 <= k <= d < n");
        assert_eq!(refusal("rs(0,0,0)"), "rs(0,0,0): a code needs 1 <= k <= d < n");
        assert_eq!(
            refusal("rs(10,5,7)"),
            "rs(10,5,7): rs repairs from exactly k fragments; try: rs(10,5,5)"
        );
        assert_eq!(
            refusal("msr(14,10,13)"),
            "msr(14,10,13): msr needs d >= 2k-2 = 18 helpers; try: mbr(14,10,13)"
        );
        assert_eq!(
            refusal("msr(20,10,17)"),
            "msr(20,10,17): msr needs d >= 2k-2 = 18 helpers; try: msr(20,10,18)"
        );
        assert_eq!(
            refusal("msr(50,20,49)"),
            "msr(50,20,49): msr needs n+d-2k+2 = 61 points of GF(256) with distinct powers \
             x^(d-k+1), and there are 17; try: msr(50,20,48)"
        );
        assert_eq!(
            refusal("clay(14,10,12)"),
            "clay(14,10,12): clay repairs from all the 13 others, neither fewer nor some; try: \
             clay(14,10,13)"
        );
        assert_eq!(
            refusal("clay(30,25,29)"),
            "clay(30,25,29): clay needs (n-k)^ceil(n/(n-k)) <= 1024 symbols a slot and at most 256 \
             nodes, and these would be 15625 and 30; try: mbr(30,25,29)"
        );
    }

    #[test]
    fn every_alternative_exists() {
        for n in 2..=60 {
            for k in 1..n {
                for d in k..n {
                    let asked = CodeParameters { kind: CodeKind::Msr, n, k, d };
                    let clay = CodeParameters { kind: CodeKind::Clay, ..asked };
                    if let Err(
                        ParametersError::ClayHelpers(_, alternative)
                        | ParametersError::ClaySize { alternative, .. },
                    ) = clay.check()
                    {
                        assert_eq!(alternative.check(), Ok(()), "{clay}");
                    }
                    if let Err(
                        ParametersError::MsrHelpers { alternative, .. }
                        | ParametersError::MsrPoints { alternative, .. },
                    ) = asked.check()
                    {
                        assert_eq!(alternative.check(), Ok(()), "{asked}");
                    }
                }
            }
        }
    }
}
