//! What the kernel allows its own NAT: raised for the run, for the whole machine, and put back.

use std::fs;
use std::process::Command;

use crate::system::process;
use crate::system::setting::Setting;

/// Rows that a whole run opens at most in one table of the kernel's, and buckets: one for each, as the kernel has by default.
pub const CONNTRACK: u64 = 12 << 20;
/// Where the kernel says how many rows it allows.
pub const ROWS: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// And how many buckets it has.
pub const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// The raised limits, for as long as this lives.
#[derive(Debug)]
pub(super) struct Raised {
    _settings: Vec<Setting>,
    /// Rows that a table may have now; none: there is no limit that could be read.
    pub(super) rows: Option<u64>,
    /// What could not be raised.
    pub(super) remarks: Vec<String>,
}

/// Raises what may be raised.
pub(super) fn raise() -> Raised {
    // Both files are the module's; otherwise the first rule of a peer would load it, too late.
    let mut load = Command::new("modprobe");
    load.args(["-q", "nf_conntrack"]);
    let _ = process::run(load, None);
    let (mut settings, mut remarks) = (Vec::new(), Vec::new());
    for (path, what) in [(ROWS, "measures that need more rows are skipped"), (BUCKETS, "the kernel's NAT has fewer")] {
        match Setting::raise(path, CONNTRACK) {
            Ok(setting) => settings.push(setting),
            Err(error) => remarks.push(format!("{error:#}: {what}")),
        }
    }
    let rows = fs::read_to_string(ROWS).ok().and_then(|text| text.trim().parse().ok()).filter(|rows| *rows > 0);
    Raised { _settings: settings, rows, remarks }
}
