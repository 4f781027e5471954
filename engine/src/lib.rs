//! The pure core of Kakera.
//!
//! Nothing in this crate touches a socket, a file, a clock or the operating system's randomness:
//! time and random numbers are arguments, and iteration orders are fixed. The same code therefore
//! runs under the network driver and under the simulator, and a seed replays a run exactly.
//!
//! Read top-down: [`gf`] and [`code`] (bulk data), [`keyshare`] (the key), [`seal`] and [`object`]
//! (what is stored), [`catalogue`] (what it is called), [`ledger`] (what everyone agrees on), [`wire`] (what is said), [`policy`]
//! (what is decided) and [`peer`] (who does what, as state machines).

pub mod catalogue;
pub mod clinical;
pub mod code;
pub mod gf;
pub mod hash;
pub mod identity;
pub mod keyshare;
pub mod ledger;
pub mod names;
pub mod object;
pub mod peer;
pub mod policy;
pub mod seal;
pub mod signature;
pub mod wire;
