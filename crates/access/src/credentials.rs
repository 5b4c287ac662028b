//! The file of credentials: who has which secret. Nobody but its owner may read it, and no error shows what is in it.
//!
//! ```text
//! [[credential]]
//! id = "till-501"                      # what the caller names in its challenge
//! class = "gateway"                    # or "operator"
//! number = 501                         # the gateway's or the operator's
//! secret = "…"                         # 64 hexadecimal digits
//! ```

use crate::rights::Class;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tegata_model::{CredentialId, GatewayId};
use tegata_wire::Secret;
use toml::de::{DeTable, DeValue};

/// Bits of a file's mode that let others at it.
const OTHERS: u32 = 0o077;
/// A file of credentials is no longer.
const BYTES_MAX: u64 = 16 << 20;
const KEYS: [&str; 4] = ["id", "class", "number", "secret"];

/// Who knows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub id: CredentialId,
    /// What its holder is.
    pub class: Class,
    /// The holder's number.
    pub number: GatewayId,
    /// What its holder proves to know.
    pub secret: Secret,
}

/// All credentials, each under its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials(Vec<Credential>);

/// Why a file of credentials is not taken.
#[derive(Debug)]
pub enum CredentialsError {
    /// It could not be read.
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others than its owner may read or change it.
    NotPrivate {
        /// Which.
        file: PathBuf,
        /// The bits of its mode.
        mode: u32,
    },
    /// It is not as it should be. What stands there is not shown.
    Entry {
        /// Which.
        file: PathBuf,
        /// In which line, from 1.
        line: usize,
        /// What is expected there.
        expected: &'static str,
    },
}

impl core::fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "{}: {error}", file.display()),
            Self::NotPrivate { file, mode } => {
                let file = file.display();
                write!(f, "{file}: others may read or change it (mode {mode:03o}): chmod 600 {file}")
            }
            Self::Entry { file, line, expected } => write!(f, "{}: line {line}: {expected}", file.display()),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// Whether a file that was opened is its owner's alone.
pub fn is_private(file: &File) -> std::io::Result<Result<(), u32>> {
    let mode = file.metadata()?.mode() & 0o777;
    Ok(if mode & OTHERS == 0 { Ok(()) } else { Err(mode) })
}

impl Credentials {
    /// Reads a file that nobody else may read.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let failed = |error| CredentialsError::Read { file: path.to_owned(), error };
        let mut file = File::open(path).map_err(failed)?;
        // Looked at where it is open: another one cannot be put in its place.
        if let Err(mode) = is_private(&file).map_err(failed)? {
            return Err(CredentialsError::NotPrivate { file: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.by_ref().take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        Self::read(&text).map_err(|(at, expected)| {
            let line = crate::file::line_at(&text, at);
            CredentialsError::Entry { file: path.to_owned(), line, expected }
        })
    }

    /// What is wrong is told by its offset, and never shown.
    fn read(text: &str) -> Result<Self, (usize, &'static str)> {
        let shape = "entries of [[credential]] are expected, each with id, class, number and secret";
        let table = DeTable::parse(text).map_err(|e| (e.span().map_or(0, |s| s.start), shape))?;
        if let Some(key) = table.get_ref().keys().find(|key| key.get_ref() != "credential") {
            return Err((key.span().start, shape));
        }
        let mut all: Vec<Credential> = Vec::new();
        let Some(listed) = table.get_ref().get("credential") else { return Ok(Self::default()) };
        let DeValue::Array(entries) = listed.get_ref() else { return Err((listed.span().start, shape)) };
        for entry in entries {
            let at = entry.span().start;
            let DeValue::Table(table) = entry.get_ref() else { return Err((at, shape)) };
            if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.get_ref().as_ref())) {
                return Err((key.span().start, shape));
            }
            let place = |key| table.get(key).map_or(at, |value| value.span().start);
            let word = |key| table.get(key).and_then(|value| value.get_ref().as_str());
            let number = table.get("number").and_then(|value| match value.get_ref() {
                DeValue::Integer(digits) => u32::from_str_radix(digits.as_str(), digits.radix()).ok(),
                _ => None,
            });
            let id = word("id").and_then(|text| CredentialId::from_text(text).ok());
            let id = id.ok_or((place("id"), "id: must be 1 to 16 printable ASCII characters"))?;
            let class = word("class").and_then(Class::from_word);
            let class = class.ok_or((place("class"), "class: must be \"gateway\" or \"operator\""))?;
            let number = number.filter(|n| *n > 0);
            let number = number.ok_or((place("number"), "number: must be 1 to 4294967295"))?;
            let secret = word("secret").and_then(Secret::from_hex);
            let secret = secret.ok_or((place("secret"), "secret: must be 64 hexadecimal digits"))?;
            if all.iter().any(|c| c.id == id) {
                return Err((place("id"), "id: is used before; each credential has its own"));
            }
            all.push(Credential { id, class, number: GatewayId::new(number), secret });
        }
        Ok(Self(all))
    }

