//! When a view is materialized without being told to.

use chrono::DateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::time::Micros;

/// The year 4900. Searches end in the year 5000: from here they are short, and every day that there is comes by.
const LAST_CENTURY: Micros = 92_461_910_400_000_000;

/// The length of a cron expression.
const LENGTH_MAX: usize = 200;

/// When a view is materialized by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Each time this much has passed, at whole multiples of it since 1970.
    Every(Micros),
    /// At the minutes that a cron expression of five fields names, in UTC.
    Cron(String),
    /// When its table has a new version.
    OnCommit,
}

impl Schedule {
    /// The first time after `after` that the clock gives reason to run; `None` where it never does.
    ///
    /// ```
    /// use tidegate_schemas::definition::Schedule;
    /// assert_eq!(Schedule::Every(10).next_after(20), Some(30));
    /// assert_eq!(Schedule::Cron("0 * * * *".to_owned()).next_after(0), Some(3_600_000_000));
    /// assert_eq!(Schedule::OnCommit.next_after(0), None);
    /// ```
    #[must_use]
    pub fn next_after(&self, after: Micros) -> Option<Micros> {
        match self {
            Self::Every(length) => after.checked_div_euclid(*length)?.checked_add(1)?.checked_mul(*length),
            Self::Cron(expression) => {
                let start = DateTime::from_timestamp_micros(after)?;
                let next = parse(expression).ok()?.find_next_occurrence(&start, false).ok()?;
                Some(next.timestamp_micros())
            }
            Self::OnCommit => None,
        }
    }
}

/// Why a text is not a cron expression that runs.
///
/// # Errors
/// In words, without the text itself.
pub(crate) fn check_cron(expression: &str) -> Result<(), String> {
    if expression.len() > LENGTH_MAX {
        return Err(format!("it has more than {LENGTH_MAX} characters"));
    }
    parse(expression)?;
    match Schedule::Cron(expression.to_owned()).next_after(LAST_CENTURY) {
        Some(_) => Ok(()),
        None => Err("no day is ever one that it names".to_owned()),
    }
}

fn parse(expression: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(expression).map_err(|error| error.to_string().trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const MINUTE: Micros = 60_000_000;

    #[test]
    fn the_next_time_is_after_the_last() {
        let check = |schedule: Schedule, after: Micros, expect: Option<Micros>| {
            assert_eq!(schedule.next_after(after), expect, "{schedule:?} after {after}");
        };
        let cron = |text: &str| Schedule::Cron(text.to_owned());
        check(Schedule::Every(5 * MINUTE), 0, Some(5 * MINUTE));
        check(Schedule::Every(5 * MINUTE), 5 * MINUTE - 1, Some(5 * MINUTE));
        check(Schedule::Every(5 * MINUTE), 5 * MINUTE, Some(10 * MINUTE));
        check(Schedule::Every(5 * MINUTE), -1, Some(0));
        check(Schedule::Every(5), Micros::MAX, None);
        check(cron("*/15 * * * *"), 14 * MINUTE, Some(15 * MINUTE));
        check(cron("*/15 * * * *"), 15 * MINUTE, Some(30 * MINUTE));
        check(cron("*/15 * * * *"), 15 * MINUTE + 1, Some(30 * MINUTE));
        check(cron("30 4 * * *"), 0, Some(270 * MINUTE));
        check(cron("not one"), 0, None);
        check(Schedule::OnCommit, 0, None);
    }

    #[test]
    fn cron_expressions_have_five_fields_and_a_day_that_comes() {
        for text in ["0 * * * *", "@hourly", "0 9 * * MON-FRI", "0 0 29 2 *", "0 0 29 2 +WED", "0 0 L * *"] {
            assert_eq!(check_cron(text), Ok(()), "{text}");
        }
        for text in ["", "0 * * *", "0 0 * * * *", "60 * * * *", "a b c d e", "0 0 30 2 *"] {
            assert!(check_cron(text).is_err(), "{text}");
        }
        assert!(check_cron(&"0,".repeat(1_000)).is_err());
    }

    /// Whatever is written, the parser and the search come to an end, and a time that is found is later.
    #[test]
    fn random_cron_expressions() {
        let number =
            |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        let (seed, cases) = (number("TIDEGATE_SEED", 5), number("TIDEGATE_CASES", 500));
        for case in seed..seed + cases {
            let rng = &mut StdRng::seed_from_u64(case);
            let part = |rng: &mut StdRng| -> String {
                let one = [
                    "*", "0", "1", "5", "29", "31", "60", "L", "W", "#", "/", "-", ",", "?", "+", "MON", "FEB", "@",
                    "é",
                ];
                (0..rng.random_range(1..4)).map(|_| one[rng.random_range(0..one.len())]).collect()
            };
            let mut parts = ["0", "0", "*", "*", "*"].map(str::to_owned);
            for _ in 0..rng.random_range(1..4) {
                parts[rng.random_range(0..5)] = part(rng);
            }
            let text = parts.join(" ");
            if check_cron(&text).is_ok() {
                let after = rng.random_range(0..100 * 365 * 24 * 60 * MINUTE);
                let next = Schedule::Cron(text.clone()).next_after(after);
                assert!(next.is_none_or(|next| next > after), "TIDEGATE_SEED={case}: {text} after {after}: {next:?}");
            }
        }
    }
}
