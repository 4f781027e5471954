//! DICOM files (PS3.10 §7.1, PS3.5 §7): patient id, study date and modality.

use super::{date, text};
use crate::catalogue::About;

const PREAMBLE_LEN: usize = 128;
const UNDEFINED: u32 = u32::MAX;
/// Sequences inside sequences.
const DEPTH_MAX: usize = 8;

const TRANSFER_SYNTAX: Tag = (0x0002, 0x0010);
const STUDY_DATE: Tag = (0x0008, 0x0020);
const MODALITY: Tag = (0x0008, 0x0060);
const PATIENT_ID: Tag = (0x0010, 0x0020);
const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);

type Tag = (u16, u16);

/// How elements are written.
#[derive(Clone, Copy)]
struct Syntax {
    explicit: bool,
    big_endian: bool,
}

const EXPLICIT: Syntax = Syntax { explicit: true, big_endian: false };
const IMPLICIT: Syntax = Syntax { explicit: false, big_endian: false };

struct Reader<'a> {
    rest: &'a [u8],
    syntax: Syntax,
}

struct Element<'a> {
    tag: Tag,
    /// `None` for an undefined length: the value is items up to a delimiter.
    value: Option<&'a [u8]>,
}

/// What the file is about, if it is DICOM.
pub(super) fn read(bytes: &[u8]) -> Option<About> {
    let with_header = bytes.get(PREAMBLE_LEN..)?.strip_prefix(b"DICM");
    let mut reader = match with_header {
        Some(rest) => after_header(rest)?,
        None => without_header(bytes)?,
    };
    let mut about = About::default();
    while let Some(element) = reader.next_element() {
        let value = element.value.unwrap_or_default();
        match element.tag {
            STUDY_DATE => about.date = date(value).unwrap_or_default(),
            MODALITY => about.kind = text(value).unwrap_or_default(),
            PATIENT_ID => about.patient = text(value).unwrap_or_default(),
            // Elements ascend.
            tag if tag > PATIENT_ID => break,
            _ => {}
        }
        if element.value.is_none() && reader.skip_items(DEPTH_MAX).is_none() {
            break;
        }
    }
    Some(about)
}

/// The elements after those of group 2, which are always explicit and little endian.
fn after_header(bytes: &[u8]) -> Option<Reader<'_>> {
    let mut header = Reader { rest: bytes, syntax: EXPLICIT };
    let mut syntax = IMPLICIT;
    loop {
        let before = header.rest;
        match header.peek_group() {
            Some(2) => {}
            _ => return Some(Reader { rest: before, syntax }),
        }
        let element = header.next_element()?;
        if element.tag == TRANSFER_SYNTAX {
            syntax = match element.value?.strip_suffix(b"\0").or(element.value)? {
                b"1.2.840.10008.1.2" => IMPLICIT,
                b"1.2.840.10008.1.2.2" => Syntax { explicit: true, big_endian: true },
                // Deflated: nothing more to be read here.
                b"1.2.840.10008.1.2.1.99" => return None,
                _ => EXPLICIT,
            };
        }
    }
}

/// Old files begin with the first element of group 8.
fn without_header(bytes: &[u8]) -> Option<Reader<'_>> {
    let [8, 0, low, high, first, second, ..] = bytes else { return None };
    let plausible = u16::from_le_bytes([*low, *high]) <= 0x0020;
    let explicit = first.is_ascii_uppercase() && second.is_ascii_uppercase();
    let syntax = if explicit { EXPLICIT } else { IMPLICIT };
    plausible.then_some(Reader { rest: bytes, syntax })
}

impl<'a> Reader<'a> {
    /// The next element, if it is whole; the value of one with undefined length follows.
    fn next_element(&mut self) -> Option<Element<'a>> {
        let tag = (self.u16()?, self.u16()?);
        let length = if tag.0 == ITEM.0 || !self.syntax.explicit {
            self.u32()?
        } else {
            let kind = self.take(2)?;
            match kind {
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN"
                | b"UR" | b"UT" | b"UV" => {
                    self.take(2)?;
                    self.u32()?
                }
                _ => u32::from(self.u16()?),
            }
        };
        let value = if length == UNDEFINED { None } else { Some(self.take(length as usize)?) };
        Some(Element { tag, value })
    }

    /// Skips the items of a value of undefined length.
    fn skip_items(&mut self, depth: usize) -> Option<()> {
        loop {
            let element = self.next_element()?;
            match (element.tag, element.value) {
                (SEQUENCE_END, _) => return Some(()),
                (ITEM, Some(_)) => {}
                (ITEM, None) => self.skip_item(depth.checked_sub(1)?)?,
                _ => return None,
            }
        }
    }

    fn skip_item(&mut self, depth: usize) -> Option<()> {
        loop {
            let element = self.next_element()?;
            match (element.tag, element.value) {
                (ITEM_END, _) => return Some(()),
                (_, Some(_)) => {}
                (_, None) => self.skip_items(depth)?,
            }
        }
    }

    fn peek_group(&self) -> Option<u16> {
        Reader { rest: self.rest, syntax: self.syntax }.u16()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = <[u8; 2]>::try_from(self.take(2)?).ok()?;
        let big_endian = self.syntax.big_endian;
        Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = <[u8; 4]>::try_from(self.take(4)?).ok()?;
        let big_endian = self.syntax.big_endian;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(tag: Tag, kind: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        bytes.extend_from_slice(kind);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    fn file(syntax: &[u8], elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; PREAMBLE_LEN];
        bytes.extend(b"DICM");
        bytes.extend(explicit(TRANSFER_SYNTAX, b"UI", syntax));
        bytes.extend(elements.concat());
        bytes
    }

    fn elements() -> Vec<Vec<u8>> {
        // A sequence of undefined length with an item of undefined length.
        let mut sequence = vec![0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff];
        sequence.extend([0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff]);
        sequence.extend(explicit((0x0008, 0x1150), b"UI", b"1.2\0"));
        sequence.extend([0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
        vec![
            explicit(STUDY_DATE, b"DA", b"20260401"),
            explicit(MODALITY, b"CS", b"CT"),
            sequence,
            explicit((0x0010, 0x0010), b"PN", b"Yamada^Taro "),
            explicit(PATIENT_ID, b"LO", b"0000012345 "),
        ]
    }

    #[test]
    fn a_file_says_whom_it_is_about() {
        let about = read(&file(b"1.2.840.10008.1.2.1\0", &elements())).unwrap();
        let About { patient, date, kind } = about;
        assert_eq!([patient, date, kind], ["0000012345", "20260401", "CT"]);
        assert_eq!(read(&file(b"1.2.840.10008.1.2.1.99", &elements())), None);
        assert_eq!(read(b"no DICOM at all"), None);
    }

    #[test]
    fn what_was_read_before_a_break_counts() {
        let mut elements = elements();
        // A length that leads far out of the file.
        elements[3] = vec![0x10, 0, 0x10, 0, b'U', b'N', 0, 0, 0xf0, 0xff, 0xff, 0xff];
        let about = read(&file(b"1.2.840.10008.1.2.1\0", &elements)).unwrap();
        assert_eq!((about.kind.as_str(), about.patient.as_str()), ("CT", ""));
        for depth in [DEPTH_MAX, 10_000] {
            let open = [0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff];
            let item = [0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff];
            let nested = vec![[&open[..], &item].concat(); depth];
            assert!(read(&file(b"1.2.840.10008.1.2.1\0", &nested)).is_some());
        }
    }
}