    /// The one of this name.
    #[must_use]
    pub fn of(&self, id: &CredentialId) -> Option<&Credential> {
        self.0.iter().find(|c| c.id == *id)
    }

    /// The first of a class, and of a number where one is asked for.
    #[must_use]
    pub fn first(&self, class: Class, number: Option<GatewayId>) -> Option<&Credential> {
        self.0.iter().find(|c| c.class == class && number.is_none_or(|n| n == c.number))
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SECRET: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

    fn text() -> String {
        format!("[[credential]]\nid = \"till-501\"\nclass = \"gateway\"\nnumber = 501\nsecret = \"{SECRET}\"\n")
    }

    fn load(text: &str, mode: u32) -> Result<Credentials, CredentialsError> {
        load_in(&tempfile::tempdir().expect("a folder"), text, mode)
    }

    fn load_in(folder: &tempfile::TempDir, text: &str, mode: u32) -> Result<Credentials, CredentialsError> {
        let path = folder.path().join("credentials.toml");
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its owner may");
        Credentials::load(&path)
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let loaded = load(&text(), 0o600).expect("it is read");
        let id = CredentialId::from_text("till-501").expect("an id");
        let found = loaded.of(&id).expect("it is there");
        assert_eq!((found.class, found.number.get()), (Class::Gateway, 501));
        assert_eq!(Some(&found.secret), Secret::from_hex(SECRET).as_ref());
        assert!(loaded.first(Class::Gateway, Some(GatewayId::new(501))).is_some());
        assert!(loaded.first(Class::Gateway, Some(GatewayId::new(502))).is_none());
        assert!(loaded.first(Class::Operator, None).is_none());
        assert!(load(&text(), 0o400).is_ok());
        for mode in [0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601] {
            let Err(CredentialsError::NotPrivate { mode: got, .. }) = load(&text(), mode) else {
                panic!("{mode:o} is taken")
            };
            assert_eq!(got, mode);
        }
    }

    #[test]
    fn no_error_shows_a_secret() {
        let good = text();
        // The file is there while the error is shown: one that looked into it would show it.
        let folder = tempfile::tempdir().expect("a folder");
        for (from, to, line) in [
            ("\"gateway\"", "\"gate\"", 3),
            ("501\n", "0\n", 4),
            (SECRET, &SECRET[1..], 5),
            ("secret = \"", "secret = ", 5),
            ("secret", "secrets", 5),
            ("till-501", "", 2),
            ("[[credential]]", "[credential]", 1),
            ("[[credential]]", "[[credentials]]", 1),
            ("secret = \"", "secret = \"\"\"", 5),
        ] {
            assert!(good.contains(from), "{from}");
            let error = load_in(&folder, &good.replacen(from, to, 1), 0o600).expect_err(to);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("5e5e"), "{to}: {shown}");
            assert!(shown.contains(&format!("line {line}:")) || line == 5, "{to}: {shown}");
        }
        let error = load(&(good.clone() + &good), 0o600).expect_err("twice").to_string();
        assert!(error.contains("line 7: id: is used before"), "{error}");
        assert!(!format!("{:?}", load(&good, 0o600)).contains("5e5e"));
    }
}
