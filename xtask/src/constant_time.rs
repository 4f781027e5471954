//! Whether the time of operations on secrets depends on the secrets (dudect: Reparaz, Balasch and
//! Verbauwhede, DATE 2017).
//!
//! Every operation is timed on a fixed and on random secrets in random order. Welch's t compares the
//! two classes, over all times and over those below several percentiles, because interrupts hide
//! small differences. dudect calls |t| > 10 a leak for certain; a smaller bound would fail by chance
//! on a shared machine, where neighbours' load comes and goes. A function that leaks on purpose must be
//! found by the same bound in the same run, or the run proves nothing.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use kakera_engine::gf::{POLYNOMIAL, constant_time};
use kakera_engine::keyshare::{
    AuditAnswer, Binding, KeyParameters, ProvenPart, RowHash, Secret, Share, deal, read,
};
use kakera_engine::names::{Epoch, Slot};
use kakera_engine::wire::canonical;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::report::{Goal, Report};

/// |t| from which a difference is certain.
const LEAK: f64 = 10.0;
/// Times kept for the t-test: those below these percentiles of both classes together.
const PERCENTILES: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 1.0];
const OPERATIONS: u32 = 6;
/// Every operation is measured so often, the others between: a leak shows in every round, a burst of a
/// neighbour's load in one.
const ROUNDS: u32 = 5;
const CONTROL: &str = "leaky_control";
const MEASUREMENTS_MIN: usize = 1000;
const SALT: [u8; 32] = [7; 32];

/// What `cargo xtask constant-time` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// How long to measure in all
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Seed of the random secrets
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Measures every operation; a leak, or a control that is not found, misses its goal.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let time = Duration::from_secs(options.seconds) / (OPERATIONS * ROUNDS);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let parameters = KeyParameters::new(10, 5, 6)?;
    let binding = Binding { parameters, salt: &SALT, epoch: Epoch(1), coverage: None };
    let shares = deal(&binding, &Secret::random(&mut rng), &mut rng).shares;
    let (audited, auditor) = (&shares[0], &shares[1]);
    let right = audited.answer_audit(&binding, auditor.slot(), &SALT).context("another slot")?;
    let read_parts = |(rows, parts): &(Vec<RowHash>, Vec<ProvenPart>)| {
        drop(black_box(read(&binding, rows, parts)));
    };
    let audit = |answer: &Option<AuditAnswer>| {
        if let Some(answer) = answer {
            let _ = black_box(auditor.check_audit(&binding, audited.slot(), &SALT, answer));
        }
    };
    let mut measured: BTreeMap<&str, Vec<Classes>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut add = |name, classes| measured.entry(name).or_default().push(classes);
        add("multiply", measure(time, &mut rng, bytes, multiply));
        add("deal", measure(time, &mut rng, seed, |seed| deal_v(&binding, seed)));
        add("pair_symbol", measure(time, &mut rng, share, pair_symbols));
        let prepare = |fixed, rng: &mut _| parts(&binding, fixed, rng);
        add("read", measure(time, &mut rng, prepare, read_parts));
        let prepare = |fixed, rng: &mut _| wrong_answer(&right, fixed, rng);
        add("audit", measure(time, &mut rng, prepare, audit));
        add(CONTROL, measure(time, &mut rng, bytes, leaky));
    }
    let mut report = Report::new("constant-time");
    for (name, rounds) in measured {
        report.count(format!("{name}_measurements"), rounds.iter().map(Classes::len).sum());
        let goal = if name == CONTROL { Goal::AtLeast(LEAK) } else { Goal::AtMost(LEAK) };
        report.add(format!("{name}_t"), median_t(&rounds)).goal(goal);
    }
    Ok(report)
}

/// The median of the rounds' |t|.
fn median_t(rounds: &[Classes]) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(Classes::t_max).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times in nanoseconds, of the fixed and of the random secrets.
struct Classes([Vec<f64>; 2]);

/// Times `operation` on what `prepare` makes for the fixed class (`true`) and the random one.
fn measure<T>(
    time: Duration,
    rng: &mut ChaCha8Rng,
    mut prepare: impl FnMut(bool, &mut ChaCha8Rng) -> T,
    operation: impl Fn(&T),
) -> Classes {
    let mut classes = Classes([Vec::new(), Vec::new()]);
    let end = Instant::now() + time;
    while Instant::now() < end || classes.len() < MEASUREMENTS_MIN {
        let fixed = rng.next_u32().is_multiple_of(2);
        let input = black_box(prepare(fixed, rng));
        let start = Instant::now();
        operation(black_box(&input));
        let elapsed = start.elapsed();
        classes.0[usize::from(fixed)].push(elapsed.as_nanos() as f64);
    }
    classes
}

