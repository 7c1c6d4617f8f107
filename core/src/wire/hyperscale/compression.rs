//! The zstd frame inside the envelope: unpacked into one buffer, packed as a raw block.
//!
//! A size that the peer declares is compared with the limits and never allocated. As with
//! the Python node only the first zstd frame counts and what follows it is ignored.
//!
//! What this side sends is not compressed: a datagram of at most 1,400 bytes costs the network one
//! packet either way, a raw block costs this side a header of 12 bytes instead of 3.5 µs, and the
//! peer 22 ns instead of 2 µs (RFC 8878, sections 3.1.1.1 and 3.1.1.2.2).

use zstd_safe::DCtx;

use super::{FRAME_SIZE_MAX, UNPACKING_RATIO_MAX};
use crate::stats::Counter;

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Single segment, content size in 4 bytes, neither checksum nor dictionary.
const DESCRIPTOR: u8 = 0b1010_0000;
const BLOCK_HEADER_SIZE: usize = 3;
/// What a packed frame begins with.
pub const PACKING_OVERHEAD: usize = MAGIC.len() + 1 + size_of::<u32>() + BLOCK_HEADER_SIZE;

/// Unpacks one datagram after the other into the same memory.
pub struct Unpacker {
    context: DCtx<'static>,
    unpacked: Box<[u8]>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker::new()
    }
}

impl Unpacker {
    /// Takes all the memory that unpacking will ever need, about 160 KiB.
    pub fn new() -> Unpacker {
        let unpacked = vec![0; FRAME_SIZE_MAX].into_boxed_slice();
        Unpacker { context: DCtx::create(), unpacked }
    }

    /// The first zstd frame in `packed`, unpacked.
    ///
    /// # Errors
    /// The counter to raise: the frame is broken, or more would be unpacked than the limits allow.
    pub fn unpack(&mut self, packed: &[u8]) -> Result<&[u8], Counter> {
        // A skippable frame has another magic number; the Python node takes none of them either.
        if !packed.starts_with(&MAGIC) {
            return Err(Counter::DroppedMalformed);
        }
        let size_max = FRAME_SIZE_MAX.min(packed.len().saturating_mul(UNPACKING_RATIO_MAX));
        let declared = zstd_safe::get_frame_content_size(packed);
        match declared.map_err(|_| Counter::DroppedMalformed)? {
            Some(size) if size > size_max as u64 => return Err(Counter::DroppedUnpackedSize),
            _ => {}
        }
        let end = zstd_safe::find_frame_compressed_size(packed);
        let end = end.map_err(|_| Counter::DroppedMalformed)?;
        let unpacked = &mut self.unpacked[..size_max];
        let size = match self.context.decompress(unpacked, &packed[..end]) {
            Ok(size) => size,
            Err(code) if code == destination_too_small() => {
                return Err(Counter::DroppedUnpackedSize);
            }
            Err(_) => return Err(Counter::DroppedMalformed),
        };
        if size > packed.len() * UNPACKING_RATIO_MAX {
            return Err(Counter::DroppedUnpackedSize);
        }
        Ok(&self.unpacked[..size])
    }
}

/// The code of zstd's error `dstSize_tooSmall`, which is 70 in its stable interface.
fn destination_too_small() -> usize {
    0usize.wrapping_sub(70)
}

/// Turns the `size` bytes that stand at [`PACKING_OVERHEAD`] of `buffer` into a zstd frame of one
/// raw block, which starts at the beginning of `buffer`, and returns its size.
///
/// # Panics
/// When they do not fit a block, which holds [`FRAME_SIZE_MAX`] bytes and more.
pub fn pack(buffer: &mut [u8], size: usize) -> usize {
    assert!(size <= FRAME_SIZE_MAX, "{size} bytes do not fit one block");
    let (header, _) = buffer.split_at_mut(PACKING_OVERHEAD);
    header[..4].copy_from_slice(&MAGIC);
    header[4] = DESCRIPTOR;
    header[5..9].copy_from_slice(&(size as u32).to_le_bytes());
    // Last block, type raw, size from the fourth bit on.
    let block = 1 | (size as u32) << 3;
    header[9..].copy_from_slice(&block.to_le_bytes()[..BLOCK_HEADER_SIZE]);
    PACKING_OVERHEAD + size
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd_safe::CompressionLevel;

    const LEVEL: CompressionLevel = 3;

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut packed = vec![0; zstd_safe::compress_bound(content.len())];
        let size = zstd_safe::compress(&mut packed[..], content, LEVEL).unwrap();
        packed.truncate(size);
        packed
    }

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; PACKING_OVERHEAD + content.len()];
        buffer[PACKING_OVERHEAD..].copy_from_slice(content);
        assert_eq!(pack(&mut buffer, content.len()), buffer.len());
        buffer
    }

    /// A frame that declares a content size of 8 bytes and holds an empty last block.
    fn declaring(size: u64) -> Vec<u8> {
        [&MAGIC[..], &[0b1110_0000], &size.to_le_bytes(), &[1, 0, 0]].concat()
    }

    #[test]
    fn unpacks_both_kinds_and_ignores_what_follows() {
        let mut unpacker = Unpacker::new();
        let noise: Vec<u8> =
            (0..900u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for content in [&b"x"[..], &[7; 80], &noise, &[]] {
            for packing in [compressed(content), packed(content)] {
                assert_eq!(unpacker.unpack(&packing).unwrap(), content);
                let longer = [&packing[..], b"trailing", &packing].concat();
                assert_eq!(unpacker.unpack(&longer).unwrap(), content);
            }
        }
    }

    #[test]
    fn refuses_broken_frames() {
        let mut unpacker = Unpacker::new();
        let good = compressed(&b"hyperscale ".repeat(20));
        for size in 0..good.len() {
            assert_eq!(unpacker.unpack(&good[..size]), Err(Counter::DroppedMalformed), "{size}");
        }
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], &good[..]].concat();
        assert_eq!(unpacker.unpack(&skippable), Err(Counter::DroppedMalformed));
        assert_eq!(unpacker.unpack(b"not zstd at all"), Err(Counter::DroppedMalformed));
    }

    #[test]
    fn refuses_sizes_and_ratios_before_unpacking() {
        let mut unpacker = Unpacker::new();
        for size in [FRAME_SIZE_MAX as u64 + 1, 5 << 20, 4 << 30, u64::MAX - 2] {
            assert_eq!(
                unpacker.unpack(&declaring(size)),
                Err(Counter::DroppedUnpackedSize),
                "{size}"
            );
        }
        assert_eq!(unpacker.unpack(&compressed(&[0; 60_000])), Err(Counter::DroppedUnpackedSize));
        assert_eq!(unpacker.unpack(&compressed(&[0; 64 << 20])), Err(Counter::DroppedUnpackedSize));
        let at_limit = packed(&vec![1; FRAME_SIZE_MAX]);
        assert_eq!(unpacker.unpack(&at_limit).unwrap().len(), FRAME_SIZE_MAX);
    }

    #[test]
    fn refuses_a_bomb_that_declares_nothing() {
        use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        let mut bomb = vec![0; 4_096];
        let zeros = vec![0; 1 << 20];
        let mut output = OutBuffer::around(&mut bomb[..]);
        let mut input = InBuffer::around(&zeros);
        context.compress_stream(&mut output, &mut input).unwrap();
        while context.end_stream(&mut output).unwrap() > 0 {}
        let size = output.pos();
        bomb.truncate(size);
        let mut unpacker = Unpacker::new();
        assert_eq!(unpacker.unpack(&bomb), Err(Counter::DroppedUnpackedSize));
    }
}
