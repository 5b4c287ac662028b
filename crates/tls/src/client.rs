//! The caller's side: which server it believes, and the certificate that it shows.

use crate::files::{TlsError, authorities, certificates, key, provider};
use crate::tunnel::Tls;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tegata_wire::{Dial, Tunnel, TunnelError};

/// See the module.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Believes servers whose certificate one of the authorities in `ca` has signed, for their address, or for `name`.
    /// `shown` is the caller's own certificate and its key.
    pub fn load(ca: &Path, shown: Option<(&Path, &Path)>, name: Option<&str>) -> Result<Self, TlsError> {
        let unusable = |e: &dyn core::fmt::Display| TlsError::Unusable { file: ca.to_owned(), error: e.to_string() };
        let name = match name {
            Some(name) => Some(ServerName::try_from(name.to_owned()).map_err(|e| unusable(&e))?),
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(|e| unusable(&e))?.with_root_certificates(authorities(ca)?);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some((cert, key_file)) => {
                let unusable = |e: rustls::Error| TlsError::Unusable { file: cert.to_owned(), error: e.to_string() };
                builder.with_client_auth_cert(certificates(cert)?, key(key_file)?).map_err(unusable)?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name })
    }
}

impl Dial for ClientTls {
    fn dial(&self, addr: SocketAddr) -> Result<Box<dyn Tunnel>, TunnelError> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(addr.ip().into()));
        let connection = ClientConnection::new(Arc::clone(&self.config), name);
        let mut connection = connection.map_err(|e| TunnelError(e.to_string()))?;
        connection.set_buffer_limit(None);
        Ok(Box::new(Tls::Client(Box::new(connection))))
    }
}
