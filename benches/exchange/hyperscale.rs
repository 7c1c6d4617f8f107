//! Probes in the Python node's format, with members, health, a worker and a coordinate.

use std::net::SocketAddr;

use shoal_core::random::Random;
use shoal_core::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};
use shoal_core::wire::hyperscale::{Envelopes, Frame, FrameKind, Unpacker};

use super::load::Probes;
use super::secret;

/// Different probes of each link; all links together have more than the node remembers to tell repeated
/// ones.
const PROBE_COUNT: usize = 2_000;

/// The `number`-th probe as a Python node at `own` sends it: with a salt of its own, and zstd of level 3.
fn probe(own: SocketAddr, target: SocketAddr, number: usize) -> Vec<u8> {
    let payload = format!(
        "probe>{target}#|mjoin:0:127.0.0.1:9005:worker|alive:2:127.0.0.1:9007:manager\
         #|hDC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|{number}.50\
         #|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:{number}.250000:DC1\
         #|v{{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,0.0,0.0],\"height\":0.0005,\"adjustment\":-0.0001,\
         \"error\":0.25,\"sample_count\":12}}"
    );
    let mut clock = [0; 64];
    clock[56..].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    let head = format!("c<{own}<receive<");
    let length = (payload.len() as u32).to_be_bytes();
    let frame = [head.as_bytes(), &clock, &length, payload.as_bytes()].concat();
    let mut datagram = vec![0; OVERHEAD + zstd_safe::compress_bound(frame.len())];
    let packed = zstd_safe::compress(&mut datagram[SEALED_OFFSET..], &frame, 3).expect("room");
    // A new envelope for each, because the Python node draws a new salt for each.
    let mut random = Random::new(number as u64 ^ u64::from(own.port()) << 32);
    let size = Envelopes::new(&[secret()], 1, &mut random).seal(&mut datagram, packed);
    datagram.truncate(size);
    datagram
}

/// The probes of a link, in the order of their sizes, so that many can be sent with one call.
struct Sheaf {
    probes: Vec<Vec<u8>>,
    next: usize,
}

/// Probes that have been sealed beforehand, and are sent round and round.
pub struct Prober {
    sheaves: Vec<Sheaf>,
    envelopes: Envelopes,
    unpacker: Unpacker,
}

impl Prober {
    pub fn new(own: &[SocketAddr], target: SocketAddr) -> Prober {
        let sheaf = |own: &SocketAddr| {
            let mut probes: Vec<_> =
                (0..PROBE_COUNT).map(|number| probe(*own, target, number)).collect();
            probes.sort_by_key(Vec::len);
            Sheaf { probes, next: 0 }
        };
        let envelopes = Envelopes::new(&[secret()], 1, &mut Random::new(3));
        let sheaves = own.iter().map(sheaf).collect();
        Prober { sheaves, envelopes, unpacker: Unpacker::new() }
    }
}

impl Probes for Prober {
    fn fill(&mut self, link: usize, room: usize, batch: &mut [u8]) -> (usize, usize) {
        let Sheaf { probes, next } = &mut self.sheaves[link];
        let size = probes[*next].len();
        let same = probes[*next..].iter().take(room).take_while(|probe| probe.len() == size);
        let mut count = 0;
        for probe in same {
            batch[count * size..][..size].copy_from_slice(probe);
            count += 1;
        }
        *next = (*next + count) % PROBE_COUNT;
        (size, count)
    }

    fn is_answer(&mut self, bytes: &mut [u8]) -> bool {
        let Ok(packed) = self.envelopes.open(bytes) else { return false };
        let Ok(unpacked) = self.unpacker.unpack(packed) else { return false };
        let Ok(frame) = Frame::parse(unpacked) else { return false };
        let text = String::from_utf8_lossy(frame.payload);
        match frame.kind {
            // An echo returns the probe.
            FrameKind::Request => text.starts_with("probe>"),
            FrameKind::Reply => {
                let sections = ["#|s", "#|m", "#|h", "#|v{"];
                assert!(text.starts_with("ack>"), "not an answer to a probe: {text}");
                sections.iter().all(|section| text.contains(section))
            }
        }
    }
}
