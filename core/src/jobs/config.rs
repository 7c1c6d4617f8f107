//! Every interval, rule and limit of job tracking, with its meaning, unit, range and source.
//!
//! The defaults are those of the design documents (AD-34 job timeouts, AD-26 extensions, AD-33
//! workflows); where they leave a number open, the field says which reasoning it rests on.

use crate::error::ConfigError;
use crate::time::Duration;

/// The longest timeout a job may be given: 365 days.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How many gates the jobs of one manager may report to at a time. A job of one more is refused.
pub const GATE_COUNT_MAX: usize = 64;
/// Most jobs or datacenters-of-jobs that a tracker may be configured for.
pub const JOB_CAPACITY_MAX: u32 = 1 << 24;
/// Most datacenters that one job may run in.
pub const JOB_DATACENTERS_MAX: u16 = 4_096;
/// Answers that wait for the host to send them. Beyond it the newest is dropped and counted: its
/// receiver repeats the question.
pub(super) const REPLY_COUNT_MAX: usize = 1_024;

/// When the reports of datacenters about their own timeout make a gate time out the whole job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum TimeoutRule {
    /// As soon as one datacenter has timed out (AD-34, part 5, condition 2).
    #[default]
    Any,
    /// When more than half of the job's datacenters have, or all that have not finished.
    Majority,
}

impl TimeoutRule {
    /// The lower-case name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            TimeoutRule::Any => "any",
            TimeoutRule::Majority => "majority",
        }
    }
}

impl std::str::FromStr for TimeoutRule {
    type Err = UnknownTimeoutRule;

    fn from_str(text: &str) -> Result<TimeoutRule, UnknownTimeoutRule> {
        let rules = [TimeoutRule::Any, TimeoutRule::Majority];
        let matching = rules.into_iter().find(|rule| rule.name() == text);
        matching.ok_or_else(|| UnknownTimeoutRule(text.to_owned()))
    }
}

/// The text names no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown timeout rule {0:?}, expected any or majority")]
pub struct UnknownTimeoutRule(String);

/// How much longer a worker may take (AD-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionConfig {
    /// The deadline that is extended, in ms; 1 to 86,400,000. The n-th grant is this divided by
    /// 2^n.
    pub base_ms: u64,
    /// No grant is shorter, in ms; 1 to the base.
    pub grant_min_ms: u64,
    /// Grants per worker and job; 0 to 32.
    pub count_max: u8,
    /// The worker is warned once, when no more than this many grants remain; 0 to 32.
    pub warning_count: u8,
    /// Time from the first request beyond the last grant until the worker is overdue, in ms; at
    /// most an hour.
    pub grace_ms: u64,
}

impl Default for ExtensionConfig {
    fn default() -> ExtensionConfig {
        ExtensionConfig {
            base_ms: 30_000,
            grant_min_ms: 1_000,
            count_max: 5,
            warning_count: 1,
            grace_ms: 10_000,
        }
    }
}

