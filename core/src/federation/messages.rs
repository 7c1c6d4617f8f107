//! The messages of elections and of watching datacenters, as values and as bytes.
//!
//! ```text
//! ballot       18   kind, flag, sequence 4, term 8, voters 4
//! resignation  28   kind, flags, term 8, successor 18
//! leader probe  6   kind, 0, sequence 4
//! probe ack    32   kind, flags, sequence 4, term 8, leader 18, then a summary 36, if flagged
//! ```
//!
//! Little-endian, no padding; several messages may stand behind each other in one datagram, whose
//! header says who sends, in which run and from which datacenter. A message is checked whole before
//! a field of it is used. Times are durations: no host's clock means anything on another.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::config::MEMBER_CAPACITY_MAX;
use crate::node::Address;
use crate::time::Duration;
use crate::wire::native::{Malformed, WireAddress};

/// The largest message, in bytes.
pub const MESSAGE_SIZE_MAX: usize = size_of::<WireProbeAck>() + size_of::<WireSummary>();
/// The highest term. Higher ones are malformed, so that no forged one can exhaust the numbers.
pub const TERM_MAX: u64 = 1 << 62;

/// A step of an election or of a leadership. The flag is an answer; what it says depends on the
/// message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// In a question or heartbeat the term it is about; in an answer the highest term below or at
    /// which the sender does not vote (votes) or follow (heartbeat acks).
    pub term: u64,
    /// Pairs an answer with its question.
    pub sequence: u32,
    /// How many managers the sender counts in this datacenter, itself included.
    pub voter_count: u32,
    /// In the answer to a vote request: granted. In a heartbeat: the lease is established. In its
    /// ack: promised.
    pub flag: bool,
}

/// How a datacenter is, as its leader tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatacenterSummary {
    /// Managers that are registered.
    pub manager_count: u32,
    /// Managers that answer, at most as many.
    pub healthy_manager_count: u32,
    /// Workers that are registered.
    pub worker_count: u32,
    /// Workers that answer, at most as many.
    pub healthy_worker_count: u32,
    /// Cores of all registered workers.
    pub total_cores: u32,
    /// Cores that are free on healthy workers, at most as many.
    pub available_cores: u32,
    /// Jobs that wait.
    pub queue_depth: u32,
    /// Jobs that run.
    pub active_job_count: u32,
    /// How long ago the leader's host last reported its load, at most 49 days.
    pub age: Duration,
}

/// What a manager answers to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderProbeAck {
    /// The sequence of the probe.
    pub sequence: u32,
    /// The highest term that the manager has followed, or leads in.
    pub term: u64,
    /// The leader in that term, when the manager knows it.
    pub leader: Option<Address>,
    /// How the datacenter is. Only the leader itself tells.
    pub summary: Option<DatacenterSummary>,
}

/// Anything that managers and gates send each other about leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FederationMessage {
    /// Would you vote for me in this term? Changes nothing (Raft, thesis, section 9.6).
    PreVoteRequest(Ballot),
    /// Whether I would.
    PreVoteReply(Ballot),
    /// Vote for me in this term.
    VoteRequest(Ballot),
    /// Whether I did.
    VoteReply(Ballot),
    /// I lead in this term.
    Heartbeat(Ballot),
    /// Whether I promise to elect nobody else for the duration of a lease.
    HeartbeatAck(Ballot),
    /// I lead no longer: every promise is returned.
    Resignation {
        /// The term that ends.
        term: u64,
        /// Who should stand at once.
        successor: Option<Address>,
        /// Whether the sender says goodbye, and will neither vote nor promise again.
        is_leaving: bool,
    },
    /// How is your datacenter? (AD-33: xprobe.)
    LeaderProbe {
        /// Pairs the ack with the probe.
        sequence: u32,
    },
    /// It is like this. (AD-33: xack.)
    LeaderProbeAck(LeaderProbeAck),
}

