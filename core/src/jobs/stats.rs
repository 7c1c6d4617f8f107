//! What the trackers have counted.

/// What a [`JobTracker`](super::JobTracker) has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobStats {
    /// Jobs that were started.
    pub started: u64,
    /// Jobs that were taken over from another leader or from before a restart.
    pub resumed: u64,
    /// Jobs that the host finished.
    pub finished: u64,
    /// Jobs that timed out, for whatever reason.
    pub timed_out: u64,
    /// Those of them that timed out because their gate was silent.
    pub fallbacks: u64,
    /// Times that a job was found stuck.
    pub stuck: u64,
    /// Times that a job was reported over time and then made progress or was extended.
    pub recovered: u64,
    /// Jobs given up because another manager leads them.
    pub superseded: u64,
    /// Reports sent, repetitions included.
    pub reports_sent: u64,
    /// Reports repeated because they had not been acknowledged.
    pub reports_repeated: u64,
    /// Reports that a gate had no room for.
    pub reports_refused: u64,
    /// Outcomes that no gate took within their lifetime.
    pub outcomes_abandoned: u64,
    /// Outcomes dropped undelivered to make room for a new job.
    pub outcomes_evicted: u64,
    /// Global timeouts refused as stale: about an earlier leader, or by a gate that has been
    /// replaced.
    pub timeouts_refused: u64,
    /// Global timeouts of jobs that are not tracked.
    pub timeouts_unknown: u64,
    /// Answers dropped because too many were waiting.
    pub replies_dropped: u64,
    /// Messages that were meant for a gate.
    pub misdirected: u64,
}

/// What a [`GateJobTracker`](super::GateJobTracker) has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Jobs that the host started or resumed.
    pub started: u64,
    /// Jobs taken over because a manager reported them.
    pub adopted: u64,
    /// Jobs that were timed out.
    pub timed_out: u64,
    /// Reports received.
    pub reports_received: u64,
    /// Reports seen before.
    pub reports_repeated: u64,
    /// Reports of managers that had been replaced.
    pub reports_superseded: u64,
    /// Reports refused for lack of room, or because they make no sense.
    pub reports_refused: u64,
    /// Global timeouts sent, repetitions included.
    pub timeouts_sent: u64,
    /// Global timeouts repeated because there was no answer.
    pub timeouts_repeated: u64,
    /// Datacenters that did not confirm a global timeout within its lifetime.
    pub timeouts_undelivered: u64,
    /// Times that a datacenter refused a global timeout.
    pub corrections: u64,
    /// Jobs that were over and were forgotten early to make room.
    pub evicted: u64,
    /// Answers dropped because too many were waiting.
    pub replies_dropped: u64,
    /// Messages that were meant for a manager.
    pub misdirected: u64,
}
