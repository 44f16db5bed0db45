//! A packet as XDP sees it: bytes. Its checksums must be finished, see `egress_common::packet::finished`; they change by
//! arithmetic alone, for nobody keeps a sum over the frame.

use aya_ebpf::bindings::xdp_md;
use egress_common::{
    abi::config::Mac,
    packet::{Failed, L4Sum, Packet, Plain, csum, header::ETHERTYPE_AT},
};

/// A frame in one piece.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    raw: *mut xdp_md,
}

impl Frame {
    #[inline(always)]
    pub(crate) const fn new(raw: *mut xdp_md) -> Self {
        Self { raw }
    }

    /// EtherType as a native number read from the wire; 0 if there is none.
    #[inline(always)]
    pub(crate) fn ethertype(self) -> u16 {
        self.read::<u16>(ETHERTYPE_AT).unwrap_or(0)
    }

    /// Whether the frame was sent to this MAC, of which the first six bytes count.
    #[inline(always)]
    pub(crate) fn is_to(self, mac: &Mac) -> bool {
        let Ok(words) = self.read::<u64>(0) else { return false };
        words << 16 == u64::from_ne_bytes(mac.0) << 16
    }

    #[inline(always)]
    fn data(self) -> usize {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*self.raw).data as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.raw).data_end as usize }
    }

    #[inline(always)]
    fn at<T>(self, at: u32) -> Result<*mut T, Failed> {
        let start = self.data() + at as usize;
        if start + size_of::<T>() > self.end() { Err(Failed) } else { Ok(start as *mut T) }
    }

    #[inline(always)]
    fn sum(&mut self, at: u32, udp: bool, diff: u32) -> Result<(), Failed> {
        let field: u16 = self.read(at)?;
        self.write(at, csum::mend(field, udp, diff))
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed> {
        // SAFETY: in bounds as checked. As for skbs the pointer is two bytes off T's alignment.
        self.at::<T>(at).map(|p| unsafe { p.read() })
    }

    #[inline(always)]
    fn write<T: Plain>(&mut self, at: u32, value: T) -> Result<(), Failed> {
        // SAFETY: as for `read`.
        self.at::<T>(at).map(|p| unsafe { p.write(value) })
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.end().wrapping_sub(self.data()) as u32
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn sum_ip(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.sum(at, false, diff)
    }

    #[inline(always)]
    fn sum_addr(&mut self, sum: L4Sum, diff: u32, _v6: bool) -> Result<(), Failed> {
        if crate::broken::CHECKSUM {
            return Ok(());
        }
        self.sum(sum.at, sum.udp, diff)
    }

    #[inline(always)]
    fn sum_port(&mut self, sum: L4Sum, from: u16, to: u16) -> Result<(), Failed> {
        self.sum(sum.at, sum.udp, csum::diff(u32::from(from), u32::from(to)))
    }

    #[inline(always)]
    fn sum_end(&mut self, sum: L4Sum, diff: u32, _v6: bool, from: u16, to: u16) -> Result<(), Failed> {
        let addr = if crate::broken::CHECKSUM { 0 } else { diff };
        let port = csum::diff(u32::from(from), u32::from(to));
        self.sum(sum.at, sum.udp, csum::fold_add(addr, port))
    }

    #[inline(always)]
    fn sum_covered(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.sum(at, false, diff)
    }

    #[inline(always)]
    fn sum_uncovered(&mut self, _diff: u32) {}
}
