//! Estimates the model: in each round every candidate is credited with the probability that it was the cause, and
//! weights and delays follow from the credits.
//!
//! The rounds go over millions of candidates. So what a candidate is filed under is looked up once, before the first
//! round; the rounds themselves only index.

use std::hash::Hash;

use super::{
    BINS, CandidateType, Delays, EffectType, Model, PRIOR_COUNT, ROUNDS, SHARED_DELAYS,
    SPONTANEOUS_RATE, Samples, assumed, bin,
};
use crate::causality::kernel::hash::FastMap;

/// A candidate, with the numbers of what it is filed under.
#[derive(Debug, Clone, Copy)]
struct Filed {
    /// Number of its kind, for the kind of write.
    weight: u32,
    /// Number of the distribution of its delay.
    delays: u32,
    bin: u8,
    is_continuation: bool,
    prior: f64,
}

/// What is known of a kind of candidate, for a kind of write.
#[derive(Debug, Clone, Copy)]
struct Weight {
    key: (EffectType, CandidateType),
    /// The first one's weight before anything was learnt.
    prior: f64,
    /// Writes for which there was one.
    present: u32,
    value: f64,
}

/// The samples, filed.
struct Learning<'s> {
    samples: &'s Samples,
    candidates: Vec<Filed>,
    weights: Vec<Weight>,
    delays: Vec<(EffectType, bool)>,
}

/// Learns from the candidates of many writes.
pub(super) fn learn(samples: &Samples) -> Model {
    let mut learning = Learning::of(samples);
    learning.begin();
    let mut shared = [assumed(), assumed()];
    let mut delays: Option<Vec<Delays>> = None;
    for _ in 0..ROUNDS {
        let (next_shared, next_delays) = learning.round(&shared, delays.as_deref());
        shared = next_shared;
        delays = Some(next_delays);
    }
    let weights = learning.weights.iter();
    let delays = learning
        .delays
        .iter()
        .copied()
        .zip(delays.unwrap_or_default());
    Model {
        weights: weights.map(|weight| (weight.key, weight.value)).collect(),
        delays: delays.collect(),
        shared,
    }
}

impl<'s> Learning<'s> {
    fn of(samples: &'s Samples) -> Self {
        let mut weights: Vec<Weight> = Vec::new();
        let mut delays: Vec<(EffectType, bool)> = Vec::new();
        let mut weight_numbers = FastMap::default();
        let mut delay_numbers = FastMap::default();
        let mut candidates = Vec::with_capacity(samples.candidates.len());
        // The write for which a kind of candidate was last counted.
        let mut counted: Vec<usize> = Vec::new();
        let mut rest = samples.candidates.as_slice();
        for (write, (effect, count)) in samples.effects.iter().enumerate() {
            let (of_write, later) = rest.split_at(rest.len().min(*count as usize));
            rest = later;
            for sample in of_write {
                let key = (*effect, sample.candidate);
                let weight = number(&mut weight_numbers, key, weights.len());
                if weight as usize == weights.len() {
                    weights.push(Weight {
                        key,
                        prior: sample.prior,
                        present: 0,
                        value: 0.0,
                    });
                    counted.push(usize::MAX);
                }
                if let (Some(known), Some(counted)) = (
                    weights.get_mut(weight as usize),
                    counted.get_mut(weight as usize),
                ) && *counted != write
                {
                    *counted = write;
                    known.present += 1;
                }
                let key = (*effect, sample.is_continuation);
                let filed = number(&mut delay_numbers, key, delays.len());
                if filed as usize == delays.len() {
                    delays.push(key);
                }
                candidates.push(Filed {
                    weight,
                    delays: filed,
                    // There are fewer than 256.
                    bin: u8::try_from(bin(sample.delay)).unwrap_or(u8::MAX),
                    is_continuation: sample.is_continuation,
                    prior: sample.prior,
                });
            }
        }
        Self {
            samples,
            candidates,
            weights,
            delays,
        }
    }

    /// The candidates of each write, in order.
    fn writes(&self) -> impl Iterator<Item = (EffectType, &[Filed])> {
        let mut rest = self.candidates.as_slice();
        self.samples.effects.iter().map(move |(effect, count)| {
            let (candidates, later) = rest.split_at(rest.len().min(*count as usize));
            rest = later;
            (*effect, candidates)
        })
    }

