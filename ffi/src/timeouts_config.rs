//! How jobs are timed. Call `shoal_timeouts_config_init`, change fields, pass it to
//! `shoal_timeouts_new` or `shoal_gate_timeouts_new`, or let `jobs` of a `shoal_config` point
//! to it.

use crate::call::{Failure, check_reserved, guarded};
use crate::growth::{self, Growing};
use crate::status::{SHOAL_INVALID_SETTING, shoal_status};
use shoal_core::jobs::{ExtensionConfig, JobsConfig, TimeoutRule};
use std::mem::offset_of;

/// A gate times out the whole job as soon as one datacenter has timed out.
pub const SHOAL_RULE_ANY: u32 = 0;
/// A gate times out the whole job when more than half of its datacenters have, or all that have
/// not finished.
pub const SHOAL_RULE_MAJORITY: u32 = 1;

/// All settings of job timeouts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_timeouts_config {
    /// The size of this structure in the program's header, written by
    /// `shoal_timeouts_config_init`.
    pub struct_size: usize,
    /// A job without progress for this long is stuck, in ms; 10 to 86,400,000.
    pub stuck_after_ms: u64,
    /// Time between two reports of a manager to a gate, in ms; 10 to 3,600,000.
    pub report_interval_ms: u64,
    /// A manager whose job is over time decides alone when the gate has not spoken of that job
    /// for this long, in ms; 10 to 86,400,000.
    pub fallback_after_ms: u64,
    /// A new leader declares no job stuck for this long, in ms; at most 86,400,000.
    pub resume_grace_ms: u64,
    /// First pause before something unacknowledged is sent again, in ms; 1 to 60,000. It
    /// doubles each time.
    pub retry_min_ms: u64,
    /// The longest such pause, in ms; at least the first, at most 3,600,000.
    pub retry_max_ms: u64,
    /// How long a manager tries to deliver the outcome of a job, in ms; 10 to 86,400,000.
    pub outcome_lifetime_ms: u64,
    /// A gate counts a datacenter as stuck when it reports no progress for this long, in ms; 10
    /// to 86,400,000.
    pub gate_stuck_after_ms: u64,
    /// A gate counts a datacenter that it has not heard from for this long as stuck, in ms; 10
    /// to 86,400,000.
    pub gate_silent_after_ms: u64,
    /// How long past a job's deadline a gate waits for datacenters before it declares the
    /// global timeout, in ms; at most 3,600,000.
    pub gate_deadline_grace_ms: u64,
    /// How long a gate remembers a job that is over in all datacenters, in ms; 10 to
    /// 86,400,000.
    pub gate_retention_ms: u64,
    /// How long a gate tries to tell datacenters of a global timeout, in ms; 10 to 864,000,000.
    pub gate_decision_lifetime_ms: u64,
    /// The deadline that a worker can have extended, in ms; 1 to 86,400,000. The n-th grant is
    /// this divided by 2^n.
    pub extension_base_ms: u64,
    /// No grant is shorter, in ms; 1 to the base.
    pub extension_grant_min_ms: u64,
    /// Time from the first request beyond the last grant until a worker is overdue, in ms; at
    /// most 3,600,000.
    pub extension_grace_ms: u64,
    /// Grants per worker and job; 0 to 32.
    pub extension_count_max: u32,
    /// A worker is warned once, when no more than this many grants remain; 0 to 32.
    pub extension_warning_count: u32,
    /// When reported timeouts of datacenters time out the whole job: a `SHOAL_RULE_` number.
    pub gate_rule: u32,
    /// Most jobs a manager tracks; 1 to 16,777,216.
    pub job_capacity: u32,
    /// Most pairs of job and worker with extensions; 1 to 16,777,216.
    pub worker_capacity: u32,
    /// Most jobs a gate tracks; 1 to 16,777,216.
    pub gate_job_capacity: u32,
    /// Most pairs of job and datacenter a gate tracks; 1 to 16,777,216.
    pub gate_site_capacity: u32,
    /// Zero.
    pub reserved: u32,
}

/// Fills in every default. `struct_size` is `sizeof(shoal_timeouts_config)`: the macro
/// `shoal_timeouts_config_init(&config)` passes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_config_init_sized(
    config: *mut shoal_timeouts_config,
    struct_size: usize,
) -> shoal_status {
    // SAFETY: `config` has `struct_size` bytes.
    guarded(|| unsafe { growth::init(config, struct_size) })
}

/// Fills in every default of the first published `shoal_timeouts_config`. For callers without a
/// preprocessor; C and C++ get the macro of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_config_init(
    config: *mut shoal_timeouts_config,
) -> shoal_status {
    // SAFETY: no published structure is smaller.
    guarded(|| unsafe { growth::init(config, shoal_timeouts_config::SIZE_FIRST) })
}

