//! The file of rights: TOML that people write. What is wrong with it is said with its line, and with what was meant.
//!
//! ```text
//! [[gateway]]                          # or [[operator]]
//! number = 501
//! namespaces = [21]                    # or "any"
//! rate = 500                           # requests a second, of all its connections together; absent: no limit
//! burst = 1000                         # at once; absent: as many as in a second
//!
//! [[gateway.grant]]
//! operations = ["debit", "refund"]     # or "any"
//! shops = ["SHOP1", "TOKYO-*"]         # or "any"
//! programmes = [13]                    # or "any"
//! amount_max = 50000                   # in one operation; absent: no limit
//! ```

use crate::asked::{OPERATIONS, kinds_of};
use crate::file::{FileError, line_at, nearest};
use crate::rate::{RATE_MAX, Rate};
use crate::rights::{Caller, Class, Grant, Named, Rights, Shops};
use std::sync::Arc;
use tegata_model::{Amount, GatewayId, NamespaceId, ProgrammeId, ShopId};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const CALLERS: [&str; 2] = ["gateway", "operator"];
const CALLER_KEYS: [&str; 5] = ["number", "namespaces", "rate", "burst", "grant"];
const GRANT_KEYS: [&str; 4] = ["operations", "shops", "programmes", "amount_max"];

/// What is wrong with a file of rights.
#[derive(Debug)]
pub enum RightsError {
    /// It is not TOML, or has a name that is not known.
    File(FileError),
    /// A value is not what it must be, or is not there.
    Value {
        /// In which line, from 1.
        line: usize,
        /// Its name.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// No such operation.
    Operation {
        /// In which line.
        line: usize,
        /// What stands there.
        name: String,
        /// The known one that is most like it.
        nearest: Option<&'static str>,
    },
    /// An operation that gateways are not served at all.
    NotForGateways {
        /// In which line.
        line: usize,
        /// Which.
        name: String,
    },
    /// A caller is named twice.
    Twice {
        /// In which line.
        line: usize,
        /// What it is.
        class: Class,
        /// Its number.
        number: u32,
    },
}

impl core::fmt::Display for RightsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::File(e) => e.fmt(f),
            Self::Value { line, key, expected } => write!(f, "line {line}: {key}: must be {expected}"),
            Self::Operation { line, name, nearest: Some(nearest) } => {
                write!(f, "line {line}: {name} is no operation; did you mean `{nearest}`?")
            }
            Self::Operation { line, name, nearest: None } => {
                write!(f, "line {line}: {name} is no operation; there are ")?;
                OPERATIONS.iter().enumerate().try_for_each(|(i, (name, _))| {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}")
                })
            }
            Self::NotForGateways { line, name } => {
                write!(f, "line {line}: {name} is served to operators only; give it to an [[operator]]")
            }
            Self::Twice { line, class, number } => {
                write!(f, "line {line}: {} {number} is named before; give it another grant there", class.word())
            }
        }
    }
}

impl std::error::Error for RightsError {}

type Table<'a> = Spanned<DeValue<'a>>;

/// One file while it is read.
struct Reading<'a>(&'a str);

/// Reads a file of rights.
pub fn read_rights(text: &str) -> Result<Rights, RightsError> {
    let table = DeTable::parse(text).map_err(|e| RightsError::File(FileError::Toml(Box::new(e))))?;
    let reading = Reading(text);
    reading.only(table.get_ref(), &CALLERS)?;
    let mut callers: Vec<Arc<Caller>> = Vec::new();
    for word in CALLERS {
        let Some(listed) = table.get_ref().get(word) else { continue };
        let Some(class) = Class::from_word(word) else { continue };
        for entry in reading.tables(listed, word)? {
            let caller = reading.caller(class, entry)?;
            if callers.iter().any(|c| (c.class, c.number) == (caller.class, caller.number)) {
                let line = line_at(text, entry.span().start);
                return Err(RightsError::Twice { line, class, number: caller.number.get() });
            }
            callers.push(Arc::new(caller));
        }
    }
    callers.sort_by_key(|c| (c.class, c.number));
    Ok(Rights { callers })
}

