//! Numbers with their units. kB, MB, GB and TB are powers of 1000.

/// Bytes: `184.3 MB`, `512 B`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    for unit in UNITS {
        // What would round up to 1000.0 is 1.0 of the next unit.
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} EB")
}

/// Bytes more or less: `+1.2 MB`, `-300 B`.
pub fn signed_bytes(difference: i128) -> String {
    let sign = if difference < 0 { '-' } else { '+' };
    let size = u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{sign}{}", bytes(size))
}

/// A number with separators: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number and its noun: `1 block`, `1,200 blocks`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {noun}{plural}", count(number))
}

/// A share, rounded down to hundredths, so that `100 %` means all: `99.97 %`.
pub fn share(part: u64, whole: u64) -> String {
    percent(hundredths(part, whole))
}

/// The share of what is left beside `part`: both together are 100 %.
pub fn share_of_rest(part: u64, whole: u64) -> String {
    percent(if whole == 0 { 0 } else { 10_000u128.saturating_sub(hundredths(part, whole)) })
}

fn hundredths(part: u64, whole: u64) -> u128 {
    (u128::from(part) * 10_000).checked_div(u128::from(whole)).unwrap_or(0)
}

fn percent(hundredths: u128) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A length of time: `0.012 s`, `12.3 s`, `1 h 45 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{seconds:.3} s");
    }
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    if minutes < 60 {
        return format!("{minutes} min");
    }
    let (hours, minutes) = (minutes / 60, minutes % 60);
    if hours < 48 {
        format!("{hours} h {minutes} min")
    } else {
        format!("{} d {} h", hours / 24, hours % 24)
    }
}

/// Text from a trace without the characters that would command a terminal or are not seen in it.
pub fn plain(text: &str) -> String {
    let replaced = text.chars().map(|character| match character {
        '\n' | '\t' => ' ',
        character if crate::symbol::is_unseen(character) => '?',
        character => character,
    });
    replaced.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_and_never_read_1000_of_it() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (184_300_000, "184.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            let shown = bytes(value);
            assert_eq!(shown, if value == u64::MAX { "18.4 EB" } else { text });
        }
        assert_eq!(signed_bytes(-300), "-300 B");
        assert_eq!(signed_bytes(1_200_000), "+1.2 MB");
    }

    #[test]
    fn counts_and_shares_are_exact() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(counted(3, "process"), "3 processes");
        assert_eq!(share(9_999_999, 10_000_000), "99.99 %");
        assert_eq!(share(5, 5), "100 %");
        assert_eq!(share(1, 2), "50 %");
        assert_eq!(share(0, 0), "0 %");
        assert_eq!((share(1, 3), share_of_rest(1, 3)), ("33.33 %".into(), "66.67 %".into()));
        assert_eq!(share_of_rest(9_999_999, 10_000_000), "0.01 %", "not nothing");
        assert_eq!(share_of_rest(5, 5), "0 %");
        assert_eq!(share_of_rest(0, 0), "0 %");
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, text) in [
            (0.0123, "0.012 s"),
            (12.34, "12.3 s"),
            (300.0, "5 min"),
            (6300.0, "1 h 45 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_trace_cannot_command_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\n"), "a?[31mb ");
        assert_eq!(plain("a\u{202e}b\u{2028}c"), "a?b?c");
    }
}
