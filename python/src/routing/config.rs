//! The settings of a router.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use shoal_core::routing::{
    BootstrapConfig, FilterConfig, HysteresisConfig, ObservedConfig, RouterConfig, ScoringConfig,
};

use crate::config::{Setting, setting_group};

setting_group!(
    FilterConfig,
    FilterConfig::default(),
    [health_stale_after_ms, heartbeat_stale_after_ms, latency_max_ms, throughput_min_per_second,]
);

setting_group!(
    ScoringConfig,
    ScoringConfig::default(),
    [
        utilization_weight,
        queue_weight,
        circuit_weight,
        queue_smoothing,
        load_factor_max,
        quality_weight,
        quality_penalty_max,
        preference_multiplier,
        prefer_in_fallback,
        rtt_min_ms,
        rtt_max_ms,
        rtt_default_ms,
    ]
);

setting_group!(BootstrapConfig, BootstrapConfig::default(), [samples_min, error_max,]);

setting_group!(
    HysteresisConfig,
    HysteresisConfig::default(),
    [
        hold_down_ms,
        improvement_ratio,
        improvement_confirm_ms,
        degrade_ratio,
        degrade_confirm_ms,
        cooldown_ms,
        cooldown_multiplier,
    ]
);

setting_group!(
    ObservedConfig,
    ObservedConfig::default(),
    [enabled, alpha, samples_for_confidence, staleness_max_ms, latency_max_ms, slowdown_max,]
);

setting_group!(
    RouterConfig,
    RouterConfig::default(),
    [
        filter,
        scoring,
        bootstrap,
        hysteresis,
        observed,
        primary_count_max,
        job_capacity,
        job_time_to_live_ms,
    ]
);

/// A limit that may be left out.
impl Setting for Option<f64> {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        value.extract()
    }

    fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        self.into_bound_py_any(py)
    }
}
