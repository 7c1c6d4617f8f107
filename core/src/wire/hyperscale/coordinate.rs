//! The sender's coordinate: one JSON object.
//!
//! ```text
//! {"vec":[8 numbers],"height":s,"adjustment":s,"error":s,"sample_count":n}
//! ```
//!
//! A reader for exactly this, because nothing may be allocated, nested without bound or read as a
//! number that is none: Python's JSON knows `NaN` and `Infinity`, and one of them would spoil every
//! coordinate it meets. Unknown keys are skipped; the last of equal keys counts. That gives Shoal
//! nodes a place to say that they also speak the native format, and in which run:
//! `"shoal":1,"generation":n`, at which a Python node does not look.

use super::text::{self, TextWriter};
use crate::coordinate::{Coordinate, DIMENSIONS};
use crate::node::Generation;

/// A longer text is no coordinate.
pub const COORDINATE_TEXT_SIZE_MAX: usize = 1_024;
/// Values deeper than this are not skipped but refused.
const DEPTH_MAX: usize = 8;
/// The version of the native format that is advertised.
pub const NATIVE_VERSION: u32 = 1;

/// What a peer says of its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerCoordinate {
    /// The place. It is finite, and not otherwise checked: see the coordinate guard.
    pub coordinate: Coordinate,
    /// Round trips that led to it.
    pub sample_count: u64,
    /// Present when the peer also speaks the native format.
    pub native: Option<NativeAbility>,
}

/// That a peer also speaks the native format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeAbility {
    /// Which version of it.
    pub version: u32,
    /// Which run of the peer's program this is; the text has no other place for it.
    pub generation: Generation,
}

/// Reads a coordinate; `None` unless vector, height and error are there and every number is finite.
pub(super) fn parse(json: &[u8]) -> Option<PeerCoordinate> {
    if json.len() > COORDINATE_TEXT_SIZE_MAX {
        return None;
    }
    let mut reader = Reader { rest: json };
    let mut vector = None;
    let (mut height, mut error, mut adjustment) = (None, None, 0.0);
    let (mut sample_count, mut version, mut generation) = (0, None, None);
    reader.expect(b'{')?;
    if !reader.take(b'}') {
        loop {
            let key = reader.string()?;
            reader.expect(b':')?;
            match key {
                b"vec" => vector = Some(reader.vector()?),
                b"height" => height = Some(reader.float()?),
                b"adjustment" => adjustment = reader.float()?,
                b"error" => error = Some(reader.float()?),
                b"sample_count" => sample_count = text::number(reader.scalar()?)?,
                b"shoal" => version = text::small_number(reader.scalar()?),
                b"generation" => generation = text::number(reader.scalar()?).map(Generation),
                _ => reader.skip_value(DEPTH_MAX)?,
            }
            if !reader.take(b',') {
                break;
            }
        }
        reader.expect(b'}')?;
    }
    reader.skip_space();
    let coordinate = Coordinate { vector: vector?, height: height?, adjustment, error: error? };
    let both = version.zip(generation);
    let native = both.map(|(version, generation)| NativeAbility { version, generation });
    reader.rest.is_empty().then_some(PeerCoordinate { coordinate, sample_count, native })
}

/// Writes a coordinate as the Python node does.
pub(super) fn write(peer: &PeerCoordinate, writer: &mut TextWriter) {
    let coordinate = &peer.coordinate;
    writer.push(b"{\"vec\":[");
    for (index, component) in coordinate.vector.into_iter().enumerate() {
        writer.push(if index == 0 { b"" } else { b"," }).push_float(component);
    }
    writer.push(b"],\"height\":").push_float(coordinate.height);
    writer.push(b",\"adjustment\":").push_float(coordinate.adjustment);
    writer.push(b",\"error\":").push_float(coordinate.error);
    writer.push(b",\"sample_count\":").push_number(peer.sample_count);
    if let Some(native) = peer.native {
        writer.push(b",\"shoal\":").push_number(native.version.into());
        writer.push(b",\"generation\":").push_number(native.generation.0);
    }
    writer.push(b"}");
}

