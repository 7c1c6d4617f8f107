//! Deadlines of jobs, as a gate watches them: earliest first, each ended once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The deadlines of running jobs.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    /// Deadline in whole microseconds, then the job.
    running: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Deadlines {
    /// Watches a job until an instant, in milliseconds.
    pub fn start(&mut self, job: u64, deadline_ms: f64) {
        self.running.push(Reverse(((deadline_ms * 1e3).ceil() as u64, job)));
    }

    /// A job whose deadline has passed, the longest overdue first. It is watched no more.
    pub fn expired(&mut self, now_ms: f64) -> Option<u64> {
        let Reverse((deadline, job)) = *self.running.peek()?;
        if (now_ms * 1e3) < deadline as f64 {
            return None;
        }
        self.running.pop();
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_end_in_order_once_and_never_early() {
        let mut deadlines = Deadlines::default();
        deadlines.start(1, 20.0);
        deadlines.start(2, 10.0);
        assert_eq!(deadlines.expired(9.999), None);
        assert_eq!(deadlines.expired(30.0), Some(2));
        assert_eq!(deadlines.expired(30.0), Some(1));
        assert_eq!(deadlines.expired(30.0), None);
    }
}
