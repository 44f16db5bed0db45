//! A packet in plain memory: the host's side of [`Packet`], for tests and fuzzing.

use super::{Failed, L4Sum, Packet, Plain, csum};

/// A frame in a byte slice, with complete checksums.
#[derive(Debug)]
pub struct Frame<'a> {
    /// From the Ethernet header on.
    pub bytes: &'a mut [u8],
    /// See [`Packet::gso_size`].
    pub gso_size: u32,
}

impl<'a> Frame<'a> {
    /// An ordinary packet.
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, gso_size: 0 }
    }

    fn sum(&mut self, at: u32, udp: bool, diff: u32) -> Result<(), Failed> {
        let field: u16 = self.read(at)?;
        self.write(at, csum::mend(field, udp, diff))
    }
}

impl Packet for Frame<'_> {
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed> {
        let at = at as usize;
        let bytes = self.bytes.get(at..at + size_of::<T>()).ok_or(Failed)?;
        // SAFETY: `bytes` has the size of T, T takes any bytes, the read is unaligned.
        Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn write<T: Plain>(&mut self, at: u32, value: T) -> Result<(), Failed> {
        let at = at as usize;
        let bytes = self.bytes.get_mut(at..at + size_of::<T>()).ok_or(Failed)?;
        // SAFETY: `bytes` has the size of T, the write is unaligned.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
        Ok(())
    }

    fn frame_len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn gso_size(&self) -> u32 {
        self.gso_size
    }

    fn sum_ip(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.sum(at, false, diff)
    }

    fn sum_addr(&mut self, sum: L4Sum, diff: u32, _v6: bool) -> Result<(), Failed> {
        self.sum(sum.at, sum.udp, diff)
    }

    fn sum_port(&mut self, sum: L4Sum, from: u16, to: u16) -> Result<(), Failed> {
        self.sum(sum.at, sum.udp, csum::diff(u32::from(from), u32::from(to)))
    }

    fn sum_covered(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.sum(at, false, diff)
    }

    fn sum_uncovered(&mut self, _diff: u32) {}
}
