//! Faults planted on purpose, to prove that the simulator finds such faults.
//!
//! Without the feature `planted-faults` there is nothing to plant: [`is_planted`] is a constant
//! `false` and the compiler takes the hooks out. With it a thread can make every engine that it
//! runs suffer from one fault at a time. Each is a mistake that somebody could make, some have been
//! made.

/// A mistake in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedFault {
    /// A node does not contradict news of its own failure.
    LostRefutation,
    /// Old news that a member is alive revives it after its death.
    StaleAliveRevives,
    /// The timing wheel loses timers that are due where one of its slots begins.
    LostTimer,
    /// A suspicion lasts half as long as it should.
    SuspicionCutShort,
    /// A probe that failed is never taken off its target's record, so the target is not probed
    /// again.
    ProbeNeverEnds,
    /// Members that nobody has heard are passed on.
    HearsayPassedOn,
    /// A restarted member is taken for its predecessor.
    RestartIgnored,
    /// Whoever hears a refutation counts it twice.
    IncarnationInvented,
    /// Local health worsens and never improves.
    HealthNeverImproves,
    /// A broadcast that comes late is delivered again.
    BroadcastRepeated,
    /// A false goodbye of a node is left uncontradicted.
    GoodbyeBelieved,
    /// A record changes and mirrors are not told.
    SilentChange,
}

#[cfg(feature = "planted-faults")]
impl PlantedFault {
    /// Every fault.
    pub const ALL: [PlantedFault; 12] = [
        PlantedFault::LostRefutation,
        PlantedFault::StaleAliveRevives,
        PlantedFault::LostTimer,
        PlantedFault::SuspicionCutShort,
        PlantedFault::ProbeNeverEnds,
        PlantedFault::HearsayPassedOn,
        PlantedFault::RestartIgnored,
        PlantedFault::IncarnationInvented,
        PlantedFault::HealthNeverImproves,
        PlantedFault::BroadcastRepeated,
        PlantedFault::GoodbyeBelieved,
        PlantedFault::SilentChange,
    ];
}

#[cfg(feature = "planted-faults")]
mod active {
    use super::PlantedFault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<PlantedFault>> = const { Cell::new(None) };
    }

    /// Makes every engine on this thread suffer from a fault, or from none.
    pub fn plant(fault: Option<PlantedFault>) {
        PLANTED.set(fault);
    }

    pub(crate) fn is_planted(fault: PlantedFault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(feature = "planted-faults")]
pub(crate) use active::is_planted;
#[cfg(feature = "planted-faults")]
pub use active::plant;

#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn is_planted(_: PlantedFault) -> bool {
    false
}
