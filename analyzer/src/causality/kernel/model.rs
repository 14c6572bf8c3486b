//! Learnt from the trace itself: what each actor reacts to, and how fast.
//!
//! A write has a handful of candidate causes. Which one set it off is not recorded, but over a whole
//! trace the candidates that matter are there every time and shortly before, and the others come and
//! go. So for every kind of write the weight of every kind of candidate is estimated: the share of
//! writes explained by it among those for which it was there (expectation maximisation; a candidate
//! is credited with the probability that it was the cause). The delay from cause to write is learnt per
//! kind of write in the same rounds. Nothing is known beforehand of any controller.

mod learning;

use super::hash::FastMap;

/// A kind of write.
pub(crate) type EffectType = u32;
/// A kind of candidate.
pub(crate) type CandidateType = u64;

/// Rounds of estimation; the figures move little after the fourth.
const ROUNDS: usize = 6;
/// Half octaves of milliseconds: 1 ms to 17 minutes.
const BINS: usize = 42;
/// Writes whose distribution of delays is known no better than everybody's, as a number of writes.
const SHARED_DELAYS: f64 = 8.0;
/// How many writes the prior weight of a kind of candidate counts for.
const PRIOR_COUNT: f64 = 8.0;
/// Share of writes that counts as hardly any.
const HARDLY_ANY: f64 = 0.02;
/// Rate, per second, at which writes happen without any of the candidates.
const SPONTANEOUS_RATE: f64 = 0.0003;

/// The candidates of some writes, for [`Model::learn`].
#[derive(Debug, Default)]
pub(crate) struct Samples {
    effects: Vec<(EffectType, u32)>,
    candidates: Vec<Sample>,
}

/// One candidate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What kind of candidate it is.
    pub(crate) candidate: CandidateType,
    /// Nanoseconds from the candidate to the write.
    pub(crate) delay: i64,
    /// Whether it stands for "the same reconcile as the write before".
    pub(crate) is_continuation: bool,
    /// Its weight before anything was learnt.
    pub(crate) prior: f64,
}

impl Samples {
    /// Adds a write and its candidates.
    pub(crate) fn add(&mut self, effect: EffectType, candidates: impl Iterator<Item = Sample>) {
        let before = self.candidates.len();
        self.candidates.extend(candidates);
        let added = u32::try_from(self.candidates.len() - before).unwrap_or(0);
        self.effects.push((effect, added));
    }

    /// Number of candidates.
    pub(crate) fn len(&self) -> usize {
        self.candidates.len()
    }
}

/// Weights and delays.
#[derive(Debug)]
pub(crate) struct Model {
    weights: FastMap<(EffectType, CandidateType), f64>,
    delays: FastMap<(EffectType, bool), Delays>,
    shared: [Delays; 2],
}

/// The distribution of delays.
#[derive(Debug, Clone)]
struct Delays {
    /// Density, per second.
    density: [f64; BINS],
    /// Nanoseconds below which hardly any lies.
    shortest: i64,
    /// Nanoseconds above which hardly any lies.
    longest: i64,
}

fn bin(delay: i64) -> usize {
    let milliseconds = delay.max(0) as f64 / 1e6;
    if milliseconds < 1.0 {
        return 0;
    }
    // Positive and small.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bin = 1 + (2.0 * milliseconds.log2()) as usize;
    bin.min(BINS - 1)
}

/// Where a bin ends, in nanoseconds.
fn end(bin: usize) -> i64 {
    // Less than 2^31 milliseconds, and not negative.
    #[allow(clippy::cast_possible_truncation)]
    let end = (2_f64.powf(bin as f64 / 2.0) * 1e6) as i64;
    end
}

/// Seconds that a bin spans.
fn width(bin: usize) -> f64 {
    if bin == 0 {
        return 1e-3;
    }
    let from = 2_f64.powf((bin - 1) as f64 / 2.0);
    from * (2_f64.sqrt() - 1.0) * 1e-3
}

/// What is assumed before anything was learnt: sooner is likelier, with a long tail.
fn assumed() -> Delays {
    let mut mass = [0.0; BINS];
    for (bin, mass) in mass.iter_mut().enumerate() {
        let middle = 2_f64.powf(bin as f64 / 2.0) * 1e-3;
        *mass = width(bin) / (middle + 0.02).powf(1.5);
    }
    Delays::from_mass(&mass)
}

impl Delays {
    fn from_mass(mass: &[f64; BINS]) -> Self {
        let total: f64 = mass.iter().sum();
        let mut density = [0.0; BINS];
        for (bin, (density, mass)) in density.iter_mut().zip(mass).enumerate() {
            *density = mass / total.max(f64::MIN_POSITIVE) / width(bin);
        }
        let (mut below, mut shortest, mut longest) = (0.0, 0, 0);
        for (bin, mass) in mass.iter().enumerate() {
            if below <= (1.0 - HARDLY_ANY) * total {
                longest = end(bin);
            }
            below += mass;
            if below <= HARDLY_ANY * total {
                shortest = end(bin);
            }
        }
        Self {
            density,
            shortest,
            longest,
        }
    }

