//! How a router decides. Call `shoal_router_config_init`, change fields, pass it to
//! `shoal_router_new`.

use crate::call::{Failure, guarded};
use crate::growth::{self, Growing};
use crate::status::{SHOAL_INVALID_SETTING, shoal_status};
use shoal_core::routing::{
    BootstrapConfig, FilterConfig, HysteresisConfig, ObservedConfig, RouterConfig, ScoringConfig,
};
use std::mem::offset_of;

/// All settings of a router.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_router_config {
    /// The size of this structure in the program's header, written by
    /// `shoal_router_config_init`.
    pub struct_size: usize,
    /// Health that is older than this counts as degraded, in ms; 1 to 86,400,000.
    pub health_stale_after_ms: u64,
    /// A manager whose last heartbeat is older than this is excluded, in ms; 1 to 86,400,000.
    pub heartbeat_stale_after_ms: u64,
    /// Datacenters expected to take longer are excluded, in ms; 0 sets no limit.
    pub latency_max_ms: f64,
    /// Datacenters expected to serve less are excluded, in requests per second; 0 sets no
    /// limit.
    pub throughput_min_per_second: f64,
    /// Weight of the share of cores in use; 0 to 100.
    pub utilization_weight: f64,
    /// Weight of the queue; 0 to 100.
    pub queue_weight: f64,
    /// Weight of open circuit breakers; 0 to 100.
    pub circuit_weight: f64,
    /// The queue depth that counts half; 1e-9 to 1e9.
    pub queue_smoothing: f64,
    /// The largest load factor; 1 to 1,000.
    pub load_factor_max: f64,
    /// Weight of what is not known about the round trip; 0 to 100.
    pub quality_weight: f64,
    /// The largest quality penalty; 1 to 1,000.
    pub quality_penalty_max: f64,
    /// What the score of a preferred datacenter is multiplied by; 0.1 to 1.
    pub preference_multiplier: f64,
    /// Shorter round trips count as this, in ms; 1e-6 to 1,000.
    pub rtt_min_ms: f64,
    /// Longer round trips count as this, in ms; at least the shortest, up to 1e6.
    pub rtt_max_ms: f64,
    /// The least that an unknown round trip counts as, in ms; within the two above.
    pub rtt_default_ms: f64,
    /// The largest relative error of a coordinate whose predictions are scored; 0 to 10.
    pub bootstrap_error_max: f64,
    /// Samples that a coordinate must have taken before its predictions are scored; 0 to
    /// 1,000,000.
    pub bootstrap_samples_min: u32,
    /// 1 when a preference also reorders the buckets that are only fallback, else 0.
    pub prefer_in_fallback: u32,
    /// How long a choice is protected from rivals, in ms; 0 to 86,400,000.
    pub hold_down_ms: u64,
    /// A rival must score below this share of the present choice; 0.01 to 1.
    pub improvement_ratio: f64,
    /// How long some rival has to stay better by that much, in ms; 0 to 86,400,000.
    pub improvement_confirm_ms: u64,
    /// How many times worse than when chosen counts as degraded; 1 to 1,000.
    pub degrade_ratio: f64,
    /// How long it has to stay degraded before the job moves, in ms; 0 to 86,400,000.
    pub degrade_confirm_ms: u64,
    /// How long a failure in a datacenter counts against it for that job, in ms; 0 to
    /// 86,400,000.
    pub cooldown_ms: u64,
    /// What it multiplies the score by; 1 to 1,000.
    pub cooldown_multiplier: f64,
    /// 1 when observed job latencies correct round trips, else 0.
    pub observed_enabled: u32,
    /// Samples until an observed mean is fully trusted; 1 to 1,000,000.
    pub observed_samples_for_confidence: u32,
    /// Weight of the newest sample in an observed mean; above 0, to 1.
    pub observed_alpha: f64,
    /// The age at which nothing of an observation is trusted any more, in ms; 1 to 86,400,000.
    pub observed_staleness_max_ms: u64,
    /// Longer jobs count as this, in ms; 1 to 1e12.
    pub observed_latency_max_ms: f64,
    /// The largest correction, and the inverse of the smallest; 1 to 1,000.
    pub observed_slowdown_max: f64,
    /// How long a job that is not heard of is remembered, in ms; 1,000 to 1e12.
    pub job_time_to_live_ms: u64,
    /// The most jobs remembered, at 256 bytes each; 1 to 16,777,216. When full, the job that
    /// was used longest ago is forgotten, and counted.
    pub job_capacity: u32,
    /// The most primaries a decision names; 1 to `SHOAL_DATACENTER_COUNT_MAX`.
    pub primary_count_max: u32,
}

/// Fills in every default. `struct_size` is `sizeof(shoal_router_config)`: the macro
/// `shoal_router_config_init(&config)` passes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_config_init_sized(
    config: *mut shoal_router_config,
    struct_size: usize,
) -> shoal_status {
    // SAFETY: `config` has `struct_size` bytes.
    guarded(|| unsafe { growth::init(config, struct_size) })
}

/// Fills in every default of the first published `shoal_router_config`. For callers without a
/// preprocessor; C and C++ get the macro of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_config_init(
    config: *mut shoal_router_config,
) -> shoal_status {
    // SAFETY: no published structure is smaller.
    guarded(|| unsafe { growth::init(config, shoal_router_config::SIZE_FIRST) })
}

// SAFETY: it begins with its size; integers and floats have no forbidden pattern.
unsafe impl Growing for shoal_router_config {
    const SIZE_FIRST: usize = offset_of!(shoal_router_config, primary_count_max) + size_of::<u32>();

