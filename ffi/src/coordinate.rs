//! Coordinates alone: a tracker places this host in a latency space by the round trips it
//! measures, and predicts the round trip to every peer whose coordinate it has heard, measured
//! or not. Nodes and engines have one inside; this is for programs that measure round trips
//! themselves.

use crate::call::{Failure, Health, check_reserved, guarded, required};
use crate::engine::give;
use crate::member::{shoal_coordinate, shoal_rtt};
use crate::status::{
    SHOAL_INVALID_ARGUMENT, SHOAL_NULL_POINTER, SHOAL_OK, of_refusal, shoal_status,
};
use shoal_core::coordinate::{Refusal, Snapshot, Tracker};
use shoal_core::random::Random;
use shoal_core::{Duration, Instant};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// The most peers of one tracker.
const PEER_CAPACITY_MAX: u32 = 1 << 24;

/// What a host keeps of its place across a restart: plain bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_coordinate_snapshot {
    /// Its coordinate.
    pub coordinate: shoal_coordinate,
    /// The usual mismatch of predictions, in seconds; 0 to 10.
    pub mismatch_seconds: f64,
    /// The usual round trip, in seconds; 0 to 10.
    pub round_trip_seconds: f64,
    /// Samples that led there.
    pub sample_count: u64,
    /// Zero.
    pub reserved: [u8; 16],
}

/// The coordinates of this host and of its peers. Peers are numbered from 0 by the program.
#[derive(Debug)]
pub struct shoal_tracker {
    health: Health,
    peer_capacity: u32,
    tracker: Tracker,
}

/// Makes a tracker for the peers 0 to `peer_capacity` - 1, at most 16,777,216 of them. Memory
/// is taken as their numbers are used. `seed` decides the direction in which hosts at the same
/// place part.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_new(
    peer_capacity: u32,
    seed: u64,
    tracker: Option<&mut MaybeUninit<*mut shoal_tracker>>,
) -> shoal_status {
    guarded(|| {
        let target = required(tracker, "tracker")?;
        if !(1..=PEER_CAPACITY_MAX).contains(&peer_capacity) {
            let detail = "peer_capacity needs to be 1 to 16,777,216";
            return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
        }
        let tracker = Tracker::new(peer_capacity, Random::new(seed));
        let handle = shoal_tracker { health: Health::default(), peer_capacity, tracker };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    })
}

/// Ends a tracker.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_free(tracker: Option<Box<shoal_tracker>>) {
    crate::call::release(tracker);
}

/// Copies one sentence about the latest failure of this tracker, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_coordinate_error(
    tracker: Option<&shoal_tracker>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_tracker { health, .. }) = tracker else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Takes a measured round trip to a peer, and the coordinate the peer sent with its answer.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_update(
    tracker: Option<&mut shoal_tracker>,
    peer: u32,
    coordinate: Option<&shoal_coordinate>,
    round_trip_ns: u64,
    now_ns: u64,
) -> shoal_status {
    observe(tracker, peer, coordinate, Some(Duration::from_nanos(round_trip_ns)), now_ns)
}

/// Takes a peer's coordinate that came by another way, without a round trip.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_hear(
    tracker: Option<&mut shoal_tracker>,
    peer: u32,
    coordinate: Option<&shoal_coordinate>,
    now_ns: u64,
) -> shoal_status {
    observe(tracker, peer, coordinate, None, now_ns)
}

/// Forgets a peer, so that its number can be another's.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_forget(
    tracker: Option<&mut shoal_tracker>,
    peer: u32,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        tracker.forget(peer);
        Ok(SHOAL_OK)
    })
}

/// This host's own coordinate, to be sent with every answer.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_own(
    tracker: Option<&shoal_tracker>,
    coordinate: Option<&mut MaybeUninit<shoal_coordinate>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(coordinate, "coordinate")?;
        Ok(give(target, Some((*tracker.coordinate()).into())))
    })
}

/// What is known about the round trip to a peer: measured while that is recent, else predicted.
/// `SHOAL_NONE` when nothing was heard of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_rtt(
    tracker: Option<&shoal_tracker>,
    peer: u32,
    now_ns: u64,
    rtt: Option<&mut MaybeUninit<shoal_rtt>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(rtt, "rtt")?;
        let rtt = tracker.rtt(peer, Instant::from_nanos(now_ns));
        Ok(give(target, rtt.map(shoal_rtt::from)))
    })
}

