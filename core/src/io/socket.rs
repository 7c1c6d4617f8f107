//! The UDP socket of a node: its options, the kernel's form of an address, and what the kernel says
//! about a datagram besides its bytes.
//!
//! A node bound to `[::]` is reached over IPv6 and IPv4 alike. The address is never shared with
//! another socket (no `SO_REUSEADDR`), because two nodes on one address would each hear half of the
//! truth. Link-local IPv6 addresses need a scope, which [`Address`] does not carry, so they are not
//! supported.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::error::StartError;
use crate::node::Address;

/// Asked for on both sides of a socket, in bytes; the system may grant less (`net.core.rmem_max`).
/// Room for a few thousand datagrams, so that a burst outlives a scheduling delay of tens of
/// milliseconds.
const SOCKET_BUFFER_SIZE: usize = 4 << 20;

/// Opens a bound, non-blocking socket whose datagrams carry receive timestamps.
pub(super) fn open(address: SocketAddr) -> Result<UdpSocket, StartError> {
    bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        io::ErrorKind::AddrNotAvailable => StartError::AddressNotAvailable { address },
        _ => StartError::Bind { address, source },
    })
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The system caps these silently; a small buffer is no reason not to run.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_SIZE);
    #[cfg(target_os = "linux")]
    linux::report_arrivals(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The address as the standard library has it for this socket: an IPv6 socket wants IPv4 mapped.
#[cfg(any(test, not(target_os = "linux")))]
pub(super) fn target_for(address: Address, socket: &UdpSocket) -> io::Result<SocketAddr> {
    match (socket.local_addr()?, address.socket_address()) {
        (SocketAddr::V6(_), SocketAddr::V4(target)) => {
            Ok(SocketAddr::new(target.ip().to_ipv6_mapped().into(), target.port()))
        }
        (_, target) => Ok(target),
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Ancillary, CONTROL_SIZE, Family, SocketName};

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use std::mem;
    use std::os::fd::AsRawFd;

    /// Room for what a received datagram brings along: a timestamp and a count of lost ones.
    pub(in super::super) const CONTROL_SIZE: usize = 64;

    /// Asks for a timestamp with every datagram and for a count of those lost to a full socket
    /// buffer.
    pub(super) fn report_arrivals(socket: &Socket) -> io::Result<()> {
        for option in [libc::SO_TIMESTAMPNS, libc::SO_RXQ_OVFL] {
            let on: libc::c_int = 1;
            let size = mem::size_of_val(&on) as libc::socklen_t;
            // SAFETY: the pointer and the size describe `on`, which outlives the call.
            let status = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const on).cast(),
                    size,
                )
            };
            if status != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Which form of address a socket takes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Family {
        V4,
        V6,
    }

    impl Family {
        pub(in super::super) fn of(socket: &UdpSocket) -> io::Result<Family> {
            Ok(if socket.local_addr()?.is_ipv4() { Family::V4 } else { Family::V6 })
        }
    }

    /// An address as the kernel reads and writes it: `sockaddr_in` or `sockaddr_in6`.
    #[derive(Clone, Copy, Debug)]
    #[repr(C, align(8))]
    pub(in super::super) struct SocketName {
        bytes: [u8; SocketName::CAPACITY],
        size: u32,
    }

    impl SocketName {
        /// Bytes offered to the kernel for an address.
        pub(in super::super) const CAPACITY: usize = 32;
        const SIZE_V4: usize = mem::size_of::<libc::sockaddr_in>();
        const SIZE_V6: usize = mem::size_of::<libc::sockaddr_in6>();

        pub(in super::super) const EMPTY: SocketName =
            SocketName { bytes: [0; SocketName::CAPACITY], size: 0 };

        /// The address in the form that the socket takes. `None` when an IPv4 socket cannot reach
        /// it.
        pub(in super::super) fn new(address: Address, family: Family) -> Option<SocketName> {
            let mut name = SocketName::EMPTY;
            let ip = address.ip_bytes();
            name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
            match family {
                Family::V4 => {
                    if ip[..12] != MAPPED_PREFIX {
                        return None;
                    }
                    name.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                    name.bytes[4..8].copy_from_slice(&ip[12..]);
                    name.size = Self::SIZE_V4 as u32;
                }
                Family::V6 => {
                    name.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                    name.bytes[8..24].copy_from_slice(ip);
                    name.size = Self::SIZE_V6 as u32;
                }
            }
            Some(name)
        }

        /// Reads a name that the kernel wrote. `None` when it is of neither family.
        pub(in super::super) fn parse(bytes: &[u8]) -> Option<Address> {
            let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
            let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
            let mut ip = [0; 16];
            match i32::from(family) {
                libc::AF_INET => {
                    ip[..12].copy_from_slice(&MAPPED_PREFIX);
                    ip[12..].copy_from_slice(bytes.get(4..8)?);
                }
                libc::AF_INET6 => ip.copy_from_slice(bytes.get(8..24)?),
                _ => return None,
            }
            Some(Address::from_parts(ip, port))
        }

        pub(in super::super) fn as_ptr(&self) -> *const u8 {
            self.bytes.as_ptr()
        }

        pub(in super::super) fn size(&self) -> libc::socklen_t {
            self.size
        }
    }

    impl PartialEq for SocketName {
        fn eq(&self, other: &SocketName) -> bool {
            self.size == other.size && self.bytes == other.bytes
        }
    }

    const MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    /// What the kernel says about a received datagram besides its bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(in super::super) struct Ancillary {
        /// When it arrived by the wall clock, in nanoseconds since 1970.
        pub(in super::super) stamp: Option<u64>,
        /// How many datagrams this socket has lost so far because its buffer was full.
        pub(in super::super) lost: Option<u32>,
    }

    impl Ancillary {
        /// Reads the control messages that came with a datagram. Unknown ones are skipped, and a
        /// broken one ends the reading.
        pub(in super::super) fn parse(mut control: &[u8]) -> Ancillary {
            const HEADER: usize = mem::size_of::<libc::cmsghdr>();
            const WORD: usize = mem::size_of::<usize>();
            let mut ancillary = Ancillary::default();
            while let Some((header, _)) = control.split_at_checked(HEADER) {
                let word = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
                let size = usize::from_ne_bytes(header[..WORD].try_into().unwrap());
                let (level, kind) = (word(HEADER - 8), word(HEADER - 4));
                let Some(data) = control.get(HEADER..size) else { break };
                if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
                    ancillary.stamp = parse_timespec(data);
                } else if level == libc::SOL_SOCKET && kind == libc::SO_RXQ_OVFL {
                    ancillary.lost = data.try_into().ok().map(u32::from_ne_bytes);
                }
                control = control.get(size.next_multiple_of(WORD)..).unwrap_or_default();
            }
            ancillary
        }
    }

    fn parse_timespec(data: &[u8]) -> Option<u64> {
        let (seconds, nanos) = data.split_at_checked(data.len() / 2)?;
        let seconds = libc::time_t::from_ne_bytes(seconds.try_into().ok()?);
        let nanos = libc::c_long::from_ne_bytes(nanos.try_into().ok()?);
        u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos as u64)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_kernel_form() {
        for text in ["127.0.0.1:9000", "[2001:db8::1]:1", "[::1]:65535"] {
            let address: Address = text.parse().unwrap();
            let name = SocketName::new(address, Family::V6).unwrap();
            // SAFETY: a name has CAPACITY bytes.
            let bytes = unsafe { std::slice::from_raw_parts(name.as_ptr(), SocketName::CAPACITY) };
            assert_eq!(SocketName::parse(bytes), Some(address));
            let plain = SocketName::new(address, Family::V4);
            assert_eq!(plain.is_some(), address.ip().is_ipv4(), "{text}");
        }
        assert_eq!(SocketName::parse(&[0; 28]), None);
    }

    #[test]
    fn reads_control_messages_and_survives_broken_ones() {
        let message = |kind: i32, data: &[u8]| {
            let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
            bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let mut time = 7i64.to_ne_bytes().to_vec();
        time.extend(5i64.to_ne_bytes());
        let mut control = message(99, &[1, 2, 3]);
        control.extend(message(libc::SO_RXQ_OVFL, &42u32.to_ne_bytes()));
        control.extend(message(libc::SCM_TIMESTAMPNS, &time));
        let expected = Ancillary { stamp: Some(7_000_000_005), lost: Some(42) };
        assert_eq!(Ancillary::parse(&control), expected);
        for size in 0..control.len() {
            Ancillary::parse(&control[..size]);
        }
        for size in [0usize, 1, 15, usize::MAX] {
            let mut broken = control.clone();
            broken[..8].copy_from_slice(&size.to_ne_bytes());
            assert_eq!(Ancillary::parse(&broken), Ancillary::default(), "size {size}");
        }
    }

    #[test]
    fn a_taken_or_foreign_address_is_one_clear_line() {
        let first = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = open(address).unwrap_err();
        assert!(matches!(error, StartError::AddressInUse { .. }));
        assert!(error.to_string().contains(&format!("cannot bind {address}: it is in use")));
        let foreign = open("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(foreign, StartError::AddressNotAvailable { .. }));
    }

    #[test]
    fn the_wildcard_is_dual_stack() {
        let both = open("[::]:0".parse().unwrap()).unwrap();
        let port = both.local_addr().unwrap().port();
        for (bind, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let sender = open(bind.parse().unwrap()).unwrap();
            sender.send_to(b"hello", SocketAddr::new(ip.parse().unwrap(), port)).unwrap();
            let mut buffer = [0; 16];
            both.set_nonblocking(false).unwrap();
            both.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            let (size, source) = both.recv_from(&mut buffer).unwrap();
            assert_eq!((size, Address::from(source).ip()), (5, ip.parse().unwrap()));
            let reply = target_for(Address::from(source), &both).unwrap();
            both.send_to(b"reply", reply).unwrap();
        }
    }
}
