//! The flow table on BPF maps.

use core::marker::PhantomData;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
};
use egress_common::{
    abi::{
        config::Config,
        family::Family,
        flow::{FlowKey, FlowValue, IN, Word, seen},
    },
    conntrack::{
        removal::{self, Outcome, Why},
        state::{known, refutes_reset},
    },
    nat::{
        fair::Admission,
        store::{FlowStore, Half, Insert},
    },
    policy::Tables,
    verdict::Counter,
};

use crate::{
    alloc::Allocate,
    atomic, broken, count, events, ledger,
    maps::{CLOCK, Clock, Maps, REMEMBERED},
    shortcut::Shortcuts,
};

/// `-EEXIST`, from an insert.
pub(crate) const EXISTS: i32 = -17;

/// The clock of flows: nanoseconds and seconds of `CLOCK_BOOTTIME`, moved by the configuration's offset.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    /// Nanoseconds.
    pub(crate) ns: u64,
    /// Seconds.
    pub(crate) s: u32,
}

impl Now {
    /// Reads the clock.
    #[inline(always)]
    pub(crate) fn read(config: &Config) -> Self {
        // SAFETY: the helper has no preconditions.
        let ns = unsafe { bpf_ktime_get_boot_ns() }.wrapping_add(config.clock_offset_ns);
        Self { ns, s: (ns / 1_000_000_000) as u32 }
    }

    /// The same, as it was when this CPU first asked in the current tick of the kernel (at most 10 ms long): the clock and the
    /// division into seconds take longer than anything else that a packet of a flow needs, the tick's number is one load.
    #[inline(always)]
    pub(crate) fn glance(config: &Config) -> Self {
        let Some(clock) = CLOCK.get_ptr_mut(0) else { return Self::read(config) };
        // SAFETY: the slot belongs to this CPU.
        let clock = unsafe { &mut *clock };
        // SAFETY: the helper has no preconditions.
        let tick = unsafe { bpf_jiffies64() };
        if clock.tick != tick || clock.offset != config.clock_offset_ns {
            let Self { ns, s } = Self::read(config);
            *clock = Clock { tick, offset: config.clock_offset_ns, ns, s: u64::from(s) };
        }
        Self { ns: clock.ns, s: clock.s as u32 }
    }
}

/// A key that a global function was given, on its own stack: old kernels (6.1) take no argument's memory as a map's key.
///
/// # Safety
///
/// The pointer is valid or null.
#[inline(always)]
pub(crate) unsafe fn own<K: Copy>(key: *const K) -> Option<K> {
    // SAFETY: the caller's promise.
    unsafe { key.as_ref() }.copied()
}

/// The half that carries the packet in hand.
#[derive(Clone, Copy)]
pub(crate) struct Entry<F: Family> {
    /// Where its packets are counted.
    pub(crate) packets: *mut u64,
    /// Where its bytes are.
    pub(crate) bytes: *mut u64,
    /// Address and port that the packet gets.
    pub(crate) nat: (F::Addr, u16),
}

impl<F: Shortcuts> Entry<F> {
    /// The half with this key, if it is alive. Notes that it carries a packet that showed `shown`.
    ///
    /// `last_seen` is swapped (a full barrier) before the word is read again: a remover that did not see the new time has its
    /// `dying` seen here. The mapping is read before that word: a revoked flow's slot may be another's at any time after.
    #[inline(always)]
    pub(crate) fn touch(key: &FlowKey<F::Addr>, shown: u8, now: u32) -> Option<Self> {
        let slot = Slot::<F>::of(key)?;
        if slot.last_seen() != now {
            // SAFETY: an aligned word of the element.
            unsafe { atomic::swap(&raw mut (*slot.0).last_seen, now) };
        }
        let entry = slot.entry();
        let word = slot.word();
        if !word.carries(key.dir) {
            return None;
        }
        if !known(word.seen, shown) {
            let [set, reset] = [shown, seen::RST].map(|seen| Word { seen, ..Word::default() }.raw());
            // SAFETY: as above.
            unsafe {
                atomic::or(slot.raw(), set);
                if refutes_reset(shown) {
                    atomic::and(slot.raw(), !reset);
                }
            }
            if shown & (seen::FIN | seen::RST) != 0 {
                F::forget(key);
            }
        }
        Some(Self { nat: (entry.nat.0, word.port), ..entry })
    }
}

impl<F: Family> Entry<F> {
    /// Whether no packet was counted yet.
    #[inline(always)]
    pub(crate) fn fresh(&self) -> bool {
        // SAFETY: an aligned field of the element, volatile because other CPUs change it.
        unsafe { self.packets.read_volatile() == 0 }
    }

