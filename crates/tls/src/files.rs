//! Certificates and keys as they lie on the disk, in PEM.

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tegata_wire::TunnelError;

/// Why TLS cannot begin.
#[derive(Debug)]
pub enum TlsError {
    /// A file could not be read.
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others than its owner may read or change a key.
    NotPrivate {
        /// Which.
        file: PathBuf,
        /// The bits of its mode.
        mode: u32,
    },
    /// A file has not what it must have. What it has is not shown.
    Content {
        /// Which.
        file: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// Certificates and key do not go together, or cannot be used.
    Unusable {
        /// The file of the certificates.
        file: PathBuf,
        /// Why.
        error: String,
    },
}

impl core::fmt::Display for TlsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "{}: {error}", file.display()),
            Self::NotPrivate { file, mode } => {
                let file = file.display();
                write!(f, "{file}: others may read or change this key (mode {mode:03o}): chmod 600 {file}")
            }
            Self::Content { file, expected } => write!(f, "{}: has no {expected}", file.display()),
            Self::Unusable { file, error } => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for TunnelError {
    fn from(e: TlsError) -> Self {
        Self(e.to_string())
    }
}

/// The one implementation of ciphers that is used.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |error| TlsError::Read { file: file.to_owned(), error };
    let text = std::fs::read(file).map_err(error)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(TlsError::Content { file: file.to_owned(), expected: "certificate in PEM" });
    }
    Ok(found)
}

pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |error| TlsError::Read { file: path.to_owned(), error };
    let mut file = File::open(path).map_err(failed)?;
    if let Err(mode) = tegata_access::is_private(&file).map_err(failed)? {
        return Err(TlsError::NotPrivate { file: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    let none = |_| TlsError::Content { file: path.to_owned(), expected: "private key in PEM" };
    PrivateKeyDer::from_pem_slice(&text).map_err(none)
}

pub(crate) fn authorities(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let unusable = |e: rustls::Error| TlsError::Unusable { file: file.to_owned(), error: e.to_string() };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(Arc::new(roots))
}
