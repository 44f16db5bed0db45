//! Shortcuts past the flow table, see `egress_common::abi::shortcut`: found by XDP, learned from the table, forgotten when a flow
//! shows that it ends or is removed.

use egress_common::{
    abi::{
        family::{Address, Family, V4, V6},
        flow::{FlowKey, OUT, Word, seen},
        shortcut::{Seal, Shortcut, slot},
        target::Target,
    },
    conntrack::state::known,
};

use crate::{
    atomic, broken,
    maps::Maps,
    store::{Entry, Now, Slot, own},
};

/// What XDP found.
pub(crate) enum Found<F: Family> {
    /// The half.
    Half(Entry<F>, Target<F>),
    /// Ask the table; the slot is free to learn it.
    Learn,
    /// Ask the table.
    Taken,
}

/// The half with this key, if it has a shortcut and a packet that showed `shown` says nothing new about it.
#[inline(always)]
pub(crate) fn find<F: Maps>(key: &FlowKey<F::Addr>, shown: u8, now: Now) -> Found<F> {
    let Some(place) = Place::<F>::of(key) else { return Found::Taken };
    let seal = place.seal();
    let own = place.is(key);
    if !own || !seal.holds(now.s) {
        return if seal.free(own, now.s) { Found::Learn } else { Found::Taken };
    }
    let target = place.target();
    if place.seal() != seal {
        return Found::Taken;
    }
    if !known(target.seen, shown) || !target.holds(now.ns) {
        return Found::Learn;
    }
    // SAFETY: only addresses inside the element are computed.
    let (packets, bytes) = unsafe { (&raw mut (*place.0).packets, &raw mut (*place.0).bytes) };
    Found::Half(Entry { packets, bytes, nat: (target.nat_addr, target.port) }, target)
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

    /// What becomes of its packets. Volatile, because it must be read between two looks at the seal.
    #[inline(always)]
    fn target(self) -> Target<F> {
        // SAFETY: aligned fields of the element.
        unsafe {
            let it = &raw const (*self.0).target;
            Target {
                nat_addr: F::Addr::peek(&raw const (*it).nat_addr),
                port: (&raw const (*it).port).read_volatile(),
                seen: (&raw const (*it).seen).read_volatile(),
                zero: 0,
                pad: F::Pad::default(),
                next: (&raw const (*it).next).read_volatile(),
                until: (&raw const (*it).until).read_volatile(),
                sums: (&raw const (*it).sums).read_volatile(),
            }
        }
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
            let it = &raw const (*self.0).target;
            nat_addr.lanes() == F::Addr::peek(&raw const (*it).nat_addr).lanes()
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
    /// Makes the living half with this key one that is found at `now`, if its slot is free and `target` is what the table says.
    fn learn(key: &FlowKey<Self::Addr>, target: &Target<Self>, now: u32);
    /// Sees to it that neither half of a flow is found, and the table told what they carried.
    fn forget(key: &FlowKey<Self::Addr>);
}

macro_rules! family {
    ($family:ty, $learn:ident, $confirm:ident, $lasts:ident, $forget:ident) => {
        impl Shortcuts for $family {
            #[inline(always)]
            fn learn(key: &FlowKey<Self::Addr>, target: &Target<Self>, now: u32) {
                let key = core::ptr::from_ref(key).cast_mut();
                let turn = $learn(key, core::ptr::from_ref(target).cast_mut(), now);
                if turn != 0 && $lasts(key) != 0 {
                    $confirm(key, turn, now);
                }
            }

            #[inline(always)]
            fn forget(key: &FlowKey<Self::Addr>) {
                $forget(core::ptr::from_ref(key).cast_mut());
            }
        }

        /// See [`Shortcuts::learn`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $learn(
            key: *mut FlowKey<<$family as Family>::Addr>,
            target: *mut Target<$family>,
            now: u32,
        ) -> u32 {
            // SAFETY: the verifier holds callers of a global function to valid pointers or null.
            let (Some(key), Some(target)) = (unsafe { (own(key), target.as_ref()) }) else { return 0 };
            learn::<$family>(&key, target, now)
        }

        /// Then: see [`lasts`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $lasts(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: as above.
            unsafe { own(key) }.map_or(0, |key| lasts::<$family>(&key))
        }

        /// Then: see [`confirm`]. In one they would have too much on the stack, and for LLVM 22.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $confirm(key: *mut FlowKey<<$family as Family>::Addr>, turn: u32, now: u32) -> u32 {
            // SAFETY: as above.
            unsafe { own(key) }.map_or(0, |key| confirm::<$family>(&key, turn, now))
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

/// The turn in which the slot is the half's; 0 if it is not.
#[inline(always)]
fn learn<F: Shortcuts>(key: &FlowKey<F::Addr>, target: &Target<F>, now: u32) -> u32 {
    let (Some(place), Some(half)) = (Place::<F>::of(key), Slot::<F>::of(key)) else { return 0 };
    let word = half.word();
    let seal = place.seal();
    let own = place.is(key);
    if half.last_seen() != now || !word.carries(key.dir) || !seal.free(own, now) {
        return 0;
    }
    if ends(word) {
        // Nobody is to ask again in this second.
        if own {
            place.swap(seal, seal.learned(now));
        }
        return 0;
    }
    if !place.open(seal) {
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
        (&raw mut (*it).target).write(Target { seen: word.seen, ..*target });
    }
    let learned = seal.learned(now);
    place.close(learned);
    learned.turn()
}

/// Whether a half and the other one of its flow are alive, belong together, and the other one did not show that it ends.
#[inline(always)]
fn lasts<F: Maps>(key: &FlowKey<F::Addr>) -> u32 {
    let Some(half) = Slot::<F>::of(key) else { return 0 };
    let word = half.word();
    let Some(other) = Slot::<F>::of(&other::<F>(key, (half.nat_addr(), word.port))) else { return 0 };
    let back = other.word();
    let (addr, port) = key.own();
    let leads_back = other.nat_addr().lanes() == addr.lanes() && back.port == port;
    u32::from(word.carries(key.dir) && leads_back && !back.dying() && !ends(back))
}

/// Whoever changed a half since it was read may have come too early to find it in the slot: it is believed if the table still says
/// the same, unless somebody changed the slot since that turn.
#[inline(always)]
fn confirm<F: Shortcuts>(key: &FlowKey<F::Addr>, turn: u32, now: u32) -> u32 {
    let (Some(place), Some(half)) = (Place::<F>::of(key), Slot::<F>::of(key)) else { return 0 };
    let seal = Seal::tried_in(turn, now);
    u32::from(place.agrees(half) && place.swap(seal, seal.confirmed(now)))
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
    // Who has it open at this moment looks at the half again before it is believed, or closes it for good. Once more if the seal
    // became another meanwhile: who confirmed it had looked before the half was marked. None can do so twice.
    for _ in 0..2 {
        let seal = place.seal_now();
        if !place.is(key) || !seal.at_rest() {
            return;
        }
        if place.open(seal) {
            place.tell_own();
            place.close(seal.forgotten());
            return;
        }
    }
}
