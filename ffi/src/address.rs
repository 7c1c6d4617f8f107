//! Addresses: where a node is reached, as 24 bytes that compare with `memcmp`.

use crate::call::{Failure, Outcome, guarded, read_text, required, write_text};
use crate::status::{
    SHOAL_BUFFER_TOO_SMALL, SHOAL_INVALID_ADDRESS, SHOAL_INVALID_ARGUMENT, SHOAL_NULL_POINTER,
    SHOAL_OK, shoal_status,
};
use libc::{sockaddr, sockaddr_in, sockaddr_in6};
use shoal_core::Address;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Room for every address as text, its final NUL included.
pub const SHOAL_ADDRESS_TEXT_SIZE: usize = 48;

/// A UDP endpoint. IPv4 is kept as IPv4-mapped IPv6, so that two addresses are the same exactly
/// when their bytes are. All zero means "none".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct shoal_address {
    /// IPv6, or IPv4-mapped IPv6 (`::ffff:a.b.c.d`), in network order.
    pub ip: [u8; 16],
    /// The UDP port, in host order.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

impl From<Address> for shoal_address {
    fn from(address: Address) -> shoal_address {
        shoal_address { ip: *address.ip_bytes(), port: address.port(), reserved: [0; 6] }
    }
}

impl shoal_address {
    /// The address as the engine takes it.
    pub(crate) fn read(&self) -> Result<Address, Failure> {
        if self.reserved != [0; 6] {
            let detail = "the reserved bytes of an address are not zero";
            return Err(Failure::new(SHOAL_INVALID_ADDRESS, detail));
        }
        Ok(Address::from_parts(self.ip, self.port))
    }
}

/// Reads an address such as "10.0.0.1:9000" or "[::1]:9000". Host names are not resolved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_address_parse(
    text: *const c_char,
    address: Option<&mut MaybeUninit<shoal_address>>,
) -> shoal_status {
    guarded(|| {
        let address = required(address, "address")?;
        let invalid = || Failure::new(SHOAL_INVALID_ADDRESS, "not an IP address with a port");
        if text.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "text is NULL"));
        }
        // SAFETY: `text` is a C string; the scan ends at its NUL.
        let text = unsafe { read_text(text, SHOAL_ADDRESS_TEXT_SIZE) }.ok_or_else(invalid)?;
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        address.write(text.parse::<Address>().map_err(|_| invalid())?.into());
        Ok(SHOAL_OK)
    })
}

/// Writes an address as text; `SHOAL_ADDRESS_TEXT_SIZE` bytes are always enough.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_address_format(
    address: Option<&shoal_address>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    guarded(|| {
        let text = required(address, "address")?.read()?.to_string();
        // SAFETY: `buffer` has `size` bytes.
        unsafe { write_text(&text, buffer, size) }
    })
}

/// Takes the address out of a `struct sockaddr_in` or `struct sockaddr_in6` of `size` bytes, as
/// `recvfrom` fills it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_address_from_sockaddr(
    socket_address: *const sockaddr,
    size: usize,
    address: Option<&mut MaybeUninit<shoal_address>>,
) -> shoal_status {
    guarded(|| {
        let address = required(address, "address")?;
        if socket_address.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "socket_address is NULL"));
        }
        // SAFETY: `socket_address` has `size` bytes.
        let socket = unsafe { read_socket_address(socket_address, size)? };
        address.write(Address::from(socket).into());
        Ok(SHOAL_OK)
    })
}

/// Writes an address for `sendto` on a socket of this `family` (`AF_INET` or `AF_INET6`), and
/// its size. IPv4 addresses are written for both families, IPv6 addresses for `AF_INET6` only
/// (`SHOAL_INVALID_ARGUMENT`). A `struct sockaddr_storage` has room for both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_address_to_sockaddr(
    address: Option<&shoal_address>,
    family: c_int,
    socket_address: *mut sockaddr,
    size: usize,
    size_written: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    guarded(|| {
        let address = required(address, "address")?.read()?;
        let size_written = required(size_written, "size_written")?;
        if socket_address.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "socket_address is NULL"));
        }
        match (family, address.socket_address()) {
            (libc::AF_INET, SocketAddr::V4(socket)) => {
                // SAFETY: zero is a value of every field.
                let mut plain: sockaddr_in = unsafe { std::mem::zeroed() };
                plain.sin_family = libc::AF_INET as libc::sa_family_t;
                plain.sin_port = socket.port().to_be();
                plain.sin_addr.s_addr = u32::from_ne_bytes(socket.ip().octets());
                // SAFETY: `socket_address` has `size` bytes.
                unsafe { write_socket_address(plain, socket_address, size, size_written) }
            }
            (libc::AF_INET6, _) => {
                // SAFETY: zero is a value of every field.
                let mut wide: sockaddr_in6 = unsafe { std::mem::zeroed() };
                wide.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                wide.sin6_port = address.port().to_be();
                wide.sin6_addr.s6_addr = *address.ip_bytes();
                // SAFETY: `socket_address` has `size` bytes.
                unsafe { write_socket_address(wide, socket_address, size, size_written) }
            }
            _ => Err(Failure::new(SHOAL_INVALID_ARGUMENT, "the family cannot hold the address")),
        }
    })
}

/// # Safety
/// `source` points to `size` readable bytes, aligned or not.
unsafe fn read_socket_address(source: *const sockaddr, size: usize) -> Result<SocketAddr, Failure> {
    let family_end = std::mem::offset_of!(sockaddr, sa_family) + size_of::<libc::sa_family_t>();
    let invalid = || Failure::new(SHOAL_INVALID_ADDRESS, "not an IPv4 or IPv6 socket address");
    if size < family_end {
        return Err(invalid());
    }
    // SAFETY: the family lies inside `size`, as checked.
    let family = unsafe { (&raw const (*source).sa_family).read_unaligned() };
    match c_int::from(family) {
        libc::AF_INET if size >= size_of::<sockaddr_in>() => {
            // SAFETY: the size was checked.
            let plain = unsafe { source.cast::<sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(plain.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::from((ip, u16::from_be(plain.sin_port))))
        }
        libc::AF_INET6 if size >= size_of::<sockaddr_in6>() => {
            // SAFETY: the size was checked.
            let wide = unsafe { source.cast::<sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(wide.sin6_addr.s6_addr);
            Ok(SocketAddr::from((ip, u16::from_be(wide.sin6_port))))
        }
        _ => Err(invalid()),
    }
}

/// # Safety
/// `target` points to `size` writable bytes, aligned or not.
unsafe fn write_socket_address<T>(
    value: T,
    target: *mut sockaddr,
    size: usize,
    size_written: &mut MaybeUninit<usize>,
) -> Outcome {
    if size < size_of::<T>() {
        return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, "the socket address does not fit"));
    }
    // SAFETY: the size was checked.
    unsafe { target.cast::<T>().write_unaligned(value) };
    size_written.write(size_of::<T>());
    Ok(SHOAL_OK)
}
