//! Extension negotiation against sequences recorded from the Python `ExtensionTracker`.
//!
//! `vectors/extensions.json` holds 40 sequences of requests, each `[progress, granted, seconds]`.
#![allow(missing_docs)]

use shoal_core::Instant;
use shoal_core::jobs::{ExtensionConfig, ExtensionNegotiation, ExtensionRequest};

const VECTORS: &str = include_str!("vectors/extensions.json");

#[test]
fn extensions_are_granted_as_recorded() {
    let sequences: Vec<Vec<(f64, bool, f64)>> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(sequences.len(), 40);
    let config = ExtensionConfig::default();
    for (number, sequence) in sequences.iter().enumerate() {
        let mut negotiation = ExtensionNegotiation::default();
        let mut total = 0.0;
        for (step, &(progress, granted, seconds)) in sequence.iter().enumerate() {
            let request = ExtensionRequest::new(progress);
            let answer = negotiation.request(Instant::ZERO, &request, &config);
            let at = format!("sequence {number}, request {step}: {answer:?}");
            assert_eq!(answer.is_ok(), granted, "{at}");
            let found = answer.map_or(0.0, |grant| grant.duration.as_secs_f64());
            assert!((found - seconds).abs() <= 1e-9 * seconds, "{at}");
            total += seconds;
        }
        assert!((negotiation.total().as_secs_f64() - total).abs() < 1e-9);
    }
}