    fn density(&self, delay: i64) -> f64 {
        self.at(bin(delay))
    }

    fn at(&self, bin: usize) -> f64 {
        self.density.get(bin).copied().unwrap_or(0.0)
    }

    fn mass(&self) -> [f64; BINS] {
        let mut mass = self.density;
        for (bin, mass) in mass.iter_mut().enumerate() {
            *mass *= width(bin);
        }
        mass
    }
}

impl Model {
    /// Knows nothing: every kind of candidate weighs the same, sooner is likelier.
    pub(crate) fn unlearnt() -> Self {
        Self {
            weights: FastMap::default(),
            delays: FastMap::default(),
            shared: [assumed(), assumed()],
        }
    }

    /// Learns from the candidates of many writes.
    pub(crate) fn learn(samples: &Samples) -> Self {
        learning::learn(samples)
    }

    /// Rate at which a candidate sets off such writes at that delay; comparable among candidates.
    pub(crate) fn rate(&self, effect: EffectType, sample: Sample) -> f64 {
        self.weight(effect, sample)
            * self
                .delays(effect, sample.is_continuation)
                .density(sample.delay)
    }

    /// The share of writes explained by such a candidate among those where there was one.
    pub(crate) fn weight(&self, effect: EffectType, sample: Sample) -> f64 {
        self.weights
            .get(&(effect, sample.candidate))
            .copied()
            .unwrap_or(sample.prior)
    }

    /// Nanoseconds below which hardly any such write follows what set it off: how long the loop takes to learn of it.
    pub(crate) fn shortest_delay(&self, effect: EffectType) -> i64 {
        self.delays(effect, false).shortest
    }

    /// Nanoseconds above which hardly any such write follows what set it off.
    pub(crate) fn longest_delay(&self, effect: EffectType) -> i64 {
        self.delays(effect, false).longest
    }

    /// Rate of writes without any cause among the candidates.
    pub(crate) const fn spontaneous_rate() -> f64 {
        SPONTANEOUS_RATE
    }

    fn delays(&self, effect: EffectType, is_continuation: bool) -> &Delays {
        let [trigger, continuation] = &self.shared;
        self.delays
            .get(&(effect, is_continuation))
            .unwrap_or(if is_continuation {
                continuation
            } else {
                trigger
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    fn sample(candidate: CandidateType, milliseconds: i64) -> Sample {
        Sample {
            candidate,
            delay: milliseconds * MILLISECOND,
            is_continuation: false,
            prior: 0.3,
        }
    }

    /// Candidate 1 is always there, 20 to 40 ms before; candidate 2 sometimes, and then sooner.
    #[test]
    fn what_is_there_every_time_outweighs_what_is_merely_newer() {
        let mut samples = Samples::default();
        for round in 0..60 {
            let cause = sample(1, 20 + round % 20);
            let bystander = sample(2, 1 + (round * 7) % 60);
            let all = if round % 3 == 0 {
                vec![cause, bystander]
            } else {
                vec![cause]
            };
            samples.add(0, all.into_iter());
        }
        let rates = |model: &Model| (model.rate(0, sample(1, 30)), model.rate(0, sample(2, 5)));
        let (cause, bystander) = rates(&Model::unlearnt());
        assert!(cause < bystander, "nothing learnt: the newer one wins");
        let (cause, bystander) = rates(&Model::learn(&samples));
        assert!(cause > 3.0 * bystander, "{cause} {bystander}");
    }

    #[test]
    fn delays_are_learnt_per_kind_of_write() {
        let mut samples = Samples::default();
        for _ in 0..500 {
            samples.add(0, [sample(1, 500)].into_iter());
            samples.add(1, [sample(1, 4)].into_iter());
        }
        let model = Model::learn(&samples);
        assert!(model.rate(0, sample(1, 500)) > model.rate(1, sample(1, 500)));
        assert!(model.rate(1, sample(1, 4)) > model.rate(0, sample(1, 4)));
        assert!(model.longest_delay(0) > 500 * MILLISECOND);
        assert!(model.shortest_delay(0) <= 500 * MILLISECOND);
        assert!(model.longest_delay(1) < model.longest_delay(0));
    }

    #[test]
    fn bins_span_all_delays() {
        assert_eq!(bin(-5), 0);
        assert_eq!(bin(MILLISECOND), 1);
        assert_eq!(bin(2 * MILLISECOND), 3);
        assert_eq!(bin(i64::MAX), BINS - 1);
    }
}
