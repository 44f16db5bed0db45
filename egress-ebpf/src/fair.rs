//! Who may open a flow, and the numbers that this depends on: global functions, for the sake of their stack.

use core::marker::PhantomData;

use egress_common::{
    abi::{
        family::{Address, Family, V4, V6},
        flow::FlowKey,
        usage::Pace,
    },
    nat::{
        claim::EXHAUSTED_NS,
        fair::{ALL, Account, Admission, Counts, Kind, Place, admit, charge, spent, vain},
    },
};

use crate::{
    atomic, events,
    maps::{A6, Maps, PACE, REMEMBERED, WEIGHED, config},
    store::Now,
};

/// A family with these functions. The flow in question stands in `Maps::wanted`.
pub(crate) trait Fair: Maps + events::Tell {
    /// Counts a flow that begins (1) or ends (-1).
    fn account(key: &FlowKey<Self::Addr>, reply: &FlowKey<Self::Addr>, amount: i32);
    /// Notes where the flow that is being opened is counted: its hashes take long, and are needed before and after.
    fn weigh(key: &FlowKey<Self::Addr>, reply: &FlowKey<Self::Addr>);
    /// Counts the flow that was weighed.
    fn account_weighed();
    /// What the flow may take; its source is charged for it if `first` is not 0.
    fn admit_apart(first: u32) -> Admission;
    /// It got nothing by this admission, see `FlowStore::in_vain`.
    fn in_vain_apart(admission: Admission) -> bool;
}

macro_rules! family {
    ($family:ty, $account:ident, $weigh:ident, $admit:ident, $in_vain:ident) => {
        impl Fair for $family {
            #[inline(always)]
            fn account(key: &FlowKey<Self::Addr>, reply: &FlowKey<Self::Addr>, amount: i32) {
                $account(core::ptr::from_ref(key).cast_mut(), core::ptr::from_ref(reply).cast_mut(), amount);
            }

            #[inline(always)]
            fn weigh(key: &FlowKey<Self::Addr>, reply: &FlowKey<Self::Addr>) {
                $weigh(core::ptr::from_ref(key).cast_mut(), core::ptr::from_ref(reply).cast_mut());
            }

            #[inline(always)]
            fn account_weighed() {
                if let Some(account) = weighed() {
                    shift::<$family>(account, 1);
                }
            }

            #[inline(always)]
            fn admit_apart(first: u32) -> Admission {
                admission($admit(first))
            }

            #[inline(always)]
            fn in_vain_apart(admission: Admission) -> bool {
                let said = $in_vain(number(admission));
                if said & TELL != 0 {
                    tell_limited::<Self>();
                }
                said & SEARCHED != 0
            }
        }

        /// See [`Fair::account`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $account(
            key: *mut FlowKey<<$family as Family>::Addr>,
            reply: *mut FlowKey<<$family as Family>::Addr>,
            amount: i32,
        ) -> u32 {
            count::<$family>(key, reply, amount)
        }

        /// See [`Fair::weigh`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $weigh(
            key: *mut FlowKey<<$family as Family>::Addr>,
            reply: *mut FlowKey<<$family as Family>::Addr>,
        ) -> u32 {
            note::<$family>(key, reply)
        }

        /// See [`Fair::admit_apart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $admit(first: u32) -> u32 {
            number(decide::<$family>(first))
        }

        /// See [`Fair::in_vain_apart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $in_vain(admitted: u32) -> u32 {
            remember::<$family>(admission(admitted))
        }
    };
}

family!(V4, account4, weigh4, admit4, in_vain4);
family!(V6, account6, weigh6, admit6, in_vain6);

/// What `in_vain` says: the ports were searched; its source is to be told of.
const SEARCHED: u32 = 1;
const TELL: u32 = 2;

pub(crate) const fn number(admission: Admission) -> u32 {
    match admission {
        Admission::Open => 0,
        Admission::Closed => 1,
        Admission::Refused => 2,
        Admission::Unused => 3,
    }
}

pub(crate) const fn admission(number: u32) -> Admission {
    match number {
        0 => Admission::Open,
        1 => Admission::Closed,
        3 => Admission::Unused,
        _ => Admission::Refused,
    }
}

/// `USE4` or `USE6`.
struct Used<F>(PhantomData<F>);

impl<F: Maps> Counts for Used<F> {
    #[inline(always)]
    fn all(&self) -> i32 {
        // SAFETY: an aligned word of a map's element, volatile because other CPUs change it.
        F::used(ALL).map_or(0, |cell| unsafe { (&raw const (*cell).first).read_volatile() })
    }

    #[inline(always)]
    fn at(&self, place: Place) -> i32 {
        let (Some(first), Some(second)) = (F::used(place.first), F::used(place.second)) else { return 0 };
        // SAFETY: as above.
        let (first, second) =
            unsafe { ((&raw const (*first).first).read_volatile(), (&raw const (*second).second).read_volatile()) };
        if first < second { first } else { second }
    }
}

#[inline(always)]
fn count<F: Maps>(key: *const FlowKey<F::Addr>, reply: *const FlowKey<F::Addr>, amount: i32) -> u32 {
    // SAFETY: the verifier holds callers of a global function to valid pointers or null.
    let (Some(key), Some(reply), Some(config)) = (unsafe { key.as_ref() }, unsafe { reply.as_ref() }, config()) else {
        return 0;
    };
    shift::<F>(&Account::new(&config.port_key, key, &reply.daddr), amount);
    0
}

