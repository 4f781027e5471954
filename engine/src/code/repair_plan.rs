//! What a newcomer asks of the slots that are left.

use super::{CodeError, CodeParameters, Layout};
use crate::names::Slot;

/// Whom to ask, and for what, to repair one fragment.
///
/// With d survivors or more each of d helpers sends its symbols: the least that the code can do
/// with. With fewer, down to k, the lost fragment is decoded from k whole ones; all of this is
/// ciphertext. [`Code::repair`](super::Code::repair) takes the answers of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPlan {
    answer: HelperAnswer,
    helpers: Vec<Slot>,
}

/// What every helper of a repair is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperAnswer {
    /// Its symbols for the lost slot, beta per column: [`Code::helper_symbols`](super::Code::helper_symbols).
    Symbols,
    /// Its whole fragment.
    Fragment,
}

impl RepairPlan {
    /// Takes distinct survivors.
    pub(super) fn new(parameters: CodeParameters, survivors: &[Slot]) -> Result<Self, CodeError> {
        let (answer, needed) = if survivors.len() >= parameters.d.into() {
            (HelperAnswer::Symbols, parameters.d)
        } else if survivors.len() >= parameters.k.into() {
            (HelperAnswer::Fragment, parameters.k)
        } else {
            return Err(CodeError::Survivors { parameters, given: survivors.len() });
        };
        Ok(Self { answer, helpers: survivors[..needed.into()].to_vec() })
    }

    /// Whom to ask.
    pub fn helpers(&self) -> &[Slot] {
        &self.helpers
    }

    /// What to ask each helper for.
    pub fn answer(&self) -> HelperAnswer {
        self.answer
    }

    /// Bytes that all helpers together send.
    pub fn traffic_len(&self, layout: &Layout) -> u64 {
        self.helpers.len() as u64 * self.answer.len(layout)
    }
}

impl HelperAnswer {
    /// Bytes that one helper sends.
    pub fn len(self, layout: &Layout) -> u64 {
        match self {
            Self::Symbols => layout.symbols_len(),
            Self::Fragment => layout.fragment_len(),
        }
    }

    /// What these answers are, by their number, or for d = k by the length of the first.
    ///
    /// When that is the same too, a helper sends all it has.
    pub(super) fn told_by(
        parameters: CodeParameters,
        layout: &Layout,
        answers: &[(Slot, &[u8])],
    ) -> Result<Self, CodeError> {
        let symbols = answers.len() == usize::from(parameters.d);
        let fragments = answers.len() == usize::from(parameters.k);
        let whole =
            answers.first().is_some_and(|(_, first)| first.len() as u64 == layout.fragment_len());
        match (symbols, fragments) {
            (true, true) if whole && layout.symbols_len() < layout.fragment_len() => {
                Ok(Self::Fragment)
            }
            (true, _) => Ok(Self::Symbols),
            (_, true) => Ok(Self::Fragment),
            _ => Err(CodeError::Helpers { parameters, given: answers.len() }),
        }
    }
}
