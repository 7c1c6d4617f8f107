//! Whether a job keeps its primary datacenter or moves (AD-36, part 5).
//!
//! Moving is for a reason. Forced, whatever the time: the present choice is excluded, stands in a
//! worse bucket than the best there is, has just failed this job, or is 1.5 times worse than when
//! it was chosen for 10 s. Otherwise the hold-down of 30 s protects it, and after that a rival has
//! to be 20 % better. Every comparison is between numbers of now; only degradation looks back, at
//! the score the choice itself had. Scores of the two scales (milliseconds, capacity) are never
//! compared: when the scale changes, the choice stays and its reference is taken anew.

use std::fmt;

use super::bucket::Bucket;
use super::candidate::DatacenterId;
use super::{Range, check_ranges};
use crate::error::ConfigError;
use crate::time::{Duration, Instant};

/// How strongly a job sticks to its primary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HysteresisConfig {
    /// How long a choice is protected from rivals, in ms; 0 to 86,400,000. (AD-36: `HOLD_DOWN_S`.)
    pub hold_down_ms: u64,
    /// A rival must score below this share of the present choice; 0.01 to 1. (AD-36:
    /// `IMPROVEMENT_RATIO`.)
    pub improvement_ratio: f64,
    /// How long some rival has to stay better by that much, in ms; 0 to 86,400,000. At 0 the job
    /// moves at first sight, as AD-36 has it. Where round trips jump by a fifth from one decision
    /// to the next, 1 already asks for two decisions in a row and makes such moves rare.
    pub improvement_confirm_ms: u64,
    /// How many times worse than when chosen counts as degraded; 1 to 1,000. (AD-36:
    /// `DEGRADE_RATIO`.)
    pub degrade_ratio: f64,
    /// How long it has to stay degraded before the job moves, in ms; 0 to 86,400,000. (AD-36:
    /// `DEGRADE_CONFIRM_S`.)
    pub degrade_confirm_ms: u64,
    /// How long a failure in a datacenter counts against it for that job, in ms; 0 to 86,400,000.
    pub cooldown_ms: u64,
    /// What it multiplies the score by; 1 to 1,000.
    pub cooldown_multiplier: f64,
}

impl Default for HysteresisConfig {
    fn default() -> HysteresisConfig {
        HysteresisConfig {
            hold_down_ms: 30_000,
            improvement_ratio: 0.8,
            improvement_confirm_ms: 0,
            degrade_ratio: 1.5,
            degrade_confirm_ms: 10_000,
            cooldown_ms: 120_000,
            cooldown_multiplier: 2.0,
        }
    }
}

impl HysteresisConfig {
    /// Says whether jobs can be held with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let day_ms = 86_400_000.0;
        check_ranges(&[
            Range("hold_down_ms", self.hold_down_ms as f64, 0.0, day_ms),
            Range("improvement_ratio", self.improvement_ratio, 0.01, 1.0),
            Range("improvement_confirm_ms", self.improvement_confirm_ms as f64, 0.0, day_ms),
            Range("degrade_ratio", self.degrade_ratio, 1.0, 1_000.0),
            Range("degrade_confirm_ms", self.degrade_confirm_ms as f64, 0.0, day_ms),
            Range("cooldown_ms", self.cooldown_ms as f64, 0.0, day_ms),
            Range("cooldown_multiplier", self.cooldown_multiplier, 1.0, 1_000.0),
        ])
    }

    /// [`HysteresisConfig::cooldown_ms`] as a duration.
    pub fn cooldown(&self) -> Duration {
        Duration::from_millis(self.cooldown_ms)
    }
}

/// Why a decision came out as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[repr(u8)]
pub enum Reason {
    /// The job had no primary: the best one is taken.
    InitialSelection = 0,
    /// The present choice is still the best.
    BestRetained = 1,
    /// There is a better one, but the choice is too young to be reconsidered.
    HoldDownRetained = 2,
    /// There is a better one, but not better enough.
    ThresholdRetained = 3,
    /// A rival is better enough: the job moves.
    ImprovementThresholdMet = 4,
    /// The present choice stands in a worse bucket than the best there is: the job moves.
    BucketDropForced = 5,
    /// The present choice may not take jobs any more or is not offered: the job moves.
    ExclusionForced = 6,
    /// The present choice has been degraded for long enough: the job moves.
    DegradationForced = 7,
    /// The present choice failed this job and another one is now better: the job moves.
    CooldownPenalty = 8,
    /// No datacenter may take the job. Its primary, if it had one, is remembered.
    NoCandidate = 9,
}

