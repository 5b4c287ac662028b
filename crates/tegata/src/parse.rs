//! From words on the command line to the vocabulary, and back.

use jiff::civil::Date;
use jiff::tz::Offset;
use tegata_model::{AccountId, Amount, Key, ShopId, TerminalId, Timestamp, Yen};

/// Days are Japan's.
const JAPAN: Offset = Offset::constant(9);

pub(crate) fn account(text: &str) -> Result<AccountId, String> {
    AccountId::from_text(text).map_err(|e| e.to_string())
}

pub(crate) fn shop(text: &str) -> Result<ShopId, String> {
    ShopId::from_text(text).map_err(|e| e.to_string())
}

pub(crate) fn terminal(text: &str) -> Result<TerminalId, String> {
    TerminalId::from_text(text).map_err(|e| e.to_string())
}

pub(crate) fn key(text: &str) -> Result<Key, String> {
    let key = Key::parse(text).ok_or("is not a UUID of 32 hexadecimal digits")?;
    key.created_at().map(|_| key).ok_or_else(|| "is a UUID, but not of version 7".to_owned())
}

/// Whole yen; commas may stand between the digits.
pub(crate) fn yen(text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|c| *c != ',').collect();
    digits.parse().map_err(|_| "is not a number of whole yen".to_owned())
}

pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    Amount::new(yen(text)?).ok_or_else(|| format!("must be 1 to {} yen", Yen::new(Amount::MAX)))
}

/// Up to 48 bytes of UTF-8.
pub(crate) fn words(text: &str) -> Result<[u8; 48], String> {
    let mut out = [0; 48];
    let bytes = text.as_bytes();
    out.get_mut(..bytes.len()).ok_or("is longer than 48 bytes of UTF-8")?.copy_from_slice(bytes);
    Ok(out)
}

/// A person's name or number, up to 16 printable characters.
pub(crate) fn person(text: &str) -> Result<[u8; 16], String> {
    AccountId::from_text(text).map(|id| *id.bytes()).map_err(|e| e.to_string())
}

pub(crate) fn digest(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| "is not a hexadecimal digest".to_owned())
}

/// An instant; a date alone is the beginning of that day in Japan.
pub(crate) fn start(text: &str) -> Result<Timestamp, String> {
    instant(text, 0)
}

/// An instant; a date alone is the end of that day in Japan, which is the exclusive instant 15:00:00 UTC.
pub(crate) fn end(text: &str) -> Result<Timestamp, String> {
    instant(text, 1)
}

fn instant(text: &str, days: i64) -> Result<Timestamp, String> {
    let wrong = "is neither a date (2023-02-24) nor an instant with its offset (2023-02-24T23:59:00+09:00)";
    if let Ok(date) = text.parse::<Date>()
        && !text.contains('T')
    {
        let midnight = date.checked_add(jiff::Span::new().days(days)).map_err(|e| e.to_string())?.at(0, 0, 0, 0);
        let at = JAPAN.to_timestamp(midnight).map_err(|e| e.to_string())?;
        return Ok(Timestamp::from_micros(at.as_microsecond()));
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong.to_owned())?;
    Ok(Timestamp::from_micros(at.as_microsecond()))
}

/// A day as the number of days since 1970-01-01.
pub(crate) fn day(text: &str) -> Result<u16, String> {
    let date: Date = text.parse().map_err(|_| "is not a date (2023-02-24)".to_owned())?;
    let days = Date::constant(1970, 1, 1).until(date).map_err(|e| e.to_string())?.get_days();
    u16::try_from(days).map_err(|_| "is before 1970 or after 2149".to_owned())
}

/// An instant for people: Japan's time, to the second.
pub(crate) fn japan(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) if micros != 0 => JAPAN.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        _ => "-".to_owned(),
    }
}

/// An instant for machines: RFC 3339 in UTC; null when it is not given.
pub(crate) fn utc(micros: i64) -> serde_json::Value {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) if micros != 0 => at.to_string().into(),
        _ => serde_json::Value::Null,
    }
}

/// Fixed-width text without its padding.
pub(crate) fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_day_in_japan_is_fifteen_utc() {
        let at = |text: &str| jiff::Timestamp::from_microsecond(end(text).expect("an instant").micros());
        assert_eq!(at("2023-02-24").expect("in range").to_string(), "2023-02-24T15:00:00Z");
        assert_eq!(start("2023-02-24").expect("a date").micros(), end("2023-02-23").expect("a date").micros());
        assert_eq!(end("2023-02-24T23:59:00+09:00"), start("2023-02-24T14:59:00Z"));
        assert!(end("tomorrow").is_err() && end("2023-02-24T23:59:00").is_err(), "an offset is needed");
    }

    #[test]
    fn days_count_from_1970() {
        assert_eq!(day("1970-01-02"), Ok(1));
        assert_eq!(day("2023-02-24"), Ok(19_412));
        assert!(day("1969-12-31").is_err());
    }

    #[test]
    fn amounts_are_whole_yen_in_range() {
        assert_eq!(amount("1,500").map(Amount::get), Ok(1_500));
        for wrong in ["0", "-1", "1.5", "1000000000000", "", "18446744073709551616"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }
}
