//! How much of the table and of the ports is used, and by whom: numbers in constant memory.

/// Cells of each row of a sketch.
pub const WIDTH: u32 = 1 << 16;

/// Elements of `USE4` and `USE6`: one sketch after the other (`nat::fair::Kind`), then the number of all flows.
pub const CELLS: usize = 3 * WIDTH as usize + 1;

/// An element: one cell of both rows of a sketch, which are looked up by different hashes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Flows of the first row; the number of all flows in the last element.
    pub first: i32,
    /// Flows of the second row.
    pub second: i32,
}

/// Most sources whose pace is known at once.
pub const PACES: usize = 8192;

/// The pace of one source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Until when its new flows are paid for: nanoseconds of the datapath's clock.
    pub paid_until: u64,
    /// Second in which it was last reported as limited.
    pub told: u32,
    /// Explicit padding.
    pub pad: u32,
}

const _: () = assert!(size_of::<Cell>() == 8 && size_of::<Pace>() == 16);
