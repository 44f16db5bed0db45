//! Every map. All are BTF maps, so that plain `bpftool` loads the object and prints field names. Sizes marked "at load" are
//! set by the agent.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, lpm_trie::Key},
    macros::btf_map,
};
use egress_common::{
    abi::{
        config::Config,
        event::Tally,
        family::{Addr6, Family, V4, V6},
        flow::{FlowKey, FlowKey4, FlowKey6, FlowValue},
        fragment::{DATAGRAMS, Datagram, DatagramKey, HELD as HELD_FRAMES, Held, WAITING, Waiting},
        hop::{HOPS, Hop},
        order::Carried,
        policy::{MAX_LOCAL, MAX_PODS, MAX_PREFIXES},
        shortcut::{SHORTCUTS, Shortcut},
        usage::{CELLS, Cell, PACES, Pace},
    },
    nat::claim::Pool,
    packet::{
        deep::Deep,
        intact::Intact,
        parse::Parsed,
        quote::{Quote, Quoted},
    },
    verdict::{Counters, Drops},
};

/// Addresses of IPv4.
pub(crate) type A4 = [u8; 4];
/// Addresses of IPv6.
pub(crate) type A6 = Addr6;

const FLOWS: usize = 32768;
const EXHAUSTED: usize = 4096;
/// Written by the agent only.
const POLICY: usize = (BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG) as usize;

/// Both halves of every IPv4 flow. Preallocated and never evicting; size at load.
#[btf_map]
pub(crate) static FLOWS4: HashMap<FlowKey4, FlowValue<V4>, FLOWS> = HashMap::new();
/// Both halves of every IPv6 flow.
#[btf_map]
pub(crate) static FLOWS6: HashMap<FlowKey6, FlowValue<V6>, FLOWS> = HashMap::new();

/// Two configurations, see `ACTIVE`.
#[btf_map]
pub(crate) static CONFIG: Array<Config, 2> = Array::new();
/// Slot of `CONFIG` in use; 0 and 1, anything else: none yet.
#[btf_map]
pub(crate) static ACTIVE: Array<u32, 1> = Array::new();

/// `snat: false` CIDRs.
#[btf_map]
pub(crate) static NO_SNAT4: LpmTrie<A4, u32, MAX_PREFIXES, POLICY> = LpmTrie::new();
/// `snat: false` CIDRs.
#[btf_map]
pub(crate) static NO_SNAT6: LpmTrie<A6, u32, MAX_PREFIXES, POLICY> = LpmTrie::new();
/// Addresses of Pods that a selector matches.
#[btf_map]
pub(crate) static SELECTED4: HashMap<A4, u32, MAX_PODS, POLICY> = HashMap::new();
/// Addresses of Pods that a selector matches.
#[btf_map]
pub(crate) static SELECTED6: HashMap<A6, u32, MAX_PODS, POLICY> = HashMap::new();
/// The gateway's own addresses.
#[btf_map]
pub(crate) static LOCAL4: HashMap<A4, u32, MAX_LOCAL, POLICY> = HashMap::new();
/// The gateway's own addresses.
#[btf_map]
pub(crate) static LOCAL6: HashMap<A6, u32, MAX_LOCAL, POLICY> = HashMap::new();

/// (egress, destination, port) whose ports were all taken, until when. Approximate is enough, so it may evict.
#[btf_map]
pub(crate) static EXHAUSTED4: LruHashMap<FlowKey4, u64, EXHAUSTED> = LruHashMap::new();
/// As `EXHAUSTED4`.
#[btf_map]
pub(crate) static EXHAUSTED6: LruHashMap<FlowKey6, u64, EXHAUSTED> = LruHashMap::new();

/// Halves of flows that XDP finds by their slot.
#[btf_map]
pub(crate) static SHORTCUTS4: Array<Shortcut<V4>, { SHORTCUTS as usize }> = Array::new();
/// As `SHORTCUTS4`.
#[btf_map]
pub(crate) static SHORTCUTS6: Array<Shortcut<V6>, { SHORTCUTS as usize }> = Array::new();

/// Next hops by destination.
#[btf_map]
pub(crate) static HOPS4: PerCpuArray<Hop<A4>, { HOPS as usize }> = PerCpuArray::new();
/// Next hops by destination.
#[btf_map]
pub(crate) static HOPS6: PerCpuArray<Hop<A6>, { HOPS as usize }> = PerCpuArray::new();

