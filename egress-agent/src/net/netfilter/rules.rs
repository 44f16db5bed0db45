//! Rules: whether the namespace has NAT, and a table of ours that keeps it away from what our programs translated. Nothing of
//! anybody else's rules is changed; with our table gone, all is as it was. It works beside iptables, legacy or not, and nft.

use std::{fs, io};

use nix::libc::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};

use super::{
    Error, Netfilter,
    wire::{Messages, find, number},
};

/// Name of the table, in the family `inet`.
pub const TABLE: &str = "egress-ebpf";

const CHAIN: &str = "prerouting";

const INET: u8 = 1;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = NEW_TABLE | 1;
const DELETE_TABLE: u16 = NEW_TABLE | 2;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const GET_CHAIN: u16 = NEW_TABLE | 4;
const NEW_RULE: u16 = NEW_TABLE | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const PRE_ROUTING: u32 = 0;
const POST_ROUTING: u64 = 4;
/// `NF_IP_PRI_RAW`: before connection tracking.
const RAW: i32 = -300;

/// Which address of a packet.
#[derive(Clone, Copy)]
enum Side {
    Source = 1,
    Destination = 2,
}

impl Netfilter {
    /// Whether somebody's rules translate what leaves the namespace: a `nat` chain at postrouting that has rules, or the `nat`
    /// table of the old iptables.
    ///
    /// # Errors
    /// The kernel refuses the dump.
    pub fn has_nat(&self) -> Result<bool, Error> {
        let mut messages = Messages::default();
        messages.begin(GET_CHAIN, NLM_F_DUMP, 0, 0);
        let mut found = false;
        let listed = self.talk(messages, |_, body| {
            let hook = find(body, 4).and_then(|hook| find(hook, 1)).map(number);
            let rules = find(body, 6).map_or(0, number);
            found |= find(body, 7) == Some(b"nat\0") && hook == Some(POST_ROUTING) && rules > 0;
        });
        match listed {
            Err(error) if lacks_tables(&error) => {}
            other => other.map_err(|e| Error::new("listing the chains of nf_tables", e))?,
        }
        let legacy = ["ip_tables_names", "ip6_tables_names"].iter().any(|names| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
            text.lines().any(|name| name == "nat")
        });
        Ok(found || legacy)
    }

    /// Whether our table is there.
    ///
    /// # Errors
    /// The kernel refuses the question.
    pub fn has_table(&self) -> Result<bool, Error> {
        let mut messages = Messages::default();
        messages.begin(GET_TABLE, NLM_F_ACK, INET, 0).text(1, TABLE);
        match self.talk(messages, |_, _| {}) {
            Ok(()) => Ok(true),
            Err(error) if lacks_tables(&error) || error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(false),
            Err(error) => Err(Error::new(format!("looking for table inet {TABLE}"), error)),
        }
    }

    /// Makes our table, or makes it anew. Connection tracking, and with it NAT, then leaves alone what comes from `internal`
    /// with an own address as its source, and what comes from `external` with none as its destination: our programs made it so.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_table(&self, internal: &str, external: &str) -> Result<(), Error> {
        let mut batch = Messages::default();
        batch.begin(BATCH_BEGIN, 0, 0, SUBSYSTEM);
        // Once, so that there is one to delete.
        for kind in [NEW_TABLE, DELETE_TABLE, NEW_TABLE] {
            batch.begin(kind, NLM_F_ACK | if kind == NEW_TABLE { NLM_F_CREATE } else { 0 }, INET, 0).text(1, TABLE);
        }
        batch.begin(NEW_CHAIN, NLM_F_ACK | NLM_F_CREATE, INET, 0).text(1, TABLE).text(3, CHAIN);
        batch.nest(4, |hook| {
            hook.put(1, &PRE_ROUTING.to_be_bytes()).put(2, &RAW.to_be_bytes());
        });
        batch.text(7, "filter");
        rule(&mut batch, internal, Side::Source, true);
        rule(&mut batch, external, Side::Destination, false);
        batch.begin(BATCH_END, 0, 0, SUBSYSTEM);
        let done = self.talk(batch, |_, _| {});
        done.map_err(|e| Error::new(format!("making table inet {TABLE}"), e))
    }

    /// Removes our table if it is there.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn remove_table(&self) -> Result<(), Error> {
        if !self.has_table()? {
            return Ok(());
        }
        let mut batch = Messages::default();
        batch.begin(BATCH_BEGIN, 0, 0, SUBSYSTEM);
        batch.begin(DELETE_TABLE, NLM_F_ACK, INET, 0).text(1, TABLE);
        batch.begin(BATCH_END, 0, 0, SUBSYSTEM);
        let done = self.talk(batch, |_, _| {});
        done.map_err(|e| Error::new(format!("removing table inet {TABLE}"), e))
    }
}

/// The kernel has no nf_tables.
fn lacks_tables(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EOPNOTSUPP | nix::libc::EINVAL))
}

/// `iifname INTERFACE fib saddr|daddr type [!=] local notrack`.
fn rule(batch: &mut Messages, interface: &str, side: Side, local: bool) {
    const REGISTER: u32 = 1;
    const IIFNAME: u32 = 6;
    const EQUAL: u32 = 0;
    const DIFFERENT: u32 = 1;
    const ADDRESS_TYPE: u32 = 3;
    const LOCAL: u32 = 2;
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    batch.begin(NEW_RULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, INET, 0).text(1, TABLE).text(2, CHAIN);
    batch.nest(4, |list| {
        expression(list, "meta", |it| {
            it.put(1, &REGISTER.to_be_bytes()).put(2, &IIFNAME.to_be_bytes());
        });
        compare(list, REGISTER, EQUAL, &name);
        expression(list, "fib", |it| {
            it.put(1, &REGISTER.to_be_bytes()).put(2, &ADDRESS_TYPE.to_be_bytes());
            it.put(3, &(side as u32).to_be_bytes());
        });
        compare(list, REGISTER, if local { EQUAL } else { DIFFERENT }, &LOCAL.to_ne_bytes());
        expression(list, "notrack", |_| {});
    });
}

fn expression(list: &mut Messages, name: &str, data: impl FnOnce(&mut Messages)) {
    list.nest(1, |element| {
        element.text(1, name).nest(2, data);
    });
}

fn compare(list: &mut Messages, register: u32, operator: u32, value: &[u8]) {
    expression(list, "cmp", |it| {
        it.put(1, &register.to_be_bytes()).put(2, &operator.to_be_bytes()).nest(3, |data| {
            data.put(1, value);
        });
    });
}