    /// Where to begin: the share of the writes of a kind for which there was such a candidate.
    fn begin(&mut self) {
        let mut writes: FastMap<EffectType, u32> = FastMap::default();
        for (effect, _) in &self.samples.effects {
            *writes.entry(*effect).or_default() += 1;
        }
        let mut values = vec![0.0; self.weights.len()];
        for (effect, candidates) in self.writes() {
            let writes = f64::from(writes.get(&effect).copied().unwrap_or(1));
            for candidate in candidates {
                let place = candidate.weight as usize;
                if let (Some(known), Some(value)) = (self.weights.get(place), values.get_mut(place))
                {
                    let present = f64::from(known.present);
                    let weight = (present + candidate.prior * PRIOR_COUNT) / (writes + PRIOR_COUNT);
                    *value = weight * candidate.prior;
                }
            }
        }
        for (weight, value) in self.weights.iter_mut().zip(values) {
            weight.value = value;
        }
    }

    /// One round: credits every candidate, then estimates anew. Without `delays` of their own, all kinds of writes
    /// have the shared ones.
    fn round(
        &mut self,
        shared: &[Delays; 2],
        delays: Option<&[Delays]>,
    ) -> ([Delays; 2], Vec<Delays>) {
        let mut credits = vec![0.0; self.weights.len()];
        let mut masses = vec![[0.0; BINS]; self.delays.len()];
        let mut shared_masses = [[0.0; BINS]; 2];
        let [trigger, continuation] = shared;
        let rate = |candidate: &Filed| {
            let weight = self.weights.get(candidate.weight as usize);
            let common = if candidate.is_continuation {
                continuation
            } else {
                trigger
            };
            let own = delays.and_then(|delays| delays.get(candidate.delays as usize));
            let density = own.unwrap_or(common).at(usize::from(candidate.bin));
            weight.map_or(candidate.prior, |weight| weight.value) * density
        };
        let mut rates = Vec::new();
        for (_, candidates) in self.writes() {
            rates.clear();
            rates.extend(candidates.iter().map(rate));
            let total: f64 = rates.iter().sum::<f64>() + SPONTANEOUS_RATE;
            for (candidate, rate) in candidates.iter().zip(&rates) {
                let credit = rate / total;
                if let Some(credits) = credits.get_mut(candidate.weight as usize) {
                    *credits += credit;
                }
                let own = masses.get_mut(candidate.delays as usize);
                let common = shared_masses.get_mut(usize::from(candidate.is_continuation));
                for masses in [own, common].into_iter().flatten() {
                    if let Some(mass) = masses.get_mut(usize::from(candidate.bin)) {
                        *mass += credit;
                    }
                }
            }
        }
        let floor = assumed().mass();
        for shared in &mut shared_masses {
            for (mass, floor) in shared.iter_mut().zip(floor) {
                *mass += floor;
            }
        }
        let shared = shared_masses.map(|mass| Delays::from_mass(&mass));
        let priors = [0, 1].map(|kind: usize| shared.get(kind).map_or([0.0; BINS], Delays::mass));
        let delays = self.delays.iter().zip(masses);
        let delays = delays
            .map(|((_, is_continuation), mut mass)| {
                let [trigger, continuation] = &priors;
                let prior = if *is_continuation {
                    continuation
                } else {
                    trigger
                };
                for (mass, prior) in mass.iter_mut().zip(prior) {
                    *mass += SHARED_DELAYS * prior;
                }
                Delays::from_mass(&mass)
            })
            .collect();
        for (weight, credit) in self.weights.iter_mut().zip(credits) {
            let present = f64::from(weight.present);
            let value = (credit + weight.prior * PRIOR_COUNT) / (present + PRIOR_COUNT);
            weight.value = value.min(1.0);
        }
        (shared, delays)
    }
}

/// The number of a key, `next` if it is new.
fn number<K: Hash + Eq>(numbers: &mut FastMap<K, u32>, key: K, next: usize) -> u32 {
    // There are fewer than samples, which are bounded.
    let next = u32::try_from(next).unwrap_or(u32::MAX);
    *numbers.entry(key).or_insert(next)
}
