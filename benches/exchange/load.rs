//! The load generator: keeps probes in flight from many sockets and counts what comes back.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use shoal_core::WireFormat;
use shoal_core::config::DATAGRAM_SIZE_MAX;

use super::{Pattern, any_port, hyperscale, native};

/// What is still missing after this long was dropped by a full socket buffer.
const PATIENCE: Duration = Duration::from_millis(20);

/// Makes the probes of one pattern.
pub trait Probes: Send {
    /// Writes at most `room` probes of one size from this link, one after the other; returns their size
    /// and number.
    fn fill(&mut self, link: usize, room: usize, batch: &mut [u8]) -> (usize, usize);

    /// Whether these bytes are the answer of a node (or of an echo).
    fn is_answer(&mut self, bytes: &mut [u8]) -> bool;
}

struct Link {
    socket: UdpSocket,
    state: UdpSocketState,
    outstanding: usize,
    heard_at: Instant,
}

/// A load that is ready to begin.
pub struct Load {
    target: SocketAddr,
    window: usize,
    links: Vec<Link>,
    probes: Box<dyn Probes>,
}

impl Load {
    pub fn new(target: SocketAddr, pattern: Pattern, seed: u64) -> Load {
        let link = |_| {
            let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
            let state = UdpSocketState::new((&socket).into()).expect("a UDP socket");
            Link { socket, state, outstanding: 0, heard_at: Instant::now() }
        };
        let links: Vec<Link> = (0..pattern.sockets).map(link).collect();
        let own = |link: &Link| link.socket.local_addr().expect("a bound socket has an address");
        let own: Vec<SocketAddr> = links.iter().map(own).collect();
        let probes: Box<dyn Probes> = match pattern.format {
            WireFormat::Native => Box::new(native::Prober::new(own[0], target, seed)),
            WireFormat::Hyperscale => Box::new(hyperscale::Prober::new(&own, target)),
        };
        Load { target, window: pattern.window, links, probes }
    }

    /// Keeps the server busy until told to stop; counts answers.
    pub fn run(mut self, answers: &AtomicU64, stop: &AtomicBool) {
        let mut batch = vec![0u8; self.window * DATAGRAM_SIZE_MAX];
        let mut storage = vec![vec![0u8; 65_536]; 8];
        let mut is_checked = false;
        while !stop.load(Ordering::Relaxed) {
            for (number, link) in self.links.iter_mut().enumerate() {
                let mut metas = [RecvMeta::default(); 8];
                let mut slices: Vec<IoSliceMut> =
                    storage.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                let received = link.state.recv((&link.socket).into(), &mut slices, &mut metas);
                let mut count = 0;
                for meta in metas.iter().take(received.unwrap_or(0)) {
                    count += meta.len.div_ceil(meta.stride.max(1));
                }
                if count > 0 {
                    link.heard_at = Instant::now();
                    if !is_checked {
                        let size = metas[0].stride.min(metas[0].len);
                        is_checked = self.probes.is_answer(&mut storage[0][..size]);
                    }
                } else if link.outstanding > 0 && link.heard_at.elapsed() > PATIENCE {
                    link.outstanding = 0;
                }
                link.outstanding = link.outstanding.saturating_sub(count);
                answers.fetch_add(count as u64, Ordering::Relaxed);
                if self.window - link.outstanding < self.window.div_ceil(2) {
                    continue;
                }
                while link.outstanding < self.window {
                    let room = self.window - link.outstanding;
                    let (size, count) = self.probes.fill(number, room, &mut batch);
                    let transmit = Transmit {
                        destination: self.target,
                        ecn: None,
                        contents: &batch[..count * size],
                        segment_size: (count > 1).then_some(size),
                        src_ip: None,
                    };
                    if link.state.try_send((&link.socket).into(), &transmit).is_err() {
                        break;
                    }
                    link.outstanding += count;
                    link.heard_at = Instant::now();
                }
            }
        }
        assert!(is_checked, "no valid answer was seen");
    }
}
