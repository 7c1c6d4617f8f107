//! Numbers as people read them.

/// A figure with its unit: `3.21 us`, `659 k/s`, `12 B`.
pub fn show(value: f64, unit: &str) -> String {
    match unit {
        "ns" => duration(value),
        "ms" => duration(value * 1e6),
        "s" => duration(value * 1e9),
        "1/s" => format!("{}/s", large(value)),
        "" => large(value),
        unit => format!("{} {unit}", plain(value)),
    }
}

fn duration(nanos: f64) -> String {
    match nanos.abs() {
        n if n < 1e3 => format!("{} ns", plain(nanos)),
        n if n < 1e6 => format!("{} us", plain(nanos / 1e3)),
        n if n < 1e9 => format!("{} ms", plain(nanos / 1e6)),
        _ => format!("{} s", plain(nanos / 1e9)),
    }
}

fn large(value: f64) -> String {
    match value.abs() {
        n if n < 1e4 => plain(value),
        n if n < 1e6 => format!("{} k", plain(value / 1e3)),
        _ => format!("{} M", plain(value / 1e6)),
    }
}

/// Three digits, as far as there is a fraction.
pub fn plain(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        n if n < 0.000_95 => format!("{value:.5}"),
        n if n < 0.0995 => format!("{value:.3}"),
        n if n < 9.995 && value.fract() != 0.0 => format!("{value:.2}"),
        n if n < 99.95 && value.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// How many times.
pub fn times(ratio: f64) -> String {
    format!("{} x", plain(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_the_unit_that_suits_them() {
        assert_eq!(show(12.34, "ns"), "12.3 ns");
        assert_eq!(show(3_210.0, "ns"), "3.21 us");
        assert_eq!(show(1_340.0, "ms"), "1.34 s");
        assert_eq!(show(658_700.0, "1/s"), "659 k/s");
        assert_eq!(show(225.64, "B"), "226 B");
        assert_eq!(show(0.043, "%"), "0.043 %");
        assert_eq!(show(0.00003, ""), "0.00003");
        assert_eq!(show(0.0, ""), "0");
        assert_eq!(times(2.66), "2.66 x");
    }
}
