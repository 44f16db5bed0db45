use std::sync::{Arc, Mutex};

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::datapath::journal::Clock;

/// Takes so many bytes more, then is full until there is room again.
#[derive(Clone)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        let taken = bytes.len().min(disk.1);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.0.extend_from_slice(&bytes[..taken]);
        disk.1 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whatever was lost while the disk was full, what stands in the file are whole lines.
#[test]
fn a_full_disk_leaves_no_half_lines() {
    let clock = Clock { datapath_ns: 0, wall: Timestamp::UNIX_EPOCH };
    let lines: Vec<_> = (0..40).map(|n| Line { count: Some(n), ..Line::plain("lost", &clock) }).collect();
    for room in 0..1200 {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), room))));
        let mut log = FlowLog(BufWriter::with_capacity(256, Box::new(disk.clone())));
        assert!(log.write(&lines).is_err());
        disk.0.lock().unwrap().1 = usize::MAX;
        log.write(&lines).unwrap();
        let text = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        for line in text.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{room}: {line}"));
            assert_eq!(parsed["event"], "lost");
        }
        assert!(text.lines().count() >= 40 && text.ends_with('\n'));
    }
}
