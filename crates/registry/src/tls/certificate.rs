//! The name in a client's certificate.
//!
//! Spec: RFC 5280 sections 4.1 and 4.2.1.6, X.690 (DER). Law: the certificate has been verified before; what is not as
//! expected has no name, and a name that could be read two ways (NUL inside) is none.

use serde::Deserialize;

/// What in a certificate is the subject's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    /// The common name of its subject.
    #[default]
    Cn,
    /// The first DNS name among its alternative names.
    Dns,
    /// The first e-mail address among them.
    Email,
    /// The first URI among them, as SPIFFE writes identities.
    Uri,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// `[0]`, `[3]`: version and extensions of a certificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// String types whose bytes are UTF-8: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// What a certificate calls its owner.
pub fn name(der: &[u8], source: NameSource) -> Option<String> {
    let (mut fields, _) = expect(SEQUENCE, expect(SEQUENCE, der)?.0)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // serial number, signature algorithm, issuer, validity
    for _ in 0..4 {
        fields = element(fields)?.2;
    }
    let (subject, rest) = expect(SEQUENCE, fields)?;
    let found = match source {
        NameSource::Cn => common_name(subject)?,
        NameSource::Email => alternative(rest, 0x81)?,
        NameSource::Dns => alternative(rest, 0x82)?,
        NameSource::Uri => alternative(rest, 0x86)?,
    };
    let text = std::str::from_utf8(found).ok()?;
    (!text.is_empty() && !text.contains(|c: char| c.is_control())).then(|| text.to_owned())
}

/// The last common name: the most specific one stands last (RFC 4514).
fn common_name(mut names: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    while !names.is_empty() {
        let (mut set, rest) = expect(SET, names)?;
        while !set.is_empty() {
            let (pair, others) = expect(SEQUENCE, set)?;
            let (oid, value) = expect(OID, pair)?;
            let (tag, text, _) = element(value)?;
            if oid == COMMON_NAME && TEXTS.contains(&tag) {
                found = Some(text);
            }
            set = others;
        }
        names = rest;
    }
    found
}

fn alternative(mut fields: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (tag, content, rest) = element(fields)?;
        if tag != EXTENSIONS {
            fields = rest;
            continue;
        }
        let (mut extensions, _) = expect(SEQUENCE, content)?;
        while !extensions.is_empty() {
            let (extension, others) = expect(SEQUENCE, extensions)?;
            let (oid, mut value) = expect(OID, extension)?;
            if value.first() == Some(&BOOLEAN) {
                value = element(value)?.2;
            }
            if oid == ALTERNATIVE_NAMES {
                let (mut names, _) = expect(SEQUENCE, expect(OCTET_STRING, value)?.0)?;
                while !names.is_empty() {
                    let (tag, name, more) = element(names)?;
                    if tag == wanted {
                        return Some(name);
                    }
                    names = more;
                }
            }
            extensions = others;
        }
        return None;
    }
}

/// The content of an element of this kind, and what follows it.
fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and rest.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        length = rest[..count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = &rest[count..];
    }
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        if content.len() < 128 {
            out.push(content.len() as u8);
        } else {
            out.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]);
        }
        out.extend(content);
        out
    }

    fn certificate(common_names: &[&str], alternatives: &[(u8, &str)]) -> Vec<u8> {
        let pair =
            |name: &&str| tlv(SET, &[&tlv(SEQUENCE, &[&tlv(OID, &[COMMON_NAME]), &tlv(0x0c, &[name.as_bytes()])])]);
        let subject = tlv(SEQUENCE, &[&common_names.iter().map(pair).collect::<Vec<_>>().concat()]);
        let names: Vec<u8> = alternatives.iter().flat_map(|(tag, name)| tlv(*tag, &[name.as_bytes()])).collect();
        let extension = tlv(
            SEQUENCE,
            &[
                &tlv(OID, &[ALTERNATIVE_NAMES]),
                &tlv(BOOLEAN, &[&[0xff]]),
                &tlv(OCTET_STRING, &[&tlv(SEQUENCE, &[&names])]),
            ],
        );
        let extensions = tlv(EXTENSIONS, &[&tlv(SEQUENCE, &[&extension])]);
        let (empty, serial) = (tlv(SEQUENCE, &[]), tlv(0x02, &[&[1]]));
        let version = tlv(VERSION, &[&tlv(0x02, &[&[2]])]);
        let body = [&version, &serial, &empty, &empty, &empty, &subject, &empty, &extensions];
        let body: Vec<&[u8]> = body.iter().map(|part| part.as_slice()).collect();
        tlv(SEQUENCE, &[&tlv(SEQUENCE, &body)])
    }

    #[test]
    fn each_kind_of_name_is_found() {
        let der = certificate(&["crew", "ship"], &[(0x82, "ship.example"), (0x86, "spiffe://x/ship"), (0x81, "a@b")]);
        let names: Vec<_> = [NameSource::Cn, NameSource::Dns, NameSource::Uri, NameSource::Email]
            .iter()
            .map(|source| name(&der, *source).unwrap())
            .collect();
        assert_eq!(names, ["ship", "ship.example", "spiffe://x/ship", "a@b"]);
    }

    #[test]
    fn a_missing_or_ambiguous_name_is_none() {
        assert_eq!(name(&certificate(&[], &[]), NameSource::Cn), None);
        assert_eq!(name(&certificate(&["a\0b"], &[]), NameSource::Cn), None);
        assert_eq!(name(&certificate(&["a"], &[]), NameSource::Uri), None);
    }

    proptest! {
        #[test]
        fn no_bytes_bring_the_reader_down(at in 0usize..150, byte in any::<u8>(), cut in 0usize..150) {
            let mut der = certificate(&["crew"], &[(0x82, "ship.example")]);
            let (at, cut) = (at % der.len(), cut % der.len());
            der[at] = byte;
            for source in [NameSource::Cn, NameSource::Dns] {
                let _ = name(&der, source);
                let _ = name(&der[..cut], source);
            }
        }
    }
}
