//! The tables of the file with which an engine is tuned: `[engine]`, `[federation]`, `[routing]`.
//!
//! Each key is declared once, with its type and its place in [`Config`], under the name it has
//! there, where its meaning and its range are documented too.

use serde::Deserialize;
use shoal_core::{Config, ConfigError};

/// Declares one table.
macro_rules! table {
    ($(#[$documentation:meta])* $name:ident { $($key:ident: $kind:ty => $($path:ident).+,)* }) => {
        $(#[$documentation])*
        #[derive(Deserialize, Clone, Debug, Default, PartialEq)]
        #[serde(default)]
        struct $name {
            $($key: Option<$kind>,)*
        }

        impl $name {
            const KEYS: &[&str] = &[$(stringify!($key),)*];

            fn values(config: &Config) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), format!("{:?}", config.$($path).+)),)*]
            }

            fn or(self, other: $name) -> $name {
                $name { $($key: self.$key.or(other.$key),)* }
            }

            fn has(&self, key: &str) -> bool {
                match key {
                    $(stringify!($key) => self.$key.is_some(),)*
                    _ => false,
                }
            }

            fn apply(&self, config: &mut Config) {
                $(if let Some(value) = self.$key { config.$($path).+ = value; })*
            }
        }
    };
}

table! {
    /// Detection, dissemination, and what the engine may use at most.
    Engine {
        probe_interval_ms: u64 => probe_interval_ms,
        probe_timeout_min_ms: u64 => probe_timeout_min_ms,
        probe_timeout_unknown_ms: u64 => probe_timeout_unknown_ms,
        indirect_probe_count: usize => indirect_probe_count,
        suspicion_min_factor: f64 => suspicion_min_factor,
        suspicion_max_factor: f64 => suspicion_max_factor,
        gossip_factor: u32 => gossip_factor,
        gossip_interval_ms: u64 => gossip_interval_ms,
        gossip_fanout: usize => gossip_fanout,
        sync_interval_ms: u64 => sync_interval_ms,
        join_interval_ms: u64 => join_interval_ms,
        dead_retention_ms: u64 => dead_retention_ms,
        confirmation_timeout_ms: [u64; 3] => confirmation_timeout_ms,
        confirmation_interval_ms: u64 => confirmation_interval_ms,
        confirmation_attempts: [u8; 3] => confirmation_attempts,
        state_size_max: u32 => state_size_max,
        member_capacity: u32 => member_capacity,
        session_capacity: u32 => session_capacity,
        source_request_rate: u32 => source_request_rate,
        transmit_capacity: u32 => transmit_capacity,
        event_capacity: u32 => event_capacity,
        probe_capacity: u32 => probe_capacity,
    }
}

table! {
    /// How managers elect their leader, and how gates watch datacenters.
    Federation {
        manager_count_min: u32 => federation.manager_count_min,
        heartbeat_interval_ms: u64 => federation.heartbeat_interval_ms,
        lease_ms: u64 => federation.lease_ms,
        clock_drift_max: f64 => federation.clock_drift_max,
        vote_timeout_ms: u64 => federation.vote_timeout_ms,
        election_spread_ms: u64 => federation.election_spread_ms,
        health_delay_ms: u64 => federation.health_delay_ms,
        leader_health_score_max: u8 => federation.leader_health_score_max,
        health_patience_ms: u64 => federation.health_patience_ms,
        probe_interval_ms: u64 => federation.probe_interval_ms,
        probe_timeout_ms: u64 => federation.probe_timeout_ms,
        probe_failure_count: u32 => federation.probe_failure_count,
        silence_ms: u64 => federation.silence_ms,
        suspicion_ms: u64 => federation.suspicion_ms,
        correlation_window_ms: u64 => federation.correlation_window_ms,
        correlation_count_min: u32 => federation.correlation_count_min,
        correlation_share_min: f64 => federation.correlation_share_min,
        correlation_hold_ms: u64 => federation.correlation_hold_ms,
    }
}