const PRE_VOTE_REQUEST: u8 = 1;
const PRE_VOTE_REPLY: u8 = 2;
const VOTE_REQUEST: u8 = 3;
const VOTE_REPLY: u8 = 4;
const HEARTBEAT: u8 = 5;
const HEARTBEAT_ACK: u8 = 6;
const RESIGNATION: u8 = 7;
const LEADER_PROBE: u8 = 8;
const LEADER_PROBE_ACK: u8 = 9;

/// A ballot's flag, a resignation's goodbye, a probe ack's summary.
const FLAG: u8 = 1;
/// Whether the address in a resignation or probe ack is one.
const HAS_ADDRESS: u8 = 2;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireBallot {
    kind: u8,
    flags: u8,
    sequence: U32,
    term: U64,
    voter_count: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireResignation {
    kind: u8,
    flags: u8,
    term: U64,
    successor: WireAddress,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireProbe {
    kind: u8,
    flags: u8,
    sequence: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireProbeAck {
    kind: u8,
    flags: u8,
    sequence: U32,
    term: U64,
    leader: WireAddress,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireSummary {
    manager_count: U32,
    healthy_manager_count: U32,
    worker_count: U32,
    healthy_worker_count: U32,
    total_cores: U32,
    available_cores: U32,
    queue_depth: U32,
    active_job_count: U32,
    age_ms: U32,
}

const _: () = assert!(size_of::<WireBallot>() == 18);
const _: () = assert!(size_of::<WireResignation>() == 28);
const _: () = assert!(size_of::<WireProbe>() == 6);
const _: () = assert!(MESSAGE_SIZE_MAX == 68);

impl FederationMessage {
    /// Reads one message and returns what stands behind it.
    ///
    /// # Errors
    /// When a byte breaks the format.
    pub fn parse(bytes: &[u8]) -> Result<(FederationMessage, &[u8]), Malformed> {
        match bytes.first().copied() {
            Some(PRE_VOTE_REQUEST..=HEARTBEAT_ACK) => read_ballot(bytes),
            Some(RESIGNATION) => read_resignation(bytes),
            Some(LEADER_PROBE) => {
                let (wire, rest) = WireProbe::ref_from_prefix(bytes).map_err(|_| Malformed)?;
                let sequence = wire.sequence.get();
                let probe = FederationMessage::LeaderProbe { sequence };
                if wire.flags == 0 { Ok((probe, rest)) } else { Err(Malformed) }
            }
            Some(LEADER_PROBE_ACK) => read_probe_ack(bytes),
            _ => Err(Malformed),
        }
    }

    /// Writes the message to the front of a buffer of at least [`MESSAGE_SIZE_MAX`] bytes and
    /// returns its size.
    ///
    /// # Panics
    /// When the buffer is too small for it.
    pub fn write(&self, buffer: &mut [u8]) -> usize {
        let mut size = 0;
        let mut append = |bytes: &[u8]| {
            buffer[size..][..bytes.len()].copy_from_slice(bytes);
            size += bytes.len();
        };
        match *self {
            FederationMessage::PreVoteRequest(ballot) => {
                append(wire_ballot(PRE_VOTE_REQUEST, &ballot).as_bytes());
            }
            FederationMessage::PreVoteReply(ballot) => {
                append(wire_ballot(PRE_VOTE_REPLY, &ballot).as_bytes());
            }
            FederationMessage::VoteRequest(ballot) => {
                append(wire_ballot(VOTE_REQUEST, &ballot).as_bytes());
            }
            FederationMessage::VoteReply(ballot) => {
                append(wire_ballot(VOTE_REPLY, &ballot).as_bytes());
            }
            FederationMessage::Heartbeat(ballot) => {
                append(wire_ballot(HEARTBEAT, &ballot).as_bytes());
            }
            FederationMessage::HeartbeatAck(ballot) => {
                append(wire_ballot(HEARTBEAT_ACK, &ballot).as_bytes());
            }
            FederationMessage::Resignation { term, successor, is_leaving } => {
                let flags = flag_if(FLAG, is_leaving) | flag_if(HAS_ADDRESS, successor.is_some());
                let successor = successor.unwrap_or(Address::UNSPECIFIED).into();
                let term = U64::new(term);
                append(WireResignation { kind: RESIGNATION, flags, term, successor }.as_bytes());
            }
            FederationMessage::LeaderProbe { sequence } => {
                let sequence = U32::new(sequence);
                append(WireProbe { kind: LEADER_PROBE, flags: 0, sequence }.as_bytes());
            }
            FederationMessage::LeaderProbeAck(ack) => {
                append(wire_probe_ack(&ack).as_bytes());
                if let Some(summary) = &ack.summary {
                    append(wire_summary(summary).as_bytes());
                }
            }
        }
        size
    }
}

fn flag_if(flag: u8, condition: bool) -> u8 {
    if condition { flag } else { 0 }
}

fn read_term(term: U64) -> Result<u64, Malformed> {
    if term.get() <= TERM_MAX { Ok(term.get()) } else { Err(Malformed) }
}

/// The address, where the flags say that there is one; otherwise it must not be there.
fn read_address(flags: u8, wire: WireAddress) -> Result<Option<Address>, Malformed> {
    let address = wire.address();
    match flags & HAS_ADDRESS {
        0 if address == Address::UNSPECIFIED => Ok(None),
        HAS_ADDRESS if address.is_reachable() => Ok(Some(address)),
        _ => Err(Malformed),
    }
}

fn read_ballot(bytes: &[u8]) -> Result<(FederationMessage, &[u8]), Malformed> {
    let (wire, rest) = WireBallot::ref_from_prefix(bytes).map_err(|_| Malformed)?;
    let ballot = Ballot {
        term: read_term(wire.term)?,
        sequence: wire.sequence.get(),
        voter_count: wire.voter_count.get(),
        flag: wire.flags == FLAG,
    };
    if wire.flags > FLAG || !(1..=MEMBER_CAPACITY_MAX).contains(&ballot.voter_count) {
        return Err(Malformed);
    }
    let message = match wire.kind {
        PRE_VOTE_REQUEST => FederationMessage::PreVoteRequest(ballot),
        PRE_VOTE_REPLY => FederationMessage::PreVoteReply(ballot),
        VOTE_REQUEST => FederationMessage::VoteRequest(ballot),
        VOTE_REPLY => FederationMessage::VoteReply(ballot),
        HEARTBEAT => FederationMessage::Heartbeat(ballot),
        _ => FederationMessage::HeartbeatAck(ballot),
    };
    Ok((message, rest))
}

fn read_resignation(bytes: &[u8]) -> Result<(FederationMessage, &[u8]), Malformed> {
    let (wire, rest) = WireResignation::ref_from_prefix(bytes).map_err(|_| Malformed)?;
    if wire.flags & !(FLAG | HAS_ADDRESS) != 0 {
        return Err(Malformed);
    }
    let message = FederationMessage::Resignation {
        term: read_term(wire.term)?,
        successor: read_address(wire.flags, wire.successor)?,
        is_leaving: wire.flags & FLAG != 0,
    };
    Ok((message, rest))
}

fn read_probe_ack(bytes: &[u8]) -> Result<(FederationMessage, &[u8]), Malformed> {
    let (wire, rest) = WireProbeAck::ref_from_prefix(bytes).map_err(|_| Malformed)?;
    if wire.flags & !(FLAG | HAS_ADDRESS) != 0 {
        return Err(Malformed);
    }
    let (summary, rest) = match wire.flags & FLAG {
        0 => (None, rest),
        _ => {
            let (summary, rest) = WireSummary::ref_from_prefix(rest).map_err(|_| Malformed)?;
            (Some(read_summary(summary)?), rest)
        }
    };
    let ack = LeaderProbeAck {
        sequence: wire.sequence.get(),
        term: read_term(wire.term)?,
        leader: read_address(wire.flags, wire.leader)?,
        summary,
    };
    Ok((FederationMessage::LeaderProbeAck(ack), rest))
}

fn read_summary(wire: &WireSummary) -> Result<DatacenterSummary, Malformed> {
    let summary = DatacenterSummary {
        manager_count: wire.manager_count.get(),
        healthy_manager_count: wire.healthy_manager_count.get(),
        worker_count: wire.worker_count.get(),
        healthy_worker_count: wire.healthy_worker_count.get(),
        total_cores: wire.total_cores.get(),
        available_cores: wire.available_cores.get(),
        queue_depth: wire.queue_depth.get(),
        active_job_count: wire.active_job_count.get(),
        age: Duration::from_millis(u64::from(wire.age_ms.get())),
    };
    let is_possible = summary.healthy_manager_count <= summary.manager_count
        && summary.healthy_worker_count <= summary.worker_count
        && summary.available_cores <= summary.total_cores;
    if is_possible { Ok(summary) } else { Err(Malformed) }
}

fn wire_ballot(kind: u8, ballot: &Ballot) -> WireBallot {
    WireBallot {
        kind,
        flags: flag_if(FLAG, ballot.flag),
        sequence: U32::new(ballot.sequence),
        term: U64::new(ballot.term),
        voter_count: U32::new(ballot.voter_count),
    }
}

fn wire_probe_ack(ack: &LeaderProbeAck) -> WireProbeAck {
    let has_address = flag_if(HAS_ADDRESS, ack.leader.is_some());
    WireProbeAck {
        kind: LEADER_PROBE_ACK,
        flags: flag_if(FLAG, ack.summary.is_some()) | has_address,
        sequence: U32::new(ack.sequence),
        term: U64::new(ack.term),
        leader: ack.leader.unwrap_or(Address::UNSPECIFIED).into(),
    }
}

fn wire_summary(summary: &DatacenterSummary) -> WireSummary {
    let age_ms = summary.age.as_millis().min(u128::from(u32::MAX)) as u32;
    WireSummary {
        manager_count: U32::new(summary.manager_count),
        healthy_manager_count: U32::new(summary.healthy_manager_count),
        worker_count: U32::new(summary.worker_count),
        healthy_worker_count: U32::new(summary.healthy_worker_count),
        total_cores: U32::new(summary.total_cores),
        available_cores: U32::new(summary.available_cores),
        queue_depth: U32::new(summary.queue_depth),
        active_job_count: U32::new(summary.active_job_count),
        age_ms: U32::new(age_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn address() -> Address {
        "10.1.2.3:7946".parse().unwrap()
    }

    fn summary() -> DatacenterSummary {
        DatacenterSummary {
            manager_count: 3,
            healthy_manager_count: 2,
            worker_count: 9,
            healthy_worker_count: 8,
            total_cores: 64,
            available_cores: 17,
            queue_depth: 5,
            active_job_count: 4,
            age: Duration::from_millis(1_234),
        }
    }

    /// One of each kind, with and without what is optional.
    fn messages() -> Vec<FederationMessage> {
        use FederationMessage::{LeaderProbeAck as Ack, *};
        let ballot = Ballot { term: 77, sequence: 0xdead_beef, voter_count: 5, flag: true };
        let ack = super::LeaderProbeAck { sequence: 9, term: 12, leader: None, summary: None };
        vec![
            PreVoteRequest(Ballot { flag: false, ..ballot }),
            PreVoteReply(ballot),
            VoteRequest(Ballot { term: TERM_MAX, ..ballot }),
            VoteReply(ballot),
            Heartbeat(ballot),
            HeartbeatAck(Ballot { voter_count: MEMBER_CAPACITY_MAX, ..ballot }),
            Resignation { term: 3, successor: Some(address()), is_leaving: true },
            Resignation { term: 3, successor: None, is_leaving: false },
            LeaderProbe { sequence: 6 },
            Ack(ack),
            Ack(super::LeaderProbeAck { leader: Some(address()), ..ack }),
            Ack(super::LeaderProbeAck { summary: Some(summary()), ..ack }),
        ]
    }

    fn bytes(message: &FederationMessage) -> Vec<u8> {
        let mut buffer = [0; MESSAGE_SIZE_MAX];
        let size = message.write(&mut buffer);
        buffer[..size].to_vec()
    }

    #[test]
    fn what_is_written_is_read_even_from_one_datagram() {
        let whole: Vec<u8> = messages().iter().flat_map(bytes).collect();
        let mut unread = &whole[..];
        for message in messages() {
            let (read, rest) = FederationMessage::parse(unread).unwrap();
            assert_eq!(read, message);
            unread = rest;
        }
        assert!(unread.is_empty());
    }

    #[test]
    fn every_truncation_is_malformed() {
        for message in messages() {
            let whole = bytes(&message);
            for size in 0..whole.len() {
                assert!(FederationMessage::parse(&whole[..size]).is_err(), "{message:?} {size}");
            }
        }
    }

    #[test]
    fn impossible_fields_are_malformed() {
        use FederationMessage::{LeaderProbeAck as Ack, *};
        let ballot = Ballot { term: 1, sequence: 1, voter_count: 1, flag: false };
        let ack = super::LeaderProbeAck { sequence: 9, term: 12, leader: None, summary: None };
        let with = |change: fn(&mut DatacenterSummary)| {
            let mut summary = summary();
            change(&mut summary);
            Ack(super::LeaderProbeAck { summary: Some(summary), ..ack })
        };
        let impossible = [
            Heartbeat(Ballot { term: TERM_MAX + 1, ..ballot }),
            Heartbeat(Ballot { voter_count: 0, ..ballot }),
            Heartbeat(Ballot { voter_count: MEMBER_CAPACITY_MAX + 1, ..ballot }),
            Resignation { term: u64::MAX, successor: None, is_leaving: false },
            Resignation { term: 1, successor: Some(Address::UNSPECIFIED), is_leaving: false },
            Ack(super::LeaderProbeAck { term: u64::MAX, ..ack }),
            with(|summary| summary.healthy_manager_count = 4),
            with(|summary| summary.healthy_worker_count = 10),
            with(|summary| summary.available_cores = 65),
        ];
        for message in impossible {
            assert_eq!(FederationMessage::parse(&bytes(&message)), Err(Malformed), "{message:?}");
        }
        // A flag that means nothing here, and an address that no flag announces.
        let mut probe = bytes(&LeaderProbe { sequence: 1 });
        probe[1] = 1;
        assert!(FederationMessage::parse(&probe).is_err());
        let mut resignation =
            bytes(&Resignation { term: 3, successor: Some(address()), is_leaving: true });
        resignation[1] = FLAG;
        assert!(FederationMessage::parse(&resignation).is_err());
    }

    #[test]
    fn what_is_read_from_random_damage_is_possible() {
        let mut random = Random::new(5);
        let good: Vec<Vec<u8>> = messages().iter().map(bytes).collect();
        for _ in 0..100_000 {
            let mut damaged = good[random.below(good.len() as u32) as usize].clone();
            for _ in 0..=random.below(3) {
                let index = random.below(damaged.len() as u32) as usize;
                damaged[index] = random.next_u64() as u8;
            }
            if let Ok((message, rest)) = FederationMessage::parse(&damaged) {
                // Whatever is accepted has exactly one form.
                assert_eq!(bytes(&message), damaged[..damaged.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn ages_beyond_the_field_are_capped() {
        let old = DatacenterSummary { age: Duration::from_secs(1 << 40), ..summary() };
        assert_eq!(wire_summary(&old).age_ms.get(), u32::MAX);
    }
}