/// Where a new half is put together: the programs' stack is too small for it.
#[btf_map]
pub(crate) static SCRATCH4: PerCpuArray<FlowValue<V4>, 1> = PerCpuArray::new();
/// As `SCRATCH4`.
#[btf_map]
pub(crate) static SCRATCH6: PerCpuArray<FlowValue<V6>, 1> = PerCpuArray::new();

/// The flow that `import` takes over, and the half that it inserts. Not `SCRATCH4`: old kernels (6.1) let packets in between
/// while an order is carried out.
#[btf_map]
pub(crate) static IMPORT4: PerCpuArray<Importing<V4>, 1> = PerCpuArray::new();
/// As `IMPORT4`.
#[btf_map]
pub(crate) static IMPORT6: PerCpuArray<Importing<V6>, 1> = PerCpuArray::new();

/// The flow for which a port is looked for (its reply key and its own), and both keys of one that was in the way; the last is
/// one only if its `dir` says so, and then that flow ended and is yet to be told of. In a map: old kernels (6.1) take no
/// argument's memory as a map's key, and there is no stack for copies.
#[btf_map]
pub(crate) static WANTED4: PerCpuArray<[FlowKey4; 4], 1> = PerCpuArray::new();
/// As `WANTED4`.
#[btf_map]
pub(crate) static WANTED6: PerCpuArray<[FlowKey6; 4], 1> = PerCpuArray::new();

/// Where the flow that is being opened is counted, see [`crate::fair::Fair::weigh`].
#[btf_map]
pub(crate) static WEIGHED: PerCpuArray<[u64; 2], 1> = PerCpuArray::new();
/// Until when anything is remembered in `EXHAUSTED4` or `EXHAUSTED6`.
#[btf_map]
pub(crate) static REMEMBERED: Array<u64, 1> = Array::new();
/// Flows by source, destination and both, see `egress_common::nat::fair`.
#[btf_map]
pub(crate) static USE4: Array<Cell, CELLS> = Array::new();
/// As `USE4`.
#[btf_map]
pub(crate) static USE6: Array<Cell, CELLS> = Array::new();
/// The pace of sources that opened flows under pressure; IPv4 as `::ffff:a.b.c.d`. Approximate is enough, so it may evict.
#[btf_map]
pub(crate) static PACE: LruHashMap<A6, Pace, PACES> = LruHashMap::new();

/// Datagrams of which the first fragment passed. First fragments, of flows or for sockets, evict the oldest.
#[btf_map]
pub(crate) static FRAGS4: LruHashMap<DatagramKey<A4>, Datagram, DATAGRAMS> = LruHashMap::new();
/// As `FRAGS4`.
#[btf_map]
pub(crate) static FRAGS6: LruHashMap<DatagramKey<A6>, Datagram, DATAGRAMS> = LruHashMap::new();
/// Datagrams whose first fragment is waited for.
#[btf_map]
pub(crate) static EARLY4: LruHashMap<DatagramKey<A4>, Waiting, WAITING> = LruHashMap::new();
/// As `EARLY4`.
#[btf_map]
pub(crate) static EARLY6: LruHashMap<DatagramKey<A6>, Waiting, WAITING> = LruHashMap::new();
/// Fragments that wait for it.
#[btf_map]
pub(crate) static HELD4: LruHashMap<DatagramKey<A4>, Held, HELD_FRAMES> = LruHashMap::new();
/// As `HELD4`.
#[btf_map]
pub(crate) static HELD6: LruHashMap<DatagramKey<A6>, Held, HELD_FRAMES> = LruHashMap::new();
/// Where a frame or a part of it is copied to.
#[btf_map]
pub(crate) static FRAME: PerCpuArray<Held, 1> = PerCpuArray::new();
/// The packet in hand, once it is parsed: every step reads it from here. A `Parsed`, in words because of its BTF.
#[btf_map]
pub(crate) static PACKET: PerCpuArray<[u64; PACKET_WORDS], 1> = PerCpuArray::new();
/// The packet that it quotes, likewise.
#[btf_map]
pub(crate) static QUOTE: PerCpuArray<[u64; QUOTE_WORDS], 1> = PerCpuArray::new();
/// Until when what the gateway sent itself is paid for, in nanoseconds: ICMP errors, then TCP RST.
#[btf_map]
pub(crate) static ANSWERED: PerCpuArray<u64, 2> = PerCpuArray::new();

