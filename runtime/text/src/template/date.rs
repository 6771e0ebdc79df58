//! A calendar date and time for `strftime_now`, handed in by the caller: rendering reads no clock.

use alloc::string::String;
use core::fmt::Write as _;

/// A date and time of day without a zone, in the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const SECONDS_PER_DAY: u64 = 86_400;

impl DateTime {
    /// 1970-01-01, midnight.
    pub const EPOCH: Self = Self {
        year: 1970,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
    };

    /// The date `seconds` after [`DateTime::EPOCH`]; dates after the year 9999 become its last second.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        const LAST: u64 = 253_402_300_799;
        let seconds = seconds.min(LAST);
        let in_day = seconds % SECONDS_PER_DAY;
        let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
        Self {
            year,
            month,
            day,
            hour: (in_day / 3600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
        }
    }

    /// C's `strftime` in the C locale, without zones; `%-d` and its like drop the leading zero, and an
    /// unknown directive stands as it is.
    pub(super) fn format(self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = rest.next();
            let bare = directive == Some('-');
            if bare {
                directive = rest.next();
            }
            match directive {
                Some(directive) => self.write(&mut out, directive, bare),
                None => out.push('%'),
            }
        }
        out
    }

    fn write(self, out: &mut String, directive: char, bare: bool) {
        let hour12 = (self.hour + 11) % 12 + 1;
        let number = match directive {
            'd' | 'e' => Some((self.day.into(), 2)),
            'm' => Some((self.month.into(), 2)),
            'y' => Some((self.year % 100, 2)),
            'Y' => Some((self.year, 4)),
            'H' => Some((self.hour.into(), 2)),
            'I' => Some((hour12.into(), 2)),
            'M' => Some((self.minute.into(), 2)),
            'S' => Some((self.second.into(), 2)),
            'j' => Some((self.day_of_year(), 3)),
            _ => None,
        };
        let written = match number {
            Some((number, _)) if bare => write!(out, "{number}"),
            Some((number, width)) if directive == 'e' => write!(out, "{number:width$}"),
            Some((number, width)) => write!(out, "{number:0width$}"),
            None => self.write_words(out, directive),
        };
        written.expect("a string takes every text");
    }

    fn write_words(self, out: &mut String, directive: char) -> core::fmt::Result {
        let month = MONTHS[usize::from(self.month.clamp(1, 12) - 1)];
        let weekday = WEEKDAYS[self.weekday()];
        match directive {
            'B' => out.push_str(month),
            'b' | 'h' => out.push_str(&month[..3]),
            'A' => out.push_str(weekday),
            'a' => out.push_str(&weekday[..3]),
            'p' => out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            'F' => out.push_str(&self.format("%Y-%m-%d")),
            'D' => out.push_str(&self.format("%m/%d/%y")),
            'T' => out.push_str(&self.format("%H:%M:%S")),
            'R' => out.push_str(&self.format("%H:%M")),
            '%' => out.push('%'),
            _ => return write!(out, "%{directive}"),
        }
        Ok(())
    }

    /// Days since Sunday.
    fn weekday(self) -> usize {
        // 1 January of the year 1 was a Monday.
        let years = u32::from(self.year.max(1) - 1);
        let days =
            years * 365 + years / 4 - years / 100 + years / 400 + u32::from(self.day_of_year());
        (days % 7) as usize
    }

    /// Days of this year up to and with this one, from 1.
    fn day_of_year(self) -> u16 {
        const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = self.month.clamp(1, 12);
        let leap = u16::from(month > 2 && is_leap(self.year));
        BEFORE[usize::from(month - 1)] + leap + u16::from(self.day)
    }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Year, month and day that lie `days` after 1970-01-01, by counting.
fn civil_from_days(mut days: u64) -> (u16, u8, u8) {
    const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 0;
    loop {
        let length = LENGTHS[month] + u64::from(month == 1 && is_leap(year));
        if days < length {
            return (year, month as u8 + 1, days as u8 + 1);
        }
        days -= length;
        month += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::DateTime;

    #[test]
    fn unix_seconds_become_the_dates_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thursday 1970-01-01 00:00:00 001"),
            (951_782_400, "Tuesday 2000-02-29 00:00:00 060"),
            (1_721_952_000, "Friday 2024-07-26 00:00:00 208"),
            (4_102_444_799, "Thursday 2099-12-31 23:59:59 365"),
            (u64::MAX, "Friday 9999-12-31 23:59:59 365"),
        ] {
            assert_eq!(DateTime::from_unix(seconds).format("%A %F %T %j"), text);
        }
    }

    #[test]
    fn directives_follow_strftime() {
        let afternoon = DateTime {
            year: 2024,
            month: 7,
            day: 6,
            hour: 15,
            minute: 4,
            second: 5,
        };
        assert_eq!(
            afternoon.format("%d %b %Y|%-d %B %y|%e|%I:%M %p|%a|%D|%%|%Q|%"),
            "06 Jul 2024|6 July 24| 6|03:04 PM|Sat|07/06/24|%|%Q|%"
        );
    }
}
