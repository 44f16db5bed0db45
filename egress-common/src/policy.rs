//! Who is translated. Read only where no flow exists yet.

use crate::abi::family::Family;

/// The tables that policy is read from.
pub trait Tables<F: Family> {
    /// Whether a `snat: false` CIDR holds the address.
    fn no_snat(&self, addr: &F::Addr) -> bool;
    /// Whether the address belongs to a Pod that a selector matches.
    fn selected(&self, addr: &F::Addr) -> bool;
}

/// Whether a packet from the inside is translated; the first match decides.
///
/// 1. destination in a `snat: false` CIDR: no
/// 2. source is a selected Pod: yes ("Pods matching .spec.selectors are always SNATed")
/// 3. source in a `snat: false` CIDR: no
/// 4. everything else: yes
#[inline(always)]
pub fn translates<F: Family>(tables: &impl Tables<F>, src: &F::Addr, dst: &F::Addr) -> bool {
    if tables.no_snat(dst) {
        return false;
    }
    tables.selected(src) || !tables.no_snat(src)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::family::V4;

    struct Table;

    impl Tables<V4> for Table {
        fn no_snat(&self, addr: &[u8; 4]) -> bool {
            addr[1] == 18
        }

        fn selected(&self, addr: &[u8; 4]) -> bool {
            addr[3] == 9
        }
    }

    #[test]
    fn truth_table() {
        let outside = [1, 1, 1, 1];
        let no_snat_dst = [10, 18, 0, 1];
        for (src, dst, want) in [
            ([10, 17, 0, 9], outside, true),
            ([10, 17, 0, 8], outside, true),
            ([10, 18, 0, 9], outside, true),
            ([10, 18, 0, 8], outside, false),
            ([10, 17, 0, 9], no_snat_dst, false),
            ([10, 17, 0, 8], no_snat_dst, false),
            ([10, 18, 0, 9], no_snat_dst, false),
            ([10, 18, 0, 8], no_snat_dst, false),
        ] {
            assert_eq!(translates::<V4>(&Table, &src, &dst), want, "{src:?} -> {dst:?}");
        }
    }
}
