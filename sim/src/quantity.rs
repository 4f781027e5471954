//! Quantities as people write them in scenarios: a number and a unit, "12h", "180d", "1GiB".

use thiserror::Error;

use crate::time::{DAY, HOUR, SECOND, YEAR};

/// Why a text is no quantity; the message ends in what to write.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// There is a number, but nothing says of what.
    #[error("'{text}' has no unit; try: {example}")]
    UnitMissing {
        /// What was written.
        text: String,
        /// A quantity of the kind.
        example: String,
    },
    /// There is no number, or a unit of another kind.
    #[error("'{text}' is not {kind}; try: {example}")]
    Malformed {
        /// What was written.
        text: String,
        /// What is wanted here, with its units.
        kind: &'static str,
        /// A quantity of the kind.
        example: &'static str,
    },
    /// Spans, sizes and rates start at zero.
    #[error("'{text}' is below zero; try: {example}")]
    Negative {
        /// What was written.
        text: String,
        /// A quantity of the kind.
        example: &'static str,
    },
}

/// A kind of quantity.
struct Kind {
    name: &'static str,
    example: &'static str,
    /// The unit that an example adds to a bare number.
    usual_unit: &'static str,
    units: &'static [(&'static str, f64)],
}

const SPAN: Kind = Kind {
    name: "a span of time in ms, s, min, h, d, w or y",
    example: "\"12h\"",
    usual_unit: "d",
    units: &[
        ("ms", SECOND as f64 / 1e3),
        ("s", SECOND as f64),
        ("min", 60.0 * SECOND as f64),
        ("h", HOUR as f64),
        ("d", DAY as f64),
        ("w", 7.0 * DAY as f64),
        ("y", YEAR as f64),
    ],
};

const SIZE: Kind = Kind {
    name: "an amount of bytes in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB",
    example: "\"4MiB\"",
    usual_unit: "MiB",
    units: &[
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ],
};

/// Nanoseconds from "90s", "1.5h" or "180d". A year has 365 days.
pub fn parse_span(text: &str) -> Result<f64, QuantityError> {
    parse(text, &SPAN)
}

/// Bytes from "512B", "4MiB" or "1.5GB".
pub fn parse_size(text: &str) -> Result<f64, QuantityError> {
    parse(text, &SIZE)
}

/// Bytes a second from "1MB/s".
pub fn parse_rate(text: &str) -> Result<f64, QuantityError> {
    let kind =
        Kind { name: "a rate such as 10MB/s", example: "\"10MB/s\"", usual_unit: "MB/s", ..SIZE };
    match text.trim().strip_suffix("/s") {
        Some(size) => parse(size, &kind),
        None if text.trim().parse::<f64>().is_ok() => Err(unit_missing(text, &kind)),
        None => Err(malformed(text, &kind)),
    }
}

/// A share from 0 to 1, from "10%" or "0.1".
pub fn parse_share(text: &str) -> Result<f64, QuantityError> {
    let kind =
        Kind { name: "a share from 0 to 100%", example: "\"10%\"", usual_unit: "", units: &[] };
    let trimmed = text.trim();
    let share = match trimmed.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => trimmed.parse::<f64>(),
    };
    share.ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| malformed(text, &kind))
}

fn parse(text: &str, kind: &Kind) -> Result<f64, QuantityError> {
    let trimmed = text.trim();
    // An exponent's sign and letter belong to the number: "1e-3d".
    let unit_start = trimmed
        .char_indices()
        .find(|&(at, _)| kind.units.iter().any(|(unit, _)| &trimmed[at..] == *unit))
        .map_or(trimmed.len(), |(at, _)| at);
    let (digits, unit) = trimmed.split_at(unit_start);
    let number = digits.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let Some(number) = number else { return Err(malformed(text, kind)) };
    if number < 0.0 {
        return Err(QuantityError::Negative { text: text.into(), example: kind.example });
    }
    match kind.units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok(number * factor),
        None => Err(unit_missing(text, kind)),
    }
}

fn unit_missing(text: &str, kind: &Kind) -> QuantityError {
    let example = format!("\"{}{}\"", text.trim(), kind.usual_unit);
    QuantityError::UnitMissing { text: text.into(), example }
}

fn malformed(text: &str, kind: &Kind) -> QuantityError {
    QuantityError::Malformed { text: text.into(), kind: kind.name, example: kind.example }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units() {
        assert_eq!(parse_span("12h").unwrap(), 12.0 * 3600e9);
        assert_eq!(parse_span(" 1.5 d ").unwrap(), 36.0 * 3600e9);
        assert_eq!(parse_span("1e-3s").unwrap(), 1e6);
        assert_eq!(parse_span("5min").unwrap(), 300e9);
        assert_eq!(parse_span("1y").unwrap(), 8760.0 * 3600e9);
        assert_eq!(parse_size("1GiB").unwrap(), 1_073_741_824.0);
        assert_eq!(parse_size("4MB").unwrap(), 4e6);
        assert_eq!(parse_rate("1MB/s").unwrap(), 1e6);
        assert_eq!(parse_share("10%").unwrap(), 0.1);
        assert_eq!(parse_share("0.25").unwrap(), 0.25);
    }

    #[test]
    fn says_what_to_write() {
        let message = |result: Result<f64, QuantityError>| result.unwrap_err().to_string();
        assert_eq!(message(parse_span("180")), "'180' has no unit; try: \"180d\"");
        assert_eq!(message(parse_span("-3d")), "'-3d' is below zero; try: \"12h\"");
        assert_eq!(
            message(parse_span("1GiB")),
            "'1GiB' is not a span of time in ms, s, min, h, d, w or y; try: \"12h\""
        );
        assert_eq!(message(parse_size("7")), "'7' has no unit; try: \"7MiB\"");
        assert_eq!(message(parse_rate("7")), "'7' has no unit; try: \"7MB/s\"");
        assert!(parse_rate("7MB").is_err() && parse_rate("MB/s").is_err());
        assert!(parse_share("110%").is_err() && parse_share("-1%").is_err());
        for text in ["", "d", "NaNd", "infd", "1e400d", "1 000d", "日"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