/// Everything that decides how jobs are tracked. Start from [`JobsConfig::default`] and change
/// fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobsConfig {
    /// A job without progress for this long is stuck, in ms; 10 to 86,400,000 (AD-34: 2 minutes).
    pub stuck_after_ms: u64,
    /// Time between two reports of a manager to a gate, in ms; 10 to 3,600,000 (AD-34: 10 s).
    pub report_interval_ms: u64,
    /// A manager whose job is over time decides alone when the gate has not spoken of that job for
    /// this long, in ms; 10 to 86,400,000 (AD-34: 5 minutes).
    pub fallback_after_ms: u64,
    /// A new leader declares no job stuck for this long, in ms; at most a day. It has not seen the
    /// progress that was made while there was no leader; the default is one check interval of
    /// AD-34.
    pub resume_grace_ms: u64,
    /// First pause before something unacknowledged is sent again, in ms; 1 to 60,000. It doubles
    /// each time.
    pub retry_min_ms: u64,
    /// The longest such pause, in ms; at least the first, at most an hour. The default is the
    /// report interval, so that a peer that comes back learns of anything within one.
    pub retry_max_ms: u64,
    /// How long a manager tries to deliver the outcome of a job, in ms; 10 to 86,400,000. Twice the
    /// fallback.
    pub outcome_lifetime_ms: u64,

    /// When reported timeouts of datacenters time out the whole job.
    pub gate_rule: TimeoutRule,
    /// A gate counts a datacenter as stuck when the datacenter itself reports no progress for this
    /// long, in ms; 10 to 86,400,000 (AD-34: 3 minutes). Only when all unfinished ones are is the
    /// job timed out.
    pub gate_stuck_after_ms: u64,
    /// A gate counts a datacenter that it has not heard from for this long as stuck, in ms; 10 to
    /// 86,400,000. Silence proves less than a report, so it takes as long as the fallback of
    /// managers.
    pub gate_silent_after_ms: u64,
    /// How long past the job's deadline a gate waits for datacenters to report their own timeout
    /// before it declares the global one, in ms; at most an hour. It leaves time for an extension
    /// that was granted at the last moment to arrive; the default is the check interval of AD-34.
    pub gate_deadline_grace_ms: u64,
    /// How long a gate remembers a job that is over in all datacenters, in ms; 10 to 86,400,000.
    /// Late reports of it are then recognised.
    pub gate_retention_ms: u64,
    /// How long a gate tries to tell datacenters of a global timeout, in ms; 10 to 864,000,000. One
    /// that comes back later introduces the job again, and is told then.
    pub gate_decision_lifetime_ms: u64,

    /// Extensions for workers (AD-26).
    pub extension: ExtensionConfig,

    /// Most jobs a manager tracks; 1 to [`JOB_CAPACITY_MAX`]. When full, the oldest one that only
    /// waits for its outcome to be delivered makes room; when there is none, a new job is refused.
    pub job_capacity: u32,
    /// Most pairs of job and worker with extensions; 1 to [`JOB_CAPACITY_MAX`]. When full, a first
    /// extension is denied.
    pub worker_capacity: u32,
    /// Most jobs a gate tracks; 1 to [`JOB_CAPACITY_MAX`]. When full, the oldest one that is over
    /// makes room; when there is none, a new job is refused.
    pub gate_job_capacity: u32,
    /// Most pairs of job and datacenter a gate tracks; 1 to [`JOB_CAPACITY_MAX`]. When full, a new
    /// one is refused.
    pub gate_site_capacity: u32,
    /// Most workflows in the workflow state machine; 1 to [`JOB_CAPACITY_MAX`]. When full, a new
    /// one is refused.
    pub workflow_capacity: u32,
    /// Transitions remembered per workflow; 0 to 1,024. The oldest are forgotten first.
    pub workflow_history: u16,
    /// Workflow events that wait for the host; 1 to [`JOB_CAPACITY_MAX`]. Beyond it the newest is
    /// dropped and counted.
    pub workflow_event_capacity: u32,
}

impl Default for JobsConfig {
    fn default() -> JobsConfig {
        JobsConfig {
            stuck_after_ms: 120_000,
            report_interval_ms: 10_000,
            fallback_after_ms: 300_000,
            resume_grace_ms: 30_000,
            retry_min_ms: 1_000,
            retry_max_ms: 10_000,
            outcome_lifetime_ms: 600_000,
            gate_rule: TimeoutRule::Any,
            gate_stuck_after_ms: 180_000,
            gate_silent_after_ms: 300_000,
            gate_deadline_grace_ms: 15_000,
            gate_retention_ms: 60_000,
            gate_decision_lifetime_ms: 3_600_000,
            extension: ExtensionConfig::default(),
            job_capacity: 1 << 20,
            worker_capacity: 1 << 16,
            gate_job_capacity: 1 << 20,
            gate_site_capacity: 1 << 22,
            workflow_capacity: 1 << 20,
            workflow_history: 16,
            workflow_event_capacity: 4_096,
        }
    }
}

