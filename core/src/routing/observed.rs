//! What jobs really took in each datacenter (AD-45), and how that corrects a predicted round trip.
//!
//! Per datacenter an exponentially weighted mean of job latencies, with a confidence that grows
//! with samples and fades linearly with age: full at once after a sample, none after 300 s.
//!
//! A job takes seconds, a round trip milliseconds; blending the two would make every datacenter
//! nobody has used yet look a hundred times nearer. Like is blended with like instead: jobs are
//! compared with jobs. The *slowdown* of a datacenter is its latency relative to the mean speed of
//! all observed ones, and the blended latency is the predicted round trip times one plus
//! `confidence x (slowdown - 1)`. Unobserved datacenters have a slowdown of one. It is bounded, so
//! that a run of unlike jobs cannot turn the map over. Where observations and prediction do measure
//! the same thing, [`Observed::blend`] is AD-45 to the letter.

use super::candidate::DatacenterId;
use super::{Range, check_ranges};
use crate::config::DATACENTER_COUNT_MAX;
use crate::error::ConfigError;
use crate::time::Instant;

/// Job latencies kept per datacenter for percentiles.
pub const WINDOW_SIZE: usize = 100;

/// How observations are weighted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedConfig {
    /// Whether the router corrects round trips by what it observed.
    pub enabled: bool,
    /// Weight of the newest sample in the mean; above 0, to 1. (AD-45: `alpha`.)
    pub alpha: f64,
    /// Samples until the mean is fully trusted; 1 to 1,000,000. (AD-45:
    /// `min_samples_for_confidence`.)
    pub samples_for_confidence: u32,
    /// The age at which nothing of it is trusted any more, in ms; 1 to 86,400,000.
    pub staleness_max_ms: u64,
    /// Longer jobs count as this, in ms; 1 to 1e12.
    pub latency_max_ms: f64,
    /// The largest correction, and the inverse of the smallest; 1 to 1,000.
    pub slowdown_max: f64,
}

impl Default for ObservedConfig {
    fn default() -> ObservedConfig {
        ObservedConfig {
            enabled: true,
            alpha: 0.2,
            samples_for_confidence: 10,
            staleness_max_ms: 300_000,
            latency_max_ms: 3_600_000.0,
            slowdown_max: 4.0,
        }
    }
}

impl ObservedConfig {
    /// Says whether observations can be weighted with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            Range("alpha", self.alpha, f64::MIN_POSITIVE, 1.0),
            Range("samples_for_confidence", f64::from(self.samples_for_confidence), 1.0, 1e6),
            Range("staleness_max_ms", self.staleness_max_ms as f64, 1.0, 86_400_000.0),
            Range("latency_max_ms", self.latency_max_ms, 1.0, 1e12),
            Range("slowdown_max", self.slowdown_max, 1.0, 1_000.0),
        ])
    }
}

/// What is known about the job latencies of one datacenter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The weighted mean, in ms.
    pub mean_ms: f64,
    /// How far to trust it now, 0 to 1.
    pub confidence: f64,
    /// Samples taken so far.
    pub sample_count: u64,
    /// The weighted standard deviation, in ms.
    pub deviation_ms: f64,
    /// The weighted mean difference between one sample and the next, in ms.
    pub jitter_ms: f64,
    /// When the newest sample was taken.
    pub updated_at: Instant,
}

/// Percentiles of the last [`WINDOW_SIZE`] job latencies, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Half of the jobs were faster.
    pub p50_ms: f64,
    /// 95 % of the jobs were faster.
    pub p95_ms: f64,
    /// 99 % of the jobs were faster.
    pub p99_ms: f64,
}

/// The part that every decision reads.
#[derive(Clone, Copy, Debug)]
struct Mean {
    mean_ms: f64,
    // Its inverse, and the confidence its samples earn before age takes from it: divisions done
    // once per job rather than once per decision.
    speed: f64,
    earned: f64,
    updated_at: Instant,
}

/// The part that only reports read.
#[derive(Clone, Debug)]
struct Spread {
    datacenter: DatacenterId,
    sample_count: u64,
    variance: f64,
    jitter_ms: f64,
    last_ms: f64,
    window: [f64; WINDOW_SIZE],
}

/// The observed job latencies of every datacenter that has finished a job.
///
/// Memory grows by about 1 kB with the first sample of each datacenter, at most
/// [`DATACENTER_COUNT_MAX`] times.
#[derive(Clone, Debug)]
pub struct Observed {
    config: ObservedConfig,
    fading_per_nano: f64,
    // By datacenter number: the place in the two lists, or `NOWHERE`.
    places: Box<[u16]>,
    means: Vec<Mean>,
    spreads: Vec<Spread>,
}

