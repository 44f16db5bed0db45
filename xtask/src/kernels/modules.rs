//! Modules of a kernel that the tests need, with those that they need themselves, in the order of loading.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// What labs are made of; what a kernel has built in, or not at all, is passed over.
const WANTED: &[&str] = &[
    "veth",
    "bridge",
    "macvlan",
    "ipvlan",
    "dummy",
    "vrf",
    "8021q",
    "openvswitch",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "sch_fq",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_compat",
    "xt_MASQUERADE",
    "xt_conntrack",
    "xt_mark",
    "xt_comment",
    "ip_tables",
    "iptable_nat",
    "iptable_filter",
    "ip6_tables",
    "ip6table_nat",
    "ip6table_filter",
    "sctp",
    "udp_diag",
    "tcp_diag",
    "af_packet",
];

/// Names and contents, in the order of loading.
pub(crate) fn load_order(kernel: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = HashMap::new();
    find(kernel, &mut files)?;
    let mut order = Order { files, done: Vec::new(), loaded: Vec::new() };
    for name in WANTED {
        order.add(name)?;
    }
    Ok(order.loaded)
}

struct Order {
    files: HashMap<String, PathBuf>,
    done: Vec<String>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Order {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        self.done.push(name.to_owned());
        let Some(path) = self.files.get(name).cloned() else { return Ok(()) };
        let content = read(&path)?;
        for dependency in depends(&content) {
            self.add(&dependency)?;
        }
        self.loaded.push((name.to_owned(), content));
        Ok(())
    }
}

fn find(dir: &Path, into: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), into)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            into.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// A module as the kernel takes it: newer packages have them compressed.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).with_context(|| format!("reading {}", path.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().context("starting xz")?;
    anyhow::ensure!(output.status.success(), "xz -dc {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// `depends=` of the module's `.modinfo` section: strings that end in zeros.
fn depends(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|window| window == FIELD) else { return Vec::new() };
    let list = module[at + FIELD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(depends(b"ELF\0license=GPL\0depends=nf-nat,x_tables\0name=y\0"), ["nf_nat", "x_tables"]);
        assert!(depends(b"ELF\0depends=\0").is_empty());
        assert!(depends(b"ELF").is_empty());
    }
}