impl JobsConfig {
    /// Says whether jobs can be tracked with this.
    ///
    /// # Errors
    /// The first setting that is out of its range, with its name, value and range.
    pub fn check(&self) -> Result<(), ConfigError> {
        const HOUR: u64 = 3_600_000;
        const DAY: u64 = 24 * HOUR;
        let capacity_max = u64::from(JOB_CAPACITY_MAX);
        let extension = &self.extension;
        let ranges = [
            ("stuck_after_ms", self.stuck_after_ms, 10, DAY),
            ("report_interval_ms", self.report_interval_ms, 10, HOUR),
            ("fallback_after_ms", self.fallback_after_ms, 10, DAY),
            ("resume_grace_ms", self.resume_grace_ms, 0, DAY),
            ("retry_min_ms", self.retry_min_ms, 1, 60_000),
            ("retry_max_ms", self.retry_max_ms, self.retry_min_ms, HOUR),
            ("outcome_lifetime_ms", self.outcome_lifetime_ms, 10, DAY),
            ("gate_stuck_after_ms", self.gate_stuck_after_ms, 10, DAY),
            ("gate_silent_after_ms", self.gate_silent_after_ms, 10, DAY),
            ("gate_deadline_grace_ms", self.gate_deadline_grace_ms, 0, HOUR),
            ("gate_retention_ms", self.gate_retention_ms, 10, DAY),
            ("gate_decision_lifetime_ms", self.gate_decision_lifetime_ms, 10, 10 * DAY),
            ("extension.base_ms", extension.base_ms, 1, DAY),
            ("extension.grant_min_ms", extension.grant_min_ms, 1, extension.base_ms),
            ("extension.count_max", extension.count_max.into(), 0, 32),
            ("extension.warning_count", extension.warning_count.into(), 0, 32),
            ("extension.grace_ms", extension.grace_ms, 0, HOUR),
            ("job_capacity", self.job_capacity.into(), 1, capacity_max),
            ("worker_capacity", self.worker_capacity.into(), 1, capacity_max),
            ("gate_job_capacity", self.gate_job_capacity.into(), 1, capacity_max),
            ("gate_site_capacity", self.gate_site_capacity.into(), 1, capacity_max),
            ("workflow_capacity", self.workflow_capacity.into(), 1, capacity_max),
            ("workflow_history", self.workflow_history.into(), 0, 1_024),
            ("workflow_event_capacity", self.workflow_event_capacity.into(), 1, capacity_max),
        ];
        for (setting, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                let [value, min, max] = [value, min, max].map(|number| number as f64);
                return Err(ConfigError::OutOfRange { setting, value, min, max });
            }
        }
        Ok(())
    }
}

/// Milliseconds as a duration, for the arithmetic of the trackers.
pub(super) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_are_those_of_the_documents() {
        let config = JobsConfig::default();
        config.check().unwrap();
        assert_eq!((config.stuck_after_ms, config.report_interval_ms), (120_000, 10_000));
        assert_eq!((config.fallback_after_ms, config.gate_stuck_after_ms), (300_000, 180_000));
        assert_eq!(config.gate_rule, "any".parse().unwrap());
    }

    #[test]
    fn refuses_with_name_value_and_range() {
        let config = JobsConfig { retry_max_ms: 999, ..JobsConfig::default() };
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "retry_max_ms is 999, expected 1000 to 3600000"
        );
        let config = JobsConfig { job_capacity: 0, ..JobsConfig::default() };
        assert!(config.check().is_err());
        let extension = ExtensionConfig { grant_min_ms: 40_000, ..ExtensionConfig::default() };
        assert!(JobsConfig { extension, ..JobsConfig::default() }.check().is_err());
        assert!("most".parse::<TimeoutRule>().is_err());
    }
}