const NOWHERE: u16 = u16::MAX;

impl Observed {
    /// Nothing observed yet.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: ObservedConfig) -> Result<Observed, ConfigError> {
        config.check()?;
        let places = vec![NOWHERE; DATACENTER_COUNT_MAX].into_boxed_slice();
        let fading_per_nano = 1.0 / (config.staleness_max_ms as f64 * 1e6);
        Ok(Observed { config, fading_per_nano, places, means: Vec::new(), spreads: Vec::new() })
    }

    /// Takes note of a finished job. Returns whether the latency was used: one that is negative or
    /// no number is not.
    pub fn record(&mut self, now: Instant, datacenter: DatacenterId, latency_ms: f64) -> bool {
        if !latency_ms.is_finite() || latency_ms < 0.0 {
            return false;
        }
        let latency_ms = latency_ms.min(self.config.latency_max_ms);
        let place = self.place(datacenter).unwrap_or_else(|| self.begin(datacenter, latency_ms));
        let alpha = self.config.alpha;
        let mean = &mut self.means[place];
        let spread = &mut self.spreads[place];
        let difference = latency_ms - mean.mean_ms;
        mean.mean_ms += alpha * difference;
        spread.variance = (1.0 - alpha) * (spread.variance + alpha * difference * difference);
        let step = (latency_ms - spread.last_ms).abs();
        spread.jitter_ms += alpha * (step - spread.jitter_ms);
        spread.last_ms = latency_ms;
        spread.window[(spread.sample_count % WINDOW_SIZE as u64) as usize] = latency_ms;
        spread.sample_count += 1;
        let samples = spread.sample_count as f64 / f64::from(self.config.samples_for_confidence);
        mean.earned = samples.min(1.0);
        mean.speed = 1.0 / mean.mean_ms.max(SHORTEST_JOB_MS);
        mean.updated_at = now;
        true
    }

    /// Makes room for a datacenter as if it had always shown this latency.
    fn begin(&mut self, datacenter: DatacenterId, latency_ms: f64) -> usize {
        let place = self.means.len();
        self.places[datacenter.index()] = place as u16;
        let mean = Mean { mean_ms: latency_ms, speed: 0.0, earned: 0.0, updated_at: Instant::ZERO };
        self.means.push(mean);
        self.spreads.push(Spread {
            datacenter,
            sample_count: 0,
            variance: 0.0,
            jitter_ms: 0.0,
            last_ms: latency_ms,
            window: [0.0; WINDOW_SIZE],
        });
        place
    }

    /// Forgets a datacenter. Returns whether anything was known of it.
    pub fn forget(&mut self, datacenter: DatacenterId) -> bool {
        let Some(place) = self.place(datacenter) else { return false };
        self.places[datacenter.index()] = NOWHERE;
        self.means.swap_remove(place);
        self.spreads.swap_remove(place);
        if let Some(moved) = self.spreads.get(place) {
            self.places[moved.datacenter.index()] = place as u16;
        }
        true
    }

    /// Forgets the datacenters whose newest sample is older than twice the age at which it is still
    /// trusted. Returns how many.
    pub fn forget_stale(&mut self, now: Instant) -> usize {
        let mut forgotten = 0;
        for place in (0..self.means.len()).rev() {
            if self.fading(now, &self.means[place]) > 2.0 {
                forgotten += usize::from(self.forget(self.spreads[place].datacenter));
            }
        }
        forgotten
    }

    /// What is known of a datacenter, `None` when it has finished no job.
    pub fn observation(&self, now: Instant, datacenter: DatacenterId) -> Option<Observation> {
        let place = self.place(datacenter)?;
        let (mean, spread) = (&self.means[place], &self.spreads[place]);
        Some(Observation {
            mean_ms: mean.mean_ms,
            confidence: self.confidence(now, mean),
            sample_count: spread.sample_count,
            deviation_ms: spread.variance.sqrt(),
            jitter_ms: spread.jitter_ms,
            updated_at: mean.updated_at,
        })
    }

    /// Percentiles of the last jobs, `None` before the second one.
    pub fn percentiles(&self, datacenter: DatacenterId) -> Option<Percentiles> {
        let place = self.place(datacenter)?;
        let count = self.spreads[place].sample_count.min(WINDOW_SIZE as u64) as usize;
        if count < 2 {
            return None;
        }
        let mut window = self.spreads[place].window;
        let samples = &mut window[..count];
        samples.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| samples[(count * percent / 100).min(count - 1)];
        Some(Percentiles { p50_ms: at(50), p95_ms: at(95), p99_ms: at(99) })
    }

    /// `confidence x observed + (1 - confidence) x predicted`, as AD-45 writes it. Right only where
    /// observations and prediction measure the same thing, for example both the time to hand a job
    /// over.
    pub fn blend(&self, now: Instant, datacenter: DatacenterId, predicted_ms: f64) -> f64 {
        let Some(place) = self.place(datacenter) else { return predicted_ms };
        let mean = &self.means[place];
        let confidence = self.confidence(now, mean);
        confidence * mean.mean_ms + (1.0 - confidence) * predicted_ms
    }

    /// How many datacenters have finished a job.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// Whether no datacenter has finished a job.
    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    /// Adds a datacenter to the mean speed that others are compared with.
    pub fn accumulate(&self, now: Instant, datacenter: DatacenterId, speed: &mut MeanSpeed) {
        let Some(place) = self.place(datacenter) else { return };
        let mean = &self.means[place];
        let confidence = self.confidence(now, mean);
        speed.weight += confidence;
        speed.sum += confidence * mean.speed;
    }

    /// What to multiply a datacenter's predicted round trip by: above 1 where jobs take longer than
    /// at this [mean speed](MeanSpeed::jobs_per_ms), 1 where nothing is known.
    pub fn correction(&self, now: Instant, datacenter: DatacenterId, jobs_per_ms: f64) -> f64 {
        let Some(place) = self.place(datacenter) else { return 1.0 };
        let mean = &self.means[place];
        let slowdown = mean.mean_ms * jobs_per_ms;
        let bounded = slowdown.max(1.0 / self.config.slowdown_max).min(self.config.slowdown_max);
        1.0 + self.confidence(now, mean) * (bounded - 1.0)
    }

    /// Whether the router shall use corrections, and has any.
    pub(super) fn is_useful(&self) -> bool {
        self.config.enabled && !self.means.is_empty()
    }

    fn place(&self, datacenter: DatacenterId) -> Option<usize> {
        let place = self.places[datacenter.index()];
        (place != NOWHERE).then_some(usize::from(place))
    }

    fn confidence(&self, now: Instant, mean: &Mean) -> f64 {
        mean.earned * (1.0 - self.fading(now, mean)).max(0.0)
    }

    /// The age of the newest sample as a share of the age at which nothing of it is trusted any
    /// more.
    fn fading(&self, now: Instant, mean: &Mean) -> f64 {
        let age_nanos = now.as_nanos().saturating_sub(mean.updated_at.as_nanos());
        age_nanos as f64 * self.fading_per_nano
    }
}

