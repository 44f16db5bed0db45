//! Kernel settings below `/proc/sys`, by path: interface names may hold dots.

use std::{collections::BTreeMap, fs, io};

use super::{Action, Error, Family, Step};
use crate::spec::desired::Desired;

#[cfg(test)]
mod tests;

/// Ports of local sockets; the NAT takes those below.
pub const LOCAL_PORTS: (u16, u16) = (57344, 65535);

const ROOT: &str = "/proc/sys/";

/// One setting with the value that a gateway wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Path below `/proc/sys`, such as `net/ipv4/conf/eth0.10/rp_filter`.
    pub path: String,
    /// Value to write.
    pub value: String,
    /// What it is for.
    pub reason: &'static str,
    /// Whether packets depend on it.
    pub required: bool,
}

/// Values found, by path: the value or why it could not be read.
pub type Values = BTreeMap<String, Result<String, String>>;

/// What a gateway needs, in the order of writing: the switches for all interfaces overwrite those of each.
#[must_use]
pub fn wanted(desired: &Desired) -> Vec<Sysctl> {
    let interfaces = [desired.internal.interface.as_str(), desired.external.interface.as_str()];
    let mut out = Vec::new();
    let mut add = |path: String, value: &str, reason, required| {
        out.push(Sysctl { path, value: value.to_owned(), reason, required });
    };
    for (family, _, _) in Family::routed(desired) {
        let (all, version) = match family {
            Family::V4 => ("net/ipv4/ip_forward", "ipv4"),
            Family::V6 => ("net/ipv6/conf/all/forwarding", "ipv6"),
        };
        add(all.to_owned(), "1", "the kernel forwards packets between interfaces", true);
        for interface in interfaces {
            // bpf_fib_lookup asks the interface that the packet came in by (net/core/filter.c).
            let reason = "route lookups of the BPF programs answer only on interfaces that forward";
            add(format!("net/{version}/conf/{interface}/forwarding"), "1", reason, true);
        }
    }
    for interface in ["all"].into_iter().chain(interfaces) {
        let reason = "replies come in by another interface than the main table's route";
        add(format!("net/ipv4/conf/{interface}/rp_filter"), "0", reason, true);
    }
    for interface in interfaces {
        let reason = "the kernel takes translated packets, whose source is an own address, to fragment them";
        add(format!("net/ipv4/conf/{interface}/accept_local"), "1", reason, true);
    }
    let (low, high) = LOCAL_PORTS;
    let reason = "ports of local sockets are kept apart from those of the NAT";
    add("net/ipv4/ip_local_port_range".to_owned(), &format!("{low} {high}"), reason, false);
    out
}

impl Sysctl {
    /// Whether it lets the kernel forward packets.
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.path == "net/ipv4/ip_forward" || self.path.ends_with("/forwarding")
    }

    /// Whether a value that was read will do. A narrower range of local ports does.
    #[must_use]
    pub fn holds(&self, found: &str) -> bool {
        let numbers = |text: &str| text.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
        match (numbers(&self.value).as_deref(), numbers(found).as_deref()) {
            (Ok([low, high]), Ok([min, max])) => low <= min && min <= max && max <= high,
            (Ok(wanted), Ok(found)) => wanted == found,
            _ => false,
        }
    }

    /// The setting as a step.
    #[must_use]
    pub fn step(self, values: &Values) -> Step {
        let missing = Err("was not read".to_owned());
        let found = values.get(&self.path).unwrap_or(&missing);
        let ok = found.as_ref().is_ok_and(|value| self.holds(value));
        let detail = match found {
            Ok(value) if ok => format!("is {value}"),
            Ok(value) => format!("is {value}, wanted {}: {}", self.value, self.reason),
            Err(error) => format!("{error}; wanted {}: {}", self.value, self.reason),
        };
        let quote = if self.value.contains(' ') { "'" } else { "" };
        Step {
            name: format!("sysctl {}", self.path),
            ok,
            required: self.required,
            detail,
            fix: format!("sysctl -w {quote}{}={}{quote}", self.path, self.value),
            action: if ok { None } else { Some(Action::Sysctl(self)) },
        }
    }
}

/// Read what [`wanted`] asks for.
#[must_use]
pub fn values(wanted: &[Sysctl]) -> Values {
    wanted.iter().map(|s| (s.path.clone(), read(&s.path).map_err(|e| e.source.to_string()))).collect()
}

/// Read a setting; white space within is one space.
///
/// # Errors
/// The setting does not exist (an interface is missing, IPv6 is off) or may not be read.
pub fn read(path: &str) -> Result<String, Error> {
    let value =
        fs::read_to_string(format!("{ROOT}{path}")).map_err(|e| Error::new(format!("reading {ROOT}{path}"), e))?;
    Ok(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Write a setting.
///
/// # Errors
/// The setting does not exist, or the process may not write it.
pub fn write(path: &str, value: &str) -> Result<(), Error> {
    let what = || format!("writing {value:?} to {ROOT}{path}");
    // A file of procfs is never made: a missing one must not become a question of rights.
    let file = fs::OpenOptions::new().write(true).open(format!("{ROOT}{path}")).map_err(|e| Error::new(what(), e))?;
    io::Write::write_all(&mut &file, value.as_bytes()).map_err(|e| Error::new(what(), e))
}
