//! Status codes. Zero is success, one means "nothing there", errors are negative. A number that
//! was published keeps its meaning for ever: a code that is no longer given keeps its line
//! here.

use shoal_core::coordinate::Refusal;
use shoal_core::federation::NameLeaderError;
use shoal_core::io::{NodeError, StartError};
use shoal_core::jobs::{ExtensionDenial, JobError};
use shoal_core::routing::RouteError;
use shoal_core::{CommandError, ConfigError};
use std::ffi::{CStr, c_char};

/// The outcome of a call.
pub type shoal_status = i32;

/// Done; the outputs are written.
pub const SHOAL_OK: shoal_status = 0;
/// Nothing to give: no event, no datagram, no deadline, no such member. Not a failure.
pub const SHOAL_NONE: shoal_status = 1;

/// A bug in Shoal was caught. The handle can only be freed.
pub const SHOAL_PANIC: shoal_status = -1;
/// A pointer that is needed is NULL.
pub const SHOAL_NULL_POINTER: shoal_status = -2;
/// `struct_size` is no size this structure ever had, or it comes from a newer header and a
/// field that this library does not know is not zero.
pub const SHOAL_INVALID_STRUCT_SIZE: shoal_status = -3;
/// The buffer is too small; nothing was written.
pub const SHOAL_BUFFER_TOO_SMALL: shoal_status = -4;
/// An argument is outside its range.
pub const SHOAL_INVALID_ARGUMENT: shoal_status = -5;
/// A failure without a code of its own; the detail describes it.
pub const SHOAL_UNKNOWN: shoal_status = -6;

/// Datagrams of the last input wait in `shoal_engine_poll_transmit`; the input was not taken.
pub const SHOAL_UNDRAINED: shoal_status = -10;
/// The node has stopped.
pub const SHOAL_STOPPED: shoal_status = -11;
/// The node is leaving or has left; only a new one can join again.
pub const SHOAL_LEAVING: shoal_status = -12;
/// The node has another role than this is for.
pub const SHOAL_WRONG_ROLE: shoal_status = -13;

/// The managers elect their leader, so it cannot be named.
pub const SHOAL_LEADER_ELECTED: shoal_status = -14;
/// The term of a named leader is over, belongs to another, or is too high.
pub const SHOAL_STALE_TERM: shoal_status = -15;

/// No address and port in a form that Shoal reads.
pub const SHOAL_INVALID_ADDRESS: shoal_status = -20;
/// Nobody can be reached at the address of a seed; no seed was taken.
pub const SHOAL_INVALID_SEED: shoal_status = -21;
/// More than `SHOAL_SEED_COUNT_MAX` seeds; none was taken.
pub const SHOAL_TOO_MANY_SEEDS: shoal_status = -22;

/// The state is larger than `state_size_max`; the earlier one stays.
pub const SHOAL_STATE_TOO_LARGE: shoal_status = -23;
/// The broadcast is larger than `SHOAL_BROADCAST_SIZE_MAX`; nothing was sent.
pub const SHOAL_BROADCAST_TOO_LARGE: shoal_status = -24;
/// Too many broadcasts are under way; try again when some have spread.
pub const SHOAL_BROADCAST_QUEUE_FULL: shoal_status = -25;

/// A setting is outside its range.
pub const SHOAL_INVALID_SETTING: shoal_status = -30;
/// Peers could not send to the advertised address.
pub const SHOAL_INVALID_ADVERTISE: shoal_status = -31;
/// A secret is shorter than 16 or longer than 256 bytes.
pub const SHOAL_INVALID_SECRET_SIZE: shoal_status = -32;
/// No secret, or more than `SHOAL_SECRET_COUNT_MAX`.
pub const SHOAL_INVALID_SECRET_COUNT: shoal_status = -33;

/// Another socket has the address to bind.
pub const SHOAL_ADDRESS_IN_USE: shoal_status = -40;
/// This machine does not have the address to bind.
pub const SHOAL_ADDRESS_NOT_AVAILABLE: shoal_status = -41;
/// The system refused the socket for another reason.
pub const SHOAL_BIND_FAILED: shoal_status = -42;
/// A node bound to every address needs to be told the one to advertise.
pub const SHOAL_ADVERTISE_UNKNOWN: shoal_status = -43;
/// io_uring was asked for by name, and the system refuses it.
pub const SHOAL_URING_REFUSED: shoal_status = -44;
/// The node's thread cannot run on the given processor.
pub const SHOAL_PIN_FAILED: shoal_status = -45;
/// The system refused a thread or a file descriptor.
pub const SHOAL_OUT_OF_RESOURCES: shoal_status = -46;

