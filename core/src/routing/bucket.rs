//! Health buckets: a job goes to the best one that has an eligible datacenter (AD-17; AD-36, part
//! 3).
//!
//! `HEALTHY > BUSY > DEGRADED`, and no score ever outweighs a bucket: datacenters of the lower ones
//! are fallback only.

use std::fmt;

/// A bucket that datacenters are routed in, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Bucket {
    /// Free cores, structurally well.
    Healthy = 0,
    /// No free core at the moment.
    Busy = 1,
    /// Working with less than a majority, or not heard from lately.
    Degraded = 2,
}

impl Bucket {
    /// Every bucket, best first.
    pub const ALL: [Bucket; 3] = [Bucket::Healthy, Bucket::Busy, Bucket::Degraded];

    /// The lower-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Bucket::Healthy => "healthy",
            Bucket::Busy => "busy",
            Bucket::Degraded => "degraded",
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How many eligible datacenters each bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketCounts([usize; Bucket::ALL.len()]);

impl BucketCounts {
    /// Counts one eligible datacenter.
    pub fn add(&mut self, bucket: Bucket) {
        self.0[bucket as usize] += 1;
    }

    /// How many datacenters this bucket holds.
    pub fn count(&self, bucket: Bucket) -> usize {
        self.0[bucket as usize]
    }

    /// The best bucket that is not empty: the only one that a primary may come from.
    pub fn primary(&self) -> Option<Bucket> {
        Bucket::ALL.into_iter().find(|&bucket| self.count(bucket) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_is_the_best_that_is_not_empty() {
        let mut counts = BucketCounts::default();
        assert_eq!(counts.primary(), None);
        for bucket in [Bucket::Degraded, Bucket::Busy, Bucket::Healthy] {
            counts.add(bucket);
            assert_eq!(counts.primary(), Some(bucket));
        }
        counts.add(Bucket::Degraded);
        assert_eq!(counts.primary(), Some(Bucket::Healthy));
        assert_eq!(counts.count(Bucket::Degraded), 2);
    }

    #[test]
    fn better_buckets_compare_smaller() {
        assert!(Bucket::Healthy < Bucket::Busy && Bucket::Busy < Bucket::Degraded);
    }
}