/// The time of the kernel's current tick, see [`crate::store::Now::glance`].
#[btf_map]
pub(crate) static CLOCK: PerCpuArray<Clock, 1> = PerCpuArray::new();

const PACKET_WORDS: usize = 12;
const QUOTE_WORDS: usize = 10;

/// Drops by reason.
#[btf_map]
pub(crate) static DROPS: PerCpuArray<Drops, 1> = PerCpuArray::new();
/// Everything else that is counted.
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// What the flow that ends has carried: on an order of the agent, then on a packet's way. Two, because old kernels (6.1) let
/// packets in between while an order is carried out.
#[btf_map]
pub(crate) static TALLY: PerCpuArray<Tally, 2> = PerCpuArray::new();

/// Records for the agent. The value type is `()`: libbpf refuses ring buffers with one.
#[btf_map]
pub(crate) static EVENTS: RingBuf<(), 262_144> = RingBuf::new();

/// Value of `CLOCK`.
#[repr(C)]
pub(crate) struct Clock {
    /// Number of the kernel's tick.
    pub(crate) tick: u64,
    /// The configuration's offset then.
    pub(crate) offset: u64,
    /// Nanoseconds.
    pub(crate) ns: u64,
    /// Seconds.
    pub(crate) s: u64,
}

/// Value of `IMPORT4` and `IMPORT6`.
#[repr(C)]
pub(crate) struct Importing<F: Family> {
    /// The half that is inserted.
    pub(crate) half: FlowValue<F>,
    /// The flow.
    pub(crate) flow: Carried<F>,
    /// The flow that is in its way, once `cut` says so.
    pub(crate) gone: FlowKey<F::Addr>,
    /// 1 if that is to be cut.
    pub(crate) cut: u32,
}

/// The maps and out-of-line functions of a family.
pub(crate) trait Maps: Pool + Deep + Intact + Quoted {
    /// `FLOWS4` or `FLOWS6`.
    fn flows() -> &'static HashMap<FlowKey<Self::Addr>, FlowValue<Self>, FLOWS>;
    /// `NO_SNAT4` or `NO_SNAT6`, with the address as its full-length key.
    fn no_snat(addr: &Self::Addr) -> bool;
    /// `SELECTED4` or `SELECTED6`.
    fn selected(addr: &Self::Addr) -> bool;
    /// Flags of an own address.
    fn local(addr: &Self::Addr) -> Option<u32>;
    /// `EXHAUSTED4` or `EXHAUSTED6`.
    fn exhausted() -> &'static LruHashMap<FlowKey<Self::Addr>, u64, EXHAUSTED>;
    /// This CPU's `SCRATCH4` or `SCRATCH6`.
    fn scratch() -> Option<*mut FlowValue<Self>>;
    /// This CPU's `IMPORT4` or `IMPORT6`.
    fn importing() -> Option<*mut Importing<Self>>;
    /// This CPU's `WANTED4` or `WANTED6`.
    fn wanted() -> Option<*mut [FlowKey<Self::Addr>; 4]>;
    /// An element of `USE4` or `USE6`.
    fn used(at: u32) -> Option<*mut Cell>;
    /// The slot of a destination on this CPU.
    fn hop(addr: &Self::Addr) -> Option<*mut Hop<Self::Addr>>;
    /// An element of `SHORTCUTS4` or `SHORTCUTS6`.
    fn shortcut(at: u32) -> Option<*mut Shortcut<Self>>;
    /// `FRAGS4` or `FRAGS6`.
    fn frags() -> &'static LruHashMap<DatagramKey<Self::Addr>, Datagram, DATAGRAMS>;
    /// `EARLY4` or `EARLY6`.
    fn early() -> &'static LruHashMap<DatagramKey<Self::Addr>, Waiting, WAITING>;
    /// `HELD4` or `HELD6`.
    fn held() -> &'static LruHashMap<DatagramKey<Self::Addr>, Held, HELD_FRAMES>;
    /// The packet in hand.
    #[inline(always)]
    fn packet() -> Option<*mut Parsed<Self>> {
        const { assert!(size_of::<Parsed<Self>>() <= PACKET_WORDS * 8 && align_of::<Parsed<Self>>() <= 8) };
        PACKET.get_ptr_mut(0).map(<*mut _>::cast)
    }
    /// The packet that it quotes.
    #[inline(always)]
    fn quoted() -> Option<*mut Quote<Self>> {
        const { assert!(size_of::<Quote<Self>>() <= QUOTE_WORDS * 8 && align_of::<Quote<Self>>() <= 8) };
        QUOTE.get_ptr_mut(0).map(<*mut _>::cast)
    }
}

