//! Handing flows to the program `import`.

use std::{hash::Hash, ops::AddAssign, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use aya::{Pod, programs::SchedClassifier};
use bytes::{BufMut, BytesMut};
use egress_common::abi::{
    family::{Family, V4, V6},
    flow::{FlowKey, FlowValue},
    order::{Carried, HEAD, MAX_FLOWS, Taken, Wide},
    shortcut::Shortcut,
};

use super::{
    flows::{Pair, Readable, pairs},
    load::run_order,
    pins::Pins,
};

/// Programs that began before a change have ended after that time, also on a virtual CPU that waits for its core.
pub const GRACE: Duration = Duration::from_millis(20);

/// Looks for flows that came late.
pub const LOOKS: u32 = 10;

/// Flows of both families.
#[derive(Debug, Default)]
pub struct Flows {
    /// IPv4.
    pub v4: Vec<Carried<V4>>,
    /// IPv6.
    pub v6: Vec<Carried<V6>>,
}

impl Flows {
    /// All of our own.
    pub fn of(pins: &Pins) -> Result<Self> {
        Ok(Self { v4: own::<V4>(pins)?, v6: own::<V6>(pins)? })
    }
}

fn own<F>(pins: &Pins) -> Result<Vec<Carried<F>>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    FlowValue<F>: Pod,
    Shortcut<F>: Pod,
{
    let carried = |(key, out, back): Pair<F>| {
        let of = |number: fn(&FlowValue<F>) -> u64| [number(&out), back.as_ref().map_or(0, number)].map(Wide::from);
        Carried {
            key,
            nat_addr: out.nat_addr,
            port: out.word.port,
            seen: [out.word.seen, back.map_or(0, |back| back.word.seen)],
            created: out.created,
            last_seen: [out.last_seen, back.map_or(out.created, |back| back.last_seen)],
            packets: of(|half| half.packets),
            bytes: of(|half| half.bytes),
        }
    };
    Ok(pairs::<F>(pins)?.map(carried).collect())
}

/// What became of flows, see [`Taken`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Became {
    /// In the table now.
    pub new: u32,
    /// There already, or ended.
    pub known: u32,
    /// It is being removed at this moment, or the flow that holds its egress port is.
    pub refused: u32,
    /// No room.
    pub full: u32,
}

impl Became {
    fn from_returned(returned: u32) -> Self {
        let of = |taken: Taken| returned >> (8 * taken as u32) & 0xff;
        Self { new: of(Taken::New), known: of(Taken::Known), refused: of(Taken::Refused), full: of(Taken::Full) }
    }
}

impl Became {
    /// Fails unless something became of each of so many flows.
    fn check(self, flows: usize) -> Result<()> {
        let Self { new, known, refused, full } = self;
        ensure!((new + known + refused + full) as usize == flows, "import: {flows} flows became {self:?}");
        Ok(())
    }
}

impl AddAssign for Became {
    fn add_assign(&mut self, more: Self) {
        self.new += more.new;
        self.known += more.known;
        self.refused += more.refused;
        self.full += more.full;
    }
}

/// Copies with [`GRACE`] before each, at most `looks` times, until nothing comes that is new, nor is anything refused: what was
/// in the way is gone a moment later. How many became new in all, and what the last copy left.
pub fn settle(looks: u32, mut copy: impl FnMut() -> Result<Became>) -> Result<Became> {
    let mut became = Became::default();
    for _ in 0..looks {
        sleep(GRACE);
        let more = copy()?;
        became = Became { new: became.new + more.new, ..more };
        if more.new + more.refused == 0 {
            break;
        }
    }
    Ok(became)
}

/// Takes over all of them; `add` as in [`egress_common::abi::order::ImportHead`].
pub fn import(program: &SchedClassifier, flows: &Flows, add: bool) -> Result<Became> {
    let mut became = family(program, &flows.v4, add)?;
    became += family(program, &flows.v6, add)?;
    Ok(became)
}

fn family<F: Family>(program: &SchedClassifier, flows: &[Carried<F>], add: bool) -> Result<Became> {
    let mut became = Became::default();
    for flows in flows.chunks(MAX_FLOWS as usize) {
        let these = Became::from_returned(run_order(program, &order(flows, add))?);
        these.check(flows.len())?;
        became += these;
    }
    Ok(became)
}

/// The bytes of an order, see [`egress_common::abi::order`].
fn order<F: Family>(flows: &[Carried<F>], add: bool) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(HEAD as usize + size_of_val(flows));
    bytes.put_u8(u8::from(F::V6));
    bytes.put_u8(u8::from(add));
    bytes.put_u8(u8::try_from(flows.len()).unwrap_or(u8::MAX));
    bytes.put_bytes(0, HEAD as usize - bytes.len());
    // SAFETY: repr(C) of integers and arrays of them, whose sizes leave no padding (asserted beside it), read as its bytes.
    bytes.put_slice(unsafe { std::slice::from_raw_parts(flows.as_ptr().cast(), size_of_val(flows)) });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_returned_is_four_numbers() {
        let became = Became::from_returned(32 | 3 << 8 | 2 << 16 | 1 << 24);
        assert_eq!(became, Became { new: 32, known: 3, refused: 2, full: 1 });
        assert!(became.check(38).is_ok() && became.check(39).is_err());
    }

    #[test]
    fn what_was_refused_is_tried_again_but_not_for_ever() -> Result<()> {
        let looks =
            [(2, 1), (0, 1), (1, 0), (0, 0), (9, 9)].map(|(new, refused)| Became { new, refused, ..Became::default() });
        let mut next = looks.iter();
        let became = settle(10, || Ok(*next.next().unwrap()))?;
        assert_eq!((became.new, became.refused, next.len()), (3, 0, 1));
        let mut count = 0;
        let never = || {
            count += 1;
            Ok(Became { refused: 1, full: 2, ..Became::default() })
        };
        assert_eq!(settle(4, never)?, Became { refused: 1, full: 2, ..Became::default() });
        assert_eq!(count, 4);
        Ok(())
    }
}
