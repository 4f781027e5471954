//! Amounts of bytes and ranges of them, and spans of time, as people write and read them.

use std::ops::Range;
use std::time::Duration;

use crate::failure::{Failure, Kind};

/// Units by their factor, the longer spelling first.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Bytes from `65536`, `64KiB` or `10GB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let malformed = || format!("'{text}' is not an amount of bytes such as 65536, 64KiB or 10GB");
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let number: u64 = digits.parse().map_err(|_| malformed())?;
    number.checked_mul(factor).ok_or_else(|| format!("'{text}' is more than 2^64 bytes"))
}

/// Units of time by their milliseconds, the longer spelling first.
const SPAN_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A span of time in its largest whole unit, as in `3d`.
pub(crate) fn show_span(seconds: u64) -> String {
    let millis = seconds.saturating_mul(1000);
    let fitting = SPAN_UNITS.iter().skip(1).rev().find(|(_, factor)| millis >= *factor);
    let (unit, factor) = fitting.unwrap_or(&SPAN_UNITS[1]);
    format!("{}{unit}", millis / factor)
}

/// A span of time from `500ms`, `20s`, `5m`, `4h` or `30d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let malformed = || format!("'{text}' is not a span of time such as 500ms, 20s, 5m, 4h or 30d");
    let units = SPAN_UNITS.iter();
    let parsed = units.filter_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = parsed.into_iter().next().ok_or_else(malformed)?;
    let number: u32 = digits.parse().map_err(|_| malformed())?;
    Ok(Duration::from_millis(u64::from(number) * factor))
}

/// The bytes from A up to, not including, B; to the end where B is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    start: u64,
    end: Option<u64>,
}

impl ByteRange {
    /// The bytes of a record of `len` bytes that it means; a record that is shorter ends it.
    pub(crate) fn within(self, len: u64) -> Result<Range<u64>, Failure> {
        if self.start >= len {
            return Err(Failure::new(
                Kind::Usage,
                format!("the range begins at byte {} of a record of {len} bytes", self.start),
                "a range inside the record; kakera ls shows its length",
            ));
        }
        Ok(self.start..self.end.map_or(len, |end| end.min(len)))
    }
}

/// A range from `A-B` or `A-`, both amounts of bytes.
pub(crate) fn parse_range(text: &str) -> Result<ByteRange, String> {
    let (start, end) = text
        .split_once('-')
        .ok_or_else(|| format!("'{text}' is not a range such as 0-64KiB or 1MiB-"))?;
    let start = parse_size(start)?;
    let end = if end.is_empty() { None } else { Some(parse_size(end)?) };
    match end {
        Some(end) if end <= start => {
            Err(format!("'{text}' is empty: it goes from A up to, not including, B"))
        }
        _ => Ok(ByteRange { start, end }),
    }
}

/// `1.4 GB`: three significant digits and a decimal unit.
pub(crate) fn show_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        if value < 999.5 || unit == "TB" {
            let decimals = if unit == "B" || value >= 99.95 {
                0
            } else if value >= 9.995 {
                1
            } else {
                2
            };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes every value")
}

/// `12.3 MB/s`.
pub(crate) fn show_rate(bytes: u64, seconds: f64) -> String {
    format!("{}/s", show_size((bytes as f64 / seconds.max(1e-6)) as u64))
}

/// `2026-11-22 22:10` in UTC, by the days-to-civil algorithm of Howard Hinnant.
pub(crate) fn show_time(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

/// The Unix seconds with which a day such as `2031-03-31` begins in UTC.
pub(crate) fn parse_day(text: &str) -> Result<u64, String> {
    let malformed = || format!("'{text}' is not a day such as 2031-03-31");
    let parts: Vec<u64> = text.split('-').filter_map(|part| part.parse().ok()).collect();
    let [year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = parts[..] else {
        return Err(malformed());
    };
    let year_from_march = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    let seconds = (365 * year_from_march + leap_days + day_of_year - 719_468) * 86_400;
    // The 31st of February is in March.
    let is_day = show_time(seconds) == format!("{text} 00:00");
    is_day.then_some(seconds).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_in_whole_units() {
        let shown = [0, 59, 60, 7199, 86_400 * 30].map(show_span);
        assert_eq!(shown, ["0s", "59s", "1m", "1h", "30d"]);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(parse_day("1970-01-01"), Ok(0));
        assert_eq!(parse_day("2000-02-29"), Ok(951_782_400));
        assert_eq!(parse_day("2026-11-22"), Ok(1_795_305_600));
        for text in ["", "2026", "2026-2-3", "2026-02-30", "2100-02-29", "0026-01-01", "2026-13-01"]
        {
            assert!(parse_day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("65536"), Ok(65536));
        assert_eq!(parse_size("12B"), Ok(12));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("10GB"), Ok(10_000_000_000));
        for text in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MB",
            "1 KB",
            "64kib",
            "1PB",
            "99999999999999999999",
            "99999999TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_half_open() {
        let within = |text, len| parse_range(text).unwrap().within(len).ok();
        assert_eq!(within("0-100", 1000), Some(0..100));
        assert_eq!(within("0-100", 100), Some(0..100));
        assert_eq!(within("0-100", 99), Some(0..99));
        assert_eq!(within("1KiB-1MiB", 1 << 30), Some(1024..1 << 20));
        assert_eq!(within("1KiB-", 2000), Some(1024..2000));
        assert_eq!(within("5-", 5), None);
        for text in ["", "5", "-", "-5", "5-5", "9-5", "a-b", "1-2-3"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = [0, 999, 1000, 99_949, 999_499, 999_500, 200_000_000, u64::MAX].map(show_size);
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.00 KB", "99.9 KB", "999 KB", "1.00 MB", "200 MB", "18446744 TB"]
        );
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(show_time(0), "1970-01-01 00:00");
        assert_eq!(show_time(951_782_399), "2000-02-28 23:59");
        assert_eq!(show_time(951_782_400), "2000-02-29 00:00");
        assert_eq!(show_time(1_795_385_400), "2026-11-22 22:10");
    }
}
