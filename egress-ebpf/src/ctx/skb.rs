//! A packet as TC sees it. Checksums change through the kernel's helpers only: they know partial and complete sums and keep
//! super-packets whole.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_pull_data, bpf_skb_vlan_pop},
};
use egress_common::packet::{
    Failed, L4Sum, Packet, Plain,
    header::{ETHERNET, ETHERTYPE_AT},
};

use crate::{broken, maps::config};

/// `PACKET_HOST` of linux/if_packet.h: the frame was sent to this interface's MAC.
const PACKET_HOST: u32 = 0;

/// The part of a tag that names the VLAN.
const VLAN_ID: u32 = 0xfff;

/// Ethernet, the longest IP header that is read and a TCP header.
const HEADERS: u32 = ETHERNET + 40 + 20;

/// `BPF_F_IPV6` of `bpf_l4_csum_replace`, kernels that have it (commit ead7f9b8de65): IPv6 has no header checksum that
/// would cancel the address out of `skb->csum`.
const BPF_F_IPV6: u64 = 1 << 7;

/// An skb.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    pub(crate) const fn new(raw: *mut __sk_buff) -> Self {
        Self { raw }
    }

    #[inline(always)]
    pub(crate) const fn raw(self) -> *mut __sk_buff {
        self.raw
    }

    /// Frames for others (flooded, broadcast, multicast) are not forwarded, as the kernel does not either.
    #[inline(always)]
    pub(crate) fn to_host(self) -> bool {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*self.raw).pkt_type == PACKET_HOST }
    }

    /// Whether the frame carries a VLAN tag beside its bytes.
    #[inline(always)]
    pub(crate) fn vlan_tagged(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).vlan_present != 0 }
    }

    /// Takes away a tag that names no VLAN but only a priority (IEEE 802.1Q §6.9.3). Whether the frame is without tag then.
    #[inline(always)]
    pub(crate) fn untag(self) -> bool {
        // SAFETY: as above.
        let vlan = unsafe { (*self.raw).vlan_tci } & VLAN_ID;
        // SAFETY: the context is valid; pointers into the packet are read anew after this.
        vlan == 0 && unsafe { bpf_skb_vlan_pop(self.raw) } == 0 && !self.vlan_tagged()
    }

    /// EtherType as a native number read from the wire; 0 if there is none. Makes the headers readable first.
    #[inline(always)]
    pub(crate) fn ethertype(self) -> u16 {
        let have = self.end().wrapping_sub(self.data()) as u32;
        if have < HEADERS && have < self.frame_len() {
            let want = if self.frame_len() < HEADERS { self.frame_len() } else { HEADERS };
            // SAFETY: the context is valid; pointers into the packet are read anew after this.
            unsafe { bpf_skb_pull_data(self.raw, want) };
        }
        self.read::<u16>(ETHERTYPE_AT).unwrap_or(0)
    }

    #[inline(always)]
    fn data(self) -> usize {
        // SAFETY: the context is valid.
        unsafe { (*self.raw).data as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: the context is valid.
        unsafe { (*self.raw).data_end as usize }
    }

    #[inline(always)]
    fn at<T>(self, at: u32) -> Result<*mut T, Failed> {
        let start = self.data() + at as usize;
        if start + size_of::<T>() > self.end() { Err(Failed) } else { Ok(start as *mut T) }
    }
}

#[inline(always)]
fn done(result: i64) -> Result<(), Failed> {
    if result == 0 { Ok(()) } else { Err(Failed) }
}

impl Packet for Skb {
    #[inline(always)]
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed> {
        // SAFETY: in bounds as checked. The pointer is two bytes off T's alignment; BPF loads of that kind are compiled to
        // plain loads on the machines whose verifier admits them (x86, arm64), and it rejects the program elsewhere.
        self.at::<T>(at).map(|p| unsafe { p.read() })
    }

    #[inline(always)]
    fn write<T: Plain>(&mut self, at: u32, value: T) -> Result<(), Failed> {
        // SAFETY: as for `read`.
        self.at::<T>(at).map(|p| unsafe { p.write(value) })
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { (*self.raw).len }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { (*self.raw).gso_size }
    }

    #[inline(always)]
    fn sum_ip(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        // SAFETY: the context is valid; size 0 means that `to` is a difference.
        done(unsafe { bpf_l3_csum_replace(self.raw, at, 0, u64::from(diff), 0) })
    }

    #[inline(always)]
    fn sum_addr(&mut self, sum: L4Sum, diff: u32, v6: bool) -> Result<(), Failed> {
        if broken::CHECKSUM {
            return Ok(());
        }
        let mut flags = u64::from(BPF_F_PSEUDO_HDR) | mangled(sum);
        let knows_v6 = v6 && config().is_some_and(|c| c.flags & egress_common::abi::config::flags::CSUM_IPV6 != 0);
        if knows_v6 {
            flags |= BPF_F_IPV6;
        }
        // SAFETY: the context is valid; size 0 means that `to` is a difference.
        done(unsafe { bpf_l4_csum_replace(self.raw, sum.at, 0, u64::from(diff), flags) })?;
        if v6 && !knows_v6 {
            self.sum_uncovered(diff);
        }
        Ok(())
    }

    #[inline(always)]
    fn sum_port(&mut self, sum: L4Sum, from: u16, to: u16) -> Result<(), Failed> {
        let flags = 2 | mangled(sum);
        // SAFETY: the context is valid.
        done(unsafe { bpf_l4_csum_replace(self.raw, sum.at, u64::from(from), u64::from(to), flags) })
    }

    #[inline(always)]
    fn sum_covered(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        // SAFETY: the context is valid; size 0 means that `to` is a difference.
        done(unsafe { bpf_l4_csum_replace(self.raw, at, 0, u64::from(diff), 0) })
    }

    #[inline(always)]
    fn sum_uncovered(&mut self, diff: u32) {
        // SAFETY: the context is valid. It fails where the skb keeps no sum: then there is nothing to do.
        unsafe { bpf_csum_update(self.raw, diff) };
    }

    #[inline(always)]
    fn crc_diff(&self, from: [u8; 2], to: [u8; 2], behind: u32) -> u32 {
        crate::crc::diff(from, to, behind)
    }
}

/// UDP's 0 means "no checksum": skip those, and write a computed 0 as 0xffff.
#[inline(always)]
fn mangled(sum: L4Sum) -> u64 {
    if sum.udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 }
}