/// A coordinate has a field that is not finite or outside its range; nothing was taken from it.
pub const SHOAL_INVALID_COORDINATE: shoal_status = -50;
/// A round trip is zero or longer than any network's; nothing was taken from it.
pub const SHOAL_INVALID_ROUND_TRIP: shoal_status = -51;
/// The sample is older than the peer's last; nothing was taken from it.
pub const SHOAL_SAMPLE_TOO_OLD: shoal_status = -52;
/// The peer's last sample was taken too short a time ago; nothing was taken from this one.
pub const SHOAL_SAMPLE_TOO_SOON: shoal_status = -53;
/// The peer's coordinates have contradicted its round trips too often: the round trip was
/// taken, but the coordinate moved nothing.
pub const SHOAL_PEER_CONTRADICTORY: shoal_status = -54;

/// Two candidates are the same datacenter; nothing was decided.
pub const SHOAL_DUPLICATE_DATACENTER: shoal_status = -60;
/// More candidates than one decision can rank; nothing was decided.
pub const SHOAL_TOO_MANY_CANDIDATES: shoal_status = -61;

/// As many jobs are tracked as the settings allow.
pub const SHOAL_NO_ROOM: shoal_status = -70;
/// The jobs of a manager report to as many gates as may be.
pub const SHOAL_TOO_MANY_GATES: shoal_status = -71;
/// A gate needs an address that datagrams can be sent to.
pub const SHOAL_INVALID_GATE: shoal_status = -72;
/// A timeout below 1 ms or above 365 days.
pub const SHOAL_INVALID_TIMEOUT: shoal_status = -73;
/// No datacenter, or more than a job may run in.
pub const SHOAL_INVALID_DATACENTER_COUNT: shoal_status = -74;
/// The bytes are no message between trackers; nothing was taken from them.
pub const SHOAL_INVALID_MESSAGE: shoal_status = -75;
/// The worker has had all its extensions; its grace runs.
pub const SHOAL_EXTENSIONS_EXHAUSTED: shoal_status = -76;
/// The worker has made no progress since its last extension.
pub const SHOAL_EXTENSION_WITHOUT_PROGRESS: shoal_status = -77;
/// The worker is suspected to have failed, so nothing is granted.
pub const SHOAL_EXTENSION_FOR_SUSPECT: shoal_status = -78;
/// Too many members are accused in jobs; forget jobs that are over.
pub const SHOAL_TOO_MANY_SUSPICIONS: shoal_status = -79;

/// The bytes are no sealed datagram of this format and version.
pub const SHOAL_DATAGRAM_FOREIGN: shoal_status = -90;
/// The datagram is sealed with a secret that is not among those given.
pub const SHOAL_DATAGRAM_UNKNOWN_KEY: shoal_status = -91;
/// The seal of the datagram is broken: it was changed on its way, or made without the secret.
pub const SHOAL_DATAGRAM_FORGED: shoal_status = -92;
/// The datagram was opened before, or is too old to tell.
pub const SHOAL_DATAGRAM_REPLAYED: shoal_status = -93;
/// The datagram was sealed by this very sender.
pub const SHOAL_DATAGRAM_OWN: shoal_status = -94;