    /// Counts a packet.
    #[inline(always)]
    pub(crate) fn count(&self, bytes: u32) {
        self.add(1, u64::from(bytes));
    }

    /// Counts packets.
    #[inline(always)]
    pub(crate) fn add(&self, packets: u64, bytes: u64) {
        // SAFETY: aligned fields of the element; both are only ever added to, or taken from by a swap.
        unsafe {
            atomic::add(self.packets, packets);
            atomic::add(self.bytes, bytes);
        }
    }
}

/// The place of a half in its map. It may become another half's at any time after the half was removed.
#[derive(Clone, Copy)]
pub(crate) struct Slot<F: Family>(*mut FlowValue<F>);

impl<F: Maps> Slot<F> {
    /// That of the half with this key.
    #[inline(always)]
    pub(crate) fn of(key: &FlowKey<F::Addr>) -> Option<Self> {
        F::flows().get_ptr_mut(key).map(Self)
    }

    /// The half as one that carries a packet; its port is yet to be read.
    #[inline(always)]
    pub(crate) fn entry(self) -> Entry<F> {
        let nat = (self.nat_addr(), 0);
        // SAFETY: only addresses inside the element are computed.
        unsafe { Entry { packets: &raw mut (*self.0).packets, bytes: &raw mut (*self.0).bytes, nat } }
    }

    #[inline(always)]
    pub(crate) fn nat_addr(self) -> F::Addr {
        // SAFETY: the pointer is of a map element, which stays mapped for this run.
        unsafe { (*self.0).nat_addr }
    }

    #[inline(always)]
    pub(crate) fn word(self) -> Word {
        // SAFETY: an aligned word of the element; volatile, because other CPUs change it.
        Word::from_raw(unsafe { self.raw().read_volatile() })
    }

    #[inline(always)]
    pub(crate) fn last_seen(self) -> u32 {
        // SAFETY: as for `word`.
        unsafe { (&raw const (*self.0).last_seen).read_volatile() }
    }

    /// The word as the number that is compared and swapped.
    #[inline(always)]
    fn raw(self) -> *mut u32 {
        // SAFETY: only an address inside the element is computed.
        unsafe { (&raw mut (*self.0).word).cast() }
    }
}

/// The flow table of a family.
pub(crate) struct Table<F> {
    now: Now,
    deep: bool,
    opens: bool,
    family: PhantomData<F>,
}

impl<F> Table<F> {
    #[inline(always)]
    pub(crate) const fn new(now: Now) -> Self {
        Self { now, deep: false, opens: false, family: PhantomData }
    }

    /// For a packet that opens a flow: it is weighed before it begins.
    #[inline(always)]
    pub(crate) const fn opening(now: Now) -> Self {
        Self { now, deep: false, opens: true, family: PhantomData }
    }

    /// Where the stack has no room for an account: a flow that ends is told of once the search is over. One of them; until
    /// then no other is ended.
    #[inline(always)]
    pub(crate) const fn deep(now: Now) -> Self {
        Self { now, deep: true, opens: false, family: PhantomData }
    }
}

impl<F: Allocate> FlowStore<F> for Table<F> {
    #[inline(always)]
    fn get(&self, key: &FlowKey<F::Addr>) -> Option<Half<F>> {
        let slot = Slot::<F>::of(key)?;
        // SAFETY: the pointer is of a map element, which stays mapped for this run.
        let created = unsafe { (*slot.0).created };
        Some(Half { nat_addr: slot.nat_addr(), word: slot.word(), last_seen: slot.last_seen(), created })
    }

    #[inline(always)]
    fn insert_new(&mut self, key: &FlowKey<F::Addr>, nat_addr: F::Addr, word: Word, now: u32) -> Insert {
        let Some(value) = F::scratch() else { return Insert::Full };
        // SAFETY: the scratch value belongs to this CPU; an address is one word or four. Counters and padding are zero in it from the
        // beginning. As a whole the value would be put together on the stack, by calls.
        let value = unsafe {
            for i in 0..size_of::<F::Addr>() / 4 {
                let part = (&raw const nat_addr).cast::<u32>().add(i).read_unaligned();
                (&raw mut (*value).nat_addr).cast::<u32>().add(i).write(part);
            }
            (*value).word = word;
            (*value).last_seen = now;
            (*value).created = now;
            &*value
        };
        let flags = if broken::CLAIM { 0 } else { u64::from(BPF_NOEXIST) };
        match F::flows().insert(key, value, flags) {
            Ok(()) => Insert::Done,
            Err(EXISTS) => Insert::Exists,
            Err(_) => Insert::Full,
        }
    }