table! {
    /// How a gate routes jobs.
    Routing {
        health_stale_after_ms: u64 => routing.filter.health_stale_after_ms,
        heartbeat_stale_after_ms: u64 => routing.filter.heartbeat_stale_after_ms,
        utilization_weight: f64 => routing.scoring.utilization_weight,
        queue_weight: f64 => routing.scoring.queue_weight,
        circuit_weight: f64 => routing.scoring.circuit_weight,
        queue_smoothing: f64 => routing.scoring.queue_smoothing,
        load_factor_max: f64 => routing.scoring.load_factor_max,
        quality_weight: f64 => routing.scoring.quality_weight,
        quality_penalty_max: f64 => routing.scoring.quality_penalty_max,
        preference_multiplier: f64 => routing.scoring.preference_multiplier,
        rtt_min_ms: f64 => routing.scoring.rtt_min_ms,
        rtt_max_ms: f64 => routing.scoring.rtt_max_ms,
        rtt_default_ms: f64 => routing.scoring.rtt_default_ms,
        samples_min: u32 => routing.bootstrap.samples_min,
        error_max: f64 => routing.bootstrap.error_max,
        hold_down_ms: u64 => routing.hysteresis.hold_down_ms,
        improvement_ratio: f64 => routing.hysteresis.improvement_ratio,
        improvement_confirm_ms: u64 => routing.hysteresis.improvement_confirm_ms,
        degrade_ratio: f64 => routing.hysteresis.degrade_ratio,
        degrade_confirm_ms: u64 => routing.hysteresis.degrade_confirm_ms,
        cooldown_ms: u64 => routing.hysteresis.cooldown_ms,
        cooldown_multiplier: f64 => routing.hysteresis.cooldown_multiplier,
        primary_count_max: usize => routing.primary_count_max,
        job_capacity: u32 => routing.job_capacity,
        job_time_to_live_ms: u64 => routing.job_time_to_live_ms,
    }
}

/// What the tables say. `None` is "not told".
#[derive(Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Tuning {
    engine: Engine,
    federation: Federation,
    routing: Routing,
}

impl Tuning {
    /// The tables with their keys.
    pub const TABLES: [(&str, &[&str]); 3] =
        [("engine", Engine::KEYS), ("federation", Federation::KEYS), ("routing", Routing::KEYS)];

    /// Every table and key with its value in a configuration, as text.
    pub fn values(config: &Config) -> Vec<(&'static str, &'static str, String)> {
        let named = |table, values: Vec<(&'static str, String)>| {
            values.into_iter().map(move |(key, value)| (table, key, value))
        };
        named("engine", Engine::values(config))
            .chain(named("federation", Federation::values(config)))
            .chain(named("routing", Routing::values(config)))
            .collect()
    }

    /// These values, completed by others where they say nothing.
    pub fn or(self, other: Tuning) -> Tuning {
        Tuning {
            engine: self.engine.or(other.engine),
            federation: self.federation.or(other.federation),
            routing: self.routing.or(other.routing),
        }
    }

    /// Whether a key is told.
    pub fn has(&self, table: &str, key: &str) -> bool {
        match table {
            "engine" => self.engine.has(key),
            "federation" => self.federation.has(key),
            "routing" => self.routing.has(key),
            _ => false,
        }
    }

    /// Puts what was told into a configuration.
    pub fn apply(&self, config: &mut Config) {
        self.engine.apply(config);
        self.federation.apply(config);
        self.routing.apply(config);
    }

    /// Says whether an engine can run with a configuration; with an error, the table that it is
    /// about.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(config: &Config) -> Result<(), (&'static str, ConfigError)> {
        config.federation.check().map_err(|error| ("federation", error))?;
        config.routing.check().map_err(|error| ("routing", error))?;
        config.check().map_err(|error| ("engine", error))
    }
}
