//! What lies where in the maps, as text in a frozen map `LAYOUT` beside them: a build with another layout reads flows by the
//! names of their fields. (The kernel keeps the same in the maps' BTF, but that is not for who lacks CAP_SYS_ADMIN.)

use std::{collections::BTreeMap, fmt::Write as _, os::fd::AsFd, path::Path};

use anyhow::{Context, Result};
use egress_common::abi::layout::RECORDS;

use super::{pins::Pins, sys};

/// Name of the map.
pub const NAME: &str = "LAYOUT";

/// Bytes of its value; the text ends with the first zero.
const ROOM: usize = 4096;

/// Records and their fields: `FLOWS4 key` and its bytes, `FLOWS4 key saddr` with its place and bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout(BTreeMap<String, (usize, usize)>);

/// The text of this build.
fn text() -> String {
    let mut text = String::new();
    for record in RECORDS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} 0 {}", record.name, record.size);
        for field in record.fields {
            let _ = writeln!(text, "{} {} {} {}", record.name, field.name, field.offset, field.size);
        }
    }
    text
}

impl Layout {
    /// Reads the text. A line is a name, bytes before, bytes.
    fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.rsplitn(3, ' ');
            let (size, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some((words.next()?.to_owned(), (offset, size)))
        };
        text.lines().map(line).collect::<Option<_>>().map(Self)
    }

    /// Bytes of a record.
    #[must_use]
    pub fn size(&self, record: &str) -> Option<usize> {
        self.0.get(record).map(|(_, size)| *size)
    }

    /// The bytes of a field, if the record has it.
    #[must_use]
    pub fn field<'a>(&self, record: &str, field: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (offset, size) = self.0.get(&format!("{record} {field}"))?;
        bytes.get(*offset..*offset + *size)
    }

    /// Where a field lies.
    #[must_use]
    pub fn place(&self, record: &str, field: &str) -> Option<std::ops::Range<usize>> {
        self.0.get(&format!("{record} {field}")).map(|(offset, size)| *offset..*offset + *size)
    }
}

/// Pins the text beside the maps of this build.
pub fn pin(pins: &Pins) -> Result<()> {
    let path = pins.map(NAME);
    if path.exists() {
        return Ok(());
    }
    let mut value = text().into_bytes();
    value.resize(ROOM, 0);
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    sys::pin_text(&path, name, &value).with_context(|| format!("pin {}", path.display()))
}

/// Reads the text in a folder of maps; none if it has none that can be read.
pub fn read(maps: &Path) -> Result<Option<Layout>> {
    let path = maps.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    let map = sys::open_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let mut value = vec![0; ROOM];
    sys::lookup(map.as_fd(), 0, &mut value).with_context(|| format!("read {}", path.display()))?;
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(ROOM);
    Ok(std::str::from_utf8(&value[..end]).ok().and_then(Layout::parse))
}

#[cfg(test)]
mod tests {
    use egress_common::abi::flow::FlowKey4;

    use super::*;

    #[test]
    fn text_there_and_back() {
        let text = text();
        assert!(text.len() < ROOM, "{}", text.len());
        let layout = Layout::parse(&text).unwrap();
        assert_eq!(layout.size("FLOWS4 key"), Some(size_of::<FlowKey4>()));
        let key: Vec<u8> = (0..16).collect();
        assert_eq!(layout.field("FLOWS4 key", "dport", &key), Some([10, 11].as_slice()));
        assert_eq!(layout.place("FLOWS6 value", "word.seen").map(|it| it.len()), Some(1));
        assert_eq!(layout.field("FLOWS4 key", "flavour", &key), None);
        assert_eq!(layout.field("FLOWS4 key", "zone", &key[..15]), None, "shorter than it says");
    }

    #[test]
    fn broken_text_is_none() {
        for text in ["FLOWS4 key 0\n", "FLOWS4 key saddr zero 4\n", "\n"] {
            assert_eq!(Layout::parse(text), None, "{text:?}");
        }
    }
}
