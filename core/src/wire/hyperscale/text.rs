//! The smallest pieces of the text: numbers and addresses, read strictly and written without the
//! formatting machinery, which would cost more than sealing the datagram.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::node::Address;

/// Longer texts are no number that the format knows.
const NUMBER_SIZE_MAX: usize = 40;

/// What stands before and after the first `separator`.
pub(super) fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The field before the first `separator`, which may be the last one, and what follows.
pub(super) fn field<'a>(rest: &mut Option<&'a [u8]>, separator: u8) -> Option<&'a [u8]> {
    let bytes = (*rest)?;
    // Fields are short: a loop beats a vectorised search.
    match bytes.iter().position(|&byte| byte == separator) {
        Some(at) => {
            *rest = Some(&bytes[at + 1..]);
            Some(&bytes[..at])
        }
        None => {
            *rest = None;
            Some(bytes)
        }
    }
}

/// Decimal digits only: no sign, no space, no underscore.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The same, when it fits a smaller type.
pub(super) fn small_number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    T::try_from(number(digits)?).ok()
}

/// A finite decimal number as JSON and Python write it.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let is_numeric = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if text.len() > NUMBER_SIZE_MAX || !text.iter().all(is_numeric) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// The largest measurement or time that an entry tells; with its decimals it is a number of legal
/// length.
const DECIMAL_MAX: f64 = 1e15;

/// A number of an entry, which is written with a fixed number of decimals.
pub(super) fn decimal(text: &[u8]) -> Option<f64> {
    float(text).filter(|value| value.abs() <= DECIMAL_MAX)
}

/// Text that may be told to the host.
pub(super) fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Host and port of `host:port` or `[host]:port`.
fn split_endpoint(text: &[u8]) -> Option<(&[u8], u16)> {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let (host, rest) = split_once(rest, b']')?;
            (host, rest.strip_prefix(b":")?)
        }
        None => {
            let at = text.iter().rposition(|&byte| byte == b':')?;
            (&text[..at], &text[at + 1..])
        }
    };
    let port = small_number(port).filter(|&port| port != 0)?;
    Some((host, port))
}

/// Whether the text can be the address of a node, by number or by name.
pub(super) fn is_endpoint(text: &[u8]) -> bool {
    let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || b".:-".contains(byte);
    split_endpoint(text).is_some_and(|(host, _)| !host.is_empty() && host.iter().all(is_legal))
}

/// The address when it is numeric; names are not looked up.
pub(super) fn address(text: &[u8]) -> Option<Address> {
    let (host, port) = split_endpoint(text)?;
    address_of(host, port)
}

/// The address of a numeric host.
pub(super) fn address_of(host: &[u8], port: u16) -> Option<Address> {
    if let Some(ip) = ipv4(host) {
        return Some(Address::from_parts(ip.to_ipv6_mapped().octets(), port));
    }
    let ip: Ipv6Addr = utf8(host)?.parse().ok()?;
    Some(Address::from(SocketAddr::from((ip, port))))
}

fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = Some(text);
    let mut octets = [0; 4];
    for octet in &mut octets {
        let digits = field(&mut rest, b'.')?;
        let is_plain = digits.len() == 1 || (digits.len() <= 3 && digits.first() != Some(&b'0'));
        *octet = small_number(digits).filter(|_| is_plain)?;
    }
    rest.is_none().then(|| Ipv4Addr::from(octets))
}

/// Room for the text of any address.
pub const ADDRESS_TEXT_SIZE_MAX: usize = 64;

/// The text of an address, as its `Display` writes it and in a fraction of the time.
pub fn address_text(address: Address, buffer: &mut [u8; ADDRESS_TEXT_SIZE_MAX]) -> &str {
    let mut writer = TextWriter::new(buffer);
    writer.push_address(address);
    let size = writer.finish().expect("the longest address has 47 characters");
    utf8(&buffer[..size]).expect("an address is ASCII")
}

/// Appends to a buffer of fixed size; what does not fit sets a flag and the text is worthless.
#[derive(Debug)]
pub(super) struct TextWriter<'a> {
    buffer: &'a mut [u8],
    size: usize,
    has_overflowed: bool,
}

impl<'a> TextWriter<'a> {
    pub fn new(buffer: &'a mut [u8]) -> TextWriter<'a> {
        TextWriter { buffer, size: 0, has_overflowed: false }
    }

    /// The bytes written, `None` when they did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.has_overflowed).then_some(self.size)
    }

