//! How well a datacenter is: HEALTHY, BUSY, DEGRADED or UNHEALTHY (AD-16).
//!
//! The conditions are those of AD-16, in its order, on the head counts of a manager's heartbeat.
//! The distinction that matters: a datacenter without a free core is busy, which passes by itself,
//! not unhealthy, which needs somebody.

use std::fmt;

use super::bucket::Bucket;

/// The health of a datacenter, best first (AD-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum DatacenterHealth {
    /// Structurally well, with free cores.
    Healthy = 0,
    /// Structurally well, without a free core. Passes as jobs finish.
    Busy = 1,
    /// The majority of its workers or of its managers is lost: it works, with less.
    Degraded = 2,
    /// No manager answers or no worker is registered: it cannot work.
    Unhealthy = 3,
}

impl DatacenterHealth {
    /// Every health, best first.
    pub const ALL: [DatacenterHealth; 4] = [
        DatacenterHealth::Healthy,
        DatacenterHealth::Busy,
        DatacenterHealth::Degraded,
        DatacenterHealth::Unhealthy,
    ];

    /// The lower-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            DatacenterHealth::Healthy => "healthy",
            DatacenterHealth::Busy => "busy",
            DatacenterHealth::Degraded => "degraded",
            DatacenterHealth::Unhealthy => "unhealthy",
        }
    }

    /// The bucket a datacenter of this health is routed in, `None` where it is not routed to at
    /// all.
    pub const fn bucket(self) -> Option<Bucket> {
        match self {
            DatacenterHealth::Healthy => Some(Bucket::Healthy),
            DatacenterHealth::Busy => Some(Bucket::Busy),
            DatacenterHealth::Degraded => Some(Bucket::Degraded),
            DatacenterHealth::Unhealthy => None,
        }
    }
}

impl fmt::Display for DatacenterHealth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The head counts that decide a datacenter's health, from its managers' heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatacenterSignals {
    /// Managers that are registered.
    pub manager_count: u32,
    /// Managers that answer.
    pub alive_manager_count: u32,
    /// Workers that are registered.
    pub worker_count: u32,
    /// Workers that answer.
    pub healthy_worker_count: u32,
    /// Cores that are free on healthy workers.
    pub available_cores: u32,
}

/// The health that AD-16 gives to these head counts.
pub const fn classify(signals: &DatacenterSignals) -> DatacenterHealth {
    if signals.alive_manager_count == 0 || signals.worker_count == 0 {
        return DatacenterHealth::Unhealthy;
    }
    if signals.healthy_worker_count < majority(signals.worker_count)
        || signals.alive_manager_count < majority(signals.manager_count)
    {
        return DatacenterHealth::Degraded;
    }
    if signals.available_cores == 0 { DatacenterHealth::Busy } else { DatacenterHealth::Healthy }
}

/// The smallest number that is more than half.
const fn majority(count: u32) -> u32 {
    count / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals() -> DatacenterSignals {
        DatacenterSignals {
            manager_count: 3,
            alive_manager_count: 3,
            worker_count: 10,
            healthy_worker_count: 10,
            available_cores: 40,
        }
    }

    #[test]
    fn follows_the_table_of_ad_16_in_its_order() {
        let with = |change: fn(&mut DatacenterSignals)| {
            let mut signals = signals();
            change(&mut signals);
            classify(&signals)
        };
        assert_eq!(with(|_| ()), DatacenterHealth::Healthy);
        assert_eq!(with(|s| s.available_cores = 0), DatacenterHealth::Busy);
        assert_eq!(with(|s| s.healthy_worker_count = 6), DatacenterHealth::Healthy);
        assert_eq!(with(|s| s.healthy_worker_count = 5), DatacenterHealth::Degraded);
        assert_eq!(with(|s| s.alive_manager_count = 2), DatacenterHealth::Healthy);
        assert_eq!(with(|s| s.alive_manager_count = 1), DatacenterHealth::Degraded);
        assert_eq!(with(|s| s.alive_manager_count = 0), DatacenterHealth::Unhealthy);
        assert_eq!(with(|s| s.worker_count = 0), DatacenterHealth::Unhealthy);
        // The order decides where two conditions hold.
        let degraded_and_full = |s: &mut DatacenterSignals| {
            s.healthy_worker_count = 1;
            s.available_cores = 0;
        };
        assert_eq!(with(degraded_and_full), DatacenterHealth::Degraded);
        let unhealthy_and_full = |s: &mut DatacenterSignals| {
            s.alive_manager_count = 0;
            s.available_cores = 0;
        };
        assert_eq!(with(unhealthy_and_full), DatacenterHealth::Unhealthy);
    }

    #[test]
    fn defect_r4_no_free_core_is_busy_and_a_dead_majority_is_degraded() {
        let full = DatacenterSignals { available_cores: 0, ..signals() };
        assert_eq!(classify(&full), DatacenterHealth::Busy);
        assert!(classify(&full).bucket().is_some(), "a full datacenter stays routable");
        let dying = DatacenterSignals { healthy_worker_count: 4, ..signals() };
        assert_eq!(classify(&dying), DatacenterHealth::Degraded);
    }

    #[test]
    fn more_of_anything_never_makes_it_worse() {
        // Worker and manager totals are left out: more registered with none of them well is worse.
        let counts = [0, 1, 2, 3, 5, 9];
        let every = |visit: &mut dyn FnMut(DatacenterSignals)| {
            for alive_manager_count in counts {
                for healthy_worker_count in counts {
                    for available_cores in counts {
                        let totals = signals();
                        visit(DatacenterSignals {
                            alive_manager_count,
                            healthy_worker_count,
                            available_cores,
                            ..totals
                        });
                    }
                }
            }
        };
        every(&mut |less| {
            every(&mut |more| {
                let dominates = more.alive_manager_count >= less.alive_manager_count
                    && more.healthy_worker_count >= less.healthy_worker_count
                    && more.available_cores >= less.available_cores;
                assert!(!dominates || classify(&more) <= classify(&less), "{less:?} {more:?}");
            });
        });
    }

    #[test]
    fn exactly_the_unhealthy_have_no_bucket() {
        for health in DatacenterHealth::ALL {
            assert_eq!(health.bucket().is_none(), health == DatacenterHealth::Unhealthy);
        }
    }
}
