//! Taking flows over on the agent's order: from a table of another layout, or from the kernel's conntrack.
//!
//! The "packet" is an order, see `egress_common::abi::order`.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    helpers::bpf_skb_load_bytes,
};
use egress_common::{
    abi::{
        event::why::REVOKED,
        family::{V4, V6},
        flow::{FlowKey, Word, seen},
        order::{self, Carried, ImportHead},
    },
    nat::{
        carry::{Import, Part, take},
        store::Insert,
    },
    packet::Packet,
};

use super::expire::Remove;
use crate::{
    atomic,
    ctx::skb::Skb,
    maps::config,
    store::{EXISTS, Now, Table},
};

/// `import`: how many flows became what.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    let Ok(head) = skb.read::<ImportHead>(0) else { return -1 };
    (if head.v6 == 0 { all::<V4>(skb, head) } else { all::<V6>(skb, head) }) as i32
}

#[inline(always)]
fn all<F: TakeOver>(skb: Skb, head: ImportHead) -> u32 {
    let mut became = 0;
    for i in 0..order::MAX_FLOWS {
        if i >= u32::from(head.flows) {
            break;
        }
        let mut now = 0;
        for _ in 0..TRIES {
            now = F::take_over(skb.raw(), i, u32::from(head.add));
            if !make_way::<F>() {
                break;
            }
        }
        became += now;
    }
    became
}

/// Two flows can be in the way of one: who holds its port, and who has its key.
const TRIES: u32 = 3;

/// Cuts what is in the way of the flow that was tried; whether anything was. Here, because below there is no stack for it.
#[inline(always)]
fn make_way<F: Remove>() -> bool {
    let Some(importing) = F::importing() else { return false };
    // SAFETY: the slot belongs to this CPU.
    unsafe {
        if (*importing).cut == 0 {
            return false;
        }
        (*importing).cut = 0;
        F::remove(&raw mut (*importing).gone, u32::from(REVOKED));
    }
    true
}

/// A family with its out-of-line function that takes over one flow.
trait TakeOver: Remove {
    /// Takes over one flow of the order: 1 shifted to the place of what became of it, see `abi::order::Taken`.
    fn take_over(skb: *mut __sk_buff, index: u32, add: u32) -> u32;
}

macro_rules! family {
    ($family:ty, $import:ident) => {
        impl TakeOver for $family {
            #[inline(always)]
            fn take_over(skb: *mut __sk_buff, index: u32, add: u32) -> u32 {
                $import(skb, index, add)
            }
        }

        /// See [`TakeOver::take_over`]. A global function: verified once instead of once per flow.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $import(skb: *mut __sk_buff, index: u32, add: u32) -> u32 {
            one::<$family>(Skb::new(skb), index, add)
        }
    };
}

family!(V4, import4);
family!(V6, import6);

#[inline(always)]
fn one<F: Remove>(skb: Skb, index: u32, add: u32) -> u32 {
    let (Some(importing), Some(_)) = (F::importing(), config()) else { return 0 };
    let size = size_of::<Carried<F>>() as u32;
    // SAFETY: the context is valid, and the slot, which belongs to this CPU, has `size` bytes there.
    let missing = unsafe {
        bpf_skb_load_bytes(
            skb.raw().cast(),
            order::HEAD + (index & (order::MAX_FLOWS - 1)) * size,
            (&raw mut (*importing).flow).cast(),
            size,
        )
    };
    if missing != 0 {
        return 0;
    }
    // SAFETY: as above; only `half` of it is written below.
    let flow = unsafe { &(*importing).flow };
    // It began where it comes from, and is told so.
    let began = flow.created;
    let mut table = Table::<F>::new(Now { ns: u64::from(began) * 1_000_000_000, s: began });
    1 << (8 * take(&mut table, flow, add != 0) as u32)
}

impl<F: Remove> Import<F> for Table<F> {
    #[inline(always)]
    fn insert_part(&mut self, key: &FlowKey<F::Addr>, part: &Part<F>) -> Insert {
        let Some(importing) = F::importing() else { return Insert::Full };
        // SAFETY: the slot belongs to this CPU; its padding is zero from the beginning.
        let half = unsafe {
            let half = &raw mut (*importing).half;
            (*half).nat_addr = part.nat_addr;
            (*half).word = part.word;
            (*half).last_seen = part.last_seen;
            (*half).created = part.created;
            (*half).packets = part.packets;
            (*half).bytes = part.bytes;
            &*half
        };
        match F::flows().insert(key, half, u64::from(BPF_NOEXIST)) {
            Ok(()) => Insert::Done,
            Err(EXISTS) => Insert::Exists,
            Err(_) => Insert::Full,
        }
    }

    #[inline(always)]
    fn join(&mut self, key: &FlowKey<F::Addr>, part: &Part<F>, add: bool) {
        let Some(half) = F::flows().get_ptr_mut(key) else { return };
        let bits = Word { seen: part.word.seen, ..Word::default() };
        // SAFETY: aligned words of the element, which packets change at the same time.
        unsafe {
            atomic::or((&raw mut (*half).word).cast(), bits.raw());
            let last = (&raw const (*half).last_seen).read_volatile();
            if part.last_seen.wrapping_sub(last) < u32::MAX / 2 {
                atomic::compare_swap(&raw mut (*half).last_seen, last, part.last_seen);
            }
            for (total, carried) in [(&raw mut (*half).packets, part.packets), (&raw mut (*half).bytes, part.bytes)] {
                let more = if add { carried } else { carried.saturating_sub(total.read_volatile()) };
                atomic::add(total, more);
            }
        }
        if part.word.seen & (seen::FIN | seen::RST) != 0 {
            F::forget(key);
        }
    }

    /// Asks for it: this attempt finds it in its way, the next one does not.
    #[inline(always)]
    fn cut(&mut self, key: &FlowKey<F::Addr>) {
        let Some(importing) = F::importing() else { return };
        // SAFETY: the slot belongs to this CPU.
        unsafe {
            (*importing).gone = *key;
            (*importing).cut = 1;
        }
    }
}
