//! Shortcuts: where XDP finds the halves of flows that carried packets in this second without asking the flow table, whose hash is
//! a third of what a packet costs there.
//!
//! A half has one slot, and a slot one half. It is learned from the flow table and believed until the second or the belief in its
//! next hop ends, so that the table is told once a second when each direction last carried a packet, as ever. What it carries
//! meanwhile is counted in the slot and added to the table's half when the slot is learned again or forgotten.
//!
//! Its `seal` is a number that changes with it: who changes it makes the turn odd first, by compare-and-swap, so that there is one
//! at a time; who reads it looks at the seal before and after. A slot that was learned is not believed until who learned it has
//! looked at the table once more and the seal is still the same. Who removes a half marks it first and then changes the seal:
//! either the second look finds the mark, or the seal is another.

use super::{
    family::{Address, Family, V4, V6},
    flow::FlowKey,
    target::Target,
};

/// Slots of each family.
pub const SHORTCUTS: u32 = 16_384;

/// Seconds after which a slot may become another half's: a packet that found the half has been counted by then.
pub const IDLE: i32 = 2;

/// In a seal beside the second: not believed, and not learned again in it. Whoever found the half just before may yet count, so
/// that others wait as they do for a living one.
const FORGOTTEN: u32 = 1 << 31;

/// One slot. 64 bytes for IPv4, 104 for IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Shortcut<F: Family> {
    /// See [`Seal`].
    pub seal: u64,
    /// Key of the half.
    pub key: FlowKey<F::Addr>,
    /// What becomes of its packets.
    pub target: Target<F>,
    /// Packets since the table's half was last told.
    pub packets: u64,
    /// IP bytes, likewise.
    pub bytes: u64,
}

/// What [`Shortcut::seal`] says: the second in which the slot was learned (low half; with [`FORGOTTEN`] it is not to be believed) and
/// how often it was changed (high half; odd: it is being changed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal(pub u64);

#[expect(clippy::cast_possible_truncation, reason = "two halves")]
impl Seal {
    /// Whether the slot holds at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn holds(self, now: u32) -> bool {
        self.0 as u32 == now
    }

    /// How often the slot was changed.
    #[inline(always)]
    #[must_use]
    pub const fn turn(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The one for which [`Self::tried`] at `now` holds in this turn.
    #[inline(always)]
    #[must_use]
    pub const fn tried_in(turn: u32, now: u32) -> Self {
        Self((turn as u64) << 32 | (now | FORGOTTEN) as u64)
    }

    /// Whether nobody is changing the slot.
    #[inline(always)]
    #[must_use]
    pub const fn at_rest(self) -> bool {
        self.0 >> 32 & 1 == 0
    }

    /// Whether the slot may be learned at `now`; by its own half, or by another one.
    #[inline(always)]
    #[must_use]
    pub const fn free(self, own: bool, now: u32) -> bool {
        // Signed: another CPU may be a second ahead.
        let age = now.wrapping_sub(self.0 as u32 & !FORGOTTEN).cast_signed();
        self.at_rest() && if own { !self.tried(now) } else { age >= IDLE }
    }

    /// Whether the slot was learned or forgotten at `now`, and is not believed.
    #[inline(always)]
    #[must_use]
    pub const fn tried(self, now: u32) -> bool {
        self.0 as u32 == now | FORGOTTEN
    }

    /// While it is being changed.
    #[inline(always)]
    #[must_use]
    pub const fn open(self) -> Self {
        Self(((self.0 >> 32 | 1) & 0xffff_ffff) << 32)
    }

    #[inline(always)]
    const fn closed(self, second: u32) -> Self {
        Self((((self.open().0 >> 32) + 1) & 0xffff_ffff) << 32 | second as u64)
    }

    /// Once it was learned at `now`: not believed yet.
    #[inline(always)]
    #[must_use]
    pub const fn learned(self, now: u32) -> Self {
        self.closed(now | FORGOTTEN)
    }

    /// Once the table agreed at `now`: it is believed.
    #[inline(always)]
    #[must_use]
    pub const fn confirmed(self, now: u32) -> Self {
        self.closed(now)
    }

    /// It holds no more.
    #[inline(always)]
    #[must_use]
    pub const fn forgotten(self) -> Self {
        self.closed(self.0 as u32 | FORGOTTEN)
    }
}