/// What each code means, in one phrase.
const TEXTS: &[(shoal_status, &CStr)] = &[
    (SHOAL_OK, c"done"),
    (SHOAL_NONE, c"nothing there"),
    (SHOAL_PANIC, c"a bug in Shoal was caught, the handle can only be freed"),
    (SHOAL_NULL_POINTER, c"a pointer that is needed is NULL"),
    (SHOAL_INVALID_STRUCT_SIZE, c"struct_size is wrong, or the header is newer than the library"),
    (SHOAL_BUFFER_TOO_SMALL, c"the buffer is too small"),
    (SHOAL_INVALID_ARGUMENT, c"an argument is outside its range"),
    (SHOAL_UNKNOWN, c"a failure without a code of its own"),
    (SHOAL_UNDRAINED, c"datagrams of the last input have not been taken"),
    (SHOAL_STOPPED, c"the node has stopped"),
    (SHOAL_LEAVING, c"the node is leaving"),
    (SHOAL_WRONG_ROLE, c"the node has another role than this is for"),
    (SHOAL_LEADER_ELECTED, c"the managers elect their leader"),
    (SHOAL_STALE_TERM, c"the term is over, taken or too high"),
    (SHOAL_INVALID_ADDRESS, c"no address and port"),
    (SHOAL_INVALID_SEED, c"nobody can be reached at the address of a seed"),
    (SHOAL_TOO_MANY_SEEDS, c"too many seeds"),
    (SHOAL_STATE_TOO_LARGE, c"the state is too large"),
    (SHOAL_BROADCAST_TOO_LARGE, c"the broadcast is too large"),
    (SHOAL_BROADCAST_QUEUE_FULL, c"too many broadcasts are under way"),
    (SHOAL_INVALID_SETTING, c"a setting is outside its range"),
    (SHOAL_INVALID_ADVERTISE, c"peers could not send to the advertised address"),
    (SHOAL_INVALID_SECRET_SIZE, c"a secret needs 16 to 256 bytes"),
    (SHOAL_INVALID_SECRET_COUNT, c"no secret or too many"),
    (SHOAL_ADDRESS_IN_USE, c"another socket has the address"),
    (SHOAL_ADDRESS_NOT_AVAILABLE, c"this machine does not have the address"),
    (SHOAL_BIND_FAILED, c"the system refused the socket"),
    (SHOAL_ADVERTISE_UNKNOWN, c"bound to every address, the one to advertise must be set"),
    (SHOAL_URING_REFUSED, c"the system refuses io_uring"),
    (SHOAL_PIN_FAILED, c"the thread cannot run on that processor"),
    (SHOAL_OUT_OF_RESOURCES, c"the system refused a thread or a file descriptor"),
    (SHOAL_INVALID_COORDINATE, c"a coordinate is not finite or out of range"),
    (SHOAL_INVALID_ROUND_TRIP, c"a round trip is zero or too long"),
    (SHOAL_SAMPLE_TOO_OLD, c"the sample is older than the peer's last"),
    (SHOAL_SAMPLE_TOO_SOON, c"the sample comes too soon after the peer's last"),
    (SHOAL_PEER_CONTRADICTORY, c"the peer's coordinates contradict its round trips"),
    (SHOAL_DUPLICATE_DATACENTER, c"two candidates are the same datacenter"),
    (SHOAL_TOO_MANY_CANDIDATES, c"more candidates than one decision can rank"),
    (SHOAL_NO_ROOM, c"as many are tracked as the settings allow"),
    (SHOAL_TOO_MANY_GATES, c"jobs report to as many gates as may be"),
    (SHOAL_INVALID_GATE, c"nothing can be sent to the gate's address"),
    (SHOAL_INVALID_TIMEOUT, c"a timeout needs 1 ms to 365 days"),
    (SHOAL_INVALID_DATACENTER_COUNT, c"no datacenter or too many"),
    (SHOAL_INVALID_MESSAGE, c"the bytes are no message"),
    (SHOAL_EXTENSIONS_EXHAUSTED, c"all extensions are used"),
    (SHOAL_EXTENSION_WITHOUT_PROGRESS, c"no progress since the last extension"),
    (SHOAL_EXTENSION_FOR_SUSPECT, c"the worker is suspected to have failed"),
    (SHOAL_TOO_MANY_SUSPICIONS, c"too many members are accused in jobs"),
    (SHOAL_DATAGRAM_FOREIGN, c"no sealed datagram of this format and version"),
    (SHOAL_DATAGRAM_UNKNOWN_KEY, c"the datagram is sealed with another secret"),
    (SHOAL_DATAGRAM_FORGED, c"the seal of the datagram is broken"),
    (SHOAL_DATAGRAM_REPLAYED, c"the datagram was opened before"),
    (SHOAL_DATAGRAM_OWN, c"the datagram was sealed by this very sender"),
];

/// One static phrase about a code; "unknown status" for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_status_text(status: shoal_status) -> *const c_char {
    let entry = TEXTS.iter().find(|(code, _)| *code == status);
    entry.map_or(c"unknown status", |(_, text)| text).as_ptr()
}