macro_rules! family {
    ($family:ty, $flows:ident, $no_snat:ident, $selected:ident, $local:ident, $exhausted:ident, $scratch:ident, $wanted:ident,
     $import:ident, $used:ident, $hops:ident, $shortcuts:ident, $frags:ident, $early:ident, $held:ident) => {
        impl Maps for $family {
            #[inline(always)]
            fn flows() -> &'static HashMap<FlowKey<Self::Addr>, FlowValue<Self>, FLOWS> {
                &$flows
            }

            #[inline(always)]
            fn no_snat(addr: &Self::Addr) -> bool {
                $no_snat.get(&Key::new(size_of::<Self::Addr>() as u32 * 8, *addr)).is_some()
            }

            #[inline(always)]
            fn selected(addr: &Self::Addr) -> bool {
                $selected.get_ptr(addr).is_some()
            }

            #[inline(always)]
            fn local(addr: &Self::Addr) -> Option<u32> {
                // SAFETY: the value is one word that the agent never changes in place.
                $local.get_ptr(addr).map(|flags| unsafe { flags.read() })
            }

            #[inline(always)]
            fn exhausted() -> &'static LruHashMap<FlowKey<Self::Addr>, u64, EXHAUSTED> {
                &$exhausted
            }

            #[inline(always)]
            fn scratch() -> Option<*mut FlowValue<Self>> {
                $scratch.get_ptr_mut(0)
            }

            #[inline(always)]
            fn importing() -> Option<*mut Importing<Self>> {
                $import.get_ptr_mut(0)
            }

            #[inline(always)]
            fn wanted() -> Option<*mut [FlowKey<Self::Addr>; 4]> {
                $wanted.get_ptr_mut(0)
            }

            #[inline(always)]
            fn used(at: u32) -> Option<*mut Cell> {
                $used.get_ptr_mut(at)
            }

            #[inline(always)]
            fn hop(addr: &Self::Addr) -> Option<*mut Hop<Self::Addr>> {
                $hops.get_ptr_mut(slot(addr))
            }

            #[inline(always)]
            fn shortcut(at: u32) -> Option<*mut Shortcut<Self>> {
                $shortcuts.get_ptr_mut(at)
            }

            #[inline(always)]
            fn frags() -> &'static LruHashMap<DatagramKey<Self::Addr>, Datagram, DATAGRAMS> {
                &$frags
            }

            #[inline(always)]
            fn early() -> &'static LruHashMap<DatagramKey<Self::Addr>, Waiting, WAITING> {
                &$early
            }

            #[inline(always)]
            fn held() -> &'static LruHashMap<DatagramKey<Self::Addr>, Held, HELD_FRAMES> {
                &$held
            }
        }
    };
}

family!(
    V4, FLOWS4, NO_SNAT4, SELECTED4, LOCAL4, EXHAUSTED4, SCRATCH4, WANTED4, IMPORT4, USE4, HOPS4, SHORTCUTS4, FRAGS4,
    EARLY4, HELD4
);
family!(
    V6, FLOWS6, NO_SNAT6, SELECTED6, LOCAL6, EXHAUSTED6, SCRATCH6, WANTED6, IMPORT6, USE6, HOPS6, SHORTCUTS6, FRAGS6,
    EARLY6, HELD6
);

/// Cache slot of a destination: cheap, spread over the low bits where neighbouring addresses differ.
#[inline(always)]
fn slot<A: egress_common::abi::family::Address>(addr: &A) -> u32 {
    let (high, low) = addr.lanes();
    let folded = (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (folded >> 48) as u32 & (HOPS - 1)
}

/// The configuration in use.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    let active = *ACTIVE.get(0)?;
    let config = CONFIG.get(active)?;
    (config.external_ifindex != 0).then_some(config)
}