/// Walks over JSON text.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Whether the next character is this one, which is read then.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// A string as it stands there; escapes are passed over, for no key that matters has one.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let mut end = 0;
        while *self.rest.get(end)? != b'"' {
            end += if self.rest[end] == b'\\' { 2 } else { 1 };
        }
        let string = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(string)
    }

    /// A number or a word, up to what cannot belong to it.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let size = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (scalar, rest) = self.rest.split_at(size);
        self.rest = rest;
        (size > 0).then_some(scalar)
    }

    fn float(&mut self) -> Option<f64> {
        text::float(self.scalar()?)
    }

    fn vector(&mut self) -> Option<[f64; DIMENSIONS]> {
        let mut vector = [0.0; DIMENSIONS];
        self.expect(b'[')?;
        for (index, component) in vector.iter_mut().enumerate() {
            if index > 0 {
                self.expect(b',')?;
            }
            *component = self.float()?;
        }
        self.expect(b']')?;
        Some(vector)
    }

    fn skip_value(&mut self, depth: usize) -> Option<()> {
        self.skip_space();
        match *self.rest.first()? {
            b'"' => self.string().map(drop),
            open @ (b'[' | b'{') if depth > 0 => {
                self.rest = &self.rest[1..];
                let close = if open == b'[' { b']' } else { b'}' };
                if self.take(close) {
                    return Some(());
                }
                loop {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.skip_value(depth - 1)?;
                    if !self.take(b',') {
                        return self.expect(close);
                    }
                }
            }
            b'[' | b'{' => None,
            _ => self.scalar().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "{\"vec\":[-0.16103341207779984,0.0,1e-07,0.0,0.0,0.0,0.0,2.5],\"height\":0.0005,\
        \"adjustment\":-0.0001,\"error\":0.25,\"sample_count\":12}";

    fn peer() -> PeerCoordinate {
        let vector = [-0.16103341207779984, 0.0, 1e-7, 0.0, 0.0, 0.0, 0.0, 2.5];
        let coordinate = Coordinate { vector, height: 0.0005, adjustment: -0.0001, error: 0.25 };
        PeerCoordinate { coordinate, sample_count: 12, native: None }
    }

    fn replaced(from: &str, to: &str) -> Option<PeerCoordinate> {
        let json = JSON.replacen(from, to, 1);
        assert_ne!(json, JSON);
        parse(json.as_bytes())
    }

    #[test]
    fn survives_its_text_bit_for_bit() {
        assert_eq!(parse(JSON.as_bytes()), Some(peer()));
        let native = NativeAbility { version: NATIVE_VERSION, generation: Generation(u64::MAX) };
        for native in [None, Some(native)] {
            let peer = PeerCoordinate { native, ..peer() };
            let mut buffer = [0; 400];
            let mut writer = TextWriter::new(&mut buffer);
            write(&peer, &mut writer);
            let size = writer.finish().unwrap();
            assert_eq!(parse(&buffer[..size]), Some(peer));
        }
    }

    #[test]
    fn other_keys_spaces_and_orders_are_accepted() {
        assert_eq!(replaced("{", " { \"x\":[1,{\"y\":\"}\\\"\"},null], \"z\":{} ,"), Some(peer()));
        assert_eq!(replaced("12}", "12 }\n"), Some(peer()));
        assert_eq!(replaced(",\"sample_count\":12", "").unwrap().sample_count, 0);
        for (text, version) in [("7", Some(7)), ("true", None), ("-1", None)] {
            let ability = format!("12,\"shoal\":{text},\"generation\":5}}");
            let native = replaced("12}", &ability).unwrap().native;
            assert_eq!(native.map(|native| native.version), version, "{text}");
        }
        assert_eq!(replaced("12}", "12,\"shoal\":1}").unwrap().native, None);
    }

    #[test]
    fn refuses_what_is_no_number_and_what_is_no_coordinate() {
        for (from, to) in [
            ("0.25", "NaN"),
            ("0.25", "Infinity"),
            ("0.25", "-Infinity"),
            ("0.25", "1e999"),
            ("0.25", "\"0.25\""),
            ("0.25", "null"),
            (",2.5]", "]"),
            (",2.5]", ",2.5,1.0]"),
            ("[-0.16103341207779984", "[NaN"),
            ("\"vec\"", "\"v\""),
            ("\"error\"", "\"e\""),
            ("12}", "12"),
            ("12}", "12}}"),
            ("12}", "-12}"),
            ("12}", "12,}"),
            ("{", ""),
        ] {
            assert_eq!(replaced(from, to), None, "{from} to {to}");
        }
        for json in ["", "{}", "[]", "null", "{\"vec\"", "{\"vec\\", "{\"\\"] {
            assert_eq!(parse(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn refuses_depth_and_size() {
        let deep = format!("{{\"x\":{}1{},", "[".repeat(400), "]".repeat(400));
        assert_eq!(replaced("{", &deep), None);
        let padded = format!("{{\"x\":\"{}\",", " ".repeat(1_000_000));
        assert_eq!(replaced("{", &padded), None);
        for size in 0..JSON.len() {
            assert_eq!(parse(&JSON.as_bytes()[..size]), None, "{size}");
        }
    }
}
