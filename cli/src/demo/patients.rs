//! A made-up patient folder: small SS-MIX2-like messages, DICOM-like images and one large file.
//!
//! The same bytes on every machine. Names are drawn from short lists; no real person is meant.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const PATIENTS: u64 = 20;
const MESSAGES_PER_PATIENT: u64 = 50;
const IMAGE_SIDE: u16 = 512;

/// A word in the bytes of ISO-2022-JP, as the messages spell it, and in Latin letters.
type Word = (&'static str, &'static str);

/// 山田 佐藤 鈴木 小林 中村 加藤 渡部 田中
const SURNAMES: [Word; 8] = [
    ("\x1b$B;3ED\x1b(B", "Yamada"),
    ("\x1b$B:4F#\x1b(B", "Sato"),
    ("\x1b$BNkLZ\x1b(B", "Suzuki"),
    ("\x1b$B>.NS\x1b(B", "Kobayashi"),
    ("\x1b$BCfB<\x1b(B", "Nakamura"),
    ("\x1b$B2CF#\x1b(B", "Kato"),
    ("\x1b$BEOIt\x1b(B", "Watanabe"),
    ("\x1b$BEDCf\x1b(B", "Tanaka"),
];

/// 太郎 花子 一郎 美咲 健 陽菜
const GIVEN_NAMES: [Word; 6] = [
    ("\x1b$BB@O:\x1b(B", "Taro"),
    ("\x1b$B2V;R\x1b(B", "Hanako"),
    ("\x1b$B0lO:\x1b(B", "Ichiro"),
    ("\x1b$BH~:i\x1b(B", "Misaki"),
    ("\x1b$B7r\x1b(B", "Ken"),
    ("\x1b$BM[:Z\x1b(B", "Hina"),
];

/// JLAC10 code, name, unit.
const TESTS: [(&str, &str, &str); 5] = [
    ("3D010000002399801", "AST(GOT)", "U/L"),
    ("3B035000002327201", "LDH", "U/L"),
    ("3C015000002327101", "\x1b$B%/%l%\"%A%K%s\x1b(B", "mg/dL"),
    ("2A990000001930952", "\x1b$BGr7l5e?t\x1b(B", "10*3/uL"),
    ("3D045000001906202", "HbA1c(NGSP)", "%"),
];

/// How large the folder becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// DICOM-like images of half a megabyte.
    pub(crate) images: u64,
    /// Bytes of the large file.
    pub(crate) large_file_bytes: u64,
}

impl Extent {
    /// What the demonstration stores: about 210 MB with 1000 messages.
    pub(crate) const DEMONSTRATION: Self = Self { images: 20, large_file_bytes: 200_000_000 };
}

/// Writes the folder and gives the words that nobody but the owner may see: patients' names and
/// numbers.
pub(crate) fn write(folder: &Path, extent: Extent) -> io::Result<Vec<String>> {
    let mut random = Random(0x6b61_6b65_7261);
    let patients: Vec<Patient> = (0..PATIENTS).map(|_| Patient::draw(&mut random)).collect();
    for (number, patient) in patients.iter().enumerate() {
        for visit in 0..MESSAGES_PER_PATIENT {
            write_message(
                folder,
                patient,
                number as u64 * MESSAGES_PER_PATIENT + visit,
                visit,
                &mut random,
            )?;
        }
    }
    for (image, patient) in (0..extent.images).zip(patients.iter().cycle()) {
        write_image(folder, patient, image, &mut random)?;
    }
    write_large_file(folder, &patients[0], extent.large_file_bytes, &mut random)?;
    Ok(patients.iter().flat_map(Patient::words).collect())
}

struct Patient {
    id: String,
    surname: Word,
    given_name: Word,
    born: String,
    sex: char,
}

impl Patient {
    fn draw(random: &mut Random) -> Self {
        Self {
            id: format!("{:010}", 1 + random.below(9_999_999_998)),
            surname: SURNAMES[random.below(SURNAMES.len() as u64) as usize],
            given_name: GIVEN_NAMES[random.below(GIVEN_NAMES.len() as u64) as usize],
            born: date(1930 + random.below(80), random),
            sex: if random.below(2) == 0 { 'F' } else { 'M' },
        }
    }

    fn folder(&self, root: &Path) -> PathBuf {
        root.join(&self.id[0..3]).join(&self.id[3..6]).join(&self.id)
    }

    fn words(&self) -> [String; 3] {
        let (surname, given_name) = (self.surname, self.given_name);
        [
            self.id.clone(),
            format!("{}^{}", surname.0, given_name.0),
            format!("{}^{}", surname.1, given_name.1),
        ]
    }
}

/// `pid[0:3]/pid[3:6]/pid/date/type/pid_date_type_order_time17_dept_flag`, HL7 v2.5 with segments
/// that end in CR.
fn write_message(
    root: &Path,
    patient: &Patient,
    order: u64,
    visit: u64,
    random: &mut Random,
) -> io::Result<()> {
    let day = date(2021 + visit / 10, random);
    let time = format!(
        "{:02}{:02}{:02}{:03}",
        8 + random.below(10),
        random.below(60),
        random.below(60),
        random.below(1000)
    );
    let folder = patient.folder(root).join(&day).join("OML-11");
    fs::create_dir_all(&folder)?;
    let name = format!("{}_{day}_OML-11_{order:015}_{day}{time}_01_1", patient.id);
    let Patient { id, surname, given_name, born, sex } = patient;
    let mut text = format!(
        "MSH|^~\\&|HIS123|SEND|GW|RCV|{day}{time}||OUL^R22^OUL_R22|{order}|P|2.5||||||~ISO IR87||\
         ISO 2022-1994|SS-MIX2_1.20^SS-MIX2^1.2.392.200250.2.1.100.1.2.120^ISO\r\
         PID|0001||{id}^^^^PI||{}^{}^^^^^L^I~{}^{}^^^^^L^P||{born}|{sex}|||^^^^1000001^JPN^H^\
         \x1b$BEl5~ET@iBeED6h@iBeED\x1b(B{}-{}\rSPM|1|||023^\x1b$B7l@6\x1b(B^JC10\r",
        surname.0,
        given_name.0,
        surname.1,
        given_name.1,
        random.below(99),
        random.below(9),
    );
    for (index, (code, test, unit)) in TESTS.into_iter().enumerate().take(3 + visit as usize % 3) {
        let number = index + 1;
        text += &format!(
            "OBR|{number}|{order:015}||{code}^{test}^JC10|||{day}{time}|||||||||119^\x1b$BFn\x1b(B\r\
             OBX|{number}|NM|{code}^{test}^JC10||{}.{}|{unit}^{unit}^99XYZ|||||F|||{day}\r",
            random.below(200),
            random.below(10),
        );
    }
    fs::write(folder.join(name), text)
}

