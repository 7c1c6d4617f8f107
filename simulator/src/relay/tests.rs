//! Each fault of the relay, seen by plain sockets.

use super::*;

/// Two sockets that know each other by the addresses the relay owns.
struct Pair {
    relay: Relay,
    left: (Endpoint, UdpSocket),
    right: (Endpoint, UdpSocket),
}

impl Pair {
    fn new(options: RelayOptions) -> Pair {
        let relay = Relay::start(options).unwrap();
        let [left, right] = std::array::from_fn(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let endpoint = relay.add_endpoint("127.7.0.1:0".parse().unwrap()).unwrap();
            relay.attach(endpoint, socket.local_addr().unwrap());
            (endpoint, socket)
        });
        Pair { relay, left, right }
    }

    fn with_link(link: Link) -> Pair {
        let pair = Pair::new(RelayOptions::default());
        pair.relay.set_link(pair.left.0, pair.right.0, link);
        pair
    }

    /// Sends numbered datagrams from left to right, `gap` apart, and returns the numbers in order
    /// of arrival.
    fn send(&self, count: u32, gap: Duration) -> Vec<u32> {
        let target = self.relay.advertised(self.right.0);
        // Read meanwhile: a socket's buffer holds a few hundred datagrams only.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..count {
                    self.left.1.send_to(&number.to_le_bytes(), target).unwrap();
                    std::thread::sleep(gap);
                }
            });
            self.arrivals()
        })
    }

    fn arrivals(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut buffer = [0; 4];
        while let Ok((size, source)) = self.right.1.recv_from(&mut buffer) {
            assert_eq!((size, source), (4, self.relay.advertised(self.left.0)));
            numbers.push(u32::from_le_bytes(buffer));
        }
        numbers
    }
}

const GAP: Duration = Duration::from_micros(50);

#[test]
fn a_reply_to_the_source_goes_back_through_the_relay() {
    let pair = Pair::new(RelayOptions::default());
    assert_eq!(pair.send(3, GAP), [0, 1, 2]);
    let left = pair.relay.advertised(pair.left.0);
    pair.right.1.send_to(b"back", left).unwrap();
    let mut buffer = [0; 16];
    let (size, source) = pair.left.1.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..size], source), (&b"back"[..], pair.relay.advertised(pair.right.0)));
    let counts = pair.relay.counts();
    assert_eq!((counts.received, counts.delivered), (4, 4));
}

#[test]
fn delay_is_precise_and_one_way() {
    let delay = Duration::from_millis(10);
    let pair = Pair::with_link(Link { delay, ..Link::default() });
    let mut buffer = [0; 4];
    let mut excess: Vec<Duration> = (0..50)
        .map(|_| {
            let sent = Instant::now();
            pair.left.1.send_to(&[0; 4], pair.relay.advertised(pair.right.0)).unwrap();
            pair.right.1.recv_from(&mut buffer).unwrap();
            let forward = sent.elapsed();
            assert!(forward >= delay, "{forward:?} is early");
            pair.right.1.send_to(&[0; 4], pair.relay.advertised(pair.left.0)).unwrap();
            pair.left.1.recv_from(&mut buffer).unwrap();
            assert!(sent.elapsed() - forward < delay, "the way back has no delay");
            forward - delay
        })
        .collect();
    excess.sort_unstable();
    assert!(excess[25] < Duration::from_micros(500), "median lateness {:?}", excess[25]);
}

#[test]
fn jitter_adds_its_mean_and_keeps_the_order() {
    let jitter = Duration::from_millis(2);
    let pair = Pair::with_link(Link { jitter, ..Link::default() });
    let numbers = pair.send(400, GAP);
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
    let draws = (0..1000).map(|step| exponential(jitter, f64::from(step) / 1000.0));
    let mean = draws.sum::<Duration>() / 1000;
    assert!((1.9..2.1).contains(&(mean.as_secs_f64() * 1e3)), "{mean:?}");
}

#[test]
fn loss_takes_its_share_and_can_be_switched_off() {
    let pair = Pair::with_link(Link { loss: 0.3, ..Link::default() });
    let arrived = pair.send(1_000, GAP).len();
    assert!((630..770).contains(&arrived), "{arrived} of 1,000 arrived");
    assert_eq!(pair.relay.counts().lost, 1_000 - arrived as u64);
    pair.relay.set_links(|_, _| Link::default());
    assert_eq!(pair.send(100, GAP).len(), 100);
}

#[test]
fn the_same_seed_loses_the_same_datagrams() {
    let numbers = |seed| {
        let pair = Pair::new(RelayOptions { seed, ..RelayOptions::default() });
        let (left, right) = (pair.left.0, pair.right.0);
        pair.relay.set_link(left, right, Link { loss: 0.5, ..Link::default() });
        pair.send(64, GAP)
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
}

#[test]
fn duplication_delivers_twice() {
    let pair = Pair::with_link(Link { duplication: 0.25, ..Link::default() });
    let mut numbers = pair.send(400, GAP);
    let copies = numbers.len() - 400;
    assert!((60..140).contains(&copies), "{copies} copies of 400");
    assert_eq!(pair.relay.counts().duplicated, copies as u64);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 400);
}

#[test]
fn reordering_lets_later_datagrams_overtake() {
    let pair = Pair::with_link(Link { reordering: 0.2, ..Link::default() });
    let mut numbers = pair.send(400, GAP);
    let descents = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(descents > 20, "{descents} descents");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

#[test]
fn a_block_is_one_way_and_a_partition_both_until_healed() {
    let pair = Pair::new(RelayOptions::default());
    let (left, right) = ([pair.left.0], [pair.right.0]);
    pair.relay.block(&right, &left);
    assert_eq!(pair.send(5, GAP).len(), 5);
    pair.relay.partition(&left, &right);
    assert_eq!(pair.send(5, GAP).len(), 0);
    assert_eq!(pair.relay.counts().blocked, 5);
    pair.relay.heal();
    assert_eq!(pair.send(5, GAP).len(), 5);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let pair = Pair::new(RelayOptions { queue_capacity: 10, ..RelayOptions::default() });
    let delay = Duration::from_millis(100);
    pair.relay.set_link(pair.left.0, pair.right.0, Link { delay, ..Link::default() });
    assert_eq!(pair.send(30, Duration::ZERO), (0..10).collect::<Vec<_>>());
    assert_eq!(pair.relay.counts().overflowed, 20);
}

#[test]
fn strangers_and_detached_endpoints_get_nothing_through() {
    let pair = Pair::new(RelayOptions::default());
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&[0; 4], pair.relay.advertised(pair.right.0)).unwrap();
    assert!(pair.arrivals().is_empty());
    assert_eq!(pair.relay.counts().strangers, 1);
    pair.relay.detach(pair.right.0);
    assert!(pair.send(2, GAP).is_empty());
    assert_eq!(pair.relay.counts().unattached, 2);
    pair.relay.attach(pair.right.0, pair.right.1.local_addr().unwrap());
    assert_eq!(pair.send(2, GAP).len(), 2);
}

#[test]
fn an_address_in_use_is_an_error_and_adds_nothing() {
    let pair = Pair::new(RelayOptions::default());
    let taken = pair.relay.advertised(pair.left.0);
    assert_eq!(pair.relay.add_endpoint(taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(pair.send(1, GAP), [0]);
}
