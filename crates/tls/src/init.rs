//! Certificates for a first try: an authority, a server, a gateway and an operator. Who runs many gateways has an
//! authority of its own.

use crate::name;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tegata_access::Class;

/// How long the certificates hold, in days.
const DAYS: i64 = 397;

/// Why there are no certificates.
#[derive(Debug)]
pub enum InitError {
    /// A file could not be written, or is there.
    Write {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A name cannot stand in a certificate, or no key could be made.
    Certificate(rcgen::Error),
}

impl core::fmt::Display for InitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Write { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Certificate(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for InitError {}

impl From<rcgen::Error> for InitError {
    fn from(e: rcgen::Error) -> Self {
        Self::Certificate(e)
    }
}

/// Writes them into a folder; nothing that is there is overwritten. `names` are the server's other names and addresses.
/// Returns the files.
pub fn init(dir: &Path, names: &[String], gateway: u32, operator: u32) -> Result<Vec<PathBuf>, InitError> {
    let failed = |error| InitError::Write { file: dir.to_owned(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let mut made = Vec::new();
    let mut write = |name: &str, text: &str, mode| {
        let file = dir.join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&file);
        let written = opened.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()));
        written.map_err(|error| InitError::Write { file: file.clone(), error })?;
        made.push(file);
        Ok::<(), InitError>(())
    };
    let mut ca = params("tegata authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = ca.self_signed(&key)?;
    write("ca.pem", &certificate.pem(), 0o644)?;
    write("ca.key", &key.serialize_pem(), 0o600)?;
    let authority = Issuer::new(ca, key);
    let mut sign = |name: &str, mut params: CertificateParams, purpose| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        write(&format!("{name}.pem"), &certificate.pem(), 0o644)?;
        write(&format!("{name}.key"), &key.serialize_pem(), 0o600)
    };
    let mut server = params("tegata server");
    for name in ["localhost", "127.0.0.1", "::1"].into_iter().chain(names.iter().map(String::as_str)) {
        server.subject_alt_names.push(match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(Ia5String::try_from(name)?),
        });
    }
    sign("server", server, ExtendedKeyUsagePurpose::ServerAuth)?;
    for (class, number) in [(Class::Gateway, gateway), (Class::Operator, operator)] {
        let mut caller = params(&format!("tegata {} {number}", class.word()));
        caller.subject_alt_names.push(SanType::URI(Ia5String::try_from(name::uri(class, number))?));
        sign(&format!("{}-{number}", class.word()), caller, ExtendedKeyUsagePurpose::ClientAuth)?;
    }
    Ok(made)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |days: i64| {
        let today = Offset::UTC.to_datetime(Timestamp::now()).date();
        let at = today.checked_add(Span::new().days(days)).unwrap_or(today);
        date_time_ymd(i32::from(at.year()), at.month() as u8, at.day() as u8)
    };
    // A clock that is a little behind takes it too.
    (params.not_before, params.not_after) = (day(-1), day(DAYS));
    params
}
