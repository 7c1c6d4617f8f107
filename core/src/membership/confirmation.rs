//! Confirmation by role (AD-35): how a peer known from hearsay becomes one that has been heard.
//!
//! Gates and managers are asked to show themselves, a bounded number of times. Workers are many and busy:
//! they are confirmed only by what they send themselves, and therefore introduce themselves to the peers
//! they learn of. A peer that stays silent is forgotten after its role's time, which is longer for
//! far peers, for an unhealthy observer and for uncertain coordinates; it is never suspected, and never
//! declared dead.

use crate::config::Config;
use crate::coordinate::Rtt;
use crate::node::Role;
use crate::time::Duration;

/// How peers of one role are confirmed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Strategy {
    /// How long a silent peer is kept.
    pub timeout: Duration,
    /// How often it is asked to show itself.
    pub attempts: u8,
    /// Time between two attempts.
    pub interval: Duration,
    /// Whether a far peer is given more time.
    pub is_latency_aware: bool,
    /// How much of this node's ill health may lengthen the time.
    pub load_multiplier_max: u32,
}

impl Strategy {
    /// The strategy for peers of this role.
    pub fn of(role: Role, config: &Config) -> Strategy {
        let index = role as usize - 1;
        Strategy {
            timeout: Duration::from_millis(config.confirmation_timeout_ms[index]),
            attempts: config.confirmation_attempts[index],
            interval: Duration::from_millis(config.confirmation_interval_ms),
            is_latency_aware: role != Role::Worker,
            load_multiplier_max: [3, 5, 10][index],
        }
    }

    /// The time after which a silent peer is forgotten.
    pub fn effective_timeout(&self, health_multiplier: u32, rtt: Option<Rtt>) -> Duration {
        let load = f64::from(health_multiplier.min(self.load_multiplier_max));
        let distance = match rtt {
            Some(rtt) if self.is_latency_aware => {
                (rtt.upper_ms / 10.0).clamp(1.0, 10.0) * (1.0 + 0.5 * (1.0 - rtt.quality))
            }
            _ => 1.0,
        };
        self.timeout.mul_f64(load * distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config() -> Config {
        Config::new("127.0.0.1:1".parse().unwrap(), Secret::new([1; 16]).unwrap())
    }

    #[test]
    fn roles_have_the_times_of_the_document() {
        let strategy = |role| Strategy::of(role, &config());
        let seconds = |role| strategy(role).timeout.as_secs();
        assert_eq!(Role::ALL.map(seconds), [120, 90, 180]);
        assert_eq!(Role::ALL.map(|role| strategy(role).attempts), [5, 3, 0]);
        assert_eq!(Role::ALL.map(|role| strategy(role).load_multiplier_max), [3, 5, 10]);
    }

    #[test]
    fn distance_and_own_health_buy_time_within_bounds() {
        let gate = Strategy::of(Role::Gate, &config());
        let far = Some(Rtt { ms: 90.0, upper_ms: 400.0, quality: 0.0 });
        assert_eq!(gate.effective_timeout(1, None), gate.timeout);
        assert_eq!(gate.effective_timeout(9, None), gate.timeout * 3);
        assert_eq!(gate.effective_timeout(1, far), gate.timeout * 15);
        let worker = Strategy::of(Role::Worker, &config());
        assert_eq!(worker.effective_timeout(1, far), worker.timeout);
    }
}
