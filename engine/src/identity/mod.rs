//! An identity from a handle and a passphrase: nothing of it is kept on the owner's machine.
//!
//! The vault's root lies at the identity nodes in an envelope that opens with the passphrase *and* a
//! function whose key is shared among them: a guess takes the answers of t nodes, which count them,
//! and one pass of Argon2id. Specification: `engine/spec/identity.md`.
//!
//! Read top-down: [`handle`](Handle) and [`passphrase`](generate_passphrase) (what a person types),
//! [`login`](Login) (the owner's side), [`deposit`](Deposit) and [`keeper`](Kept) (the node's),
//! [`attempts`](Attempts) (how often), [`renewal`](Renewal) (sharing again), [`sharing`](combine)
//! and [`oprf`] (the algebra), [`recovery kit`](make_kit) (without a passphrase).

mod attempts;
mod deposit;
mod handle;
mod keeper;
mod login;
pub mod oprf;
mod passphrase;
mod plan;
mod recovery_kit;
mod renewal;
mod sharing;

pub use attempts::{
    Attempts, FAMILIAR_MAX, LockedOut, TRIES_PER_WINDOW, WINDOW_MS_MAX, WINDOW_MS_MIN,
    tries_per_node,
};
pub use deposit::{
    ATTACHMENT_LEN_MAX, Deposit, ENVELOPE_LEN, PublicRecord, Registered, Sharing, SharingId,
    Wrapping,
};
pub use handle::{HANDLE_NAME_DEFAULT, HANDLE_NAME_LEN_MAX, Handle, HandleError};
pub use keeper::{DepositError, KEPT_LEN_MAX, Kept, KeptError, SHARINGS_MAX};
pub use login::{Login, LoginError, NodeAnswer, Opened, ShareAnswer, WrapTerms, Wrapped, wrap};
pub use passphrase::{PASSPHRASE_WORDS, generate_passphrase};
pub use plan::{EPOCH_HEIGHTS, RenewalPlan, RenewalTarget, identity_epoch, identity_nodes};
pub use recovery_kit::{KIT_SHARES_MAX, KIT_WORDS, KitError, make_kit, open_kit};
pub use renewal::{Dealing, Renewal, RenewalError, RenewedShare, accept_dealings, deal_again};
pub use sharing::{IDENTITY_NODES_MAX, KeyCommitment, combine, deal, identity_threshold};
