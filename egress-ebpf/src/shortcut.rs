//! Shortcuts past the flow table, see `egress_common::abi::shortcut`: found by XDP, learned from the table, forgotten when a flow
//! shows that it ends or is removed.

use egress_common::{
    abi::{
        family::{Address, Family, V4, V6},
        flow::{FlowKey, OUT, Word, seen},
        shortcut::{Seal, Shortcut, slot},
    },
    conntrack::state::known,
};

use crate::{
    atomic, broken,
    maps::Maps,
    store::{Entry, Slot, own},
};

/// What XDP found.
pub(crate) enum Found<F: Family> {
    /// The half.
    Half(Entry<F>),
    /// Ask the table; the slot is free to learn it.
    Learn,
    /// Ask the table.
    Taken,
}

/// The half with this key, if it has a shortcut and a packet that showed `shown` says nothing new about it.
#[inline(always)]
pub(crate) fn find<F: Maps>(key: &FlowKey<F::Addr>, shown: u8, now: u32) -> Found<F> {
    let Some(place) = Place::<F>::of(key) else { return Found::Taken };
    let seal = place.seal();
    let own = place.is(key);
    if !own || !seal.holds(now) {
        return if seal.free(own, now) { Found::Learn } else { Found::Taken };
    }
    // SAFETY: aligned fields of the element; volatile, because they must be read between two looks at the seal.
    let (nat_addr, port, before) = unsafe {
        let it = place.0;
        (
            (&raw const (*it).nat_addr).read_volatile(),
            (&raw const (*it).port).read_volatile(),
            (&raw const (*it).seen).read_volatile(),
        )
    };
    if place.seal() != seal {
        return Found::Taken;
    }
    if !known(before, shown) {
        return Found::Learn;
    }
    // SAFETY: only addresses inside the element are computed.
    let (packets, bytes) = unsafe { (&raw mut (*place.0).packets, &raw mut (*place.0).bytes) };
    Found::Half(Entry { packets, bytes, nat: (nat_addr, port) })
}

/// A slot.
#[derive(Clone, Copy)]
struct Place<F: Family>(*mut Shortcut<F>);

impl<F: Maps> Place<F> {
    #[inline(always)]
    fn of(key: &FlowKey<F::Addr>) -> Option<Self> {
        F::shortcut(slot(key)).map(Self)
    }

    #[inline(always)]
    fn seal(self) -> Seal {
        // SAFETY: the pointer is of a map element, which stays mapped; volatile, because other CPUs change it.
        Seal(unsafe { (&raw const (*self.0).seal).read_volatile() })
    }

    /// The same behind a full barrier: what this CPU wrote before is seen by whoever changes the slot from now on.
    #[inline(always)]
    fn seal_now(self) -> Seal {
        // SAFETY: an aligned word of the element.
        Seal(unsafe { atomic::read_wide(&raw mut (*self.0).seal) })
    }

    /// Whether it is the slot of this key. In words, as `WideKey` was put together.
    #[inline(always)]
    fn is(self, key: &FlowKey<F::Addr>) -> bool {
        let key = core::ptr::from_ref(key).cast::<u64>();
        let mut differ = 0;
        for i in 0..size_of::<FlowKey<F::Addr>>() / 8 {
            // SAFETY: a key has whole words; within both.
            differ |= unsafe {
                let own = (&raw const (*self.0).key).cast::<u64>().add(i).read_volatile();
                own ^ key.add(i).read_unaligned()
            };
        }
        differ == 0
    }

    /// Takes the slot, if it still is what was read.
    #[inline(always)]
    fn open(self, seal: Seal) -> bool {
        self.swap(seal, seal.open())
    }

    /// Gives it back; the others see what was written before.
    #[inline(always)]
    fn close(self, seal: Seal) {
        // SAFETY: an aligned word of the element.
        unsafe { atomic::swap(&raw mut (*self.0).seal, seal.0) };
    }

    #[inline(always)]
    fn swap(self, from: Seal, to: Seal) -> bool {
        // SAFETY: an aligned word of the element.
        unsafe { atomic::compare_swap(&raw mut (*self.0).seal, from.0, to.0) }
    }

    /// Whether the slot says what the table does.
    #[inline(always)]
    fn agrees(self, half: Slot<F>) -> bool {
        let (nat_addr, word) = (half.nat_addr(), half.word());
        // SAFETY: aligned fields of the element; volatile, because other CPUs change them.
        unsafe {
            let it = self.0;
            nat_addr.lanes() == (*it).nat_addr.lanes()
                && word.port == (&raw const (*it).port).read_volatile()
                && word.seen == (&raw const (*it).seen).read_volatile()
        }
    }

    /// Tells the table what was carried since it was told last; `half` is that of the slot's key, if it is still there.
    #[inline(always)]
    fn tell(self, half: Option<Slot<F>>) {
        // SAFETY: aligned words of the elements.
        let (packets, bytes) =
            unsafe { (atomic::swap(&raw mut (*self.0).packets, 0), atomic::swap(&raw mut (*self.0).bytes, 0)) };
        if let Some(half) = half {
            half.entry().add(packets, bytes);
        }
    }

    /// The same for whichever half the slot is of.
    #[inline(always)]
    fn tell_own(self) {
        // SAFETY: the slot is open: nobody else writes the key. On the stack, see `own`.
        let key = unsafe { (&raw const (*self.0).key).read() };
        self.tell(Slot::of(&key));
    }
}