/// Shorter jobs count as this, in ms, so that a job of no time at all has a finite speed.
const SHORTEST_JOB_MS: f64 = 1e-3;

/// The mean speed of jobs over the datacenters of one decision, weighted by confidence. Speeds are
/// averaged rather than latencies so that one datacenter that got stuck does not make all others
/// look fast.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanSpeed {
    weight: f64,
    sum: f64,
}

impl MeanSpeed {
    /// The mean speed, in jobs per ms; 0 when no datacenter is trusted at all.
    pub fn jobs_per_ms(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::time::Duration;

    const NOW: Instant = Instant::from_millis(10_000_000);

    fn id(index: usize) -> DatacenterId {
        DatacenterId::from_index(index).unwrap()
    }

    fn observed() -> Observed {
        Observed::new(ObservedConfig::default()).unwrap()
    }

    fn record_many(observed: &mut Observed, datacenter: DatacenterId, latency_ms: f64) {
        (0..10).for_each(|_| assert!(observed.record(NOW, datacenter, latency_ms)));
    }

    fn corrections<const N: usize>(observed: &Observed, now: Instant) -> [f64; N] {
        let mut speed = MeanSpeed::default();
        (0..N).for_each(|index| observed.accumulate(now, id(index), &mut speed));
        let jobs_per_ms = speed.jobs_per_ms();
        std::array::from_fn(|index| observed.correction(now, id(index), jobs_per_ms))
    }

    #[test]
    fn the_mean_follows_its_samples() {
        let mut observed = observed();
        assert_eq!(observed.observation(NOW, id(0)), None);
        observed.record(NOW, id(0), 100.0);
        observed.record(NOW, id(0), 200.0);
        let observation = observed.observation(NOW, id(0)).unwrap();
        assert!((observation.mean_ms - 120.0).abs() < 1e-9);
        assert!((observation.deviation_ms - (0.8 * 0.2 * 10_000.0_f64).sqrt()).abs() < 1e-9);
        assert!((observation.jitter_ms - 20.0).abs() < 1e-9);
        assert!((observation.confidence - 0.2).abs() < 1e-9);
        assert_eq!((observation.sample_count, observation.updated_at), (2, NOW));
    }

    #[test]
    fn refuses_what_is_no_latency_and_caps_what_is_absurd() {
        let mut observed = observed();
        for latency_ms in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(!observed.record(NOW, id(0), latency_ms));
        }
        assert!(observed.is_empty());
        observed.record(NOW, id(0), 1e15);
        assert_eq!(observed.observation(NOW, id(0)).unwrap().mean_ms, 3_600_000.0);
    }

