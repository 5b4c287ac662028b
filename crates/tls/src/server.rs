//! The server's side: its certificates, and whose certificates it takes.

use crate::files::{TlsError, authorities, certificates, key, provider};
use crate::tunnel::Tls;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tegata_wire::{Tunnel, TunnelError, Tunnels};

/// See the module.
#[derive(Debug)]
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
    /// Whoever shows no certificate is let through, to prove a secret.
    or_secret: bool,
    current: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// From its files. With `ca` callers show certificates, and where `or_secret` says so only those who have one.
    pub fn load(cert: PathBuf, key: PathBuf, ca: Option<PathBuf>, or_secret: bool) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&cert, &key, ca.as_deref(), or_secret)?);
        Ok(Self { cert, key, ca, or_secret, current })
    }
}

fn read(cert: &Path, key_file: &Path, ca: Option<&Path>, or_secret: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |e: &dyn core::fmt::Display| TlsError::Unusable { file: cert.to_owned(), error: e.to_string() };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|e| unusable(&e))?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities(ca)?, provider());
            let verifier = if or_secret { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| unusable(&e))?)
        }
    };
    let mut config = builder.with_single_cert(certificates(cert)?, key(key_file)?).map_err(|e| unusable(&e))?;
    // A resumed session would not show its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

impl Tunnels for ServerTls {
    fn accept(&self) -> Result<Box<dyn Tunnel>, TunnelError> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let mut connection = ServerConnection::new(config).map_err(|e| TunnelError(e.to_string()))?;
        // How much may wait to be written is the connection's own to say.
        connection.set_buffer_limit(None);
        Ok(Box::new(Tls::Server(Box::new(connection))))
    }

    fn reload(&self) -> Result<(), TunnelError> {
        let fresh = read(&self.cert, &self.key, self.ca.as_deref(), self.or_secret)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}
