//! Both sides without sockets: who is believed, and when a certificate's time is over.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tegata_tls::{ClientTls, ServerTls};
use tegata_wire::{Dial, Tunnel, TunnelError, Tunnels};

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file);
    opened.and_then(|mut f| f.write_all(text.as_bytes())).expect("it is written");
    file
}

/// Carries bytes between the two until nobody has anything to say.
fn shake(client: &mut dyn Tunnel, server: &mut dyn Tunnel) -> Result<(), TunnelError> {
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..8 {
        client.seal(&[], &mut to_server)?;
        server.open(&std::mem::take(&mut to_server), &mut plain)?;
        server.seal(&[], &mut to_client)?;
        client.open(&std::mem::take(&mut to_client), &mut plain)?;
    }
    assert!(!client.is_opening() && !server.is_opening() && plain.is_empty());
    Ok(())
}

struct Authority<'a> {
    dir: &'a Path,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn new(dir: &'a Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        write(dir, "ca.pem", &params.self_signed(&key).expect("a certificate").pem());
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these URIs, or a server's, until the beginning of a year.
    fn sign(&self, name: &str, uris: &[&str], until: i32) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(until, 1, 1);
        let uri = |u: &&str| SanType::URI(Ia5String::try_from(*u).expect("ASCII"));
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if uris.is_empty() {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let cert = write(self.dir, &format!("{name}.pem"), &certificate.pem());
        (cert, write(self.dir, &format!("{name}.key"), &key.serialize_pem()))
    }
}

#[test]
fn a_caller_is_who_its_certificate_names_while_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let ca = folder.path().join("ca.pem");
    let (cert, key) = authority.sign("server", &[], 2099);
    let server = ServerTls::load(cert, key, Some(ca.clone()), false).expect("it is read");
    let addr = "127.0.0.1:7411".parse().expect("an address");
    let peer = |uris: &[&str], until| {
        let (cert, key) = authority.sign("caller", uris, until);
        let tls = ClientTls::load(&ca, Some((&cert, &key)), None).expect("it is read");
        let (mut client, mut server) = (tls.dial(addr).expect("a side"), server.accept().expect("a side"));
        assert_eq!(server.peer(), None, "nothing is proven yet");
        shake(&mut *client, &mut *server).map(|()| server.peer())
    };
    assert_eq!(peer(&["tegata:gateway:501"], 2099), Ok(Some((1, 501))));
    assert_eq!(peer(&["https://example.jp/", "tegata:operator:1"], 2099), Ok(Some((2, 1))));
    assert_eq!(peer(&["tegata:gateway:501", "tegata:operator:1"], 2099), Ok(None), "it must be clear who it is");
    assert_eq!(peer(&["https://example.jp/"], 2099), Ok(None));
    let expired = peer(&["tegata:gateway:501"], 2020).expect_err("its time is over");
    assert!(expired.to_string().contains("xpired"), "{expired}");
}

#[test]
fn a_server_is_believed_for_its_own_address_while_its_certificate_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let ca = folder.path().join("ca.pem");
    let reach = |addr: &str, name: Option<&str>, until| {
        let (cert, key) = authority.sign("server", &[], until);
        let server = ServerTls::load(cert, key, None, false).expect("it is read");
        let tls = ClientTls::load(&ca, None, name).expect("it is read");
        let addr = addr.parse().expect("an address");
        shake(&mut *tls.dial(addr).expect("a side"), &mut *server.accept().expect("a side"))
    };
    assert_eq!(reach("127.0.0.1:7411", None, 2099), Ok(()));
    assert_eq!(reach("10.0.0.1:7411", Some("127.0.0.1"), 2099), Ok(()));
    assert!(reach("10.0.0.1:7411", None, 2099).is_err(), "of another address");
    assert!(reach("127.0.0.1:7411", Some("example.jp"), 2099).is_err(), "of another name");
    assert!(reach("127.0.0.1:7411", None, 2020).is_err(), "its time is over");
}

#[test]
fn any_bytes_are_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let (cert, key) = authority.sign("server", &[], 2099);
    let server = ServerTls::load(cert, key, None, false).expect("it is read");
    let tls = ClientTls::load(&folder.path().join("ca.pem"), None, None).expect("it is read");
    let mut greeting = Vec::new();
    tls.dial("127.0.0.1:1".parse().expect("an address")).expect("a side").seal(&[], &mut greeting).expect("a greeting");
    let mut plain = Vec::new();
    for at in 0..greeting.len() {
        let mut damaged = greeting.clone();
        damaged[at] ^= 0x55;
        let mut side = server.accept().expect("a side");
        let through = side.open(&damaged, &mut plain);
        let _ = side.seal(&[], &mut Vec::new());
        assert!(side.is_opening() && plain.is_empty(), "{at}: {through:?}");
    }
}