    #[inline(always)]
    fn swap_word(&mut self, key: &FlowKey<F::Addr>, from: Word, to: Word) -> bool {
        let Some(slot) = Slot::<F>::of(key) else { return false };
        // SAFETY: an aligned word of the element.
        unsafe { atomic::compare_swap(slot.raw(), from.raw(), to.raw()) }
    }

    #[inline(always)]
    fn clear(&mut self, key: &FlowKey<F::Addr>, bits: Word) {
        if let Some(slot) = Slot::<F>::of(key) {
            // SAFETY: an aligned word of the element.
            unsafe { atomic::and(slot.raw(), !bits.raw()) };
        }
    }

    #[inline(always)]
    fn remove(&mut self, key: &FlowKey<F::Addr>) {
        // A half that is already gone is what was wanted.
        let _ = F::flows().remove(key);
    }

    #[inline(always)]
    fn choose(&self, _config: &Config, src: &F::Addr, not: Option<u32>) -> Option<u32> {
        F::choose_apart(src, not)
    }

    #[inline(always)]
    fn search(
        &mut self,
        _config: &Config,
        reply: &mut FlowKey<F::Addr>,
        _key: &FlowKey<F::Addr>,
        may: Admission,
        _now: u32,
    ) -> (Insert, u32) {
        F::search_apart(reply, may, self.now)
    }

    #[inline(always)]
    fn claim(&mut self, reply: &FlowKey<F::Addr>, _key: &FlowKey<F::Addr>, may: Admission, now: u32) -> Insert {
        F::claim_apart(reply.dport, may, now)
    }

    #[inline(always)]
    fn admit(&mut self, _config: &Config, reply: &FlowKey<F::Addr>, key: &FlowKey<F::Addr>, first: bool) -> Admission {
        F::want(reply, key);
        F::weigh(key, reply);
        F::admit_apart(u32::from(first))
    }

    #[inline(always)]
    fn in_vain(
        &mut self,
        _config: &Config,
        _reply: &FlowKey<F::Addr>,
        _key: &FlowKey<F::Addr>,
        admission: Admission,
    ) -> bool {
        F::in_vain_apart(admission)
    }

    #[inline(always)]
    fn begun(&mut self, key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>) {
        ledger::begun::<F>(key, reply, self.opens);
    }

    #[inline(always)]
    fn ending(&mut self, key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, why: u8) {
        // Packets end flows in the depth only, and such that are closed: these have no shortcut.
        if !self.deep {
            F::forget(key);
        }
        events::note::<F>(key, reply, self.deep);
        if !self.deep {
            ledger::ending::<F>(key, reply, why, false);
        } else if let Some(wanted) = F::wanted() {
            // SAFETY: the slot belongs to this CPU. The other key stands beside it already, see `reclaim`.
            unsafe { (*wanted)[3] = *reply };
        }
    }

    #[inline(always)]
    fn reclaim(&mut self, reply: &FlowKey<F::Addr>, now: u32) -> bool {
        let Some(back) = self.get(reply).filter(|half| half.word.seen & (seen::FIN | seen::RST) != 0) else {
            return false;
        };
        let Some(wanted) = F::wanted() else { return false };
        // SAFETY: the slot belongs to this CPU.
        if unsafe { (*wanted)[3].dir } == IN {
            return false;
        }
        // SAFETY: the slot belongs to this CPU.
        let key = unsafe {
            (*wanted)[2] = reply.original(back.nat_addr, back.word.port);
            &(*wanted)[2]
        };
        let removed = removal::remove(self, key, now, Why::Reclaim) == Outcome::Removed;
        count::add(Counter::FlowsReclaimed, u64::from(removed));
        removed
    }

    #[inline(always)]
    fn exhausted(&self, reply: &FlowKey<F::Addr>) -> bool {
        // Mostly nothing is remembered at all.
        // SAFETY: an aligned word of the element, volatile because other CPUs change it.
        if REMEMBERED.get_ptr(0).is_some_and(|until| unsafe { until.read_volatile() } <= self.now.ns) {
            return false;
        }
        // SAFETY: the pointer is of a map element; the value is one word.
        F::exhausted().get_ptr(reply).is_some_and(|until| unsafe { until.read_volatile() } > self.now.ns)
    }
}

/// Policy on BPF maps.
pub(crate) struct Policy;

impl<F: Maps> Tables<F> for Policy {
    #[inline(always)]
    fn no_snat(&self, addr: &F::Addr) -> bool {
        F::no_snat(addr)
    }

    #[inline(always)]
    fn selected(&self, addr: &F::Addr) -> bool {
        F::selected(addr)
    }
}
