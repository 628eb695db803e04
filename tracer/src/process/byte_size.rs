//! Sizes as people write them: `512KiB`, `2 GB`, `4096`.

/// Units, and how many bytes they are.
const UNITS: [(&[u8], u64); 10] = [
    (b"", 1),
    (b"B", 1),
    (b"KiB", 1 << 10),
    (b"MiB", 1 << 20),
    (b"GiB", 1 << 30),
    (b"TiB", 1 << 40),
    (b"kB", 1000),
    (b"MB", 1_000_000),
    (b"GB", 1_000_000_000),
    (b"TB", 1_000_000_000_000),
];

/// The bytes that a text says; `None` if it says none.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = core::str::from_utf8(number).ok()?.parse().ok()?;
    let unit = unit.trim_ascii();
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_known_unit() {
        for (text, bytes) in [
            ("512KiB", Some(512 << 10)),
            ("4096", Some(4096)),
            ("1 B", Some(1)),
            (" 2 GB ", Some(2_000_000_000)),
            ("3TiB", Some(3 << 40)),
            ("0", Some(0)),
            ("kB", None),
            ("512K", None),
            ("512kib", None),
            ("-1", None),
            ("0x10", None),
            ("1.5MiB", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999TiB", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()), bytes, "{text:?}");
        }
    }
}