impl Classes {
    fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The greatest |t| over all percentiles.
    fn t_max(&self) -> f64 {
        let mut pooled = self.0.concat();
        pooled.sort_by(f64::total_cmp);
        let greatest = |percentile: f64| {
            let index = (percentile * (pooled.len() - 1) as f64) as usize;
            welch_t(self.0.each_ref().map(|times| Moments::of(times, pooled[index]))).abs()
        };
        PERCENTILES.map(greatest).into_iter().fold(0.0, f64::max)
    }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Of the times not above `limit`.
    fn of(times: &[f64], limit: f64) -> Self {
        let kept = || times.iter().filter(|&&time| time <= limit);
        let count = kept().count() as f64;
        let mean = kept().sum::<f64>() / count;
        let variance = kept().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

/// Welch's t; 0 if there is nothing to compare.
fn welch_t([one, other]: [Moments; 2]) -> f64 {
    let error = (one.variance / one.count + other.variance / other.count).sqrt();
    if error > 0.0 { (one.mean - other.mean) / error } else { 0.0 }
}

/// Zeros, or random; made in the same way, so that making them leaves no trace.
fn bytes(fixed: bool, rng: &mut ChaCha8Rng) -> [u8; 1024] {
    let mut random = [0; 1024];
    rng.fill_bytes(&mut random);
    let mask = black_box(if fixed { 0 } else { 0xff });
    random.map(|byte| byte & mask)
}

fn seed(fixed: bool, rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut random = [0; 32];
    rng.fill_bytes(&mut random);
    let mask = black_box(if fixed { 0 } else { 0xff });
    random.map(|byte| byte & mask)
}

fn multiply(secret: &[u8; 1024]) {
    let mut sums = [0x5a; 1024];
    // Not whole vectors: the rest is other code. The factor is secret too.
    for strip in secret.chunks(31) {
        constant_time::add_scaled::<POLYNOMIAL>(&mut sums, secret[0], strip);
    }
    for (sum, &factor) in sums.iter_mut().zip(secret) {
        *sum = constant_time::mul::<POLYNOMIAL>(*sum, factor);
    }
    black_box(constant_time::dot::<POLYNOMIAL>(secret, &sums));
}

/// What a careless implementation does: skips zeros.
fn leaky(secret: &[u8; 1024]) {
    let mut sum = 0;
    for &byte in secret {
        if byte != 0 {
            sum ^= black_box(constant_time::inv::<POLYNOMIAL>(byte));
        }
    }
    black_box(sum);
}

fn deal_v(binding: &Binding<'_>, seed: &[u8; 32]) {
    let secret = Secret::random(&mut ChaCha8Rng::from_seed(*seed));
    black_box(deal(binding, &secret, &mut ChaCha8Rng::from_seed([9; 32])));
}

/// A share of six symbols, of zeros or random.
fn share(fixed: bool, rng: &mut ChaCha8Rng) -> Option<Share> {
    let bytes = bytes(fixed, rng);
    // [1, h'..'] with 192 bytes
    let encoded = [&[0x82, 1, 0x58, 192], &bytes[..192]].concat();
    canonical::decode(&encoded, encoded.len()).ok()
}

fn pair_symbols(share: &Option<Share>) {
    if let Some(share) = share {
        Slot::all(10).for_each(|other| drop(black_box(share.pair_symbol(other))));
    }
}

/// Parts of a V that is always the same or always another, in memory of their own.
fn parts(
    binding: &Binding<'_>,
    fixed: bool,
    rng: &mut ChaCha8Rng,
) -> (Vec<RowHash>, Vec<ProvenPart>) {
    let seed = seed(fixed, rng);
    let secret = Secret::random(&mut ChaCha8Rng::from_seed(seed));
    let dealt = deal(binding, &secret, &mut ChaCha8Rng::from_seed(seed));
    let parts = dealt.shares[..5].iter().map(|share| share.prove_part(binding)).collect();
    (dealt.rows, parts)
}

/// An answer that is wrong in its last byte only, or everywhere.
fn wrong_answer(right: &AuditAnswer, fixed: bool, rng: &mut ChaCha8Rng) -> Option<AuditAnswer> {
    let mut encoded = canonical::encode(right);
    let noise = seed(fixed, rng);
    // after the head of the byte string
    encoded[2..].iter_mut().zip(noise).for_each(|(byte, noise)| *byte ^= noise);
    encoded[33] ^= u8::from(fixed);
    canonical::decode(&encoded, encoded.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times are given, so that the verdict does not depend on this machine.
    #[test]
    fn t_is_large_for_other_means_and_small_for_equal_ones() {
        let times = |mean: f64| (0..1000).map(|index| mean + f64::from(index % 10)).collect();
        assert!(Classes([times(100.0), times(100.0)]).t_max() < 1.0);
        assert!(Classes([times(100.0), times(102.0)]).t_max() > LEAK);
    }

    #[test]
    fn one_round_among_five_decides_nothing() {
        let times = |mean: f64| (0..1000).map(|index| mean + f64::from(index % 10)).collect();
        let round = |other| Classes([times(100.0), times(other)]);
        assert!(median_t(&[100.0, 100.0, 110.0, 110.0, 100.0].map(round)) < 1.0);
        assert!(median_t(&[110.0, 100.0, 110.0, 110.0, 100.0].map(round)) > LEAK);
    }

    #[test]
    fn rare_interrupts_do_not_hide_a_difference() {
        let times = |mean: f64| {
            let interrupted = |index: u32| if index.is_multiple_of(50) { 1e6 } else { 0.0 };
            (0..1000).map(|index| mean + f64::from(index % 10) + interrupted(index)).collect()
        };
        assert!(Classes([times(100.0), times(103.0)]).t_max() > LEAK);
    }
}