/// A family with its out-of-line changes of a slot.
pub(crate) trait Shortcuts: Maps {
    /// Makes the living half with this key one that is found at `now`, if its slot is free.
    fn learn(key: &FlowKey<Self::Addr>, now: u32);
    /// Whether a half is alive, and its flow in the table and not about to end.
    fn lasts(key: &FlowKey<Self::Addr>) -> bool;
    /// Sees to it that neither half of a flow is found, and the table told what they carried.
    fn forget(key: &FlowKey<Self::Addr>);
}

macro_rules! family {
    ($family:ty, $learn:ident, $confirm:ident, $lasts:ident, $forget:ident) => {
        impl Shortcuts for $family {
            #[inline(always)]
            fn learn(key: &FlowKey<Self::Addr>, now: u32) {
                let key = core::ptr::from_ref(key).cast_mut();
                if $learn(key, now) != 0 {
                    $confirm(key);
                }
            }

            #[inline(always)]
            fn lasts(key: &FlowKey<Self::Addr>) -> bool {
                $lasts(core::ptr::from_ref(key).cast_mut()) != 0
            }

            #[inline(always)]
            fn forget(key: &FlowKey<Self::Addr>) {
                $forget(core::ptr::from_ref(key).cast_mut());
            }
        }

        /// See [`Shortcuts::learn`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $learn(key: *mut FlowKey<<$family as Family>::Addr>, now: u32) -> u32 {
            // SAFETY: the verifier holds callers of a global function to a valid pointer or null.
            unsafe { own(key) }.map_or(0, |key| learn::<$family>(&key, now))
        }

        /// The second half of it: both in one would have too much on the stack.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $confirm(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: as above.
            unsafe { own(key) }.map_or(0, |key| confirm::<$family>(&key))
        }

        /// See [`Shortcuts::lasts`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $lasts(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: as above.
            unsafe { own(key) }.map_or(0, |key| lasts::<$family>(&key))
        }

        /// See [`Shortcuts::forget`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $forget(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: as above.
            unsafe { own(key) }.map_or(0, |key| forget::<$family>(&key))
        }
    };
}

family!(V4, learn4, confirm4, lasts4, forget4);
family!(V6, learn6, confirm6, lasts6, forget6);

/// Key of the other half, given this half's key and mapping.
#[inline(always)]
fn other<F: Family>(key: &FlowKey<F::Addr>, nat: (F::Addr, u16)) -> FlowKey<F::Addr> {
    if key.dir == OUT { key.reply(nat.0, nat.1) } else { key.original(nat.0, nat.1) }
}

/// Whether a half showed that its flow ends. Such a flow may begin anew or give its port away at any packet.
#[inline(always)]
const fn ends(word: Word) -> bool {
    word.seen & (seen::FIN | seen::RST) != 0
}

#[inline(always)]
fn learn<F: Shortcuts>(key: &FlowKey<F::Addr>, now: u32) -> u32 {
    let (Some(place), Some(half)) = (Place::<F>::of(key), Slot::<F>::of(key)) else { return 0 };
    let (nat_addr, word) = (half.nat_addr(), half.word());
    if half.last_seen() != now || !word.carries(key.dir) || ends(word) {
        return 0;
    }
    let seal = place.seal();
    let own = place.is(key);
    if !seal.free(own, now) || !place.open(seal) {
        return 0;
    }
    if own {
        place.tell(Some(half));
    } else {
        place.tell_own();
    }
    // SAFETY: aligned fields of the element, which is open.
    unsafe {
        let it = place.0;
        (&raw mut (*it).key).write(*key);
        (&raw mut (*it).nat_addr).write(nat_addr);
        (&raw mut (*it).port).write(word.port);
        (&raw mut (*it).seen).write(word.seen);
    }
    place.close(seal.open().closed(now));
    1
}

/// Whoever changed a half since it was read may have come too early to find it in the slot.
#[inline(always)]
fn confirm<F: Shortcuts>(key: &FlowKey<F::Addr>) -> u32 {
    let Some(place) = Place::<F>::of(key) else { return 0 };
    let seal = place.seal_now();
    if !place.is(key) || !seal.free(true, 0) {
        return 0;
    }
    if Slot::<F>::of(key).is_some_and(|half| place.agrees(half)) && F::lasts(key) {
        return 0;
    }
    u32::from(place.swap(seal, seal.forgotten()))
}

/// Apart from the rest: together they are too much for LLVM 22, which crashes.
#[inline(always)]
fn lasts<F: Maps>(key: &FlowKey<F::Addr>) -> u32 {
    let Some(half) = Slot::<F>::of(key) else { return 0 };
    let word = half.word();
    let other = Slot::<F>::of(&other::<F>(key, (half.nat_addr(), word.port)));
    u32::from(word.carries(key.dir) && other.is_some_and(|other| !other.word().dying() && !ends(other.word())))
}

#[inline(always)]
fn forget<F: Maps>(key: &FlowKey<F::Addr>) -> u32 {
    let Some(half) = Slot::<F>::of(key) else { return 0 };
    let nat = (half.nat_addr(), half.word().port);
    forget_half::<F>(key);
    forget_half::<F>(&other::<F>(key, nat));
    1
}

#[inline(always)]
fn forget_half<F: Maps>(key: &FlowKey<F::Addr>) {
    let Some(place) = Place::<F>::of(key).filter(|_| !broken::SHORTCUT) else { return };
    let seal = place.seal_now();
    // Who has it open at this moment looks at the half again, or closes it for good.
    if place.is(key) && seal.free(true, 0) && place.open(seal) {
        place.tell_own();
        place.close(seal.forgotten());
    }
}
