//! Everything in words: one table of all visible text in each language, and times, names and states made of it.
//!
//! A word is a constant of a module below ([`ui`], [`people`], …) with its text in every language, so that none can be
//! forgotten; [`t`] gives it in the language of this thread (the window's), [`fill`] puts values into it.

pub mod call;
pub mod chat;
pub mod first;
pub mod people;
pub mod settings;
pub mod trouble;
pub mod ui;

use std::cell::Cell;

use twocan_control::{Availability, Call, CallState, Direction, Friend, FriendState, LinkPath, Outcome};

/// A language that the program speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Deutsch.
    German,
}

impl Language {
    /// All of them with their own names.
    pub const ALL: [(Self, &'static str); 2] = [(Self::English, "English"), (Self::German, "Deutsch")];

    /// The one of the system, by the usual variables (`LC_ALL`, `LC_MESSAGES`, `LANG`).
    #[must_use]
    pub fn of_system() -> Self {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        if set.is_some_and(|value| value.starts_with("de")) { Self::German } else { Self::English }
    }
}

/// A text in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// English.
    pub en: &'static str,
    /// German.
    pub de: &'static str,
}

/// Makes a module's table: `NAME = "English", "Deutsch";` lines become constants, and `ALL` lists them.
#[macro_export]
macro_rules! words {
    ($($name:ident = $en:literal, $de:literal;)*) => {
        $(
            #[doc = concat!("\u{201c}", $en, "\u{201d}")]
            pub const $name: $crate::text::Word = $crate::text::Word { en: $en, de: $de };
        )*

        /// All words of this module with their names.
        pub const ALL: &[(&str, $crate::text::Word)] = &[$((stringify!($name), $name)),*];
    };
}

thread_local! {
    static LANGUAGE: Cell<Language> = const { Cell::new(Language::English) };
}

/// Sets the language of this thread. Only the window's thread writes words.
pub fn speak(language: Language) {
    LANGUAGE.set(language);
}

/// The language of this thread.
#[must_use]
pub fn spoken() -> Language {
    LANGUAGE.get()
}

/// A word in the language of this thread.
#[must_use]
pub fn t(word: Word) -> &'static str {
    match spoken() {
        Language::English => word.en,
        Language::German => word.de,
    }
}

/// The same with values for `{0}`, `{1}`, … in it. Braces in values stay as they are.
#[must_use]
pub fn fill(word: Word, values: &[&str]) -> String {
    let (mut text, mut rest) = (String::new(), t(word));
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        let number = after.get(1..2).and_then(|digit| digit.parse::<usize>().ok());
        match number.and_then(|number| values.get(number)) {
            Some(value) if after.get(2..3) == Some("}") => {
                text.push_str(value);
                rest = &after[3..];
            }
            _ => {
                text.push('{');
                rest = &after[1..];
            }
        }
    }
    text + rest
}

/// Longest name that is shown, in characters; the node keeps to 64, but not everything shown is from a node of today.
const MAX_NAME: usize = 64;
/// Longest line of somebody else that is shown as one line.
const MAX_LINE: usize = 280;
/// Marks above and below one letter, at most: more is written over the lines around it.
const MAX_MARKS: usize = 3;

/// A name as it is shown: without control and direction characters, at most 64 letters, no towers of accents.
#[must_use]
pub fn clean(name: &str) -> String {
    clean_to(name, MAX_NAME)
}

/// A line of somebody else, treated the same way.
#[must_use]
pub fn clean_line(line: &str) -> String {
    clean_to(line, MAX_LINE)
}

