//! Names of files in an SS-MIX2 standardised storage:
//! `pid[0..3]/pid[3..6]/pid/date|-/type/pid_date_type_order_time_department_flag`.
//!
//! A file is changed by renaming it from flag 1 to flag 2 and writing a new one with flag 1; what an
//! order said is deleted by renaming all its files to flag 0.

/// Whether a file is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// 0
    Deleted,
    /// 1
    Current,
    /// 2
    Replaced,
}

/// The name of a file, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'a> {
    /// The patient's number.
    pub patient: &'a str,
    /// The date of the visit, or `-` for what belongs to none.
    pub date: &'a str,
    /// The data type, as in `OML-11`.
    pub kind: &'a str,
    /// The number of the order.
    pub order: &'a str,
    /// When the file was written: 17 digits.
    pub time: &'a str,
    /// The department.
    pub department: &'a str,
    /// Whether the file is in force.
    pub flag: Flag,
    /// The path without the flag: the same before and after a renaming.
    pub stem: &'a [u8],
    /// The folder.
    pub folder: &'a [u8],
}

impl<'a> FileName<'a> {
    /// Takes a path apart whose last six parts are those of a storage; `None` if they are not.
    pub fn parse(path: &'a [u8]) -> Option<Self> {
        let place = path.iter().rposition(|byte| *byte == b'/')?;
        let (folder, name) = (&path[..place], str::from_utf8(&path[place + 1..]).ok()?);
        let mut parts = name.split('_');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let [patient, date, kind] = [next()?, next()?, next()?];
        let [order, time, department, flag] = [next()?, next()?, next()?, next()?];
        let flag = match flag {
            "0" => Flag::Deleted,
            "1" => Flag::Current,
            "2" => Flag::Replaced,
            _ => return None,
        };
        let digits = |text: &str, count| text.len() == count && text.bytes().all(is_digit);
        let well_formed = parts.next().is_none()
            && (digits(date, 8) || date == "-")
            && digits(time, 17)
            && in_its_folder(folder, patient, date, kind);
        let stem = &path[..path.len() - 2];
        well_formed.then_some(Self {
            patient,
            date,
            kind,
            order,
            time,
            department,
            flag,
            stem,
            folder,
        })
    }

    /// What files of one order of one department have in common.
    pub fn group(&self) -> (&'a [u8], &'a str, &'a str) {
        (self.folder, self.order, self.department)
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn in_its_folder(folder: &[u8], patient: &str, date: &str, kind: &str) -> bool {
    let (Some(first), Some(second)) = (patient.get(..3), patient.get(3..6)) else { return false };
    let mut parts = folder.rsplit(|byte| *byte == b'/');
    [kind, date, patient, second, first].iter().all(|part| parts.next() == Some(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "root/123/456/1234567890/20260401/OML-11/\
        1234567890_20260401_OML-11_000000000000007_20260401093000123_01_1";

    #[test]
    fn names_are_taken_apart() {
        let name = FileName::parse(PATH.as_bytes()).unwrap();
        assert_eq!((name.patient, name.date, name.kind), ("1234567890", "20260401", "OML-11"));
        assert_eq!((name.department, name.flag), ("01", Flag::Current));
        let renamed = PATH.strip_suffix('1').unwrap().to_owned() + "2";
        let renamed = FileName::parse(renamed.as_bytes()).unwrap();
        assert_eq!((renamed.stem, renamed.flag), (name.stem, Flag::Replaced));
        assert_eq!(renamed.group(), name.group());
        let undated = PATH.replace("20260401/", "-/").replace("_20260401_", "_-_");
        assert_eq!(FileName::parse(undated.as_bytes()).unwrap().date, "-");
    }

    #[test]
    fn other_names_are_none() {
        for (from, to) in [
            ("123/456", "123/457"),
            ("/OML-11/", "/OML-12/"),
            ("_01_1", "_01_3"),
            ("_01_1", "_01_1_1"),
            ("_01_1", "_1"),
            ("_01_1", "__1"),
            ("20260401093000123", "2026040109300012"),
            ("1234567890", "12345"),
        ] {
            assert_eq!(FileName::parse(PATH.replace(from, to).as_bytes()), None, "{to}");
        }
        assert_eq!(FileName::parse(b""), None);
        assert_eq!(FileName::parse(b"a/\xff_1"), None);
    }
}