/// A preamble of 128 zeros, `DICM`, and a data set in explicit VR little endian (PS3.5, PS3.10).
fn write_image(root: &Path, patient: &Patient, number: u64, random: &mut Random) -> io::Result<()> {
    let folder = patient.folder(root).join("DICOM");
    fs::create_dir_all(&folder)?;
    let instance = format!("1.2.392.200250.9.{number}\0");
    let instance = &instance[..instance.len() & !1];
    let mut meta = Vec::new();
    write_element(&mut meta, (0x0002, 0x0002), b"UI", b"1.2.840.10008.5.1.4.1.1.2\0");
    write_element(&mut meta, (0x0002, 0x0003), b"UI", instance.as_bytes());
    write_element(&mut meta, (0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1\0");
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    write_element(&mut file, (0x0002, 0x0000), b"UL", &(meta.len() as u32).to_le_bytes());
    file.extend_from_slice(&meta);
    let name = format!("{}^{} ", patient.surname.1, patient.given_name.1);
    let name = &name[..name.len() & !1];
    write_element(&mut file, (0x0008, 0x0060), b"CS", b"CT");
    write_element(&mut file, (0x0010, 0x0010), b"PN", name.as_bytes());
    write_element(&mut file, (0x0010, 0x0020), b"LO", patient.id.as_bytes());
    for element in [0x0010, 0x0011] {
        write_element(&mut file, (0x0028, element), b"US", &IMAGE_SIDE.to_le_bytes());
    }
    for (element, value) in [(0x0100, 16u16), (0x0101, 12), (0x0102, 11), (0x0103, 0)] {
        write_element(&mut file, (0x0028, element), b"US", &value.to_le_bytes());
    }
    let mut pixels = vec![0; 2 * usize::from(IMAGE_SIDE) * usize::from(IMAGE_SIDE)];
    random.fill(&mut pixels);
    pixels.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 0x0f);
    write_element(&mut file, (0x7fe0, 0x0010), b"OW", &pixels);
    fs::write(folder.join(format!("{}_{number:04}.dcm", patient.id)), file)
}

fn write_element(out: &mut Vec<u8>, (group, element): (u16, u16), kind: &[u8; 2], value: &[u8]) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(kind);
    if kind == b"OW" {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(value);
}

fn write_large_file(
    root: &Path,
    patient: &Patient,
    bytes: u64,
    random: &mut Random,
) -> io::Result<()> {
    let folder = patient.folder(root).join("pathology");
    fs::create_dir_all(&folder)?;
    let mut out = BufWriter::new(fs::File::create(folder.join("whole-slide.tif"))?);
    let mut block = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        random.fill(&mut block);
        let take = left.min(block.len() as u64);
        out.write_all(&block[..take as usize])?;
        left -= take;
    }
    out.flush()
}

fn date(year: u64, random: &mut Random) -> String {
    format!("{year}{:02}{:02}", 1 + random.below(12), 1 + random.below(28))
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same folder for everyone, nothing secret.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` - 1; the bias is of no matter here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tree;

    #[test]
    fn the_folder_is_the_same_every_time() {
        let extent = Extent { images: 2, large_file_bytes: 100_001 };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let words = folders.each_ref().map(|folder| write(folder.path(), extent).unwrap());
        assert_eq!(words[0], words[1]);
        assert_eq!(words[0].len() as u64, 3 * PATIENTS);
        let files = tree::files(folders[0].path()).unwrap();
        assert_eq!(files.len() as u64, PATIENTS * MESSAGES_PER_PATIENT + 2 + 1);
        assert_eq!(
            tree::differences(folders[0].path(), folders[1].path()).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn messages_and_images_look_like_their_models() {
        let folder = tempfile::tempdir().unwrap();
        let words = write(folder.path(), Extent { images: 1, large_file_bytes: 0 }).unwrap();
        let files = tree::files(folder.path()).unwrap();
        let mut lengths = Vec::new();
        for file in &files {
            let bytes = fs::read(folder.path().join(&file.name)).unwrap();
            if file.name.contains("OML-11") {
                lengths.push(bytes.len());
                assert!(
                    bytes.is_ascii() && bytes.starts_with(b"MSH|^~\\&|") && bytes.ends_with(b"\r")
                );
                assert!(
                    words
                        .iter()
                        .any(|word| bytes.windows(word.len()).any(|w| w == word.as_bytes()))
                );
            } else if file.name.ends_with(".dcm") {
                assert!(bytes[..128].iter().all(|byte| *byte == 0) && &bytes[128..132] == b"DICM");
                assert!((524_288..526_000).contains(&bytes.len()));
            }
        }
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2];
        assert!((900..1300).contains(&median), "{median}");
    }
}
