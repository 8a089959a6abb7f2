//! Numbers and times of tar headers.
//!
//! Spec: POSIX pax, "ustar Interchange Format" (octal); GNU tar, "Basic Tar Format" (base 256); POSIX pax extended header
//! times (decimal seconds with a fraction). Read as Go's archive/tar reads them, because the rest of the field uses that.

use knarr_sys::at::Timespec;

/// A number field: octal digits with spaces or NULs around, or base 256 where the first bit is set. `None` where it is
/// neither or does not fit.
pub fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base_256(bytes),
        _ => octal(bytes),
    }
}

/// Two's complement, big endian, without the first bit.
fn base_256(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, &byte) in bytes.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        value = (value << 8) | i128::from(byte);
        if i64::try_from(value >> 8).is_err() {
            return None;
        }
    }
    i64::try_from(value).ok()
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let start = bytes.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let end = digits.iter().position(|&b| b == 0).unwrap_or(digits.len());
    let digits = digits[..end].trim_ascii_end();
    let mut value: i64 = 0;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// A decimal number of a pax record.
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    let plain = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if plain { std::str::from_utf8(bytes).ok()?.parse().ok() } else { None }
}

/// A time of a pax record: `-?digits(.digits)?`; digits behind the ninth of the fraction are cut off.
pub fn time(bytes: &[u8]) -> Option<Timespec> {
    let (negative, digits) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let (whole, fraction) = match digits.iter().position(|&b| b == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let nanoseconds = nanoseconds(fraction)?;
    Some(match (negative, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

fn nanoseconds(fraction: &[u8]) -> Option<i64> {
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index: usize| i64::from(fraction.get(index).map_or(0, |digit| digit - b'0'));
    Some((0..9).fold(0, |value, index| value * 10 + digit(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_may_be_padded_with_spaces_and_nuls() {
        for (bytes, expect) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"644\0junk", Some(0o644)),
            (b"0000648\0", None),
            (b"-1\0", None),
            (b"777777777777777777777777", None),
        ] {
            assert_eq!(field(bytes), expect, "{bytes:?}");
        }
    }

    #[test]
    fn base_256_holds_large_and_negative_numbers() {
        assert_eq!(field(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(field(&[0xff; 12]), Some(-1));
        assert_eq!(field(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]), Some(-256));
        let largest = [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(field(&largest), Some(i64::MAX));
        assert_eq!(field(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(field(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn pax_times_have_fractions_and_signs() {
        let at = |tv_sec, tv_nsec| Some(Timespec { tv_sec, tv_nsec });
        for (text, expect) in [
            ("1350244992.023960108", at(1350244992, 23_960_108)),
            ("1350244992.02396010899", at(1350244992, 23_960_108)),
            ("1350244992.3", at(1350244992, 300_000_000)),
            ("12.", at(12, 0)),
            ("-1.5", at(-2, 500_000_000)),
            ("-0.5", at(-1, 500_000_000)),
            ("-3", at(-3, 0)),
            ("", None),
            (".5", None),
            ("1.5x", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), expect, "{text:?}");
        }
    }
}