impl Reason {
    /// Every reason, in numeric order.
    pub const ALL: [Reason; 10] = [
        Reason::InitialSelection,
        Reason::BestRetained,
        Reason::HoldDownRetained,
        Reason::ThresholdRetained,
        Reason::ImprovementThresholdMet,
        Reason::BucketDropForced,
        Reason::ExclusionForced,
        Reason::DegradationForced,
        Reason::CooldownPenalty,
        Reason::NoCandidate,
    ];

    /// The snake-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::InitialSelection => "initial_selection",
            Reason::BestRetained => "best_retained",
            Reason::HoldDownRetained => "hold_down_retained",
            Reason::ThresholdRetained => "threshold_retained",
            Reason::ImprovementThresholdMet => "improvement_threshold_met",
            Reason::BucketDropForced => "bucket_drop_forced",
            Reason::ExclusionForced => "exclusion_forced",
            Reason::DegradationForced => "degradation_forced",
            Reason::CooldownPenalty => "cooldown_penalty",
            Reason::NoCandidate => "no_candidate",
        }
    }

    /// Whether the job keeps the primary it had.
    pub const fn is_retained(self) -> bool {
        matches!(self, Reason::BestRetained | Reason::HoldDownRetained | Reason::ThresholdRetained)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the scores of a decision measure. Scores of different scales do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Milliseconds, weighted by load and quality.
    #[default]
    Milliseconds,
    /// Free capacity, while round trips are unknown.
    Capacity,
}

/// How the job's present choice does now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The bucket it is in.
    pub bucket: Bucket,
    /// Its score as a datacenter.
    pub base: f64,
    /// Its score for this job, with preference and cooldown.
    pub value: f64,
    /// Whether it failed this job lately.
    pub is_cooling: bool,
}

/// What a job can choose from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// What the scores measure.
    pub scale: Scale,
    /// The best bucket that is not empty.
    pub bucket: Bucket,
    /// The best datacenter of that bucket.
    pub best: DatacenterId,
    /// Its score for this job.
    pub best_value: f64,
    /// The job's present choice, `None` when it is excluded or not offered.
    pub current: Option<Standing>,
}

const NEVER: Instant = Instant::MAX;

/// A job's hold on its primary datacenter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tenure {
    selected_at: Instant,
    // Both are `NEVER` while it is not so: an `Option` would cost eight bytes per job.
    degraded_since: Instant,
    outdone_since: Instant,
    reference: f64,
    primary: Option<DatacenterId>,
    scale: Scale,
}

impl Default for Tenure {
    fn default() -> Tenure {
        Tenure {
            selected_at: Instant::ZERO,
            degraded_since: NEVER,
            outdone_since: NEVER,
            reference: 0.0,
            primary: None,
            scale: Scale::Milliseconds,
        }
    }
}

impl Tenure {
    /// The job's primary, if it has one.
    pub fn primary(&self) -> Option<DatacenterId> {
        self.primary
    }

    /// When that was chosen.
    pub fn selected_at(&self) -> Instant {
        self.selected_at
    }

    /// The score it had as a datacenter when it was chosen, or when the scale last changed.
    pub fn reference(&self) -> f64 {
        self.reference
    }

