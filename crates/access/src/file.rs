//! A TOML file that people write: what is wrong with it, in which line, and which name was meant.

use serde::{Serialize, de::DeserializeOwned};
use toml::de::DeTable;

/// What is wrong with a file.
#[derive(Debug)]
pub enum FileError {
    /// It is not TOML, or a value is of the wrong kind. Says the line itself.
    Toml(Box<toml::de::Error>),
    /// A name that is not known.
    Unknown {
        /// Where, from 1.
        line: usize,
        /// The name.
        key: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
}

impl core::fmt::Display for FileError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Toml(e) => e.fmt(f),
            Self::Unknown { line, key, nearest: Some(nearest) } => {
                write!(f, "line {line}: {key} is not known; did you mean `{nearest}`?")
            }
            Self::Unknown { line, key, nearest: None } => write!(f, "line {line}: {key} is not known"),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads a file whose names are those of `known`.
pub fn read<T: DeserializeOwned + Serialize>(text: &str, known: &T) -> Result<T, FileError> {
    let toml = |e| FileError::Toml(Box::new(e));
    let table = DeTable::parse(text).map_err(toml)?;
    let names: Vec<String> =
        toml::Table::try_from(known).map(|t| t.into_iter().map(|(name, _)| name).collect()).unwrap_or_default();
    let strange = table.get_ref().keys().filter(|key| !names.iter().any(|name| name == key.get_ref().as_ref()));
    if let Some(key) = strange.min_by_key(|key| key.span().start) {
        let (line, key) = (line_at(text, key.span().start), key.get_ref().to_string());
        let nearest = nearest(&key, names);
        return Err(FileError::Unknown { line, key, nearest });
    }
    toml::from_str(text).map_err(toml)
}

/// The line in which a name is set, from 1.
#[must_use]
pub fn line_of(text: &str, name: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let key = table.get_ref().keys().find(|key| key.get_ref() == name)?;
    Some(line_at(text, key.span().start))
}

pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// With more than a third of it changed a name is another one.
pub(crate) fn nearest<S: AsRef<str> + Ord>(key: &str, names: impl IntoIterator<Item = S>) -> Option<S> {
    let like = names.into_iter().map(|name| (distance(key, name.as_ref()), name)).min()?;
    (like.0 <= (key.len() / 3).max(1)).then_some(like.1)
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, n) in [("", "abc", 3), ("shard", "shards", 1), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n), "{a} {b}");
        }
    }
}
