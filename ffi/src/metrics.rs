//! Metrics: what a node measures of itself, as numbers at one moment and as OpenMetrics text for
//! Prometheus and its kin. How the text is served is the program's business.

use crate::call::{Failure, Outcome, copy_text, required};
use crate::member::shoal_counter;
use crate::status::{SHOAL_NULL_POINTER, SHOAL_OK};
use shoal_core::stats::Gauges;
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// Room for every metrics text, its final NUL included.
pub const SHOAL_METRICS_SIZE_MAX: usize = 65_536;

/// The media type to serve the text as, for the `Content-Type` of an HTTP response. Static.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_metrics_media_type() -> *const c_char {
    c"application/openmetrics-text; version=1.0.0; charset=utf-8".as_ptr()
}

/// What waits and what is open, in the form of the header.
pub(crate) fn gauge_counters(gauges: &Gauges) -> impl Iterator<Item = shoal_counter> + use<> {
    let all = [
        ("health_score", usize::from(gauges.health_score)),
        ("updates_waiting", gauges.updates_waiting),
        ("broadcasts_waiting", gauges.broadcasts_waiting),
        ("events_waiting", gauges.events_waiting),
        ("probes_open", gauges.probes_open),
        ("suspicions_open", gauges.suspicions_open),
    ];
    all.into_iter().map(|(name, value)| shoal_counter::new(name, value as u64))
}

/// Writes a metrics text that fits, and the bytes that it needs.
///
/// # Safety
/// `buffer` is NULL or points to `capacity` writable bytes.
pub(crate) unsafe fn write_metrics(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> Outcome {
    let size = required(size, "size")?;
    if buffer.is_null() && capacity > 0 {
        return Err(Failure::new(SHOAL_NULL_POINTER, "buffer is NULL"));
    }
    let needed = text.len() + 1;
    if needed <= capacity {
        // SAFETY: by the contract of this function.
        unsafe { copy_text(text, buffer, capacity)? };
    }
    size.write(needed);
    Ok(SHOAL_OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::Stats;
    use shoal_core::metrics::{self, Census, MEDIA_TYPE, Sources};
    use std::ffi::CStr;

    fn text() -> String {
        let mut text = String::new();
        let (stats, gauges, members) = (Stats::default(), Gauges::default(), Census::default());
        let backend = Some("uring");
        metrics::write(
            &mut text,
            &Sources { stats: &stats, gauges: &gauges, members: &members, backend },
        );
        text
    }

    #[test]
    fn every_text_fits_whatever_its_numbers() {
        let text = text();
        // No number is longer than that of a float with all its digits and its exponent.
        let worst = text.len() + text.lines().count() * 25;
        assert!(worst < SHOAL_METRICS_SIZE_MAX, "{worst} bytes");
        // SAFETY: the function returns a static C string.
        let media_type = unsafe { CStr::from_ptr(shoal_metrics_media_type()) };
        assert_eq!(media_type.to_str(), Ok(MEDIA_TYPE));
    }

    #[test]
    fn a_text_is_written_whole_or_not_at_all() {
        let mut buffer = [b'x'; 6];
        let mut size = MaybeUninit::new(0);
        // SAFETY: the buffer has at least as many bytes as is said.
        unsafe {
            write_metrics("abcd", buffer.as_mut_ptr().cast(), 4, Some(&mut size)).unwrap();
            assert_eq!((size.assume_init(), &buffer), (5, b"xxxxxx"));
            write_metrics("abcd", buffer.as_mut_ptr().cast(), 5, Some(&mut size)).unwrap();
            assert_eq!((size.assume_init(), &buffer), (5, b"abcd\0x"));
            write_metrics("abcd", std::ptr::null_mut(), 0, Some(&mut size)).unwrap();
            write_metrics("abcd", std::ptr::null_mut(), 5, Some(&mut size)).unwrap_err();
            write_metrics("abcd", buffer.as_mut_ptr().cast(), 5, None).unwrap_err();
        }
    }
}
