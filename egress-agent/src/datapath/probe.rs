//! What this kernel offers, found by looking at its BTF or by trying, never by its version.

use std::fs;

/// Where the kernel's own BTF is.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Whether `bpf_l4_csum_replace` knows `BPF_F_IPV6`: the kernel's BTF has an enumerator of that name.
#[must_use]
pub fn csum_ipv6() -> bool {
    fs::read(KERNEL_BTF).is_ok_and(|btf| has_name(&btf, b"BPF_F_IPV6"))
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
