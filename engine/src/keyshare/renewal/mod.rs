//! Renewal: fresh sharings of the same V, dealt by the holders themselves without V.
//!
//! A *refresh* adds sharings of zero to the shares of the same group, so that shares of different
//! epochs do not add up (Herzberg et al. 1995). A *re-sharing* deals the read parts of an old group
//! to a new one of any n, k and d (Desmedt and Jajodia 1997). One [`Terms`] for both says who deals,
//! who receives and how many may lie; a batch of objects is renewed at once.
//!
//! Rounds are synchronous: the caller passes in what was sent to this slot and what was posted for
//! all to see, and closes the round at a time on which all agree. Every round is a type that holds
//! what it needs, and closing it gives what this slot posts and the next round:
//!
//! ```text
//! Dealer        post (DealerPost), rows to each receiver    answer (Answer)
//! DealingRound ───────── close ──► ComplaintRound ── close ──► AnswerRound ── close(beacon) ──►
//!                      Complaint                                           CheckValues
//! CheckRound ── close(old shares) ──► VouchRound ── close ──► Renewed
//!                   Leaves
//! ```
//!
//! Every decision is made from posts, so all honest receivers decide alike. No module here can name
//! V or what reads it; a dealer knows zeros or its own read part, never V
//! (`engine/spec/keyshare.md` §9).

mod check;
mod dealer;
mod dealing;
mod messages;
#[cfg(test)]
mod network;
#[cfg(test)]
mod soundness;
mod terms;
mod vouching;

pub use check::{CheckRound, RenewalError};
pub use dealer::{Dealer, DealerError};
pub use dealing::{AnswerRound, ComplaintRound, DealerFault, DealingRound};
pub use messages::{Answer, CheckValues, Complaint, DealerPost, DealtRows, Leaves};
pub use terms::{OBJECTS_MAX, Terms, TermsError};
pub use vouching::{Disputes, ReceiverFault, Renewed, RenewedObject, VouchRound};