/// The best estimate of the round trip to a peer, in milliseconds. `SHOAL_NONE` when nothing
/// was heard of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_estimate(
    tracker: Option<&shoal_tracker>,
    peer: u32,
    now_ns: u64,
    ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(ms, "ms")?;
        let rtt = tracker.rtt(peer, Instant::from_nanos(now_ns));
        Ok(give(target, rtt.map(|rtt| rtt.ms)))
    })
}

/// A bound that the round trip to a peer rarely exceeds, in milliseconds. `SHOAL_NONE` when
/// nothing was heard of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_upper(
    tracker: Option<&shoal_tracker>,
    peer: u32,
    now_ns: u64,
    upper_ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(upper_ms, "upper_ms")?;
        let rtt = tracker.rtt(peer, Instant::from_nanos(now_ns));
        Ok(give(target, rtt.map(|rtt| rtt.upper_ms)))
    })
}

/// How much to trust the estimate for a peer, from 0 (a guess) to 1 (measured, fresh,
/// consistent). `SHOAL_NONE` when nothing was heard of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_quality(
    tracker: Option<&shoal_tracker>,
    peer: u32,
    now_ns: u64,
    quality: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(quality, "quality")?;
        let rtt = tracker.rtt(peer, Instant::from_nanos(now_ns));
        Ok(give(target, rtt.map(|rtt| rtt.quality)))
    })
}

/// What to keep for a restart.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_save(
    tracker: Option<&shoal_tracker>,
    snapshot: Option<&mut MaybeUninit<shoal_coordinate_snapshot>>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(snapshot, "snapshot")?;
        Ok(give(target, Some(tracker.snapshot().into())))
    })
}

/// Takes this host back to where a snapshot saw it, so that it need not find its place anew.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_restore(
    tracker: Option<&mut shoal_tracker>,
    snapshot: Option<&shoal_coordinate_snapshot>,
) -> shoal_status {
    let Some(shoal_tracker { health, tracker, .. }) = tracker else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let kept = required(snapshot, "snapshot")?;
        tracker.restore(&kept.read()?).map_err(refused)?;
        Ok(SHOAL_OK)
    })
}

/// The predicted round trip between any two coordinates, in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_coordinate_distance(
    one: Option<&shoal_coordinate>,
    other: Option<&shoal_coordinate>,
    ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    guarded(|| {
        let (one, other) = (required(one, "one")?.read()?, required(other, "other")?.read()?);
        let target = required(ms, "ms")?;
        Ok(give(target, Some(one.distance(&other) * 1e3)))
    })
}

fn observe(
    tracker: Option<&mut shoal_tracker>,
    peer: u32,
    coordinate: Option<&shoal_coordinate>,
    round_trip: Option<Duration>,
    now_ns: u64,
) -> shoal_status {
    let Some(tracker) = tracker else { return SHOAL_NULL_POINTER };
    let shoal_tracker { health, peer_capacity, tracker } = tracker;
    health.guard(|| {
        let coordinate = required(coordinate, "coordinate")?.read()?;
        if peer >= *peer_capacity {
            let detail = format!("peer {peer} is not below the capacity of {peer_capacity}");
            return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
        }
        let now = Instant::from_nanos(now_ns);
        tracker.observe(peer, &coordinate, round_trip, now).map_err(refused)?;
        Ok(SHOAL_OK)
    })
}

impl From<Snapshot> for shoal_coordinate_snapshot {
    fn from(snapshot: Snapshot) -> shoal_coordinate_snapshot {
        let Snapshot { coordinate, mismatch_seconds, round_trip_seconds, sample_count } = snapshot;
        shoal_coordinate_snapshot {
            coordinate: coordinate.into(),
            mismatch_seconds,
            round_trip_seconds,
            sample_count,
            reserved: [0; 16],
        }
    }
}

impl shoal_coordinate_snapshot {
    pub(crate) fn read(&self) -> Result<Snapshot, Failure> {
        check_reserved(&self.reserved, "a snapshot")?;
        Ok(Snapshot {
            coordinate: self.coordinate.read()?,
            mismatch_seconds: self.mismatch_seconds,
            round_trip_seconds: self.round_trip_seconds,
            sample_count: self.sample_count,
        })
    }
}

/// Why a tracker did not use what it was given.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let detail = match refusal {
        Refusal::Coordinate => "a field of the coordinate is not finite or out of range",
        Refusal::Dimension => "the coordinate has another number of dimensions",
        Refusal::RoundTrip => "the round trip is zero or longer than any network's",
        Refusal::Time => "the sample is older than the peer's last",
        Refusal::Rate => "the peer's last sample was taken too short a time ago",
        Refusal::Contradiction => "the peer's coordinates have contradicted its round trips",
    };
    Failure::new(of_refusal(refusal), detail)
}