/// The same with a bound of one's own.
#[must_use]
pub fn clean_to(text: &str, most: usize) -> String {
    let mut clean = String::new();
    let (mut count, mut marks, mut gap) = (0, 0, false);
    for c in text.chars().filter(|c| !hidden(*c)) {
        if c.is_whitespace() || c.is_control() {
            gap = !clean.is_empty();
            continue;
        }
        marks = if mark(c) { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        if count == most {
            clean.push('…');
            break;
        }
        if gap {
            clean.push(' ');
            gap = false;
        }
        clean.push(c);
        count += 1;
    }
    clean
}

/// Turns the direction of writing, or is not seen at all (joiners that emoji need are not among them).
fn hidden(c: char) -> bool {
    matches!(u32::from(c), 0x00AD | 0x061C | 0x115F | 0x1160 | 0x180E | 0x200B | 0x200E | 0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFEFF | 0xFFA0 | 0xFFF9..=0xFFFB | 0xE_0000..=0xE_0FFF)
}

/// A combining mark (the blocks that are made of them).
fn mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036F | 0x0483..=0x0489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF
        | 0xFE20..=0xFE2F)
}

/// One or two capital letters for a person's disc.
#[must_use]
pub fn initials(name: &str) -> String {
    let mut words = name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let (first, last) = (words.next(), words.next_back());
    first.into_iter().chain(last).flat_map(char::to_uppercase).take(2).collect()
}

/// A hue for a person, 0 to 1: the same for the same id on every machine.
#[must_use]
pub fn hue(id: &str) -> f32 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // Neighbouring hashes are put far apart on the wheel (golden ratio).
    (hash % 1024) as f32 * 0.618_034 % 1.0
}

/// "just now", "5 min ago", "yesterday": how long before `now_ms` (both Unix ms) something was.
#[must_use]
pub fn ago(then_ms: u64, now_ms: u64) -> String {
    let minutes = now_ms.saturating_sub(then_ms) / 60_000;
    match minutes {
        0 => t(ui::JUST_NOW).into(),
        1..60 => fill(ui::MINUTES_AGO, &[&minutes.to_string()]),
        60..1440 => fill(ui::HOURS_AGO, &[&(minutes / 60).to_string()]),
        1440..2880 => t(ui::YESTERDAY).into(),
        2880..43_200 => fill(ui::DAYS_AGO, &[&(minutes / 1440).to_string()]),
        _ => t(ui::LONG_AGO).into(),
    }
}

/// Local time of day, day of the month and so on of a moment (Unix ms).
fn local(ms: u64) -> Clock {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0) + i64::from(OFFSET.get());
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Clock { days, year, month, day, hour: second / 3600, minute: second / 60 % 60 }
}

struct Clock {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
}

thread_local! {
    static OFFSET: Cell<i32> = const { Cell::new(0) };
}

/// Says how many seconds local time is ahead of UTC.
pub fn set_offset(seconds: i32) {
    OFFSET.set(seconds.clamp(-86_400, 86_400));
}

/// "14:05".
#[must_use]
pub fn time_of_day(ms: u64) -> String {
    let at = local(ms);
    format!("{:02}:{:02}", at.hour, at.minute)
}

/// "14:05" today, "yesterday", "3 Nov" or "3 Nov 2024" else.
#[must_use]
pub fn short_time(ms: u64, now_ms: u64) -> String {
    if local(ms).days == local(now_ms).days { time_of_day(ms) } else { day(ms, now_ms) }
}

/// "Today", "Yesterday", "3 Nov" or "3 Nov 2024".
#[must_use]
pub fn day(ms: u64, now_ms: u64) -> String {
    let (at, now) = (local(ms), local(now_ms));
    match now.days - at.days {
        0 => return t(ui::TODAY).into(),
        1 => return t(ui::DAY_BEFORE).into(),
        _ => {}
    }
    let months: Vec<&str> = t(ui::MONTHS).split(' ').collect();
    let month = usize::try_from(at.month - 1).ok().and_then(|at| months.get(at)).copied().unwrap_or_default();
    let day = fill(ui::DAY_MONTH, &[&at.day.to_string(), month]);
    if at.year == now.year { day } else { format!("{day} {}", at.year) }
}

