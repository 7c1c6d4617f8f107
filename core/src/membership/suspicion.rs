//! Suspicion: how long a silent member has to speak up before it counts as dead.
//!
//! Lifeguard (section IV-B): the time starts long and shrinks with every independent confirmation,
//! `max - (max - min) * ln(C + 1) / ln(K + 1)`, so that a lone, perhaps sick, accuser is slow to
//! convict and several are quick. AD-35 lengthens both ends by the latency to the member, by the
//! accuser's own health and by the uncertainty of its coordinate.
//!
//! Hearsay does not convict: a node that only heard of a suspicion asks the suspect itself before it
//! declares a death, and so does one that has not asked for long. A lost refutation, which is how a large
//! cluster with a lossy network comes to bury the living, then costs a probe.
//!
//! Another's word that a member is dead ends its time at once. It takes effect with the next deadlines and
//! not before, when all that has come is read: a node that was stopped finds the word in its socket, and
//! behind it the refutation. A word that has waited for long is no better than a suspicion; the member is
//! asked.

use crate::planted::{PlantedFault, is_planted};
use crate::time::{Duration, Instant};

/// Accusers that are told apart, and the most confirmations that shorten a suspicion.
pub(crate) const ACCUSER_COUNT_MAX: usize = 8;

/// Natural logarithms of 1 to 9; a table because the library's may differ between platforms.
const LN: [f64; ACCUSER_COUNT_MAX + 1] = [
    0.0,
    std::f64::consts::LN_2,
    1.098_612_288_668_109_8,
    1.386_294_361_119_890_6,
    1.609_437_912_434_100_3,
    1.791_759_469_228_055,
    1.945_910_149_055_313_2,
    2.079_441_541_679_835_7,
    2.197_224_577_336_219_6,
];

/// Another's word of a death that has waited for so long is not believed unheard.
const REPORT_AGE_MAX: Duration = Duration::from_millis(100);

/// What the time allowed depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The time once `confirmations` others agree.
    pub min: Duration,
    /// The time with a single accuser.
    pub max: Duration,
    /// Confirmations that bring the time down to `min` (Lifeguard: K).
    pub confirmations: usize,
}

impl Terms {
    /// The terms for a cluster of `member_count`, with probes every `probe_interval`.
    pub fn new(
        member_count: usize,
        probe_interval: Duration,
        min_factor: f64,
        max_factor: f64,
        helper_count: usize,
    ) -> Terms {
        let periods = (min_factor * log10(member_count)).max(1.0);
        let min = probe_interval.mul_f64(periods);
        // The accused and the first accuser cannot confirm.
        let others = member_count.saturating_sub(2);
        let confirmations = helper_count.min(others).min(ACCUSER_COUNT_MAX - 1);
        let max = if confirmations == 0 { min } else { min.mul_f64(max_factor) };
        Terms { min, max, confirmations }
    }

    /// Both ends stretched.
    pub fn stretched(self, factor: f64) -> Terms {
        Terms { min: self.min.mul_f64(factor), max: self.max.mul_f64(factor), ..self }
    }

    fn time(&self, confirmations: usize) -> Duration {
        if self.confirmations == 0 {
            return self.min;
        }
        let share = LN[confirmations.min(self.confirmations)] / LN[self.confirmations];
        self.max - (self.max - self.min).mul_f64(share)
    }
}

/// Base-10 logarithm of a member count to within 3 %, from integer arithmetic: the mantissa is
/// interpolated linearly between powers of two.
pub(crate) fn log10(count: usize) -> f64 {
    let count = count.max(1) as u64;
    let exponent = count.ilog2();
    let mantissa = count as f64 / (1u64 << exponent) as f64;
    (f64::from(exponent) + mantissa - 1.0) * std::f64::consts::LOG10_2
}

/// One member under suspicion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspicion {
    started: Instant,
    terms: Terms,
    accusers: [u32; ACCUSER_COUNT_MAX],
    accuser_count: u8,
    /// When a probe of this node's own has failed last.
    witnessed_at: Option<Instant>,
    /// Until when the suspect is being heard after its time is over; zero before that.
    hearing_until: Instant,
    /// When another's word came that it is dead.
    reported_at: Option<Instant>,
}

impl Suspicion {
    pub fn new(started: Instant, accuser: u32, terms: Terms) -> Suspicion {
        let mut accusers = [0; ACCUSER_COUNT_MAX];
        accusers[0] = accuser;
        Suspicion {
            started,
            terms,
            accusers,
            accuser_count: 1,
            witnessed_at: None,
            hearing_until: Instant::ZERO,
            reported_at: None,
        }
    }