    pub fn push(&mut self, bytes: &[u8]) -> &mut TextWriter<'a> {
        match self.buffer.get_mut(self.size..self.size + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.size += bytes.len();
            }
            None => self.has_overflowed = true,
        }
        self
    }

    pub fn push_number(&mut self, mut value: u64) -> &mut TextWriter<'a> {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.push(&digits[first..])
    }

    /// The shortest text that is read back as the same number.
    pub fn push_float(&mut self, value: f64) -> &mut TextWriter<'a> {
        self.push_formatted(format_args!("{value:?}"))
    }

    /// Rounded to a number of decimals; what no reader would take is 0 or the nearest legal number.
    pub fn push_decimals(&mut self, value: f64, decimals: usize) -> &mut TextWriter<'a> {
        let value = if value.is_nan() { 0.0 } else { value.clamp(-DECIMAL_MAX, DECIMAL_MAX) };
        self.push_formatted(format_args!("{value:.decimals$}"))
    }

    /// `host:port`, IPv6 hosts in brackets.
    pub fn push_address(&mut self, address: Address) -> &mut TextWriter<'a> {
        self.push_host(address).push(b":").push_number(u64::from(address.port()))
    }

    /// The host alone.
    pub fn push_host(&mut self, address: Address) -> &mut TextWriter<'a> {
        let bytes = address.ip_bytes();
        match bytes {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                self.push_number(u64::from(*a)).push(b".").push_number(u64::from(*b));
                self.push(b".").push_number(u64::from(*c));
                self.push(b".").push_number(u64::from(*d))
            }
            _ => self.push_formatted(format_args!("[{}]", Ipv6Addr::from(*bytes))),
        }
    }

    fn push_formatted(&mut self, arguments: std::fmt::Arguments<'_>) -> &mut TextWriter<'a> {
        // The flag tells what did not fit.
        let _ = std::fmt::write(self, arguments);
        self
    }
}

impl std::fmt::Write for TextWriter<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut TextWriter)) -> String {
        let mut buffer = [0; 64];
        let mut writer = TextWriter::new(&mut buffer);
        write(&mut writer);
        let size = writer.finish().unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn an_address_is_written_as_it_is_displayed() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        for text in ["0.0.0.0:0", "255.255.255.255:65535", "[::1]:7462", longest] {
            let address: Address = text.parse().unwrap();
            let mut buffer = [0; ADDRESS_TEXT_SIZE_MAX];
            assert_eq!(address_text(address, &mut buffer), address.to_string());
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        let refused =
            ["", "18446744073709551616", "-1", "+1", " 1", "1 ", "1_0", "1.0", "9000#", "٣"];
        for text in refused {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(small_number::<u16>(b"65536"), None);
        assert_eq!(
            written(|w| {
                w.push_number(0).push_number(u64::MAX);
            }),
            format!("0{}", u64::MAX)
        );
    }

    #[test]
    fn floats_are_finite_decimals() {
        for (text, value) in [("1.5", 1.5), ("-0.0", 0.0), ("1e-07", 1e-7), ("12", 12.0)] {
            assert_eq!(float(text.as_bytes()), Some(value), "{text}");
        }
        let long = "1".repeat(41);
        for text in ["", "nan", "NaN", "inf", "-Infinity", "1e999", "0x10", "1.5.2", &long] {
            assert_eq!(float(text.as_bytes()), None, "{text}");
        }
        for value in [0.1, 1e-7, -0.16103341207779984, 1e300, 5e-324] {
            assert_eq!(
                float(
                    written(|w| {
                        w.push_float(value);
                    })
                    .as_bytes()
                ),
                Some(value)
            );
        }
    }

    #[test]
    fn decimals_are_written_so_that_they_are_read() {
        for value in [0.0, -1.5, 1e15, -1e15, 1e300, f64::INFINITY, f64::NAN] {
            let text = written(|w| {
                w.push_decimals(value, 6);
            });
            assert!(decimal(text.as_bytes()).is_some(), "{text}");
        }
        assert_eq!(decimal(b"1e16"), None);
    }

    #[test]
    fn addresses_survive_their_text() {
        for text in ["127.0.0.1:9001", "255.10.0.1:65535", "[::1]:1", "[2001:db8::7]:9"] {
            let parsed = address(text.as_bytes()).unwrap();
            assert_eq!(parsed, text.parse().unwrap());
            assert_eq!(
                written(|w| {
                    w.push_address(parsed);
                }),
                text
            );
        }
        for text in ["host:9", "1.2.3:9", "1.2.3.4.5:9", "01.2.3.4:9", "256.1.1.1:9", "1.2.3.4:0"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut writer = TextWriter::new(&mut []);
        assert_eq!(writer.push(b"a").push_float(1.0).push_number(3).size, 0);
        assert_eq!(writer.finish(), None);
    }
}
