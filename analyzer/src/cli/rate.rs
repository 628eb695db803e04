//! A rate of growth on the command line: bytes for each request or second.

/// Growth over requests or time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How much.
    pub bytes: f64,
    /// For each of these.
    pub per: Per,
}

/// What growth is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A request.
    Request,
    /// A second.
    Second,
}

/// Reads a rate such as `1kB/request`.
pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    let expected = "give bytes and a unit, such as 1kB/request or 64kB/s";
    let (amount, per) = text.split_once('/').ok_or(expected)?;
    let per = match per.trim() {
        "request" | "req" => Per::Request,
        "s" | "second" => Per::Second,
        _ => return Err(expected.into()),
    };
    let amount = amount.trim();
    let digits = amount.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match amount[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        _ => return Err(expected.into()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| expected)?;
    if !number.is_finite() || number < 0.0 {
        return Err(expected.into());
    }
    Ok(Rate { bytes: number * factor, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_bytes_and_a_unit() {
        let rate = |bytes, per| Ok(Rate { bytes, per });
        assert_eq!(parse_rate("1kB/request"), rate(1e3, Per::Request));
        assert_eq!(parse_rate("1.5 MiB/s"), rate(1.5 * 1024.0 * 1024.0, Per::Second));
        assert_eq!(parse_rate("0/req"), rate(0.0, Per::Request));
        for wrong in ["1kB", "kB/s", "1kB/day", "-1/s", "1xB/s", "nan/s", "inf/s"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