/// The last line of a conversation, in one line.
#[must_use]
pub fn preview(message: &twocan_control::ChatMessage) -> String {
    let text = match &message.file {
        Some(file) => fill(chat::FILE_LINE, &[&clean(&file.name)]),
        None => clean_to(&message.text, 100),
    };
    if message.direction == Direction::Outgoing { fill(chat::MY_LINE, &[&text]) } else { text }
}

/// "640 kB", "1.2 MB".
#[must_use]
pub fn size(bytes: u64) -> String {
    let point = |value: f64, unit: &str| {
        let text = format!("{value:.1} {unit}");
        if spoken() == Language::German { text.replace('.', ",") } else { text }
    };
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => point(bytes as f64 / 1e6, "MB"),
        _ => point(bytes as f64 / 1e9, "GB"),
    }
}

/// "3:07" or "1:02:03".
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A path in a word.
#[must_use]
pub fn path(path: LinkPath) -> &'static str {
    match path {
        LinkPath::Loopback => t(people::PATH_LOOPBACK),
        LinkPath::Lan => t(people::PATH_LAN),
        LinkPath::Direct => t(people::PATH_DIRECT),
        LinkPath::Relayed => t(people::PATH_RELAYED),
    }
}

/// The second line under a friend's name.
#[must_use]
pub fn presence(friend: &Friend, now_ms: u64) -> String {
    if friend.state == FriendState::Requested {
        return friend.trouble.clone().unwrap_or_else(|| t(people::ASKED).into());
    }
    if !friend.online {
        return friend
            .last_seen_ms
            .map_or_else(|| t(people::NOT_SEEN).into(), |at| fill(people::LAST_SEEN, &[&ago(at, now_ms)]));
    }
    let mood = match friend.availability {
        Some(Availability::Dnd) => t(people::BUSY_LINE),
        _ => t(people::ONLINE),
    };
    friend.link.as_ref().map_or_else(|| mood.to_owned(), |link| format!("{mood} · {}", path(link.path)))
}

/// What a call is doing, under the friend's name.
#[must_use]
pub fn call(call: &Call, now_ms: u64) -> String {
    match call.state {
        CallState::Calling => t(people::CALLING).into(),
        CallState::Ringing if call.direction == Direction::Outgoing => t(people::RINGING).into(),
        CallState::Ringing => t(people::CALLS_YOU).into(),
        CallState::Connecting => t(people::CONNECTING).into(),
        CallState::Active if call.held => t(people::ON_HOLD).into(),
        CallState::Active if call.remote_held => t(people::HOLDS).into(),
        CallState::Active => duration(now_ms.saturating_sub(call.answered_ms.unwrap_or(now_ms))),
        CallState::Reconnecting => t(people::RECONNECTING).into(),
        CallState::Ended => ended(call),
    }
}

