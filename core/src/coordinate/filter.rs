//! One round trip out of several noisy ones.
//!
//! A reply that waited in a queue or for a busy host says nothing about the network. The median of
//! the last three round trips to a peer is immune to one such reply (moving percentile filter:
//! Ledlie, Gardner and Seltzer, NSDI 2007; Serf uses the same). Of two the smaller
//! counts, because delays only add.

/// Round trips kept per peer.
pub const SAMPLE_COUNT: usize = 3;

/// The last round trips to one peer, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundTripFilter {
    /// Oldest first. While there are fewer than three, the rest are copies of the smallest, which
    /// makes the median what it should be.
    samples: [f32; SAMPLE_COUNT],
    median: f32,
    /// Mean distance of a sample from the median at its time, a running average.
    deviation: f32,
    count: u8,
}

/// Share of one sample in the running deviation (RFC 6298: beta).
const DEVIATION_GAIN: f32 = 0.25;
/// The smallest deviation, in seconds.
const DEVIATION_MIN: f32 = 1e-9;

impl RoundTripFilter {
    /// No samples.
    pub const EMPTY: RoundTripFilter =
        RoundTripFilter { samples: [0.0; SAMPLE_COUNT], median: 0.0, deviation: 0.0, count: 0 };

    /// Takes a round trip in seconds and gives the one to believe.
    #[inline]
    pub fn push(&mut self, seconds: f32) -> f32 {
        let [_, a, b] = self.samples;
        self.samples = match self.count {
            0 => [seconds; SAMPLE_COUNT],
            1 => [smaller(b, seconds), b, seconds],
            _ => [a, b, seconds],
        };
        let [a, b, c] = self.samples;
        self.median = greater(smaller(a, b), smaller(greater(a, b), c));
        // Nothing is known of the spread at first; RFC 6298 begins with half of the round trip.
        let distance = if self.count == 0 { seconds / 2.0 } else { (seconds - self.median).abs() };
        let gain = if self.count == 0 { 1.0 } else { DEVIATION_GAIN };
        // Numbers next to zero would be slow to compute with, and no clock is as fine.
        let deviation = self.deviation + (distance - self.deviation) * gain;
        self.deviation = greater(deviation, DEVIATION_MIN);
        self.count = self.count.saturating_add(1);
        self.median
    }

    /// The round trip to believe, in seconds; `None` before the first sample.
    #[inline]
    pub fn median(&self) -> Option<f32> {
        (self.count > 0).then_some(self.median)
    }

    /// How far samples usually lie from the median, in seconds.
    pub fn deviation(&self) -> f32 {
        self.deviation
    }

    /// How many samples were taken, counted up to 255.
    pub fn count(&self) -> u8 {
        self.count
    }
}

// One instruction each, where `f32::max` takes several to care for NaN. There is none here.

fn greater(left: f32, right: f32) -> f32 {
    if left > right { left } else { right }
}

fn smaller(left: f32, right: f32) -> f32 {
    if left < right { left } else { right }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_median_of_three_and_the_smaller_of_two() {
        let mut filter = RoundTripFilter::default();
        assert_eq!(filter.median(), None);
        assert_eq!(filter.push(0.030), 0.030);
        assert_eq!(filter.push(0.050), 0.030);
        assert_eq!(filter.push(0.040), 0.040);
        assert_eq!(filter.push(0.900), 0.050);
        assert_eq!(filter.push(0.041), 0.041);
        assert_eq!(filter.push(0.042), 0.042);
        assert_eq!(filter.count(), 6);
    }

    #[test]
    fn deviation_shrinks_while_samples_agree() {
        let mut filter = RoundTripFilter::default();
        filter.push(0.100);
        let first = filter.deviation();
        for _ in 0..1_000 {
            filter.push(0.100);
        }
        assert!(filter.deviation() < first / 100.0);
        assert_eq!(filter.count(), 255);
    }
}
