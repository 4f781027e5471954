//! What clinical files say of themselves: patient, date and kind, for the owner's sealed catalogue.
//!
//! Files are stored as they are; nothing here changes a byte of them. The readers look at the
//! beginning of a file, never follow a length outside of it, and say nothing where they are not
//! sure. Formats: SS-MIX2 standardised storage (names of files), HL7 v2.5, DICOM PS3.5 and PS3.10.

mod dicom;
mod hl7;
pub mod ssmix2;

use crate::catalogue::{ABOUT_LEN_MAX, About};

/// How much of a file is looked at, in bytes.
pub const BEGINNING_LEN_MAX: usize = 64 * 1024;

/// What a file is about, from its beginning; `None` where it is neither DICOM nor HL7 or does not
/// say.
pub fn classify(beginning: &[u8]) -> Option<About> {
    let beginning = &beginning[..beginning.len().min(BEGINNING_LEN_MAX)];
    let about = dicom::read(beginning).or_else(|| hl7::read(beginning))?;
    (about != About::default()).then_some(about)
}

/// A value as text without its padding, if it is short and printable.
fn text(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?.trim_matches([' ', '\0']);
    let fits = (1..=ABOUT_LEN_MAX).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// The first eight digits of a date.
fn date(value: &[u8]) -> Option<String> {
    let date = value.get(..8)?;
    date.iter().all(u8::is_ascii_digit).then(|| text(date)).flatten()
}
