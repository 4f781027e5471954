//! The beginnings of clinical files, and the name of one.

const ESCAPED: &[u8] = b"PID|0001||0000012345^^^^PI||\x1b$B;3ED|^\x1b(B^x^L^I\r";

pub(crate) fn files() -> Vec<Vec<u8>> {
    let message = b"MSH|^~\\&|HIS|A|GW|B|20260401093000.000||ADT^A08^ADT_A01|1|P|2.5\rEVN||2\r";
    vec![[&message[..], ESCAPED].concat(), dicom(true), dicom(false)]
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    ["20260401", "-"]
        .map(|date| {
            let file = format!("1234567890_{date}_OML-11_000000000000007_20260401093000123_01_1");
            format!("root/123/456/1234567890/{date}/OML-11/{file}").into_bytes()
        })
        .into()
}

/// With a header and explicit lengths, or as old files are.
fn dicom(explicit: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut element = |tag: [u8; 4], kind: &[u8], value: &[u8], explicit: bool| {
        bytes.extend(tag);
        if explicit {
            bytes.extend(kind);
            bytes.extend((value.len() as u16).to_le_bytes());
        } else {
            bytes.extend((value.len() as u32).to_le_bytes());
        }
        bytes.extend(value);
    };
    if explicit {
        element([2, 0, 0x10, 0], b"UI", b"1.2.840.10008.1.2.1\0", true);
    }
    element([8, 0, 0x20, 0], b"DA", b"20260401", explicit);
    element([8, 0, 0x60, 0], b"CS", b"CT", explicit);
    element([0x10, 0, 0x20, 0], b"LO", b"0000012345", explicit);
    // Beyond what is looked for; the reader stops here.
    element([0x10, 0, 0x30, 0], b"DA", &[b'1'; 100], explicit);
    if explicit { [&[0; 128][..], b"DICM", &bytes].concat() } else { bytes }
}
