//! HL7 v2 messages: MSH-7, MSH-9 and PID-3.

use super::{date, text};
use crate::catalogue::About;

const ESCAPE: u8 = 0x1b;
/// Segments that are looked at.
const SEGMENTS_MAX: usize = 16;

/// What the message is about, if it is one.
pub(super) fn read(bytes: &[u8]) -> Option<About> {
    let separator = *bytes.strip_prefix(b"MSH")?.first()?;
    if separator.is_ascii_alphanumeric() || separator.is_ascii_control() {
        return None;
    }
    let plain = without_kanji(bytes);
    let mut about = About::default();
    for segment in plain.split(|byte| matches!(byte, b'\r' | b'\n')).take(SEGMENTS_MAX) {
        let fields: Vec<&[u8]> = segment.split(|byte| *byte == separator).collect();
        match fields.first() {
            // MSH-1 is the separator itself.
            Some(&b"MSH") => {
                about.date = fields.get(6).and_then(|field| date(field)).unwrap_or_default();
                let kind = fields.get(8).map(|field| components(field, 2));
                about.kind = kind.and_then(text).unwrap_or_default();
            }
            Some(&b"PID") => {
                let patient = fields.get(3).map(|field| components(field, 1));
                about.patient = patient.and_then(text).unwrap_or_default();
                break;
            }
            _ => {}
        }
    }
    Some(about)
}

/// The first components of a field.
fn components(field: &[u8], count: usize) -> &[u8] {
    let ends = field.iter().enumerate().filter(|(_, byte)| **byte == b'^').map(|(place, _)| place);
    let end = ends.chain([field.len()]).nth(count - 1).unwrap_or(field.len());
    &field[..end]
}

/// ISO-2022-JP (RFC 1468): what stands between an escape to two-byte characters and one back to
/// single bytes may look like a delimiter, so it is left out before anything is split.
fn without_kanji(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut wide = false;
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (ESCAPE, [b'$', b'(', _, tail @ ..] | [b'$', _, tail @ ..]) => {
                (wide, rest) = (true, tail);
            }
            (ESCAPE, [b'(', _, tail @ ..]) => (wide, rest) = (false, tail),
            _ if wide => {}
            _ => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_whom_it_is_about() {
        let message = b"MSH|^~\\&|HIS|A|GW|B|20260401093000.000||ADT^A08^ADT_A01|1|P|2.5\rEVN||2\r\
            PID|0001||0000012345^^^^PI||\x1b$B;3ED|^\x1b(B^x\r";
        let about = read(message).unwrap();
        assert_eq!((about.patient.as_str(), about.date.as_str()), ("0000012345", "20260401"));
        assert_eq!(about.kind, "ADT^A08");
    }

    #[test]
    fn two_byte_characters_are_no_delimiters() {
        // The second byte of each character is a delimiter or an end of line.
        let message = b"MSH|^~\\&|\x1b$B|\r^|\x1b(B|A|||20260401||OUL^R22\rPID|1||77\r";
        let about = read(message).unwrap();
        assert_eq!((about.patient.as_str(), about.kind.as_str()), ("77", "OUL^R22"));
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b""[..], b"MSH", b"MSHx", b"\x1b$BMSH|", b"MSG|"] {
            assert_eq!(read(bytes), None);
        }
        assert_eq!(read(b"MSH|"), Some(About::default()));
        assert_eq!(read(b"MSH|\rPID|||\x01\r"), Some(About::default()));
    }
}
