//! Byte counts as people write them.

use core::fmt;

/// A byte count, printed with a decimal unit: `98.4 MB`.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
        let count = self.0 as f64;
        let text = match UNITS.iter().find(|(_, size)| count >= *size) {
            Some((unit, size)) => format!("{:.1} {unit}", count / size),
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

/// Reads `512M`, `1.5G`, `98362432`, `64KiB`: decimal letters, or binary ones with an `i`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 10] = [
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("b", 1.0),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (digits, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((lower.strip_suffix(unit)?, *scale)))
        .unwrap_or((&lower, 1.0));
    match digits.trim().parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok((n * scale) as u64),
        _ => Err(format!(
            "`{text}` is no size: write 512M, 1.5G or a number of bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, parse_bytes};

    #[test]
    fn sizes_read_as_they_are_written() {
        for (text, bytes) in [
            ("512M", 512_000_000),
            ("1.5g", 1_500_000_000),
            ("64KiB", 65_536),
            ("77", 77),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        for bad in ["", "M", "-1", "many", "1e400"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(Bytes(98_362_432).to_string(), "98.4 MB");
        assert_eq!(Bytes(999).to_string(), "999 B");
    }
}