    /// Decides whether the job stays where it is. Unless the reason [is
    /// retained](Reason::is_retained), the caller moves it to the best with [`Tenure::select`].
    pub fn judge(&mut self, config: &HysteresisConfig, now: Instant, field: &Field) -> Reason {
        let Some(primary) = self.primary else { return Reason::InitialSelection };
        let Some(current) = field.current else { return Reason::ExclusionForced };
        if current.bucket != field.bucket {
            assert!(current.bucket > field.bucket, "the best bucket is the best");
            return Reason::BucketDropForced;
        }
        if field.scale != self.scale {
            self.scale = field.scale;
            self.reference = current.base;
        }
        // Decisions are the only moments at which this is seen: two bad ones with none between them
        // count as bad throughout.
        let is_degraded = current.base >= self.reference * config.degrade_ratio;
        let is_outdone = field.best_value < current.value * config.improvement_ratio;
        let degraded_ms = lasting_ms(&mut self.degraded_since, is_degraded, now);
        let outdone_ms = lasting_ms(&mut self.outdone_since, is_outdone, now);

        let is_better = field.best_value < current.value;
        if field.best == primary {
            Reason::BestRetained
        } else if current.is_cooling && is_better {
            Reason::CooldownPenalty
        } else if is_better && degraded_ms.is_some_and(|ms| ms >= config.degrade_confirm_ms) {
            Reason::DegradationForced
        } else if now - self.selected_at < Duration::from_millis(config.hold_down_ms) {
            Reason::HoldDownRetained
        } else if outdone_ms.is_some_and(|ms| ms >= config.improvement_confirm_ms) {
            Reason::ImprovementThresholdMet
        } else {
            Reason::ThresholdRetained
        }
    }

    /// Makes this datacenter the primary.
    pub fn select(&mut self, now: Instant, datacenter: DatacenterId, base: f64, scale: Scale) {
        *self = Tenure {
            selected_at: now,
            reference: base,
            primary: Some(datacenter),
            scale,
            ..Tenure::default()
        };
    }

    /// Takes the primary away, so that the next decision starts afresh.
    pub fn reset(&mut self) {
        *self = Tenure::default();
    }
}

