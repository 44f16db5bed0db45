//! The parts of opening a flow that stand apart: global functions, which the verifier checks once instead of once per port or
//! address that is tried, and which have stack of their own.

use egress_common::{
    abi::{
        event::why,
        family::{Family, V4, V6},
        flow::{FlowKey, IN, OUT},
    },
    ecmp::rendezvous::choose,
    nat::{
        claim::{claim_port, search},
        fair::Admission,
        store::Insert,
    },
};

use crate::{
    fair::{Fair, admission, number as admitted},
    ledger,
    maps::{Maps, config},
    shortcut::Shortcuts,
    store::{Now, Table},
};

/// No index.
const NONE: u32 = u32::MAX;

/// A family with these functions.
pub(crate) trait Allocate: Fair + Shortcuts {
    /// See [`choose`].
    fn choose_apart(src: &Self::Addr, not: Option<u32>) -> Option<u32>;
    /// Notes for which flow the following looks.
    fn want(reply: &FlowKey<Self::Addr>, key: &FlowKey<Self::Addr>);
    /// See [`search`]; the keys are those that are wanted.
    fn search_apart(reply: &mut FlowKey<Self::Addr>, may: Admission, now: Now) -> (Insert, u32);
    /// See [`claim_port`]. Likewise, but for the port, which is noted there.
    fn claim_apart(port: u16, may: Admission, now: u32) -> Insert;
}

macro_rules! family {
    ($family:ty, $choose:ident, $search:ident, $claim:ident) => {
        impl Allocate for $family {
            #[inline(always)]
            fn choose_apart(src: &Self::Addr, not: Option<u32>) -> Option<u32> {
                let index = $choose(core::ptr::from_ref(src).cast_mut(), not.unwrap_or(NONE));
                (index != NONE).then_some(index)
            }

            #[inline(always)]
            fn want(reply: &FlowKey<Self::Addr>, key: &FlowKey<Self::Addr>) {
                let Some(wanted) = Self::wanted() else { return };
                // SAFETY: the slot belongs to this CPU.
                unsafe {
                    (*wanted)[0] = *reply;
                    (*wanted)[1] = *key;
                    (*wanted)[3].dir = OUT;
                }
            }

            #[inline(always)]
            fn search_apart(reply: &mut FlowKey<Self::Addr>, may: Admission, now: Now) -> (Insert, u32) {
                let Some(wanted) = Self::wanted() else { return (Insert::Full, 0) };
                let found = $search(admitted(may), now.s);
                // SAFETY: the slot belongs to this CPU.
                let (there, gone) = unsafe { (&(*wanted)[0], (&(*wanted)[2], &(*wanted)[3])) };
                reply.dport = there.dport;
                if gone.1.dir == IN {
                    ledger::ending::<Self>(gone.0, gone.1, why::RECLAIMED, true);
                }
                (insert(found >> TRIES_BITS), found & ((1 << TRIES_BITS) - 1))
            }

            #[inline(always)]
            fn claim_apart(port: u16, may: Admission, now: u32) -> Insert {
                insert($claim(u32::from(port), admitted(may), now))
            }
        }

        /// See [`Allocate::choose_apart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $choose(src: *mut <$family as Family>::Addr, not: u32) -> u32 {
            best::<$family>(src, not)
        }

        /// See [`Allocate::search_apart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $search(may: u32, now: u32) -> u32 {
            find::<$family>(admission(may), now)
        }

        /// See [`Allocate::claim_apart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $claim(port: u32, may: u32, now: u32) -> u32 {
            claim::<$family>(port as u16, admission(may), now)
        }
    };
}

family!(V4, choose4, search4, claim4);
family!(V6, choose6, search6, claim6);

/// Bits for the number of tries beside an outcome.
const TRIES_BITS: u32 = 16;

const fn number(outcome: Insert) -> u32 {
    match outcome {
        Insert::Done => 0,
        Insert::Exists => 1,
        Insert::Full => 2,
    }
}

const fn insert(number: u32) -> Insert {
    match number {
        0 => Insert::Done,
        1 => Insert::Exists,
        _ => Insert::Full,
    }
}

#[inline(always)]
fn best<F: Allocate>(src: *mut F::Addr, not: u32) -> u32 {
    // SAFETY: the verifier holds callers of a global function to a valid pointer or null.
    let (Some(src), Some(config)) = (unsafe { src.as_ref() }, config()) else { return NONE };
    let (pool, len) = F::egress(config);
    let any = || {
        // SAFETY: a field of a map value. Volatile: the compiler must not see that both are the same.
        unsafe { (&raw const config.netns_cookie).read_volatile() }
    };
    let blur = |value: u64| value.wrapping_add(any().wrapping_sub(any()));
    choose(src, pool, len, (not != NONE).then_some(not), blur).unwrap_or(NONE)
}

#[inline(always)]
fn find<F: Allocate>(may: Admission, now: u32) -> u32 {
    let (Some(wanted), Some(config)) = (F::wanted(), config()) else {
        return number(Insert::Full) << TRIES_BITS;
    };
    // SAFETY: the slot belongs to this CPU. `claim` writes the other keys, so this one is a copy, of which only the port is used.
    let (mut reply, key) = unsafe { ((*wanted)[0], &(*wanted)[1]) };
    let (outcome, tries) = search(&mut Table::<F>::new(Now { ns: 0, s: now }), config, &mut reply, key, may, now);
    number(outcome) << TRIES_BITS | tries
}

#[inline(always)]
fn claim<F: Allocate>(port: u16, may: Admission, now: u32) -> u32 {
    let Some(wanted) = F::wanted() else { return number(Insert::Full) };
    // SAFETY: as above. From here on only the other two keys are written, see `Table::reclaim`.
    let (reply, key) = unsafe {
        (*wanted)[0].dport = port;
        (&(*wanted)[0], &(*wanted)[1])
    };
    number(claim_port(&mut Table::<F>::deep(Now { ns: 0, s: now }), reply, key, may, now))
}
