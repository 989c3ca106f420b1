// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write and read them.

/// Parses a size in bytes: a number, optionally with a suffix k, m, g, t, p or e (powers of 1024,
/// either case, "M", "MB" and "MiB" alike).
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a size (a number with an optional suffix k, m, g, t, p)");
    let text_lower = text.trim().to_ascii_lowercase();
    let digits = text_lower
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text_lower.len());
    let (number, suffix) = text_lower.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let shift = match suffix {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        "e" | "eb" | "eib" => 60,
        _ => return Err(bad()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' is more than 2^64 bytes"))
}

/// A size for people: "17 TiB", "4.5 MiB".
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if (value - value.round()).abs() < 0.05 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("16m"), Ok(16 << 20));
        assert_eq!(parse("1T"), Ok(1 << 40));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        for bad in ["", "m", "-1", "1x", "1.5g", "99999999999999999999", "16e9"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("16e").is_err());
        assert_eq!(human(17 << 40), "17 TiB");
        assert_eq!(human(0), "0 B");
        assert_eq!(human(4718592), "4.5 MiB");
        assert_eq!(human(u64::MAX), "16 EiB");
    }
}