    fn defaults() -> shoal_router_config {
        let RouterConfig {
            filter,
            scoring,
            bootstrap,
            hysteresis,
            observed,
            primary_count_max,
            job_capacity,
            job_time_to_live_ms,
        } = RouterConfig::default();
        shoal_router_config {
            struct_size: size_of::<shoal_router_config>(),
            health_stale_after_ms: filter.health_stale_after_ms,
            heartbeat_stale_after_ms: filter.heartbeat_stale_after_ms,
            latency_max_ms: filter.latency_max_ms.unwrap_or(0.0),
            throughput_min_per_second: filter.throughput_min_per_second.unwrap_or(0.0),
            utilization_weight: scoring.utilization_weight,
            queue_weight: scoring.queue_weight,
            circuit_weight: scoring.circuit_weight,
            queue_smoothing: scoring.queue_smoothing,
            load_factor_max: scoring.load_factor_max,
            quality_weight: scoring.quality_weight,
            quality_penalty_max: scoring.quality_penalty_max,
            preference_multiplier: scoring.preference_multiplier,
            rtt_min_ms: scoring.rtt_min_ms,
            rtt_max_ms: scoring.rtt_max_ms,
            rtt_default_ms: scoring.rtt_default_ms,
            bootstrap_error_max: bootstrap.error_max,
            bootstrap_samples_min: bootstrap.samples_min,
            prefer_in_fallback: u32::from(scoring.prefer_in_fallback),
            hold_down_ms: hysteresis.hold_down_ms,
            improvement_ratio: hysteresis.improvement_ratio,
            improvement_confirm_ms: hysteresis.improvement_confirm_ms,
            degrade_ratio: hysteresis.degrade_ratio,
            degrade_confirm_ms: hysteresis.degrade_confirm_ms,
            cooldown_ms: hysteresis.cooldown_ms,
            cooldown_multiplier: hysteresis.cooldown_multiplier,
            observed_enabled: u32::from(observed.enabled),
            observed_samples_for_confidence: observed.samples_for_confidence,
            observed_alpha: observed.alpha,
            observed_staleness_max_ms: observed.staleness_max_ms,
            observed_latency_max_ms: observed.latency_max_ms,
            observed_slowdown_max: observed.slowdown_max,
            job_time_to_live_ms,
            job_capacity,
            primary_count_max: primary_count_max as u32,
        }
    }
}

impl shoal_router_config {
    /// The settings as the router takes them; it checks their ranges.
    pub(crate) fn read(&self) -> Result<RouterConfig, Failure> {
        let limit = |value: f64| (value != 0.0).then_some(value);
        Ok(RouterConfig {
            filter: FilterConfig {
                health_stale_after_ms: self.health_stale_after_ms,
                heartbeat_stale_after_ms: self.heartbeat_stale_after_ms,
                latency_max_ms: limit(self.latency_max_ms),
                throughput_min_per_second: limit(self.throughput_min_per_second),
            },
            scoring: ScoringConfig {
                utilization_weight: self.utilization_weight,
                queue_weight: self.queue_weight,
                circuit_weight: self.circuit_weight,
                queue_smoothing: self.queue_smoothing,
                load_factor_max: self.load_factor_max,
                quality_weight: self.quality_weight,
                quality_penalty_max: self.quality_penalty_max,
                preference_multiplier: self.preference_multiplier,
                prefer_in_fallback: flag("prefer_in_fallback", self.prefer_in_fallback)?,
                rtt_min_ms: self.rtt_min_ms,
                rtt_max_ms: self.rtt_max_ms,
                rtt_default_ms: self.rtt_default_ms,
            },
            bootstrap: BootstrapConfig {
                samples_min: self.bootstrap_samples_min,
                error_max: self.bootstrap_error_max,
            },
            hysteresis: HysteresisConfig {
                hold_down_ms: self.hold_down_ms,
                improvement_ratio: self.improvement_ratio,
                improvement_confirm_ms: self.improvement_confirm_ms,
                degrade_ratio: self.degrade_ratio,
                degrade_confirm_ms: self.degrade_confirm_ms,
                cooldown_ms: self.cooldown_ms,
                cooldown_multiplier: self.cooldown_multiplier,
            },
            observed: ObservedConfig {
                enabled: flag("observed_enabled", self.observed_enabled)?,
                alpha: self.observed_alpha,
                samples_for_confidence: self.observed_samples_for_confidence,
                staleness_max_ms: self.observed_staleness_max_ms,
                latency_max_ms: self.observed_latency_max_ms,
                slowdown_max: self.observed_slowdown_max,
            },
            primary_count_max: self.primary_count_max as usize,
            job_capacity: self.job_capacity,
            job_time_to_live_ms: self.job_time_to_live_ms,
        })
    }
}

fn flag(setting: &str, value: u32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::new(
            SHOAL_INVALID_SETTING,
            format!("{setting} is {value}, expected 0 or 1"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_router_s() {
        let defaults = shoal_router_config::defaults();
        assert_eq!(defaults.read().unwrap(), RouterConfig::default());
        assert_eq!(shoal_router_config::SIZE_FIRST, size_of::<shoal_router_config>());
        shoal_router_config { observed_enabled: 2, ..defaults }.read().unwrap_err();
    }

    #[test]
    fn limits_are_off_at_zero() {
        let limited = shoal_router_config { latency_max_ms: 5.0, ..Growing::defaults() };
        assert_eq!(limited.read().unwrap().filter.latency_max_ms, Some(5.0));
        let broken = shoal_router_config { latency_max_ms: f64::NAN, ..Growing::defaults() };
        broken.read().unwrap().check().unwrap_err();
    }
}