/// The slot of a half. Whoever finds halves that share one makes them slow, no more.
#[inline(always)]
#[must_use]
pub fn slot<A: Address>(key: &FlowKey<A>) -> u32 {
    let (src, dst) = (key.saddr.lanes(), key.daddr.lanes());
    let ports = u64::from(key.sport) | u64::from(key.dport) << 16;
    let rest = u64::from(key.proto) | u64::from(key.dir) << 8;
    let ends = if size_of::<A>() == 4 { src.0 | dst.0 << 32 } else { mix(src.0 ^ src.1) ^ dst.0 ^ dst.1 };
    (mix(mix(ends) ^ (ports | rest << 32)) >> 40) as u32 & (SHORTCUTS - 1)
}

/// A multiplication by an odd number whose bits are spread (the golden ratio's), upper half folded into the lower.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let product = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

const _: () = {
    assert!(size_of::<Shortcut<V4>>() == 64 && size_of::<Shortcut<V6>>() == 104);
    assert!(SHORTCUTS.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::abi::{
        family::Addr6,
        flow::{IN, OUT},
    };

    const NEW: Seal = Seal(0);

    #[test]
    fn believed_once_confirmed_and_in_its_second() {
        let learned = NEW.learned(7);
        assert!(!learned.holds(7) && learned.tried(7) && !learned.tried(8), "not yet");
        assert_eq!(Seal::tried_in(learned.turn(), 7), learned);
        let seal = learned.confirmed(7);
        assert_eq!([6, 7, 8].map(|now| seal.holds(now)), [false, true, false]);
        assert!(!seal.open().holds(7), "being changed");
        assert!(!seal.forgotten().holds(7) && seal.forgotten().tried(7), "forgotten");
    }

    #[test]
    fn changed_by_one_at_a_time() {
        let seal = NEW.confirmed(7);
        assert!(seal.at_rest() && !seal.open().at_rest());
        assert!(seal.free(true, 7) && !seal.open().free(true, 8) && !seal.open().free(false, 99));
        assert_eq!([7, 8, 9].map(|now| seal.free(false, now)), [false, false, true], "another half waits");
        assert!(NEW.free(false, 2));
        assert!(!seal.free(false, 6), "a CPU whose second has not ended");
        for gone in [NEW.learned(7), seal.forgotten()] {
            assert_eq!([7, 8, 9].map(|now| gone.free(false, now)), [false, false, true], "it may yet be counted in");
            assert_eq!([7, 8].map(|now| gone.free(true, now)), [false, true], "not again in its second");
        }
    }

    /// Who read it before a change never takes it for unchanged, also where the turns begin anew.
    #[test]
    fn every_change_shows() {
        let last = Seal(0xffff_fffe << 32 | 7);
        let learned = last.learned(7);
        let seals =
            [last, last.open(), learned, learned.confirmed(7), learned.forgotten(), learned.confirmed(7).open()];
        let turns = [0xffff_fffe_u64, 0xffff_ffff, 0, 2, 2, 3];
        assert_eq!(seals.map(|seal| seal.0 >> 32), turns);
        assert_eq!(HashSet::from(seals.map(|seal| seal.0)).len(), seals.len());
        assert!(seals[3].holds(7) && seals[3].free(true, 7));
    }

    /// A thousand halves of one Pod, or of one destination, have slots of their own but for chance: less than one in ten shares.
    #[test]
    fn halves_are_spread() {
        let four = |n: u16, dir| FlowKey {
            saddr: [10, 0, 0, 9],
            daddr: [1, 1, 1, 1],
            sport: n,
            dport: 443,
            proto: 6,
            dir,
            zone: 0,
        };
        let six = |n: u16| {
            let mut saddr = [0xfd; 16];
            saddr[14..].copy_from_slice(&n.to_be_bytes());
            FlowKey {
                saddr: Addr6::new(saddr),
                daddr: Addr6::new([0x20; 16]),
                sport: 5000,
                dport: 53,
                proto: 17,
                dir: OUT,
                zone: 0,
            }
        };
        for keys in [0, 1024, 40_000] {
            let all = keys..keys + 1000;
            let shared = [
                all.clone().map(|n| slot(&four(n, OUT))).collect::<HashSet<_>>(),
                all.clone().map(|n| slot(&four(n, IN))).collect(),
                all.clone().map(|n| slot(&FlowKey { sport: 53, dport: n, ..four(0, OUT) })).collect(),
                all.clone()
                    .map(|n| slot(&FlowKey { saddr: [10, 0, (n >> 8) as u8, n as u8], ..four(0, OUT) }))
                    .collect(),
                all.clone().map(|n| slot(&six(n))).collect(),
            ];
            for (row, slots) in shared.iter().enumerate() {
                assert!(slots.len() > 900, "{keys}, row {row}: {}", slots.len());
            }
        }
    }
}