// SAFETY: it begins with its size; integers have no forbidden pattern.
unsafe impl Growing for shoal_timeouts_config {
    const SIZE_FIRST: usize = offset_of!(shoal_timeouts_config, reserved) + size_of::<u32>();

    fn defaults() -> shoal_timeouts_config {
        let jobs = JobsConfig::default();
        let ExtensionConfig { base_ms, grant_min_ms, count_max, warning_count, grace_ms } =
            jobs.extension;
        shoal_timeouts_config {
            struct_size: size_of::<shoal_timeouts_config>(),
            stuck_after_ms: jobs.stuck_after_ms,
            report_interval_ms: jobs.report_interval_ms,
            fallback_after_ms: jobs.fallback_after_ms,
            resume_grace_ms: jobs.resume_grace_ms,
            retry_min_ms: jobs.retry_min_ms,
            retry_max_ms: jobs.retry_max_ms,
            outcome_lifetime_ms: jobs.outcome_lifetime_ms,
            gate_stuck_after_ms: jobs.gate_stuck_after_ms,
            gate_silent_after_ms: jobs.gate_silent_after_ms,
            gate_deadline_grace_ms: jobs.gate_deadline_grace_ms,
            gate_retention_ms: jobs.gate_retention_ms,
            gate_decision_lifetime_ms: jobs.gate_decision_lifetime_ms,
            extension_base_ms: base_ms,
            extension_grant_min_ms: grant_min_ms,
            extension_grace_ms: grace_ms,
            extension_count_max: u32::from(count_max),
            extension_warning_count: u32::from(warning_count),
            gate_rule: match jobs.gate_rule {
                TimeoutRule::Any => SHOAL_RULE_ANY,
                TimeoutRule::Majority => SHOAL_RULE_MAJORITY,
            },
            job_capacity: jobs.job_capacity,
            worker_capacity: jobs.worker_capacity,
            gate_job_capacity: jobs.gate_job_capacity,
            gate_site_capacity: jobs.gate_site_capacity,
            reserved: 0,
        }
    }
}

impl shoal_timeouts_config {
    /// The settings as the trackers take them; they check their ranges.
    pub(crate) fn read(&self) -> Result<JobsConfig, Failure> {
        check_reserved(&self.reserved.to_ne_bytes(), "shoal_timeouts_config")?;
        Ok(JobsConfig {
            stuck_after_ms: self.stuck_after_ms,
            report_interval_ms: self.report_interval_ms,
            fallback_after_ms: self.fallback_after_ms,
            resume_grace_ms: self.resume_grace_ms,
            retry_min_ms: self.retry_min_ms,
            retry_max_ms: self.retry_max_ms,
            outcome_lifetime_ms: self.outcome_lifetime_ms,
            gate_rule: match self.gate_rule {
                SHOAL_RULE_ANY => TimeoutRule::Any,
                SHOAL_RULE_MAJORITY => TimeoutRule::Majority,
                other => return Err(out_of_range("gate_rule", other, 1)),
            },
            gate_stuck_after_ms: self.gate_stuck_after_ms,
            gate_silent_after_ms: self.gate_silent_after_ms,
            gate_deadline_grace_ms: self.gate_deadline_grace_ms,
            gate_retention_ms: self.gate_retention_ms,
            gate_decision_lifetime_ms: self.gate_decision_lifetime_ms,
            extension: ExtensionConfig {
                base_ms: self.extension_base_ms,
                grant_min_ms: self.extension_grant_min_ms,
                count_max: small("extension_count_max", self.extension_count_max)?,
                warning_count: small("extension_warning_count", self.extension_warning_count)?,
                grace_ms: self.extension_grace_ms,
            },
            job_capacity: self.job_capacity,
            worker_capacity: self.worker_capacity,
            gate_job_capacity: self.gate_job_capacity,
            gate_site_capacity: self.gate_site_capacity,
            ..JobsConfig::default()
        })
    }
}

fn small(setting: &str, value: u32) -> Result<u8, Failure> {
    u8::try_from(value).map_err(|_| out_of_range(setting, value, 32))
}

fn out_of_range(setting: &str, value: u32, max: u32) -> Failure {
    Failure::new(SHOAL_INVALID_SETTING, format!("{setting} is {value}, expected 0 to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_trackers() {
        let defaults = shoal_timeouts_config::defaults();
        assert_eq!(defaults.read().unwrap(), JobsConfig::default());
        assert_eq!(shoal_timeouts_config::SIZE_FIRST, size_of::<shoal_timeouts_config>());
    }

    #[test]
    fn what_the_trackers_cannot_be_told_is_refused() {
        let defaults = shoal_timeouts_config::defaults();
        shoal_timeouts_config { gate_rule: 2, ..defaults }.read().unwrap_err();
        shoal_timeouts_config { extension_count_max: 256, ..defaults }.read().unwrap_err();
        let broken = shoal_timeouts_config { extension_count_max: 33, ..defaults };
        broken.read().unwrap().check().unwrap_err();
    }
}
