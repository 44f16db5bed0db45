//! A packet that notes how far it was read, and that nobody may change.

use std::cell::Cell;

use crate::packet::{Failed, L4Sum, Packet, Plain, slice::Frame};

/// Notes how far was read.
pub(crate) struct Watched<'a> {
    frame: Frame<'a>,
    reached: Cell<usize>,
}

impl<'a> Watched<'a> {
    pub(crate) const fn new(bytes: &'a mut [u8], gso_size: u32) -> Self {
        Self { frame: Frame { bytes, gso_size }, reached: Cell::new(0) }
    }

    /// Where the last byte that was read ends.
    pub(crate) const fn reached(&self) -> usize {
        self.reached.get()
    }
}

impl Packet for Watched<'_> {
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed> {
        let value = self.frame.read(at)?;
        self.reached.set(self.reached.get().max(at as usize + size_of::<T>()));
        Ok(value)
    }

    fn write<T: Plain>(&mut self, _: u32, _: T) -> Result<(), Failed> {
        unreachable!("parsing changes nothing")
    }

    fn frame_len(&self) -> u32 {
        self.frame.frame_len()
    }

    fn gso_size(&self) -> u32 {
        self.frame.gso_size()
    }

    fn sum_ip(&mut self, _: u32, _: u32) -> Result<(), Failed> {
        unreachable!()
    }

    fn sum_addr(&mut self, _: L4Sum, _: u32, _: bool) -> Result<(), Failed> {
        unreachable!()
    }

    fn sum_port(&mut self, _: L4Sum, _: u16, _: u16) -> Result<(), Failed> {
        unreachable!()
    }

    fn sum_covered(&mut self, _: u32, _: u32) -> Result<(), Failed> {
        unreachable!()
    }

    fn sum_uncovered(&mut self, _: u32) {
        unreachable!()
    }
}