    #[test]
    fn defect_r9_confidence_fades_linearly() {
        let mut observed = observed();
        record_many(&mut observed, id(0), 100.0);
        for (age, expected) in [(0, 1.0), (60, 0.8), (120, 0.6), (180, 0.4), (240, 0.2), (300, 0.0)]
        {
            let now = NOW + Duration::from_secs(age);
            let confidence = observed.observation(now, id(0)).unwrap().confidence;
            assert!((confidence - expected).abs() < 1e-9, "{age} s: {confidence}");
        }
        assert_eq!(observed.blend(NOW + Duration::from_secs(900), id(0), 40.0), 40.0);
    }

    #[test]
    fn blends_quantities_of_one_kind_as_written() {
        let mut observed = observed();
        assert_eq!(observed.blend(NOW, id(0), 40.0), 40.0);
        (0..5).for_each(|_| assert!(observed.record(NOW, id(0), 100.0)));
        assert!((observed.blend(NOW, id(0), 40.0) - 70.0).abs() < 1e-9);
        record_many(&mut observed, id(0), 100.0);
        assert!((observed.blend(NOW, id(0), 40.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn corrections_compare_jobs_with_jobs() {
        let mut observed = observed();
        record_many(&mut observed, id(0), 2_500.0);
        record_many(&mut observed, id(1), 800.0);
        let [east, west, unused] = corrections(&observed, NOW);
        assert!(east > 1.5 && west < 0.8, "{east} {west}");
        assert_eq!(unused, 1.0);
        // The only observed datacenter is the mean itself, whatever its jobs take.
        let mut alone = Observed::new(ObservedConfig::default()).unwrap();
        record_many(&mut alone, id(0), 1e5);
        let [own] = corrections(&alone, NOW);
        assert!((own - 1.0).abs() < 1e-9);
    }

    #[test]
    fn corrections_are_bounded_and_fade() {
        let mut observed = observed();
        record_many(&mut observed, id(0), 1e6);
        (1..8).for_each(|index| record_many(&mut observed, id(index), 100.0));
        let fresh = corrections::<8>(&observed, NOW);
        assert_eq!(fresh[0], 4.0);
        assert!(fresh[1..].iter().all(|factor| (0.85..=1.0).contains(factor)), "{fresh:?}");
        let half = corrections::<8>(&observed, NOW + Duration::from_secs(150));
        assert!((half[0] - 2.5).abs() < 1e-9);
        let old = corrections::<8>(&observed, NOW + Duration::from_secs(301));
        assert_eq!(old, [1.0; 8]);
    }

    #[test]
    fn percentiles_cover_the_last_hundred() {
        let mut observed = observed();
        observed.record(NOW, id(0), 5.0);
        assert_eq!(observed.percentiles(id(0)), None);
        (0..1_000).for_each(|n| assert!(observed.record(NOW, id(0), f64::from(n))));
        let percentiles = observed.percentiles(id(0)).unwrap();
        assert_eq!(percentiles, Percentiles { p50_ms: 950.0, p95_ms: 995.0, p99_ms: 999.0 });
    }

    #[test]
    fn forgetting_keeps_the_others() {
        let mut observed = observed();
        let mut random = Random::new(2);
        let mut model = std::collections::BTreeMap::new();
        for step in 0..5_000 {
            let datacenter = id(random.below(40) as usize);
            if random.chance(0.3) {
                assert_eq!(observed.forget(datacenter), model.remove(&datacenter).is_some());
            } else {
                observed.record(NOW, datacenter, f64::from(step));
                model.insert(datacenter, f64::from(step));
            }
            assert_eq!(observed.len(), model.len());
            for (&datacenter, &last) in &model {
                let place = observed.place(datacenter).unwrap();
                assert_eq!(observed.spreads[place].last_ms, last);
            }
        }
        assert_eq!(observed.forget_stale(NOW + Duration::from_secs(600)), 0);
        assert_eq!(observed.forget_stale(NOW + Duration::from_secs(601)), model.len());
        assert!(observed.is_empty());
    }

    #[test]
    fn check_names_what_is_wrong() {
        let broken = ObservedConfig { alpha: 0.0, ..ObservedConfig::default() };
        assert!(broken.check().unwrap_err().to_string().starts_with("alpha is 0"));
        assert!(Observed::new(broken).is_err());
    }
}
