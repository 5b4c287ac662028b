//! Who a caller's certificate names: one URI among its subject's alternative names, `tegata:gateway:501`.

use rustls::pki_types::CertificateDer;
use tegata_access::Class;
use webpki::EndEntityCert;

const SCHEME: &str = "tegata:";

/// The URI that names a caller.
pub(crate) fn uri(class: Class, number: u32) -> String {
    format!("{SCHEME}{}:{number}", class.word())
}

/// Role and number; nothing where it names nobody, or several.
pub(crate) fn caller(certificate: &CertificateDer<'_>) -> Option<(u8, u32)> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut named = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(SCHEME));
    let (Some(name), None) = (named.next(), named.next()) else { return None };
    parse(name)
}

fn parse(name: &str) -> Option<(u8, u32)> {
    let (class, number) = name.split_once(':')?;
    // One way to write a number: +7 and 007 are not 7.
    let n: u32 = number.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == number)?;
    Some((Class::from_word(class)? as u8, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_in_one_way() {
        assert_eq!(parse("gateway:501"), Some((1, 501)));
        assert_eq!(parse("operator:4294967295"), Some((2, u32::MAX)));
        assert_eq!(uri(Class::Gateway, 501).strip_prefix(SCHEME).and_then(parse), Some((1, 501)));
        for wrong in ["gateway:0", "gateway:007", "gateway:+7", "gateway:", "gateway", "till:7", "operator:4294967296"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
