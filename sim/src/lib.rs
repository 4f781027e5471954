//! Reliability and risk of a Kakera network, together.
//!
//! Repair is what keeps data alive, and what carries shares from machine to machine until an attacker
//! has seen enough of them. So one model answers both: how likely a group is lost, and how likely its
//! secret leaks, with what repair traffic.
//!
//! # The ladder
//! 1. **Exact** ([`exact`], `kakera sim calc`): closed forms and Markov chains, to a relative 1e-9
//!    down to the smallest numbers of a double. Everything must be without memory.
//! 2. **Counting** ([`fleet`] and [`campaign`], `kakera sim run`): any law, pauses, shared machines,
//!    an attacker. Good for what happens more than some ten times in all runs.
//! 3. **Importance sampling** ([`rare::ImportanceSampling`]): rare losses of chains, cycle by cycle.
//! 4. **Crossings** ([`rare::CrossingSampling`]): rare losses of one group under any law, where every
//!    machine is repaired by itself.
//! 5. **Splitting** ([`rare::split_loss_probability`]): the same where repairs wait for each other.
//!
//! Where counting saw hardly a loss and no chain answers, `kakera sim run` takes the last two by itself,
//! crossings where it can.
//!
//! Counting knows no protocol. Beside it stands **protocol mode** ([`protocol`]): the engine's own
//! machines, objects and ledger on virtual time, with the same lives of the same machines, counted in
//! the same way. It is for few machines and days, and shows that counts say what the protocol does.
//!
//! Neighbours are compared in tests over more than twelve decades, and all with published numbers in
//! [`validation`].
//!
//! # A first scenario
//! ```
//! use kakera_sim::scenario::Scenario;
//!
//! let text = r#"
//!     [network]
//!     nodes = 20
//!     lifetime = { exponential = "30d" }     # machines stay for a month
//!
//!     [code]
//!     data = "mbr(20,8,14)"                  # any 8 fragments give the data back, 14 help a repair
//!     key = { k = 10, d = 11 }               # any 10 key shares give the key
//!
//!     [repair]
//!     time = { fixed = "0s" }                # lost slots are filled at once
//!
//!     [attacker]
//!     hostile = "10%"
//!     refresh = "never"
//!
//!     [run]
//!     horizon = "1y"
//!     replications = 400
//! "#;
//! let scenario = Scenario::parse(text)?;
//!
//! // Nothing is ever lost, and yet this network gives its secret away.
//! let exact = scenario.exact()?;
//! assert_eq!(exact.loss_probability, 0.0);
//! let leak = exact.leak.map(|leak| leak.probability());
//! assert!(leak.is_some_and(|leak| leak > 0.99));
//!
//! // The same by counting; the interval holds the exact answer.
//! let summary = scenario.campaign.summary(&scenario.campaign.run(), 0.99);
//! assert!(leak.is_some_and(|leak| summary.leak_of_any.holds(leak)));
//!
//! // A refresh every month makes old shares worthless.
//! let refreshed = Scenario::parse(&text.replace("never", "30d"))?;
//! let leak = refreshed.exact()?.leak.map(|leak| leak.probability());
//! assert!(leak.is_some_and(|leak| leak < 0.016));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # Machines that were measured
//! `network.churn = "skype"` takes lives and pauses from a preset, one of those in `sim/presets`, each
//! with its source: ipfs, bittorrent-debian, -red-hat, -flatout, lanl-18, -19, -20, skype, microsoft,
//! planetlab, gnutella, hyphanet, storj, iot-mains, -wifi, -nights, -site. What a source does not say, the
//! scenario must. `[[network.kinds]]` mixes kinds of machines, and `kakera sim fit` makes laws of
//! traces of your own.
//!
//! [`scenario`] says what every key means, [`fleet`] what happens in which order.
//!
//! # What the numbers mean
//! - A *group* is n slots on distinct machines. It is lost when fewer than max(k, k_key) of its shares
//!   exist: that is what `kakera_engine::policy::durability::read_threshold` asks for. It leaks when
//!   an attacker has held k_key of its shares within one epoch. Both are within the horizon, from a
//!   full group, and once for ever.
//! - *Any* is any group of the fleet.
//! - An *interval* of 95 % holds the true value in 95 % of all seeds. Of probabilities counted over
//!   independent runs it is Clopper's and Pearson's, which is never too narrow; of all other means
//!   Student's over blocks of runs. Where too little was seen for that, the interval says only what
//!   is known: at least zero, and at most the upper end of the probability for any group.
//! - *Repair bytes* are those that helpers send, of all objects of a group, key shares left out: they
//!   are some hundred bytes an object.
//! - *In a month* is what the machine of one place gets in a twelfth of a year, over all places, months
//!   and runs; the 99th percentile is at most a sixteenth too large, the most is what was seen.
//! - *Unreadable at a time* is from a group's having fewer than k shares that answer to its having them
//!   again, for groups that are not lost.
//! - *Seconds of coding* are what newcomers and helpers calculate in the field, on one core, with d
//!   helpers for each share ([`coding`]).
//!
//! # The same numbers for everyone
//! Time is whole nanoseconds. A random number is a function of seed, replication, machine, purpose and
//! number ([`random`]), counts are whole numbers, and blocks of replications are summed up in order.
//! So results do not depend on threads, shards, stops or machines, as far as `ln`, `exp` and `pow` of
//! the platform agree. A rule that ends a run early (`run.stop`) looks only at the first batches of
//! blocks, so that it ends every run at the same block. Two designs under one seed see the same lives of
//! the same machines.
//!
//! # Beyond answers
//! [`design`](crate::design) goes from targets to parameters (`kakera sim design`), [`sensitivity`]
//! says which parameter matters, [`fit`](crate::fit) makes laws of traces, [`plan`] says what a run
//! takes, [`figure`] draws.
//!
//! # What is not modelled
//! In protocol mode: corruption or a lost quorum by a law, hostile machines that withhold what they hold,
//! and helpers' links.

pub mod campaign;
pub mod coding;
pub mod design;
pub mod estimate;
pub mod event;
pub mod exact;
pub mod figure;
pub mod fit;
pub mod fleet;
pub mod part;
pub mod plan;
pub mod protocol;
pub mod quantity;
pub mod random;
pub mod rare;
pub mod scenario;
pub mod sensitivity;
pub mod time;
pub mod validation;