/// How a call ended, in words.
#[must_use]
pub fn ended(call: &Call) -> String {
    let what = match call.outcome {
        Some(Outcome::Completed) | None => t(people::ENDED),
        Some(Outcome::Declined) => t(people::DECLINED),
        Some(Outcome::Cancelled) => t(people::CANCELLED),
        Some(Outcome::Unanswered) => t(people::NO_ANSWER),
        Some(Outcome::Busy) => t(people::BUSY),
        Some(Outcome::DoNotDisturb) => t(people::DND),
        Some(Outcome::AnsweredElsewhere) => t(people::ELSEWHERE),
        Some(Outcome::Unreachable) => t(people::UNREACHABLE),
        Some(Outcome::Failed) => t(people::FAILED),
    };
    call.reason.as_ref().map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_come_from_first_and_last_word() {
        for (name, expected) in
            [("Bob", "B"), ("mira okafor", "MO"), ("Ana Maria de Souza", "AS"), ("  ", ""), ("(x) ünal", "XÜ")]
        {
            assert_eq!(initials(name), expected, "{name}");
        }
    }

    #[test]
    fn times_are_told_in_words() {
        let now = 100 * 86_400_000;
        let minutes = |n: u64| ago(now - n * 60_000, now);
        assert_eq!(minutes(0), "just now");
        assert_eq!(minutes(59), "59 min ago");
        assert_eq!(minutes(61), "1 h ago");
        assert_eq!(minutes(25 * 60), "yesterday");
        assert_eq!(minutes(72 * 60), "3 days ago");
        assert_eq!(minutes(99 * 1440), "long ago");
        // A clock that was set back is no reason to show nonsense.
        assert_eq!(ago(now + 5, now), "just now");
        assert_eq!((duration(187_900), duration(3_723_000)), ("3:07".into(), "1:02:03".into()));
    }

    #[test]
    fn days_are_told_by_the_local_calendar() {
        // 2024-03-01 00:30 UTC.
        let at = 1_709_253_000_000;
        assert_eq!(time_of_day(at), "00:30");
        assert_eq!(short_time(at, at + 60_000), "00:30");
        assert_eq!((day(at, at), day(at - 3_600_000, at)), ("Today".into(), "Yesterday".into()));
        assert_eq!(day(at - 2 * 86_400_000, at), "28 Feb");
        assert_eq!(day(at - 366 * 86_400_000, at), "1 Mar 2023");
        set_offset(-3600);
        assert_eq!((time_of_day(at), day(at, at + 86_400_000)), ("23:30".into(), "Yesterday".into()));
        set_offset(0);
        speak(Language::German);
        assert_eq!((day(at - 2 * 86_400_000, at), size(1_250_000)), ("28. Feb.".into(), "1,2 MB".into()));
        speak(Language::English);
        assert_eq!((size(999), size(640_500), size(3_000_000_000)), ("999 B".into(), "640 kB".into(), "3.0 GB".into()));
    }

    #[test]
    fn hues_differ_and_stay() {
        assert_eq!(hue("a"), hue("a"));
        assert!((hue("a") - hue("b")).abs() > 0.05);
    }

    #[test]
    fn every_text_is_there_in_every_language_with_the_same_places_for_values() {
        let tables: &[(&str, &[(&str, Word)])] = &[
            ("call", call::ALL),
            ("chat", chat::ALL),
            ("first", first::ALL),
            ("people", people::ALL),
            ("settings", settings::ALL),
            ("trouble", trouble::ALL),
            ("ui", ui::ALL),
        ];
        // Words that are the same in both, and meant to be.
        let same = ["PASSPHRASE"];
        for (module, table) in tables {
            for (name, word) in *table {
                let places = |text: &str| (0..9).filter(|n| text.contains(&format!("{{{n}}}"))).collect::<Vec<_>>();
                assert!(!word.en.trim().is_empty() && !word.de.trim().is_empty(), "{module}::{name}");
                assert_eq!(places(word.en), places(word.de), "{module}::{name}");
                assert!(
                    word.en != word.de || word.en.len() < 8 || same.contains(name),
                    "{module}::{name} is not translated"
                );
            }
        }
    }

    #[test]
    fn values_are_put_in_and_braces_of_others_do_no_harm() {
        let word = Word { en: "{0} sends {1} {x} {", de: "{1} von {0}" };
        assert_eq!(fill(word, &["{1}", "two"]), "{1} sends two {x} {");
        speak(Language::German);
        assert_eq!(fill(word, &["A", "B"]), "B von A");
        assert_eq!(fill(word, &["A"]), "{1} von A");
        speak(Language::English);
    }

    #[test]
    fn names_of_others_cannot_break_the_page() {
        assert_eq!(clean("Bob\u{202e}gnp.exe"), "Bobgnp.exe");
        assert_eq!(clean(" a\n\tb \u{7}c\u{200b} "), "a b c");
        assert_eq!(clean(&"W".repeat(10_000)).chars().count(), MAX_NAME + 1);
        let tower = format!("Z{}a", "\u{301}".repeat(500));
        assert_eq!(clean(&tower).chars().count(), 2 + MAX_MARKS);
        // What people really are called stays as it is.
        for name in ["Zoë Ångström", "名前", "مريم", "👩‍👩‍👧 family"] {
            assert_eq!(clean(name), name);
        }
    }
}
