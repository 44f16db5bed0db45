//! What this kernel offers, found by looking at its BTF, never by its version.

use std::{fs, path::Path};

/// Where the kernel's own BTF is.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Where that of netkit is if it is a module.
const NETKIT_BTF: &str = "/sys/kernel/btf/netkit";

/// What the datapath can do without, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// `bpf_l4_csum_replace` knows `BPF_F_IPV6`.
    pub csum_ipv6: bool,
    /// Programs can be attached by TCX links.
    pub tcx: bool,
    /// There are netkit devices.
    pub netkit: bool,
    /// Maps can be read in batches.
    pub batch: bool,
}

/// Looks at this kernel.
#[must_use]
pub fn offers() -> Offers {
    let btf = fs::read(KERNEL_BTF).unwrap_or_default();
    let has = |name: &str| has_name(&btf, name.as_bytes());
    Offers {
        csum_ipv6: has("BPF_F_IPV6"),
        // Functions are there only if they were compiled in, as the constants are not.
        tcx: has("tcx_link_attach"),
        netkit: has("netkit_link_attach") || Path::new(NETKIT_BTF).exists(),
        batch: has("BPF_MAP_LOOKUP_BATCH"),
    }
}

/// Whether a BTF blob has this exact name in its string section.
fn has_name(btf: &[u8], name: &[u8]) -> bool {
    let mut wanted = vec![0];
    wanted.extend_from_slice(name);
    wanted.push(0);
    btf.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::has_name;

    #[test]
    fn names_are_whole() {
        assert!(has_name(b"\0BPF_F_IPV6\0x", b"BPF_F_IPV6"));
        assert!(!has_name(b"\0BPF_F_IPV6_NOT\0", b"BPF_F_IPV6"));
    }
}