#[inline(always)]
fn note<F: Family>(key: *const FlowKey<F::Addr>, reply: *const FlowKey<F::Addr>) -> u32 {
    // SAFETY: as above.
    let (Some(key), Some(reply)) = (unsafe { key.as_ref() }, unsafe { reply.as_ref() }) else { return 0 };
    let (Some(slot), Some(config)) = (WEIGHED.get_ptr_mut(0), config()) else { return 0 };
    // SAFETY: the slot belongs to this CPU; an account is two words.
    unsafe { slot.cast::<Account>().write(Account::new(&config.port_key, key, &reply.daddr)) };
    0
}

#[inline(always)]
fn weighed() -> Option<&'static Account> {
    const { assert!(size_of::<Account>() == 16 && align_of::<Account>() == 8) };
    // SAFETY: the slot belongs to this CPU, and only packets that open a flow write it.
    WEIGHED.get_ptr(0).map(|slot| unsafe { &*slot.cast::<Account>() })
}

#[inline(always)]
fn shift<F: Maps>(account: &Account, amount: i32) {
    if let Some(all) = F::used(ALL) {
        // SAFETY: an aligned word of the element.
        unsafe { atomic::shift(&raw mut (*all).first, amount) };
    }
    for kind in [Kind::Source, Kind::Group, Kind::Pair] {
        if !account.ports() && kind != Kind::Source {
            break;
        }
        let place = account.place(kind);
        let (Some(first), Some(second)) = (F::used(place.first), F::used(place.second)) else { return };
        // SAFETY: as above.
        unsafe {
            atomic::shift(&raw mut (*first).first, amount);
            atomic::shift(&raw mut (*second).second, amount);
        }
    }
}

#[inline(always)]
fn decide<F: Maps>(first: u32) -> Admission {
    let (Some(wanted), Some(config), Some(account)) = (F::wanted(), config(), weighed()) else {
        return Admission::Open;
    };
    // SAFETY: the slot belongs to this CPU.
    let [reply, key, ..] = unsafe { &*wanted };
    if config.fair_from >= 100 {
        return Admission::Open;
    }
    let now = Now::glance(config);
    let pace = || first == 0 || paced::<F>(&key.saddr, config.source_rate, now);
    let admission = admit(config, key, account, &Used::<F>(PhantomData), pace);
    if admission == Admission::Closed {
        let vain = vain(reply, &key.saddr);
        // SAFETY: the pointer is of a map element; the value is one word.
        if F::exhausted().get_ptr(vain).is_some_and(|until| unsafe { until.read_volatile() } > now.ns) {
            return Admission::Refused;
        }
    }
    admission
}

/// Charges a source for a flow, if it may open one.
#[inline(always)]
fn paced<F: Family>(source: &F::Addr, rate: u32, now: Now) -> bool {
    if rate == 0 {
        return true;
    }
    let Some(pace) = pace::<F>(source, now) else { return true };
    // SAFETY: an aligned word of the element; two CPUs that charge at the same time charge once, which is close enough.
    unsafe {
        let paid = &raw mut (*pace).paid_until;
        match charge(paid.read_volatile(), now.ns, rate) {
            Some(until) => {
                paid.write_volatile(until);
                true
            }
            None => false,
        }
    }
}

/// The element of a source, made if there is none.
#[inline(always)]
fn pace<F: Family>(source: &F::Addr, now: Now) -> Option<*mut Pace> {
    let (high, low) = source.lanes();
    let words = if F::V6 { [high, low] } else { [0, 0xffff_0000 | high << 32] };
    // SAFETY: as large, and only bytes.
    let key: A6 = unsafe { core::mem::transmute(words) };
    if let Some(pace) = PACE.get_ptr_mut(key) {
        return Some(pace);
    }
    // Not zero: for that the compiler calls memset, for which there is no stack.
    let _ = PACE.insert(key, Pace { paid_until: now.ns, told: 0, pad: 0 }, 0);
    PACE.get_ptr_mut(key)
}

#[inline(always)]
fn remember<F: Maps>(admission: Admission) -> u32 {
    let (Some(wanted), Some(config), Some(account)) = (F::wanted(), config(), weighed()) else { return 0 };
    // SAFETY: the slot belongs to this CPU.
    let [reply, key, ..] = unsafe { &*wanted };
    let now = Now::glance(config);
    let mut memory = FlowKey { dport: 0, ..*reply };
    match admission {
        Admission::Open => {
            if !spent(config, key, account, &Used::<F>(PhantomData)) {
                return 0;
            }
        }
        Admission::Closed => memory = vain(reply, &key.saddr),
        Admission::Unused | Admission::Refused => {}
    }
    if admission != Admission::Refused {
        // Without room for it the next packet searches again, which is slower and not wrong.
        let until = now.ns + EXHAUSTED_NS;
        let _ = F::exhausted().insert(memory, until, 0);
        if let Some(remembered) = REMEMBERED.get_ptr_mut(0) {
            // SAFETY: an aligned word of the element; whoever writes it last was about the latest.
            unsafe { remembered.write_volatile(until) };
        }
    }
    if admission == Admission::Open {
        return SEARCHED;
    }
    let mut said = if admission == Admission::Closed { SEARCHED } else { 0 };
    if let Some(pace) = pace::<F>(&key.saddr, now) {
        // SAFETY: as in `paced`.
        unsafe {
            let told = &raw mut (*pace).told;
            if told.read_volatile() != now.s {
                told.write_volatile(now.s);
                said |= TELL;
            }
        }
    }
    said
}

/// Where there is stack for it.
#[inline(always)]
fn tell_limited<F: Fair>() {
    let Some(wanted) = F::wanted() else { return };
    // SAFETY: the slot belongs to this CPU.
    events::limited::<F>(unsafe { &(*wanted)[1] });
}