    /// Another says that the suspect is dead, in a datagram that arrived at `received_at`: its time is over.
    pub fn report(&mut self, now: Instant, received_at: Instant) {
        self.started = now;
        self.witnessed_at = None;
        self.hearing_until = Instant::ZERO;
        self.reported_at = Some(received_at);
    }

    /// Whether the verdict is another's.
    pub fn is_reported(&self) -> bool {
        self.reported_at.is_some()
    }

    /// A probe of this node's own has failed: nothing is left to be asked.
    pub fn witness(&mut self, now: Instant) {
        self.witnessed_at = Some(now);
        self.hearing_until = Instant::ZERO;
    }

    /// Whether all that is known is hearsay, or old, and the suspect has not been asked.
    pub fn needs_hearing(&self, now: Instant) -> bool {
        let is_reported = self.reported_at.is_some_and(|at| now - at <= REPORT_AGE_MAX);
        // In more than half of the longest time others could have looked, and hardly any has failed.
        let is_witnessed = self.witnessed_at.is_some_and(|at| now - at <= self.terms.max / 2);
        !is_witnessed && !is_reported && self.hearing_until == Instant::ZERO
    }

    /// The suspect has been asked and has until then to answer.
    pub fn hear_until(&mut self, until: Instant) {
        self.hearing_until = until;
    }

    /// Takes note of an accuser; true when it is a new one that shortens the suspicion.
    pub fn confirm(&mut self, accuser: u32) -> bool {
        let count = usize::from(self.accuser_count);
        if count > self.terms.confirmations || self.accusers[..count].contains(&accuser) {
            return false;
        }
        self.accusers[count] = accuser;
        self.accuser_count += 1;
        true
    }

    /// Takes shorter terms, which a new failed probe justifies: what this node began while it was unwell
    /// or far away need not take as long once it is not.
    pub fn tighten(&mut self, terms: Terms) {
        if terms.max < self.terms.max {
            self.terms = terms;
        }
    }

    /// Gives the suspect time during which nobody listened.
    pub fn extend(&mut self, lost: Duration) {
        if !self.is_reported() {
            self.started += lost;
        }
    }

    pub fn deadline(&self) -> Instant {
        let time = match self.is_reported() {
            true => Duration::ZERO,
            false => self.terms.time(usize::from(self.accuser_count) - 1),
        };
        let time = if is_planted(PlantedFault::SuspicionCutShort) { time / 2 } else { time };
        (self.started + time).max(self.hearing_until)
    }

    /// The accuser to name the `sent`-th time the suspicion is told, so that each is told equally often.
    pub fn accuser_to_tell(&self, sent: u8) -> u32 {
        // The newest first: the older ones have been told before.
        let count = self.accuser_count;
        self.accusers[usize::from(count - 1 - sent % count)]
    }
}

/// The suspicions that are open, in reused places.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    places: Vec<Suspicion>,
    free: Vec<u32>,
}

