//! Times as IPNS writes them: RFC 3339, UTC, by the proleptic Gregorian calendar.

/// Days from 0000-03-01 to 1970-01-01.
const TO_1970: i64 = 719_468;
/// Days in 400 years.
const ERA: i64 = 146_097;
/// 9999-12-31T23:59:59Z: later years have no four digits.
const LAST: u64 = 253_402_300_799;

/// `YYYY-MM-DDThh:mm:ss.000000000Z`, 30 characters; whole seconds, no later than the year 9999.
pub(super) fn format(unix_ms: u64) -> String {
    let seconds = (unix_ms / 1000).min(LAST);
    let days = i64::try_from(seconds / 86_400).unwrap_or_default() + TO_1970;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000000Z")
}

/// Reads what [`format()`] writes, and other fractions of up to nine digits or none, in UTC (`Z`); Unix ms, rounded down.
/// `None` for anything else, and for times before 1970.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"Z")?;
    let (whole, fraction) = text.split_at_checked(19)?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| whole[*at] != *mark) {
        return None;
    }
    let year = number(&whole[..4])?;
    let (month, day) = (number(&whole[5..7])?, number(&whole[8..10])?);
    let (hour, minute, second) = (number(&whole[11..13])?, number(&whole[14..16])?, number(&whole[17..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let milliseconds = match fraction.split_first() {
        None => 0,
        Some((b'.', digits)) if (1..=9).contains(&digits.len()) => {
            number(digits)?;
            digits.iter().chain(b"00").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
        }
        Some(_) => return None,
    };
    // Years begin in March here, so that the leap day is the last.
    let from_march = year - i64::from(month <= 2);
    let (era, of_era) = (from_march.div_euclid(400), from_march.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - TO_1970;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds * 1000 + milliseconds).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')) // at most nine digits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_800_000_000, "2027-01-15T08:00:00.000000000Z"),
            (LAST, "9999-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(format(unix_s * 1000), text);
            assert_eq!(parse(text.as_bytes()), Some(unix_s * 1000));
        }
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59.000000000Z");
        assert_eq!(parse(b"2027-01-15T08:00:00Z"), Some(1_800_000_000_000));
        assert_eq!(parse(b"2027-01-15T08:00:00.5Z"), Some(1_800_000_000_500));
        for bad in [
            "",
            "Z",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00:00+01:00",
            "2027-13-15T08:00:00Z",
            "2027-01-15T08:00:00.Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0..LAST) {
            prop_assert_eq!(parse(format(seconds * 1000).as_bytes()), Some(seconds * 1000));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }
    }
}