impl Reading<'_> {
    fn wrong<T>(&self, at: usize, key: &'static str, expected: &'static str) -> Result<T, RightsError> {
        Err(RightsError::Value { line: line_at(self.0, at), key, expected })
    }

    fn only(&self, table: &DeTable<'_>, known: &[&'static str]) -> Result<(), RightsError> {
        let strange = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = strange.min_by_key(|key| key.span().start) else { return Ok(()) };
        let (line, key) = (line_at(self.0, key.span().start), key.get_ref().to_string());
        let nearest = nearest(&key, known.iter().copied()).map(str::to_owned);
        Err(RightsError::File(FileError::Unknown { line, key, nearest }))
    }

    fn tables<'t, 'a>(&self, listed: &'t Table<'a>, word: &'static str) -> Result<&'t [Table<'a>], RightsError> {
        match listed.get_ref() {
            DeValue::Array(entries) if entries.iter().all(|e| e.get_ref().is_table()) => Ok(entries),
            _ => self.wrong(listed.span().start, word, "a table in double brackets, as in [[gateway]]"),
        }
    }

    fn caller(&self, class: Class, entry: &Table<'_>) -> Result<Caller, RightsError> {
        let (at, empty) = (entry.span().start, DeTable::new());
        let table = entry.get_ref().as_table().unwrap_or(&empty);
        self.only(table, &CALLER_KEYS)?;
        let id = "1 to 4294967295";
        let number = match table.get("number") {
            Some(value) => self.number(value, "number", 1, u64::from(u32::MAX), id)?,
            None => return self.wrong(at, "number", id),
        };
        let namespaces = self.named(table, at, "namespaces", "\"any\" or a list of numbers from 1", |value| {
            number_of(value, 1, u64::from(u32::MAX)).map(|n| NamespaceId::new(n as u32))
        })?;
        let rate = |key, most, expected| table.get(key).map(|v| self.number(v, key, 1, most, expected)).transpose();
        let per_second = rate("rate", u64::from(RATE_MAX), "1 to 10000000 requests a second")?;
        let burst = rate("burst", u64::from(u32::MAX), "1 to 4294967295 requests")?;
        let rate = match (per_second, burst) {
            (Some(n), burst) => Some(Rate { per_second: n as u32, burst: burst.unwrap_or(n) as u32 }),
            (None, None) => None,
            (None, Some(_)) => return self.wrong(at, "burst", "beside a rate"),
        };
        let grants = match table.get("grant") {
            Some(listed) => {
                self.tables(listed, "grant")?.iter().map(|g| self.grant(class, g)).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        Ok(Caller { class, number: GatewayId::new(number as u32), namespaces, rate, grants })
    }

    fn grant(&self, class: Class, entry: &Table<'_>) -> Result<Grant, RightsError> {
        let (at, empty) = (entry.span().start, DeTable::new());
        let table = entry.get_ref().as_table().unwrap_or(&empty);
        self.only(table, &GRANT_KEYS)?;
        let kinds = self.operations(class, table, at)?;
        let expected = "\"any\" or a list of shops; a name that ends with * stands for all that begin like it";
        let shops = self.named(table, at, "shops", expected, |value| {
            let text = value.as_str()?;
            let name = text.strip_suffix('*').unwrap_or(text);
            let id = ShopId::from_text(name).ok()?;
            Some((id, text.len() > name.len()))
        })?;
        let shops = match shops {
            Named::Any => Named::Any,
            Named::Only(listed) => {
                let begin = listed.iter().filter(|(_, begins)| *begins).map(|(id, _)| id.text().to_owned()).collect();
                let exact = listed.iter().filter(|(_, begins)| !begins).map(|(id, _)| *id).collect();
                Named::Only(Shops { exact, begin })
            }
        };
        let programmes = self.named(table, at, "programmes", "\"any\" or a list of numbers from 1", |value| {
            number_of(value, 1, u64::from(u32::MAX)).map(|n| ProgrammeId::new(n as u32))
        })?;
        let programmes = match programmes {
            Named::Any => Named::Any,
            Named::Only(listed) => Named::Only(listed.into()),
        };
        let amount_max = match table.get("amount_max") {
            Some(value) => self.number(value, "amount_max", 1, Amount::MAX, "1 to 999999999999 yen")?,
            None => u64::MAX,
        };
        Ok(Grant { kinds, shops, programmes, amount_max, line: line_at(self.0, at) })
    }

    fn operations(&self, class: Class, table: &DeTable<'_>, at: usize) -> Result<u128, RightsError> {
        let expected = "\"any\" or a list of operations";
        let Some(listed) = table.get("operations") else { return self.wrong(at, "operations", expected) };
        let line = |value: &Table<'_>| line_at(self.0, value.span().start);
        let bits = |kinds: &[u8]| kinds.iter().fold(0u128, |all, kind| all | 1 << kind);
        let gateways = bits(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 24, 25, 69]);
        let entries = match listed.get_ref() {
            DeValue::String(text) if text == "any" && class == Class::Operator => return Ok(u128::MAX),
            DeValue::String(text) if text == "any" => return Ok(gateways),
            DeValue::Array(entries) => entries,
            _ => return self.wrong(listed.span().start, "operations", expected),
        };
        let mut all = 0;
        for value in entries {
            let Some(name) = value.get_ref().as_str() else {
                return self.wrong(value.span().start, "operations", expected);
            };
            // Named by those who want to be sure; nobody is without it.
            let always = matches!(name, "fence" | "status");
            let Some(kinds) = kinds_of(name).or(always.then_some(&[])) else {
                let nearest = nearest(name, OPERATIONS.iter().map(|(name, _)| *name));
                return Err(RightsError::Operation { line: line(value), name: name.to_owned(), nearest });
            };
            if class == Class::Gateway && bits(kinds) & !gateways != 0 {
                return Err(RightsError::NotForGateways { line: line(value), name: name.to_owned() });
            }
            all |= bits(kinds);
        }
        Ok(all)
    }

    /// "any", or a list of what `read` takes, sorted. It must be there.
    fn named<T: Ord>(
        &self,
        table: &DeTable<'_>,
        at: usize,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Result<Named<Vec<T>>, RightsError> {
        let Some(value) = table.get(key) else { return self.wrong(at, key, expected) };
        match value.get_ref() {
            DeValue::String(text) if text == "any" => Ok(Named::Any),
            DeValue::Array(entries) => {
                let mut listed = Vec::with_capacity(entries.len());
                for entry in entries {
                    match read(entry.get_ref()) {
                        Some(item) => listed.push(item),
                        None => return self.wrong(entry.span().start, key, expected),
                    }
                }
                listed.sort_unstable();
                listed.dedup();
                Ok(Named::Only(listed))
            }
            _ => self.wrong(value.span().start, key, expected),
        }
    }

    fn number(
        &self,
        value: &Table<'_>,
        key: &'static str,
        least: u64,
        most: u64,
        expected: &'static str,
    ) -> Result<u64, RightsError> {
        number_of(value.get_ref(), least, most).map_or_else(|| self.wrong(value.span().start, key, expected), Ok)
    }
}

fn number_of(value: &DeValue<'_>, least: u64, most: u64) -> Option<u64> {
    let DeValue::Integer(digits) = value else { return None };
    let n = u64::from_str_radix(digits.as_str(), digits.radix()).ok()?;
    (least..=most).contains(&n).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Asked;
    use crate::rights::Verdict;
    use tegata_model::Code;

    const FILE: &str = r#"
[[gateway]]
number = 501
namespaces = [22, 21]
rate = 500

[[gateway.grant]]
operations = ["debit", "hold", "refund", "fence"]
shops = ["SHOP1", "TOKYO-*"]
programmes = [13, 14]
amount_max = 50_000

[[gateway.grant]]
operations = ["debit"]
shops = ["SHOP2"]
programmes = "any"

[[gateway]]
number = 502
namespaces = "any"

[[gateway.grant]]
operations = "any"
shops = "any"
programmes = [7]

[[gateway.grant]]
operations = ["debit"]
shops = "any"
programmes = [8]

[[operator]]
number = 501
namespaces = [1]

[[operator.grant]]
operations = ["issue", "lists"]
shops = "any"
programmes = [13]
"#;

    fn asked(kind: u8, shop: &str, amount: u64, programme: u32) -> Asked {
        Asked {
            kind,
            shop: ShopId::from_text(shop).ok(),
            amount: (amount > 0).then_some(amount),
            programme: (programme > 0).then(|| ProgrammeId::new(programme)),
            by_account: matches!(kind, 3..=6),
        }
    }

    #[test]
    fn what_no_grant_covers_is_denied() {
        let rights = read_rights(FILE).expect("it is read");
        let judge = |class, number, asked: Asked| rights.of(class, GatewayId::new(number)).map(|c| c.judge(&asked));
        let within = |ids: &[u32]| Some(Verdict::Within(ids.iter().map(|n| ProgrammeId::new(*n)).collect()));
        let denied = |code| Some(Verdict::Denied(code));
        let (gateway, operator) = (Class::Gateway, Class::Operator);
        for (class, number, request, wanted) in [
            (gateway, 501, asked(4, "SHOP1", 50_000, 0), within(&[13, 14])),
            (gateway, 501, asked(4, "TOKYO-9", 1, 0), within(&[13, 14])),
            (gateway, 501, asked(4, "SHOP2", 99_999_999, 0), Some(Verdict::Permitted)),
            (gateway, 501, asked(4, "SHOP1", 50_001, 0), denied(Code::AmountNotPermitted)),
            (gateway, 501, asked(4, "SHOP3", 1, 0), denied(Code::ShopNotPermitted)),
            (gateway, 501, asked(4, "TOKYO", 1, 0), denied(Code::ShopNotPermitted)),
            (gateway, 501, Asked { shop: Some(ShopId::NONE), ..asked(4, "", 1, 0) }, denied(Code::ShopNotPermitted)),
            (gateway, 501, asked(5, "SHOP1", 1, 0), denied(Code::OperationNotPermitted)),
            (gateway, 501, asked(11, "", 50_000, 0), Some(Verdict::Permitted)),
            (gateway, 501, asked(11, "", 50_001, 0), denied(Code::AmountNotPermitted)),
            (gateway, 501, asked(12, "", 0, 0), Some(Verdict::Permitted)),
            (gateway, 501, asked(68, "", 0, 0), Some(Verdict::Permitted)),
            (gateway, 501, asked(69, "", 0, 0), denied(Code::OperationNotPermitted)),
            (gateway, 501, asked(200, "", 0, 0), denied(Code::OperationNotPermitted)),
            (gateway, 502, asked(4, "ANY", 1, 0), within(&[7, 8])),
            (gateway, 502, asked(6, "ANY", 1, 0), within(&[7])),
            (gateway, 502, asked(2, "", 1, 7), Some(Verdict::Permitted)),
            (gateway, 502, asked(2, "", 1, 8), denied(Code::ProgrammeNotPermitted)),
            (gateway, 502, asked(1, "", 1, 7), denied(Code::OperationNotPermitted)),
            (gateway, 502, asked(77, "", 0, 0), denied(Code::OperationNotPermitted)),
            (gateway, 503, asked(4, "SHOP1", 1, 0), None),
            (operator, 501, asked(1, "", 5, 13), Some(Verdict::Permitted)),
            (operator, 501, asked(1, "", 5, 14), denied(Code::ProgrammeNotPermitted)),
            (operator, 501, asked(75, "", 0, 0), Some(Verdict::Permitted)),
            (operator, 501, asked(77, "", 0, 0), denied(Code::OperationNotPermitted)),
            (operator, 502, asked(1, "", 5, 13), None),
        ] {
            assert_eq!(judge(class, number, request), wanted, "{class:?} {number} {request:?}");
        }
        let of = |number| rights.of(gateway, GatewayId::new(number)).expect("it is named");
        let uses = |number, n| of(number).may_use(NamespaceId::new(n));
        assert!(uses(501, 21) && uses(501, 22) && !uses(501, 23) && !uses(501, 0));
        assert!(uses(502, 99) && !uses(502, 0));
        assert_eq!((of(501).rate(), of(502).rate()), (Some(Rate { per_second: 500, burst: 500 }), None));
        assert!(of(501).depends_on_accounts());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let change = |from: &str, to: &str| {
            assert!(FILE.contains(from), "{from}");
            read_rights(&FILE.replacen(from, to, 1)).expect_err(to).to_string()
        };
        for (from, to, said) in [
            ("[[operator]]", "[[operatr]]", "line 32: operatr is not known; did you mean `operator`?"),
            ("rate", "rates", "line 5: rates is not known; did you mean `rate`?"),
            ("amount_max", "amount_ma", "line 11: amount_ma is not known; did you mean `amount_max`?"),
            ("\"hold\"", "\"holt\"", "line 8: holt is no operation; did you mean `hold`?"),
            ("\"hold\"", "\"issue\"", "line 8: issue is served to operators only; give it to an [[operator]]"),
            ("number = 502", "number = 501", "line 18: gateway 501 is named before; give it another grant there"),
            ("50_000", "0", "line 11: amount_max: must be 1 to 999999999999 yen"),
            ("50_000", "1000000000000", "line 11: amount_max: must be 1 to 999999999999 yen"),
            ("[13, 14]", "[13, -1]", "line 10: programmes: must be \"any\" or a list of numbers from 1"),
            ("rate = 500", "burst = 500", "line 2: burst: must be beside a rate"),
            ("number = 501", "", "line 2: number: must be 1 to 4294967295"),
            ("programmes = \"any\"", "", "line 13: programmes: must be \"any\" or a list of numbers from 1"),
            ("[[operator]]", "[operator]", "a table in double brackets"),
            ("\"SHOP1\"", "\"SHOP 1\"", "line 9: shops: must be"),
            ("\"SHOP1\"", "\"*\"", "line 9: shops: must be"),
            ("number = 501", "number = ", "line 3"),
        ] {
            let error = change(from, to);
            assert!(error.contains(said), "{to}: {error}");
        }
        assert_eq!(read_rights("").map(|r| r.count()).ok(), Some(0), "nobody may do anything");
    }
}
