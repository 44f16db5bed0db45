//! The programs. Read from here: each entry point hands the packet to the module of the same name in `pipeline`.
//!
//! - `egw_out`: ingress of the internal interface, Pods to the external network
//! - `egw_in`: ingress of the external interface, replies to the Pods
//! - `egw_guard`: egress of the external interface, the last look at every packet that the kernel sends
//! - `egw_xdp_out`, `egw_xdp_in`: XDP at the same places as the first two, where it was asked for; what they do not do, those do
//! - `expire`: not attached; the agent runs it to remove flows
//! - `import`: not attached; the agent runs it to take flows over
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "core offers no atomics on BPF, although the machine has them")]
#![expect(missing_docs, unreachable_pub, reason = "#[classifier] makes a second function beside each documented one")]

mod alloc;
mod atomic;
mod broken;
mod count;
mod crc;
mod ctx;
mod deliver;
mod events;
mod fair;
mod fib;
mod ledger;
mod maps;
mod opaque;
mod pipeline;
mod shortcut;
mod socket;
mod store;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use ctx::{skb::Skb, xdp::Frame};
use egress_common::nat::rewrite::End;

/// Logs a verdict where the object was built with the feature `debug-log`: for a lab, not for traffic.
macro_rules! said {
    ($ctx:expr, $format:literal, $verdict:expr) => {{
        let verdict: i32 = $verdict;
        #[cfg(feature = "debug-log")]
        aya_log_ebpf::info!(&$ctx, $format, verdict);
        verdict
    }};
}
/// Packets from the Pods.
#[classifier]
pub fn egw_out(ctx: TcContext) -> i32 {
    said!(ctx, "egw_out {}", pipeline::out::run(Skb::new(ctx.skb.skb)))
}

/// Packets from the external network.
#[classifier]
pub fn egw_in(ctx: TcContext) -> i32 {
    said!(ctx, "egw_in {}", pipeline::inward::run(Skb::new(ctx.skb.skb)))
}

/// Packets that the kernel sends to the external network.
#[classifier]
pub fn egw_guard(ctx: TcContext) -> i32 {
    said!(ctx, "egw_guard {}", pipeline::guard::run(Skb::new(ctx.skb.skb)))
}

/// Packets from the Pods, before there is an skb.
#[xdp]
pub fn egw_xdp_out(ctx: XdpContext) -> u32 {
    pipeline::express::run(Frame::new(ctx.ctx), End::Source)
}

/// Packets from the external network, before there is an skb.
#[xdp]
pub fn egw_xdp_in(ctx: XdpContext) -> u32 {
    pipeline::express::run(Frame::new(ctx.ctx), End::Destination)
}

/// Removes the flows whose keys are the packet's payload.
#[classifier]
pub fn expire(ctx: TcContext) -> i32 {
    pipeline::expire::run(Skb::new(ctx.skb.skb))
}

/// Takes over the flows that the packet's payload describes.
#[classifier]
pub fn import(ctx: TcContext) -> i32 {
    pipeline::import::run(Skb::new(ctx.skb.skb))
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
