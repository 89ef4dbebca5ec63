//! Lengths of time as people write them: `90s`, `15m`, `6h`, `7d`, `1w`, and sums of them such as `1d12h`.
//!
//! A length is a whole number of microseconds. [`parse`] reads any order of magnitude down to `us`; [`format`] writes
//! the one canonical spelling, so that `format(parse(x))` is the same for every spelling of one length.

use crate::time::Micros;

/// Microseconds in one second.
const SECOND: Micros = 1_000_000;

/// The units that are read, largest first. Weeks are not written: `7d` stays `7d`.
const UNITS: [(&str, Micros); 7] = [
    ("w", 7 * 24 * 3_600 * SECOND),
    ("d", 24 * 3_600 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000),
    ("us", 1),
];

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, no unit, or something between them.
    #[error("`{0}` is not a duration; write a whole number and a unit, such as `90s`, `15m`, `6h`, `7d` or `1d12h`")]
    Malformed(String),
    /// Below zero.
    #[error("`{0}` is negative; a duration can't be")]
    Negative(String),
    /// A number followed by a unit that is not one of ours.
    #[error("`{unit}` in `{text}` is not a unit of time; the units are w, d, h, m, s, ms and us")]
    Unit {
        /// The whole text.
        text: String,
        /// The unit that is not one.
        unit: String,
    },
    /// A unit that comes again, or after a smaller one.
    #[error("`{0}` has its units out of order; write each once, largest first, as in `1d12h`")]
    Order(String),
    /// More than 64 bits of microseconds.
    #[error("`{0}` is longer than 292,000 years")]
    Overflow(String),
}

/// Reads a length of time; zero is one.
///
/// ```
/// use tidegate_schemas::duration::{format, parse};
/// assert_eq!(parse("1d12h"), Ok(129_600_000_000));
/// assert_eq!(format(129_600_000_000), "1d12h");
/// ```
///
/// # Errors
/// A text that is not a sum of whole numbers with units, is negative, or does not fit.
pub fn parse(text: &str) -> Result<Micros, DurationError> {
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(DurationError::Negative(text.to_owned()));
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed(text.to_owned()));
    }
    let overflow = || DurationError::Overflow(text.to_owned());
    let (mut total, mut smallest): (Micros, Micros) = (0, Micros::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() || unit.is_empty() {
            return Err(DurationError::Malformed(text.to_owned()));
        }
        let micros =
            unit_micros(unit).ok_or_else(|| DurationError::Unit { text: text.to_owned(), unit: unit.to_owned() })?;
        if micros >= smallest {
            return Err(DurationError::Order(text.to_owned()));
        }
        smallest = micros;
        let number: Micros = number.parse().map_err(|_| overflow())?;
        total = number.checked_mul(micros).and_then(|part| total.checked_add(part)).ok_or_else(overflow)?;
        rest = tail;
    }
    Ok(total)
}

fn unit_micros(unit: &str) -> Option<Micros> {
    UNITS.iter().find(|(name, _)| *name == unit).map(|(_, micros)| *micros)
}

/// Writes a length of time with the largest units that divide it; a negative one with a sign.
#[must_use]
pub fn format(micros: Micros) -> String {
    if micros == 0 {
        return "0s".to_owned();
    }
    let sign = if micros < 0 { "-" } else { "" };
    let mut rest = micros.unsigned_abs();
    let mut text = sign.to_owned();
    for (unit, of) in UNITS.iter().skip(1) {
        let of = of.unsigned_abs();
        if rest >= of {
            text.push_str(&(rest / of).to_string());
            text.push_str(unit);
            rest %= of;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text: &str, expect: Micros| assert_eq!(parse(text), Ok(expect), "{text}");
        check("90s", 90 * SECOND);
        check("15m", 900 * SECOND);
        check("6h", 21_600 * SECOND);
        check("7d", 604_800 * SECOND);
        check("1w", 604_800 * SECOND);
        check("1d12h", 129_600 * SECOND);
        check("1s500ms", 1_500_000);
        check("7us", 7);
        check("0s", 0);
        check(" 2h ", 7_200 * SECOND);
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        let check = |text: &str, expect: &str| match parse(text) {
            Ok(micros) => panic!("{text} read as {micros}"),
            Err(error) => assert!(error.to_string().contains(expect), "{text}: {error}"),
        };
        check("-3h", "is negative");
        check("3 h", "is not a duration");
        check("3", "is not a duration");
        check("h", "is not a duration");
        check("", "is not a duration");
        check("1.5h", "is not a duration");
        check("3y", "`y` in `3y` is not a unit");
        check("3M", "`M` in `3M` is not a unit");
        check("12h1d", "out of order");
        check("1h1h", "out of order");
        check("999999999999w", "longer than");
        check("99999999999999999999s", "longer than");
    }

    #[test]
    fn one_spelling_for_each_length() {
        for (text, expect) in
            [("1w", "7d"), ("90s", "1m30s"), ("24h", "1d"), ("1500ms", "1s500ms"), ("0m", "0s"), ("36h", "1d12h")]
        {
            let micros = parse(text).expect(text);
            assert_eq!(format(micros), expect);
            assert_eq!(parse(expect), Ok(micros));
        }
        assert_eq!(format(-SECOND), "-1s");
        assert_eq!(parse(&format(Micros::MAX)), Ok(Micros::MAX));
    }
}
