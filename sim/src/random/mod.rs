//! Random numbers without state: a draw is a function of what it is for.
//!
//! A draw is keyed by (seed, replication, entity, purpose, number). Two designs that are simulated
//! under one seed see the same lifetimes of the same machines (common random numbers), and no draw
//! depends on the order of events, on threads or on shards.

mod law;
mod normal;
mod philox;
mod stream;
mod tabled;

pub use law::{Law, LawError};
pub use normal::{normal_quantile, normal_survival};
pub use philox::philox4x32;
pub use stream::Stream;

pub(crate) use philox::LANES;
pub(crate) use tabled::TabledLaw;

/// What a draw is for. The numbers are part of what a seed means: they are never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// How long a machine lives.
    Life = 0,
    /// How long a loss goes unseen.
    Detection = 1,
    /// How long a repair takes.
    Repair = 2,
    /// Whether a machine belongs to the attacker.
    Allegiance = 3,
    /// Which machines hold what: a stream.
    Placement = 4,
    /// How long a machine is up before it pauses.
    Session = 5,
    /// How long a pause is.
    Absence = 6,
    /// The next jump of a chain, in rare-event methods.
    Jump = 7,
    /// From one outage of a zone to the next.
    OutageInterval = 8,
    /// How long an outage is.
    OutageLength = 9,
    /// Who is lost in a mass loss.
    MassLoss = 10,
    /// Which share of a machine decays, and when.
    Corruption = 11,
}

/// The random numbers of one replication under one seed.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    key: [u32; 2],
    replication: u64,
}

impl Source {
    /// Replications count from 0 to 2^56 - 1.
    pub fn new(seed: u64, replication: u64) -> Self {
        debug_assert!(replication < 1 << 56);
        Self { key: [seed as u32, (seed >> 32) as u32], replication }
    }

    /// The same seed's numbers of another replication.
    pub fn of_replication(&self, replication: u64) -> Self {
        Self { replication, ..*self }
    }

    /// The `number`-th draw of an entity for a purpose.
    #[inline]
    pub fn draw(&self, entity: u32, purpose: Purpose, number: u32) -> Draw {
        let [replication, high] = self.words(purpose);
        let [a, b, c, d] = philox4x32([number, entity, replication, high], self.key);
        Draw([u64::from(b) << 32 | u64::from(a), u64::from(d) << 32 | u64::from(c)])
    }

    /// The words of all draws of entity 0 for a purpose, one after the other: for many small draws
    /// that nothing but their order tells apart.
    pub fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.key, self.words(purpose))
    }

    fn words(&self, purpose: Purpose) -> [u32; 2] {
        [self.replication as u32, (self.replication >> 32) as u32 | (purpose as u32) << 24]
    }
}

/// 128 random bits, read as two uniform numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw([u64; 2]);

impl Draw {
    /// A uniform number strictly between 0 and 1, an odd multiple of 2^-53.
    pub fn uniform(self) -> f64 {
        unit(self.0[0])
    }

    /// A second one, independent of the first.
    pub fn second_uniform(self) -> f64 {
        unit(self.0[1])
    }

    /// Uniform below `bound`, which is not zero; off by at most bound / 2^64.
    pub fn below(self, bound: u64) -> u64 {
        ((u128::from(self.0[0]) * u128::from(bound)) >> 64) as u64
    }
}

fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let base = Source::new(7, 9).draw(1, Purpose::Life, 0);
        let others = [
            Source::new(8, 9).draw(1, Purpose::Life, 0),
            Source::new(7 | 1 << 40, 9).draw(1, Purpose::Life, 0),
            Source::new(7, 10).draw(1, Purpose::Life, 0),
            Source::new(7, 9 | 1 << 40).draw(1, Purpose::Life, 0),
            Source::new(7, 9).draw(2, Purpose::Life, 0),
            Source::new(7, 9).draw(1, Purpose::Repair, 0),
            Source::new(7, 9).draw(1, Purpose::Life, 1),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(Source::new(7, 9).draw(1, Purpose::Life, 0), base);
    }

    #[test]
    fn uniform_numbers_stay_inside_and_are_even() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
        let source = Source::new(1, 0);
        let count = 20_000;
        let (mut sum, mut squares, mut below) = (0.0, 0.0, [0u32; 5]);
        for number in 0..count {
            let draw = source.draw(0, Purpose::Jump, number);
            sum += draw.uniform();
            squares += draw.uniform() * draw.second_uniform();
            below[draw.below(5) as usize] += 1;
        }
        let n = f64::from(count);
        assert!((sum / n - 0.5).abs() < 4.0 * (1.0 / 12.0 / n).sqrt());
        assert!((squares / n - 0.25).abs() < 4.0 * (7.0 / 144.0 / n).sqrt());
        assert!(
            below.iter().all(|&hits| (f64::from(hits) - n / 5.0).abs() < 4.0 * (n * 0.16).sqrt())
        );
    }
}
