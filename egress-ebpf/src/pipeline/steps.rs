//! The steps that stand apart: global functions, so that each has a stack of its own (the kernel gives 512 bytes to a whole
//! call chain) and is verified once. Between them a packet is known by `Maps::packet`.
//!
//! Beside TC's verdicts a step may say what comes next.

use aya_ebpf::bindings::__sk_buff;
use egress_common::{
    abi::family::{V4, V6},
    delivery::Way,
    nat::rewrite::End,
};

use super::{Stack, answer, carry, errors, fragments, inward, out, read, reset};
use crate::ctx::skb::Skb;

/// It belongs to no flow.
pub(crate) const NO_FLOW: i32 = 0x100;
/// It is not plain: `read` it first.
pub(crate) const DEEP: i32 = 0x101;
/// It is read.
pub(crate) const READ: i32 = 0x102;
/// It is read and is an ICMP error, and so is the packet that it quotes.
pub(crate) const ERROR: i32 = 0x103;
/// It is a fragment that came before the first of its datagram.
pub(crate) const EARLY: i32 = 0x104;
/// It is the first fragment that others wait for.
pub(crate) const RELEASE: i32 = 0x105;
/// Policy wants a flow opened.
pub(crate) const TRANSLATE: i32 = 0x106;
/// Now it has one.
pub(crate) const OPENED: i32 = 0x107;
/// Its sender is to be told that its connection is gone.
pub(crate) const RESET: i32 = 0x108;
/// Its sender is to be told that it is longer than the MTU in the low bits, or, if that is 0, that its TTL ended.
pub(crate) const ANSWER: i32 = 0x1_0000;

/// What a packet's sender is to be told, see [`ANSWER`].
#[inline(always)]
pub(crate) const fn answer_of(way: Way) -> i32 {
    use egress_common::answer::Answer;
    match way {
        Way::Answer(Answer::TooBig(mtu)) => ANSWER | (mtu & 0xffff) as i32,
        _ => ANSWER,
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty)?) = $module:ident::$work:ident($($given:expr)?), $v4:ident, $v6:ident;)+) => {
        /// A family with its steps.
        pub(crate) trait Steps: Stack {
            $($(#[$doc])* fn $name(skb: Skb $(, $arg: $type)?) -> i32;)+
        }

        impl Steps for V4 {
            $(#[inline(always)] fn $name(skb: Skb $(, $arg: $type)?) -> i32 { $v4(skb.raw() $(, $arg)?) })+
        }

        impl Steps for V6 {
            $(#[inline(always)] fn $name(skb: Skb $(, $arg: $type)?) -> i32 { $v6(skb.raw() $(, $arg)?) })+
        }

        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $v4(skb: *mut __sk_buff $(, $arg: $type)?) -> i32 {
                $module::$work::<V4>(Skb::new(skb) $(, $given)?)
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $v6(skb: *mut __sk_buff $(, $arg: $type)?) -> i32 {
                $module::$work::<V6>(Skb::new(skb) $(, $given)?)
            }
        )+
    };
}

steps! {
    /// Translates a plain packet of a flow; else [`NO_FLOW`] or [`DEEP`].
    out_established() = carry::plain(End::Source), out_established4, out_established6;
    /// Likewise, from outside.
    in_established() = carry::plain(End::Destination), in_established4, in_established6;
    /// Parses a packet of any kind: [`READ`], [`ERROR`], [`NO_FLOW`] for an ICMP error that says nothing of use, or a drop.
    read() = read::read(), read4, read6;
    /// Translates a packet of a flow; else [`NO_FLOW`], [`EARLY`] or [`RELEASE`].
    out_carry() = carry::any(End::Source), out_carry4, out_carry6;
    /// Likewise, from outside.
    in_carry() = carry::any(End::Destination), in_carry4, in_carry6;
    /// Decides about a packet without a flow; [`TRANSLATE`], [`EARLY`], or [`RELEASE`] if it is not over then.
    out_policy() = out::policy(), out_policy4, out_policy6;
    /// Likewise, from outside.
    in_policy() = inward::policy(), in_policy4, in_policy6;
    /// Opens the packet's flow: [`OPENED`], or a drop.
    open() = out::open(), out_open4, out_open6;
    /// Translates an ICMP error with a quote.
    out_error() = errors::outbound(), out_error4, out_error6;
    /// Likewise, from outside.
    in_error() = errors::inbound(), in_error4, in_error6;
    /// Keeps an early fragment of the direction; [`READ`] if its first came meanwhile.
    hold(dir: u32) = fragments::hold(dir), hold4, hold6;
    /// Puts the first fragment and those that waited for it back to where they came in.
    release(dir: u32) = fragments::release(dir), release4, release6;
    /// Tells a packet's sender what [`ANSWER`] says.
    answer(code: u32) = answer::answer(code), answer4, answer6;
    /// Answers a TCP segment of the direction with RST.
    reset(dir: u32) = reset::reset(dir), reset4, reset6;
}
