//! Counters by name. Every datagram or update that is not used has one, so nothing is lost silently.

/// Declares the counters once: the enum, its list, its metric names and its help texts.
macro_rules! counters {
    ($($variant:ident, $name:literal, $help:literal;)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// Every counter, in declaration order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The name in snake case, without prefix and suffix.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// One sentence about it.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => $help,)* }
            }
        }
    };
}

counters! {
    DatagramsReceived, "datagrams_received", "Datagrams handed to the engine.";
    DatagramsSent, "datagrams_sent", "Datagrams written for the host to send.";
    BytesReceived, "bytes_received", "Bytes of all datagrams received.";
    BytesSent, "bytes_sent", "Bytes of all datagrams sent.";

    DroppedOversized, "dropped_oversized", "Datagrams larger than the limit.";
    DroppedTruncated, "dropped_truncated", "Datagrams too short for an envelope.";
    DroppedForeign, "dropped_foreign", "Datagrams that are not of this protocol or version.";
    DroppedUnknownKey, "dropped_unknown_key", "Datagrams sealed with a secret this node does not have.";
    DroppedForged, "dropped_forged", "Datagrams whose seal is broken.";
    DroppedReplayed, "dropped_replayed", "Datagrams seen before or too old to tell.";
    DroppedMalformed, "dropped_malformed", "Sealed datagrams whose content breaks the format.";
    DroppedUnpackedSize, "dropped_unpacked_size", "Sealed datagrams that would unpack to more than is allowed.";
    DroppedMisdirected, "dropped_misdirected", "Sealed datagrams meant for another node or run of this one.";
    DroppedOwn, "dropped_own", "Datagrams this node sent to itself.";
    DroppedStaleSender, "dropped_stale_sender", "Datagrams from an earlier run of a known peer.";
    DroppedLeaving, "dropped_leaving", "Datagrams received after this node left.";

    ProbesSent, "probes_sent", "Direct probes sent.";
    ProbesAcked, "probes_acked", "Own probes answered, directly or through a helper.";
    ProbesFailed, "probes_failed", "Own probes that nobody answered in time.";
    ProbesReceived, "probes_received", "Probes answered for others.";
    IndirectProbesSent, "indirect_probes_sent", "Requests to helpers sent.";
    IndirectProbesReceived, "indirect_probes_received", "Requests of others to help.";
    NacksReceived, "nacks_received", "Helpers that reported no answer either.";
    UnmatchedAcks, "unmatched_acks", "Acks of no probe in flight: late, repeated or invented.";
    DroppedProbes, "dropped_probes", "Probes not made because too many were in flight.";

    RoundTripsRefused, "round_trips_refused", "Round trips outside what a network can do.";
    CoordinatesUpdated, "coordinates_updated", "Coordinate updates applied.";
    CoordinatesExpired, "coordinates_expired", "Coordinates of peers forgotten because they were too old.";
    CoordinatesRefused, "coordinates_refused", "Coordinates of peers that were not finite or out of range.";

    UpdatesReceived, "updates_received", "Member updates read from gossip and tables.";
    UpdatesStale, "updates_stale", "Member updates that told nothing new.";
    UpdatesRefused, "updates_refused", "Member updates with an impossible jump or unusable address.";
    UpdatesSent, "updates_sent", "Member updates written into datagrams.";
    MembersRefused, "members_refused", "Newcomers refused because the member table was full.";
    MembersEvicted, "members_evicted", "Dead or departed records dropped early to make room.";
    SessionsEvicted, "sessions_evicted", "Senders whose keys were forgotten to make room.";

    SuspicionsStarted, "suspicions_started", "Members this node began to suspect.";
    SuspicionsRefuted, "suspicions_refuted", "Suspicions that ended with the member alive.";
    SuspicionsExpired, "suspicions_expired", "Suspicions that ended with the member dead.";
    Refutations, "refutations", "Times this node refuted news of its own failure.";

    StatesDeferred, "states_deferred", "Readings of a member's state put off because too many were under way.";
    StatesRefused, "states_refused", "States of members larger than allowed or not as large as told.";
    BroadcastsRepeated, "broadcasts_repeated", "Broadcasts received again.";
    BroadcastsRefused, "broadcasts_refused", "Broadcasts of this node or of runs not known here.";
    BroadcastsNotRelayed, "broadcasts_not_relayed", "Broadcasts delivered but not passed on because the queue was full.";

    Stalls, "stalls", "Times this node was not run for so long that it began its observations anew.";

    DroppedTransmits, "dropped_transmits", "Datagrams not sent because the queue was full.";
    DroppedEvents, "dropped_events", "Events lost because the host did not take them.";

    RequestsRepeated, "requests_repeated", "Requests in the Python node's format that were seen within the last seconds.";
    RequestsLimited, "requests_limited", "Requests refused because their source sent too many.";
    RequestsRefused, "requests_refused", "Requests in the Python node's format that break it, answered with a nack.";
    UnmatchedReplies, "unmatched_replies", "Replies in the Python node's format to no request of this node.";
    EntriesRefused, "entries_refused", "Entries of sections in the Python node's format that break their form.";
    ClocksRefused, "clocks_refused", "Lamport times of peers beyond what any count of messages reaches.";
    Untranslatable, "untranslatable", "Datagrams not sent because the Python node's format has no such message.";

    SendErrors, "send_errors", "Datagrams that the system refused to send.";
    SendsDeferred, "sends_deferred", "Times that sending waited for room in the socket or the send slots.";
    ReceiveErrors, "receive_errors", "Receive calls that the system failed.";
    SocketOverflows, "socket_overflows", "Datagrams lost because the socket's receive buffer was full.";
}

/// The value of every [`Counter`].
#[derive(Clone, Debug)]
pub struct Stats {
    values: [u64; Counter::ALL.len()],
}

impl Default for Stats {
    fn default() -> Stats {
        Stats { values: [0; Counter::ALL.len()] }
    }
}

impl Stats {
    /// The present value of one counter.
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Counts one.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several.
    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        let value = &mut self.values[counter as usize];
        *value = value.wrapping_add(amount);
    }

    /// All counters with their values, in declaration order.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter, self.value(counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case() {
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Counter::ALL.len());
    }

    #[test]
    fn counts_by_name() {
        let mut stats = Stats::default();
        stats.count(Counter::ProbesSent);
        stats.add(Counter::BytesSent, 100);
        assert_eq!(stats.value(Counter::ProbesSent), 1);
        assert_eq!(stats.iter().map(|(_, value)| value).sum::<u64>(), 101);
    }
}