/// The code of a setting that the engine cannot run with.
pub(crate) fn of_config_error(error: &ConfigError) -> shoal_status {
    match error {
        ConfigError::OutOfRange { .. } => SHOAL_INVALID_SETTING,
        ConfigError::Advertise { .. } => SHOAL_INVALID_ADVERTISE,
        ConfigError::SecretSize { .. } => SHOAL_INVALID_SECRET_SIZE,
        ConfigError::SecretCount { .. } => SHOAL_INVALID_SECRET_COUNT,
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of a command that the engine refused.
pub(crate) fn of_command_error(error: &CommandError) -> shoal_status {
    match error {
        CommandError::Leaving => SHOAL_LEAVING,
        CommandError::SeedAddress { .. } => SHOAL_INVALID_SEED,
        CommandError::SeedCount => SHOAL_TOO_MANY_SEEDS,
        CommandError::StateSize { .. } => SHOAL_STATE_TOO_LARGE,
        CommandError::BroadcastSize { .. } => SHOAL_BROADCAST_TOO_LARGE,
        CommandError::BroadcastQueueFull => SHOAL_BROADCAST_QUEUE_FULL,
        CommandError::JobSuspicionsFull => SHOAL_TOO_MANY_SUSPICIONS,
        CommandError::Role { .. } => SHOAL_WRONG_ROLE,
        CommandError::Job(error) => of_job_error(error),
        CommandError::NameLeader(NameLeaderError::Elected) => SHOAL_LEADER_ELECTED,
        CommandError::NameLeader(NameLeaderError::StaleTerm { .. }) => SHOAL_STALE_TERM,
        CommandError::Route(error) => of_route_error(*error),
        CommandError::KeyRing(error) => of_config_error(error),
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of a node that was not started.
pub(crate) fn of_start_error(error: &StartError) -> shoal_status {
    match error {
        StartError::Config(error) => of_config_error(error),
        StartError::AddressInUse { .. } => SHOAL_ADDRESS_IN_USE,
        StartError::AddressNotAvailable { .. } => SHOAL_ADDRESS_NOT_AVAILABLE,
        StartError::Bind { .. } => SHOAL_BIND_FAILED,
        StartError::AdvertiseUnknown { .. } => SHOAL_ADVERTISE_UNKNOWN,
        StartError::Join(error) => of_command_error(error),
        StartError::UringRefused { .. } => SHOAL_URING_REFUSED,
        StartError::Pin { .. } => SHOAL_PIN_FAILED,
        StartError::Resources(_) => SHOAL_OUT_OF_RESOURCES,
        StartError::Stopped => SHOAL_STOPPED,
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of a running node that did not do what it was told.
pub(crate) fn of_node_error(error: &NodeError) -> shoal_status {
    match error {
        NodeError::Refused(error) => of_command_error(error),
        NodeError::Stopped => SHOAL_STOPPED,
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of a coordinate or a round trip that was not used.
pub(crate) fn of_refusal(refusal: Refusal) -> shoal_status {
    match refusal {
        Refusal::Coordinate | Refusal::Dimension => SHOAL_INVALID_COORDINATE,
        Refusal::RoundTrip => SHOAL_INVALID_ROUND_TRIP,
        Refusal::Time => SHOAL_SAMPLE_TOO_OLD,
        Refusal::Rate => SHOAL_SAMPLE_TOO_SOON,
        Refusal::Contradiction => SHOAL_PEER_CONTRADICTORY,
    }
}

/// The code of candidates that cannot be ranked.
pub(crate) fn of_route_error(error: RouteError) -> shoal_status {
    match error {
        RouteError::TooManyCandidates { .. } => SHOAL_TOO_MANY_CANDIDATES,
        RouteError::DuplicateDatacenter { .. } => SHOAL_DUPLICATE_DATACENTER,
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of a job that is not tracked.
pub(crate) fn of_job_error(error: &JobError) -> shoal_status {
    match error {
        JobError::Full => SHOAL_NO_ROOM,
        JobError::GateCount => SHOAL_TOO_MANY_GATES,
        JobError::GateAddress { .. } => SHOAL_INVALID_GATE,
        JobError::Timeout { .. } => SHOAL_INVALID_TIMEOUT,
        JobError::DatacenterCount { .. } => SHOAL_INVALID_DATACENTER_COUNT,
        _ => SHOAL_UNKNOWN,
    }
}

/// The code of an extension that is not granted.
pub(crate) fn of_denial(denial: ExtensionDenial) -> shoal_status {
    match denial {
        ExtensionDenial::Exhausted { .. } => SHOAL_EXTENSIONS_EXHAUSTED,
        ExtensionDenial::NoProgress => SHOAL_EXTENSION_WITHOUT_PROGRESS,
        ExtensionDenial::Suspect => SHOAL_EXTENSION_FOR_SUSPECT,
        ExtensionDenial::NotANumber => SHOAL_INVALID_ARGUMENT,
        ExtensionDenial::UnknownJob => SHOAL_NONE,
        ExtensionDenial::Full => SHOAL_NO_ROOM,
        _ => SHOAL_UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads this file, because a constant cannot be listed otherwise.
    #[test]
    fn every_code_is_one_number_with_one_text() {
        let mut codes = Vec::new();
        for line in include_str!("status.rs").lines() {
            let Some(rest) = line.strip_prefix("pub const SHOAL_") else { continue };
            let value = rest.split("= ").nth(1).unwrap().trim_end_matches(';');
            codes.push(value.parse::<shoal_status>().unwrap());
        }
        assert!(codes.len() > 20, "the constants are read from this file");
        let listed: Vec<_> = TEXTS.iter().map(|(code, _)| *code).collect();
        assert_eq!(listed, codes, "texts are listed in the order of the constants");
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TEXTS.len(), "a number was given twice");
    }

    #[test]
    fn unknown_codes_have_a_text_too() {
        // SAFETY: the function returns static C strings only.
        let text = |status| unsafe { CStr::from_ptr(shoal_status_text(status)) };
        assert_eq!(text(SHOAL_OK), c"done");
        for status in [2, -999, i32::MIN, i32::MAX] {
            assert_eq!(text(status), c"unknown status");
        }
    }
}