impl Suspicions {
    pub fn open_count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn open(&mut self, suspicion: Suspicion) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = suspicion;
                place
            }
            None => {
                self.places.push(suspicion);
                self.places.len() as u32 - 1
            }
        }
    }

    pub fn close(&mut self, place: u32) {
        debug_assert!(!self.free.contains(&place));
        self.free.push(place);
    }

    pub fn get(&self, place: u32) -> &Suspicion {
        &self.places[place as usize]
    }

    pub fn get_mut(&mut self, place: u32) -> &mut Suspicion {
        &mut self.places[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    #[test]
    fn logarithms_are_close_and_rise() {
        for exponent in 0..6 {
            let count = 10usize.pow(exponent);
            assert!((log10(count) - f64::from(exponent)).abs() < 0.03, "{count}");
        }
        assert!((1..10_000).all(|count| log10(count) < log10(count + 1)));
        assert_eq!(log10(0), 0.0);
    }

    /// Lifeguard's example: alpha 5, beta 6, K 3.
    #[test]
    fn confirmations_shorten_by_the_logarithm_rule() {
        let terms = Terms::new(1_000, INTERVAL, 5.0, 6.0, 3);
        let seconds = |count| terms.time(count).as_secs_f64();
        let min = 5.0 * log10(1_000);
        assert!((seconds(0) - 6.0 * min).abs() < 1e-6);
        assert!((seconds(3) - min).abs() < 1e-6);
        let half = 6.0 * min - 5.0 * min * 2f64.ln() / 4f64.ln();
        assert!((seconds(1) - half).abs() < 1e-6, "{} is not {half}", seconds(1));
        assert!(seconds(0) > seconds(1) && seconds(1) > seconds(2) && seconds(2) > seconds(3));
    }

    #[test]
    fn each_accuser_counts_once_and_only_as_many_as_expected() {
        let start = Instant::from_millis(1_000);
        let mut suspicion = Suspicion::new(start, 7, Terms::new(10, INTERVAL, 4.0, 6.0, 2));
        let first = suspicion.deadline();
        assert!(!suspicion.confirm(7));
        assert_eq!(suspicion.deadline(), first);
        assert!(suspicion.confirm(8));
        assert!(suspicion.confirm(9));
        assert!(!suspicion.confirm(10));
        assert!(suspicion.deadline() < first);
        let told: Vec<u32> = (0..4).map(|sent| suspicion.accuser_to_tell(sent)).collect();
        assert_eq!(told, [9, 8, 7, 9]);
    }

    #[test]
    fn a_suspect_is_heard_once_unless_this_node_has_seen_for_itself() {
        let terms = Terms::new(10, INTERVAL, 4.0, 6.0, 2);
        let mut suspicion = Suspicion::new(Instant::ZERO, 7, terms);
        let end = suspicion.deadline();
        assert!(suspicion.needs_hearing(end));
        suspicion.hear_until(end + INTERVAL);
        assert!(!suspicion.needs_hearing(end));
        suspicion.confirm(8);
        assert_eq!(suspicion.deadline(), end + INTERVAL, "a confirmation ends no hearing");
        suspicion.witness(end);
        assert!(suspicion.deadline() < end && !suspicion.needs_hearing(end));
    }

    /// A lone accuser whose news got lost would convict by the one failure that began the suspicion.
    #[test]
    fn what_was_seen_long_ago_convicts_nobody_unheard() {
        let terms = Terms::new(1_000, INTERVAL, 4.0, 6.0, 3);
        let mut lone = Suspicion::new(Instant::ZERO, 7, terms);
        lone.witness(Instant::ZERO);
        let mut confirmed = lone;
        assert!(lone.needs_hearing(lone.deadline()));
        lone.witness(lone.deadline());
        assert!(!lone.needs_hearing(lone.deadline()));
        assert!(confirmed.confirm(8) && confirmed.confirm(9));
        assert!(!confirmed.needs_hearing(confirmed.deadline()), "several are quick");
    }

    #[test]
    fn a_report_of_a_death_is_believed_at_once_and_an_old_one_after_a_hearing() {
        let now = Instant::from_millis(10_000);
        let terms = Terms::new(10, INTERVAL, 4.0, 6.0, 2);
        let mut suspicion = Suspicion::new(Instant::from_millis(9_000), 7, terms);
        suspicion.report(now, now);
        assert_eq!(suspicion.deadline(), now);
        assert!(!suspicion.needs_hearing(now + REPORT_AGE_MAX));
        assert!(suspicion.needs_hearing(now + INTERVAL));
        suspicion.extend(INTERVAL);
        assert_eq!(suspicion.deadline(), now, "the word needs no time");

        suspicion.witness(now);
        suspicion.report(now, Instant::from_millis(9_000));
        assert!(suspicion.needs_hearing(now), "what was seen before it came is older still");
        suspicion.hear_until(now + INTERVAL);
        assert_eq!(suspicion.deadline(), now + INTERVAL);
        suspicion.witness(now);
        assert_eq!((suspicion.deadline(), suspicion.needs_hearing(now)), (now, false));
    }

    #[test]
    fn renewed_terms_shorten_and_never_lengthen() {
        let terms = Terms::new(10, INTERVAL, 4.0, 6.0, 2);
        let mut suspicion = Suspicion::new(Instant::ZERO, 7, terms.stretched(9.0));
        let long = suspicion.deadline();
        suspicion.tighten(terms);
        let short = suspicion.deadline();
        assert_eq!(short.as_nanos(), long.as_nanos() / 9);
        suspicion.tighten(terms.stretched(3.0));
        assert_eq!(suspicion.deadline(), short);
    }

    /// There, an extension of a suspect's time is lost with the next confirmation, and the next
    /// extension replaces the one before.
    #[test]
    fn defect_f1_given_time_adds_up_and_outlasts_confirmations() {
        let terms = Terms::new(10, INTERVAL, 4.0, 6.0, 2);
        let mut plain = Suspicion::new(Instant::ZERO, 7, terms);
        let mut extended = plain;
        for lost in [INTERVAL, INTERVAL * 3] {
            extended.extend(lost);
        }
        assert_eq!(extended.deadline(), plain.deadline() + INTERVAL * 4);
        for accuser in [8, 9] {
            assert!(plain.confirm(accuser) && extended.confirm(accuser));
            assert_eq!(extended.deadline(), plain.deadline() + INTERVAL * 4);
        }
    }

    #[test]
    fn two_nodes_cannot_confirm_each_other_so_the_time_is_short() {
        let terms = Terms::new(2, INTERVAL, 4.0, 6.0, 3);
        assert_eq!(terms.time(0), terms.min);
        assert_eq!(terms.stretched(3.0).time(0), terms.min * 3);
    }
}
