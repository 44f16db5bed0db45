//! [`removal::restart`] as a global function: rare, and it has stack of its own.

use egress_common::{
    abi::{
        family::{Family, V4, V6},
        flow::FlowKey,
    },
    conntrack::removal,
};

use crate::{
    alloc::Allocate,
    store::{Now, Table, own},
};

/// A family with this function.
pub(crate) trait Restart: Allocate {
    /// See [`removal::restart`].
    fn restart(key: *mut FlowKey<Self::Addr>);
}

macro_rules! family {
    ($family:ty, $restart:ident) => {
        impl Restart for $family {
            #[inline(always)]
            fn restart(key: *mut FlowKey<Self::Addr>) {
                $restart(key);
            }
        }

        /// See [`Restart::restart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $restart(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: the verifier holds callers of a global function to a valid pointer or null.
            if let Some(key) = unsafe { own(key) } {
                removal::restart(&mut Table::<$family>::new(Now { ns: 0, s: 0 }), &key);
            }
            0
        }
    };
}

family!(V4, restart4);
family!(V6, restart6);
