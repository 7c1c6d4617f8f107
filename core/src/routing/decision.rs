//! A routing decision with everything that explains it, in a buffer that its owner uses again.

use super::bucket::{Bucket, BucketCounts};
use super::candidate::DatacenterId;
use super::fallback::{Chain, SortKey};
use super::filter::Exclusion;
use super::hysteresis::{Reason, Scale, Standing};
use super::scoring::Score;
use crate::id::JobId;

/// One eligible datacenter in a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Which datacenter.
    pub datacenter: DatacenterId,
    /// The bucket it was routed in.
    pub bucket: Bucket,
    /// Its score and what that is made of.
    pub score: Score,
    /// Whether it was demoted to its bucket because its health is old news.
    pub stale_health: bool,
    /// Whether its round trip is known; otherwise a cautious stand-in was scored.
    pub rtt_known: bool,
    /// Whether the job prefers it.
    pub is_preferred: bool,
    /// Whether it failed the job lately.
    pub is_cooling: bool,
    // Its place in the slice of candidates, which is also the last tie break.
    pub(super) candidate: u16,
    pub(super) tie_break: u64,
}

impl Ranked {
    pub(super) fn key(&self, position: usize) -> SortKey {
        SortKey::new(self.bucket, self.score.value(), self.tie_break, position)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            bucket: self.bucket,
            base: self.score.base,
            value: self.score.value(),
            is_cooling: self.is_cooling,
        }
    }
}

/// A datacenter that may not take the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Which datacenter.
    pub datacenter: DatacenterId,
    /// Why not.
    pub reason: Exclusion,
}

/// The outcome of routing one job. Make one with [`Decision::default`] and hand it to
/// [`Router::route`](super::Router::route) again and again: once it has seen the largest set of
/// candidates, routing allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    pub(super) job: Option<JobId>,
    pub(super) reason: Option<Reason>,
    pub(super) scale: Scale,
    pub(super) previous: Option<DatacenterId>,
    pub(super) buckets: BucketCounts,
    pub(super) primary_count: usize,
    pub(super) ranked: Vec<Ranked>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) chain: Chain,
    // Positions whose score the job changed; one that it both prefers and had fail is there twice.
    adjusted: Vec<u16>,
}

impl Decision {
    /// The job, `None` before the first decision.
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// Why it came out like this.
    pub fn reason(&self) -> Reason {
        self.reason.unwrap_or(Reason::NoCandidate)
    }

    /// Whether datacenters were ranked by capacity because round trips are not known yet.
    pub fn is_bootstrap(&self) -> bool {
        self.scale == Scale::Capacity
    }

    /// The bucket that the primaries come from, which is also the worst health the job has to
    /// accept (AD-17). `None` when no datacenter may take the job: it fails.
    pub fn bucket(&self) -> Option<Bucket> {
        self.buckets.primary()
    }

    /// How many eligible datacenters each bucket holds.
    pub fn bucket_counts(&self) -> BucketCounts {
        self.buckets
    }

    /// The primary that the job had before.
    pub fn previous(&self) -> Option<DatacenterId> {
        self.previous
    }

    /// The primary that was decided for: the first of [`Decision::primaries`].
    pub fn selected(&self) -> Option<DatacenterId> {
        self.chain.first().map(|position| self.ranked[position].datacenter)
    }

    /// Whether the job moved from one primary to another. A first choice is no move.
    pub fn switched(&self) -> bool {
        let selected = self.selected();
        selected.is_some() && self.previous.is_some() && self.previous != selected
    }

    /// The datacenters to send the job to, the selected one first; all of one bucket.
    pub fn primaries(&self) -> impl ExactSizeIterator<Item = &Ranked> {
        self.chain().take(self.primary_count)
    }

    /// Where to turn when those fail: the rest of the primary bucket, then the lower buckets, each
    /// by score.
    pub fn fallbacks(&self) -> impl ExactSizeIterator<Item = &Ranked> {
        self.chain.positions_from(self.primary_count).map(|position| &self.ranked[position])
    }

    /// Primaries and fallbacks in one list.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &Ranked> {
        self.chain.positions().map(|position| &self.ranked[position])
    }

    /// Every eligible datacenter in the order in which the candidates were given.
    pub fn ranked(&self) -> &[Ranked] {
        &self.ranked
    }

    /// The datacenters that may not take the job, in the order in which they were given.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    pub(super) fn clear(&mut self) {
        self.job = None;
        self.reason = None;
        self.scale = Scale::Milliseconds;
        self.previous = None;
        self.buckets = BucketCounts::default();
        self.primary_count = 0;
        self.ranked.clear();
        self.excluded.clear();
        self.chain.clear();
        self.adjusted.clear();
    }

    /// Notes that the job prefers a datacenter, once however often it says so.
    pub(super) fn prefer(&mut self, position: usize, multiplier: f64) {
        if !self.ranked[position].is_preferred {
            self.ranked[position].is_preferred = true;
            self.adjust(position, multiplier);
        }
    }

    /// Notes that a datacenter failed the job lately.
    pub(super) fn cool(&mut self, position: usize, multiplier: f64) {
        if !self.ranked[position].is_cooling {
            self.ranked[position].is_cooling = true;
            self.adjust(position, multiplier);
        }
    }

    /// Makes `selected` the first of the chain and closes the decision.
    pub(super) fn conclude(&mut self, reason: Reason, selected: usize, primary_count_max: usize) {
        let bucket = self.ranked[selected].bucket;
        assert_eq!(Some(bucket), self.bucket(), "a primary comes from the best bucket");
        self.reason = Some(reason);
        self.primary_count = self.buckets.count(bucket).min(primary_count_max);
        self.chain.promote(self.ranked[selected].key(selected));
    }

    /// Undoes what belongs to the job, so that the survey can serve the next one.
    pub(super) fn release(&mut self) {
        self.chain.demote();
        while let Some(position) = self.adjusted.pop() {
            let position = usize::from(position);
            let ranked = &mut self.ranked[position];
            ranked.is_preferred = false;
            ranked.is_cooling = false;
            self.set_multiplier(position, 1.0);
        }
        self.job = None;
        self.reason = None;
        self.previous = None;
        self.primary_count = 0;
    }

    fn adjust(&mut self, position: usize, multiplier: f64) {
        self.adjusted.push(position as u16);
        let multiplier = self.ranked[position].score.multiplier * multiplier;
        self.set_multiplier(position, multiplier);
    }

    /// Changes what the job makes of a datacenter and puts it where it belongs then.
    fn set_multiplier(&mut self, position: usize, multiplier: f64) {
        let ranked = &mut self.ranked[position];
        let old = ranked.key(position);
        ranked.score.multiplier = multiplier;
        let new = ranked.key(position);
        self.chain.reposition(old, new);
    }
}
