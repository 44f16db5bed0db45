//! Programs that do next to nothing: what is left when a gateway costs nothing at all.

use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::lab::addresses::mac;
use crate::raw::sys::{self, Hook};
use crate::raw::{Insn, XDP_DROP, give, helper, insn, op, write};
use crate::system::Netns;

const TC_SHOT: i32 = 2;
/// Offsets of `data` in the contexts, followed by `data_end`.
const XDP_DATA: i16 = 0;
const SKB_DATA: i16 = 76;

/// A program that is attached for as long as this lives.
#[derive(Debug)]
pub(super) struct Attached(#[expect(dead_code, reason = "closing it detaches the program")] OwnedFd);

impl Attached {
    fn new(hook: Hook, code: &[Insn], ns: &Netns, interface: &str) -> Result<Self> {
        let (program, index) = (sys::load(hook, code)?, ns.ifindex(interface)?);
        ns.run(|| sys::attach(hook, &program, index))?.map(Self)
    }

    /// Drops by XDP what comes in. A veth with such a program takes XDP frames from its other end.
    pub(super) fn drop_frames(ns: &Netns, interface: &str) -> Result<Self> {
        Self::new(Hook::Xdp, &give(XDP_DROP), ns, interface)
    }

    /// Sends everything that comes to the gateway's eth0 to the server, whatever it is: no lookup, no translation.
    pub(super) fn redirect(hook: Hook, gateway: &Netns) -> Result<Self> {
        Self::new(hook, &redirect(hook, gateway.ifindex("net1")?), gateway, "eth0")
    }
}

fn redirect(hook: Hook, to: u32) -> Vec<Insn> {
    let (data, drop, by) = match hook {
        Hook::Xdp => (XDP_DATA, XDP_DROP, helper::REDIRECT),
        Hook::Ingress => (SKB_DATA, TC_SHOT, helper::REDIRECT_PEER),
    };
    let macs = [mac::SERVER, mac::GATEWAY_OUTSIDE].concat();
    let mut code = vec![
        insn(op::LOAD_WORD, 2, 1, data, 0),
        insn(op::LOAD_WORD, 3, 1, data + 4, 0),
        insn(op::MOVE, 4, 2, 0, 0),
        insn(op::ADD_IMM, 4, 0, 0, macs.len() as i32),
        insn(op::JUMP_IF_NOT_GREATER, 4, 3, 2, 0),
    ];
    code.extend(give(drop));
    code.extend(write(&macs));
    code.extend([
        insn(op::MOVE_IMM, 1, 0, 0, to as i32),
        insn(op::MOVE_IMM, 2, 0, 0, 0),
        insn(op::CALL, 0, 0, 0, by),
        insn(op::EXIT, 0, 0, 0, 0),
    ]);
    code
}
