//! Removing flows on the agent's order. The agent finds suspects; what is decided here is decided on what the table holds at
//! this moment.
//!
//! The "packet" is an order, see `egress_common::abi::order`.

use aya_ebpf::helpers::bpf_skb_load_bytes;
use egress_common::{
    abi::{
        event::why,
        family::{Family, V4, V6},
        flow::{FlowKey, OUT},
        order::{self, Head},
    },
    conntrack::removal::{Outcome, Why, remove, remove_orphan},
    packet::Packet,
};

use crate::{
    ctx::skb::Skb,
    maps::config,
    pipeline::Stack,
    store::{Now, Table, own},
};

const REVOKED: u32 = why::REVOKED as u32;
const RECLAIMED: u32 = why::RECLAIMED as u32;

/// `expire`: how many flows, and halves alone, were removed.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    let Ok(head) = skb.read::<Head>(0) else { return -1 };
    let removed = if head.v6 == 0 { all::<V4>(skb, head) } else { all::<V6>(skb, head) };
    removed as i32
}

#[inline(always)]
fn all<F: Remove>(skb: Skb, head: Head) -> u32 {
    let mut removed = 0;
    for i in 0..order::MAX_KEYS {
        if i >= u32::from(head.keys) {
            break;
        }
        let mut key = core::mem::MaybeUninit::<FlowKey<F::Addr>>::zeroed();
        let size = size_of::<FlowKey<F::Addr>>() as u32;
        // SAFETY: the context is valid and `key` has `size` bytes.
        let missing =
            unsafe { bpf_skb_load_bytes(skb.raw().cast(), order::HEAD + i * size, key.as_mut_ptr().cast(), size) };
        if missing != 0 {
            break;
        }
        removed += F::remove(key.as_mut_ptr(), u32::from(head.why));
    }
    removed
}

/// A family with its out-of-line removal of one flow.
pub(super) trait Remove: Stack {
    /// Removes the flow (outbound key) or the orphaned half (inbound key); 1 if it did.
    fn remove(key: *mut FlowKey<Self::Addr>, why: u32) -> u32;
}

macro_rules! family {
    ($family:ty, $remove:ident) => {
        impl Remove for $family {
            #[inline(always)]
            fn remove(key: *mut FlowKey<Self::Addr>, why: u32) -> u32 {
                $remove(key, why)
            }
        }

        /// See [`Remove::remove`]. A global function: verified once instead of once per key.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $remove(key: *mut FlowKey<<$family as Family>::Addr>, why: u32) -> u32 {
            one::<$family>(key, why)
        }
    };
}

family!(V4, expire4);
family!(V6, expire6);

#[inline(always)]
fn one<F: Stack>(key: *mut FlowKey<F::Addr>, why: u32) -> u32 {
    // SAFETY: the verifier holds callers of a global function to a valid pointer or null.
    let (Some(key), Some(config)) = (unsafe { own(key) }, config()) else { return 0 };
    let now = Now::read(config);
    let mut table = Table::<F>::new(now);
    let outcome = if key.dir == OUT {
        let why = match why {
            REVOKED => Why::Revoked,
            RECLAIMED => Why::Reclaim,
            _ => Why::Idle(&config.timeouts),
        };
        remove(&mut table, &key, now.s, why)
    } else {
        remove_orphan(&mut table, &key, now.s)
    };
    u32::from(outcome == Outcome::Removed)
}