/// Keeps the time since when something has been so, and tells for how many ms, `None` when it is
/// not.
fn lasting_ms(since: &mut Instant, is_so: bool, now: Instant) -> Option<u64> {
    if !is_so {
        *since = NEVER;
        return None;
    }
    *since = (*since).min(now);
    Some((now - *since).as_nanos() as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: HysteresisConfig = HysteresisConfig {
        hold_down_ms: 30_000,
        improvement_ratio: 0.8,
        improvement_confirm_ms: 0,
        degrade_ratio: 1.5,
        degrade_confirm_ms: 10_000,
        cooldown_ms: 120_000,
        cooldown_multiplier: 2.0,
    };

    fn id(index: usize) -> DatacenterId {
        DatacenterId::from_index(index).unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000_000 + seconds * 1_000)
    }

    /// A job in datacenter 0 since `at(0)` with a score of 100.
    fn tenure() -> Tenure {
        let mut tenure = Tenure::default();
        tenure.select(at(0), id(0), 100.0, Scale::Milliseconds);
        tenure
    }

    /// Datacenter 1 is the best with `best_value`; the current one scores `current`.
    fn field(best_value: f64, current: f64) -> Field {
        let standing =
            Standing { bucket: Bucket::Healthy, base: current, value: current, is_cooling: false };
        Field {
            scale: Scale::Milliseconds,
            bucket: Bucket::Healthy,
            best: id(1),
            best_value,
            current: Some(standing),
        }
    }

    #[test]
    fn the_first_choice_needs_no_comparison() {
        let reason = Tenure::default().judge(&CONFIG, at(0), &field(1.0, 1.0));
        assert_eq!(reason, Reason::InitialSelection);
    }

    #[test]
    fn holds_down_then_asks_for_a_clear_improvement() {
        let mut tenure = tenure();
        assert_eq!(tenure.judge(&CONFIG, at(29), &field(1.0, 100.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(30), &field(80.0, 100.0)), Reason::ThresholdRetained);
        let clear = field(79.9, 100.0);
        assert_eq!(tenure.judge(&CONFIG, at(30), &clear), Reason::ImprovementThresholdMet);
        // The improvement is over the present score of the choice, not over the one it once had.
        assert_eq!(tenure.judge(&CONFIG, at(30), &field(70.0, 80.0)), Reason::ThresholdRetained);
        let best = Field { best: id(0), ..field(100.0, 100.0) };
        assert_eq!(tenure.judge(&CONFIG, at(99), &best), Reason::BestRetained);
    }

    #[test]
    fn an_improvement_can_be_asked_to_last() {
        let patient = HysteresisConfig { improvement_confirm_ms: 5_000, ..CONFIG };
        let mut tenure = tenure();
        let (better, even) = (field(70.0, 100.0), field(95.0, 100.0));
        assert_eq!(tenure.judge(&patient, at(40), &better), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&patient, at(44), &better), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&patient, at(45), &even), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&patient, at(46), &better), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&patient, at(51), &better), Reason::ImprovementThresholdMet);
    }

    #[test]
    fn exclusion_and_bucket_drop_do_not_wait() {
        let mut tenure = tenure();
        let gone = Field { current: None, ..field(500.0, 0.0) };
        assert_eq!(tenure.judge(&CONFIG, at(1), &gone), Reason::ExclusionForced);
        let mut dropped = field(500.0, 10.0);
        dropped.current.as_mut().unwrap().bucket = Bucket::Busy;
        assert_eq!(tenure.judge(&CONFIG, at(1), &dropped), Reason::BucketDropForced);
    }

    #[test]
    fn degradation_must_last() {
        let mut tenure = tenure();
        assert_eq!(tenure.judge(&CONFIG, at(1), &field(140.0, 150.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(10), &field(140.0, 150.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(11), &field(140.0, 150.0)), Reason::DegradationForced);
        // One good look in between starts the count again.
        assert_eq!(tenure.judge(&CONFIG, at(12), &field(140.0, 149.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(13), &field(140.0, 150.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(22), &field(140.0, 150.0)), Reason::HoldDownRetained);
        assert_eq!(tenure.judge(&CONFIG, at(23), &field(140.0, 150.0)), Reason::DegradationForced);
        // A preference does not hide that the datacenter itself got worse.
        let mut preferred = field(130.0, 150.0);
        preferred.current.as_mut().unwrap().value = 135.0;
        assert_eq!(tenure.judge(&CONFIG, at(24), &preferred), Reason::DegradationForced);
        // Still the best: there is nowhere better to go.
        let best = Field { best: id(0), ..field(150.0, 150.0) };
        assert_eq!(tenure.judge(&CONFIG, at(24), &best), Reason::BestRetained);
    }

    #[test]
    fn a_failed_choice_is_left_at_once_for_a_better_one() {
        let mut tenure = tenure();
        let mut failed = field(199.0, 100.0);
        let standing = failed.current.as_mut().unwrap();
        standing.is_cooling = true;
        standing.value = 200.0;
        assert_eq!(tenure.judge(&CONFIG, at(1), &failed), Reason::CooldownPenalty);
        // The penalty itself is not a degradation of the datacenter.
        failed.best_value = 200.0;
        assert_eq!(tenure.judge(&CONFIG, at(20), &failed), Reason::HoldDownRetained);
    }

    #[test]
    fn defect_r6_scores_of_two_scales_are_never_compared() {
        // Chosen by capacity with 1.2; once round trips are known it scores 150 ms, which is no
        // degradation, and a rival of 140 ms is no clear improvement.
        let mut tenure = Tenure::default();
        tenure.select(at(0), id(0), 1.2, Scale::Capacity);
        for second in [31, 60, 90] {
            let reason = tenure.judge(&CONFIG, at(second), &field(140.0, 150.0));
            assert_eq!(reason, Reason::ThresholdRetained, "{second} s");
        }
        assert_eq!(tenure.reference(), 150.0);
        // Back to capacity: 1.2 is not measured against 150 either, so a later 1.9 is a
        // degradation.
        let capacity =
            |best_value, current| Field { scale: Scale::Capacity, ..field(best_value, current) };
        assert_eq!(tenure.judge(&CONFIG, at(91), &capacity(1.1, 1.2)), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&CONFIG, at(92), &capacity(1.85, 1.9)), Reason::ThresholdRetained);
        assert_eq!(tenure.judge(&CONFIG, at(102), &capacity(1.85, 1.9)), Reason::DegradationForced);
    }

    #[test]
    fn a_reset_job_chooses_afresh() {
        let mut tenure = tenure();
        tenure.reset();
        assert_eq!(tenure.primary(), None);
        assert_eq!(tenure.judge(&CONFIG, at(1), &field(1.0, 1.0)), Reason::InitialSelection);
    }

    #[test]
    fn reasons_are_numbered_and_named() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        let mut names = Reason::ALL.map(Reason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn check_names_what_is_wrong() {
        HysteresisConfig::default().check().unwrap();
        assert_eq!(HysteresisConfig::default(), CONFIG);
        let broken = HysteresisConfig { improvement_ratio: 1.2, ..CONFIG };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "improvement_ratio is 1.2, expected 0.01 to 1"
        );
    }
}
