//! Probes in the native format.

use std::net::SocketAddr;

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, Message, MessageWriter};
use shoal_core::{Address, Coordinate, Counter, Generation, Incarnation, Role};

use super::load::Probes;
use super::secret;

/// Makes sealed probes as a peer would, each anew.
pub struct Prober {
    envelopes: Envelopes,
    header: Header,
    coordinate: Coordinate,
    scratch: Vec<u8>,
}

impl Prober {
    pub fn new(own: SocketAddr, target: SocketAddr, seed: u64) -> Prober {
        let envelopes = Envelopes::new(&[secret()], 1, 16, &mut Random::new(seed));
        let header = Header {
            kind: Kind::Probe,
            sequence: 0,
            sender: own.into(),
            generation: Generation(seed),
            incarnation: Incarnation(0),
            role: Role::Worker,
            health_score: 0,
            recipient: target.into(),
            recipient_generation: Generation(0),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        };
        let coordinate =
            Coordinate { vector: [0.001; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
        Prober { envelopes, header, coordinate, scratch: vec![0; DATAGRAM_SIZE_MAX] }
    }

    fn write(&mut self) -> usize {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let datacenter = "bench".parse().expect("a plain word is a name");
        let body = &mut self.scratch[BODY_OFFSET..][..BODY_SIZE_MAX];
        let size = MessageWriter::new(body, &self.header, &datacenter, &self.coordinate).finish();
        self.envelopes.seal(&mut self.scratch, size)
    }
}

impl Probes for Prober {
    fn fill(&mut self, _: usize, room: usize, batch: &mut [u8]) -> (usize, usize) {
        let mut probe_size = 0;
        for index in 0..room {
            let size = self.write();
            assert!(index == 0 || size == probe_size, "segments of one batch have one size");
            probe_size = size;
            batch[index * size..][..size].copy_from_slice(&self.scratch[..size]);
        }
        (probe_size, room)
    }

    fn is_answer(&mut self, bytes: &mut [u8]) -> bool {
        match self.envelopes.open(bytes) {
            Ok(opened) => Message::parse(opened.body).is_ok_and(|m| m.header.kind == Kind::Ack),
            // An echo returns what this side sealed itself.
            Err(reason) => reason == Counter::DroppedOwn,
        }
    }
}
