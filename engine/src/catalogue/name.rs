//! Names of records: any bytes that a file system may give a file.

use std::fmt;

use minicbor::{Decode, Encode};

/// The longest name, in bytes: `PATH_MAX` of Linux, the longest path that a program can name.
pub const NAME_LEN_MAX: usize = 4096;

/// What the owner calls a record: 1 to [`NAME_LEN_MAX`] bytes, none of them zero.
///
/// Names are compared byte by byte: `a` and `A` are two, and so are two Unicode forms of one word.
/// They need not be UTF-8. Parts between slashes mean something to an export only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordName(Vec<u8>);

impl RecordName {
    /// A name of these bytes, if they are one.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let fits = (1..=NAME_LEN_MAX).contains(&bytes.len()) && !bytes.contains(&0);
        fits.then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parts of the path below a folder that this name stands for; `None` if it would lead out
    /// of the folder or is not written as its parts are: an empty part, `.` or `..`.
    pub fn path_below(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let parts = || self.0.split(|byte| *byte == b'/');
        parts().all(|part| !matches!(part, b"" | b"." | b"..")).then(parts)
    }
}

/// As UTF-8, with escapes for whatever would steer a terminal or is no UTF-8, and for the backslash
/// of the escapes: two names are never shown alike.
impl fmt::Display for RecordName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' || is_invisible(character) {
                    write!(formatter, "{}", character.escape_default())?;
                } else {
                    write!(formatter, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(formatter, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Marks that change the direction of the text around them, or that show nothing.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Names are secret.
impl fmt::Debug for RecordName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecordName(..{})", self.0.len())
    }
}

impl<C> Encode<C> for RecordName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RecordName {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Self::new(decoder.bytes()?)
            .ok_or_else(|| minicbor::decode::Error::message("not the name of a record"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> RecordName {
        RecordName::new(bytes).unwrap()
    }

    #[test]
    fn names_are_any_bytes_but_none_too_many_and_no_zeros() {
        assert_eq!(RecordName::new(""), None);
        assert_eq!(RecordName::new("a\0b"), None);
        assert_eq!(RecordName::new(vec![b'a'; NAME_LEN_MAX + 1]), None);
        for bytes in [&b"a"[..], b"..", b"/etc/passwd", b"a\nb", b"\xff\xfe", &[b'a'; NAME_LEN_MAX]]
        {
            assert_eq!(name(bytes).as_bytes(), bytes);
        }
        assert!(name(b"a") != name(b"A"));
    }

    #[test]
    fn no_path_leads_out_of_its_folder() {
        for bytes in ["..", ".", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "a/./b", "/"] {
            assert!(name(bytes.as_bytes()).path_below().is_none(), "{bytes}");
        }
        let parts: Vec<Vec<u8>> =
            name(b"a/..b/\xff\n").path_below().unwrap().map(<[u8]>::to_vec).collect();
        assert_eq!(parts, [&b"a"[..], b"..b", b"\xff\n"]);
    }

    #[test]
    fn what_is_shown_neither_steers_a_terminal_nor_hides_a_difference() {
        assert_eq!(name("a\x1b[2Jb\n太郎".as_bytes()).to_string(), "a\\u{1b}[2Jb\\n太郎");
        assert_eq!(name(b"\xff\\xff").to_string(), "\\xff\\\\xff");
        assert_eq!(name("a\u{202e}b".as_bytes()).to_string(), "a\\u{202e}b");
        assert_eq!(format!("{:?}", name(b"secret")), "RecordName(..6)");
    }
}
