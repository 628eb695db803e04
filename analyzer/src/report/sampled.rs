//! Says of a sampled trace that its figures are estimates, and how good they are.

use tftrace_format::reader::Trace;

use super::numbers::bytes;

/// One sentence, or nothing if every allocation was recorded.
pub fn line(trace: &Trace<'_>) -> Option<String> {
    trace.header().sample_period.map(|period| in_words(period.get()))
}

/// `estimated from 1 sample per 512 KiB; …`.
pub fn in_words(period: u64) -> String {
    format!(
        "estimated from 1 sample per {}; ± is one standard error, mappings are exact",
        period_in_words(period)
    )
}

/// A period as people set it, in powers of 1024.
fn period_in_words(period: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if period.is_multiple_of(factor) {
            return format!("{} {unit}", period / factor);
        }
    }
    bytes(period)
}

/// Bytes, with their standard error if they are estimated: `142.3 MB ± 1.2 MB`.
pub fn with_error(value: u64, error: f64) -> String {
    match error {
        0.0 => bytes(value),
        _ => format!("{} ± {}", bytes(value), bytes(error.round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_what_it_rests_on() {
        assert!(in_words(512 << 10).starts_with("estimated from 1 sample per 512 KiB; "));
        assert!(in_words(3 << 30).contains(" per 3 GiB;"));
        assert!(in_words(1000).contains(" per 1.0 kB;"));
        assert_eq!(with_error(142_300_000, 1_234_000.0), "142.3 MB ± 1.2 MB");
        assert_eq!(with_error(5, 0.0), "5 B", "counted, not estimated");
    }
}
