//! Who a node is: its address, its generation and incarnation, its role and its datacenter.
//!
//! Identity is the triple (address, generation, incarnation). The address says where, the generation
//! says which run of the program, the incarnation is raised by the node itself to refute a suspicion
//! (SWIM, section 4.2). A restart is a new generation and wins over every record of the old one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A UDP endpoint in one canonical form: IPv4 is kept as an IPv4-mapped IPv6 address, so that the same
/// peer seen through a dual-stack socket and through an IPv4 socket is one peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    ip: [u8; 16],
    port: u16,
}

impl Address {
    /// No address at all, for example "whoever reads this".
    pub const UNSPECIFIED: Address = Address { ip: [0; 16], port: 0 };

    /// The address with these IPv6 (or IPv4-mapped) bytes and this port.
    pub const fn from_parts(ip: [u8; 16], port: u16) -> Address {
        Address { ip, port }
    }

    /// The IPv6 or IPv4-mapped bytes.
    pub const fn ip_bytes(&self) -> &[u8; 16] {
        &self.ip
    }

    /// The UDP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The IP address, IPv4 where it is one.
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// As the standard library writes it.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.port)
    }

    /// Whether a datagram can be sent there: a port and a definite, non-multicast IP.
    pub fn is_reachable(&self) -> bool {
        let ip = self.ip();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        self.port != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Address {
        let ip = match socket.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        Address { ip, port: socket.port() }
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Address, Self::Err> {
        SocketAddr::from_str(text).map(Address::from)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(formatter)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(formatter)
    }
}

/// Which run of a node's program this is. Later runs have larger numbers: hosts use the wall clock at
/// start, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Raised by a node, and by nobody else, each time it refutes news of its own failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// The incarnation that refutes this one.
    pub fn next(self) -> Incarnation {
        Incarnation(self.0.saturating_add(1))
    }
}

/// What a node does in the job system (AD-35): it decides how eagerly peers confirm it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Role {
    /// Entry point that routes jobs to datacenters.
    Gate = 1,
    /// Owner of jobs inside one datacenter.
    Manager = 2,
    /// Runs the work; confirmed only passively.
    Worker = 3,
}

impl Role {
    /// Every role, in wire order.
    pub const ALL: [Role; 3] = [Role::Gate, Role::Manager, Role::Worker];

    /// The lower-case name used in configuration, JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Gate => "gate",
            Role::Manager => "manager",
            Role::Worker => "worker",
        }
    }

    /// The role with this wire number.
    pub const fn from_wire(number: u8) -> Option<Role> {
        match number {
            1 => Some(Role::Gate),
            2 => Some(Role::Manager),
            3 => Some(Role::Worker),
            _ => None,
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        let matching = Role::ALL.into_iter().find(|role| role.name() == text);
        matching.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The text names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}, expected gate, manager or worker")]
pub struct UnknownRole(String);

/// Where a peer stands in its life, as this node sees it (DESIGN: SWIM states plus confirmation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum MemberState {
    /// Heard of, not yet heard from. Never suspected, never declared dead.
    Unconfirmed = 0,
    /// Heard from, and answering.
    Alive = 1,
    /// Did not answer; may still refute.
    Suspect = 2,
    /// Did not refute in time.
    Dead = 3,
    /// Said goodbye.
    Left = 4,
    /// Forgotten: its record is gone. Seen in events only.
    Removed = 5,
}

impl MemberState {
    /// Every state, in wire order.
    pub const ALL: [MemberState; 6] = [
        MemberState::Unconfirmed,
        MemberState::Alive,
        MemberState::Suspect,
        MemberState::Dead,
        MemberState::Left,
        MemberState::Removed,
    ];

    /// The lower-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            MemberState::Unconfirmed => "unconfirmed",
            MemberState::Alive => "alive",
            MemberState::Suspect => "suspect",
            MemberState::Dead => "dead",
            MemberState::Left => "left",
            MemberState::Removed => "removed",
        }
    }

    /// Whether the peer takes part: it is probed, gossiped to and asked for help.
    pub const fn is_active(self) -> bool {
        matches!(self, MemberState::Alive | MemberState::Suspect)
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The name of a datacenter: 1 to [`DatacenterName::SIZE_MAX`] bytes of ASCII letters, digits, `-`, `_`, `.`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatacenterName {
    size: u8,
    bytes: [u8; DatacenterName::SIZE_MAX],
}

impl DatacenterName {
    /// The longest name, in bytes.
    pub const SIZE_MAX: usize = 31;

    /// Reads a name, or `None` when it is empty, too long or has another character.
    pub fn from_bytes(name: &[u8]) -> Option<DatacenterName> {
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if name.is_empty() || name.len() > Self::SIZE_MAX || !name.iter().all(legal) {
            return None;
        }
        let mut bytes = [0; Self::SIZE_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Some(DatacenterName { size: name.len() as u8, bytes })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a name is ASCII, checked when it was made")
    }

    /// The name as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }
}

impl FromStr for DatacenterName {
    type Err = InvalidDatacenterName;

    fn from_str(text: &str) -> Result<DatacenterName, InvalidDatacenterName> {
        let invalid = || InvalidDatacenterName(text.to_owned());
        DatacenterName::from_bytes(text.as_bytes()).ok_or_else(invalid)
    }
}

impl fmt::Display for DatacenterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for DatacenterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

/// The text is no datacenter name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid datacenter name {0:?}, expected 1 to 31 of the characters A-Z a-z 0-9 - _ .")]
pub struct InvalidDatacenterName(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_plain_ipv4_are_one_address() {
        let plain: Address = "127.0.0.1:9000".parse().unwrap();
        let mapped: Address = "[::ffff:127.0.0.1]:9000".parse().unwrap();
        assert_eq!(plain, mapped);
        assert_eq!(mapped.to_string(), "127.0.0.1:9000");
        assert_eq!("[::1]:1".parse::<Address>().unwrap().to_string(), "[::1]:1");
    }

    #[test]
    fn reachable_needs_port_and_definite_ip() {
        for text in ["0.0.0.0:1", "[::]:1", "127.0.0.1:0", "224.0.0.1:1", "255.255.255.255:1"] {
            assert!(!text.parse::<Address>().unwrap().is_reachable(), "{text}");
        }
        assert!("10.0.0.1:1".parse::<Address>().unwrap().is_reachable());
    }

    #[test]
    fn datacenter_names_are_short_and_plain() {
        assert_eq!("us-east.1".parse::<DatacenterName>().unwrap().as_str(), "us-east.1");
        for name in ["", "has space", "naïve", &"x".repeat(32)] {
            assert!(name.parse::<DatacenterName>().is_err(), "{name}");
        }
    }

    #[test]
    fn roles_survive_their_text_and_wire_forms() {
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
            assert_eq!(Role::from_wire(role as u8), Some(role));
        }
        assert!("client".parse::<Role>().is_err());
        assert_eq!(Role::from_wire(0), None);
    }
}
