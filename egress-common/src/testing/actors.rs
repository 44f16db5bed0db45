//! Actors that work on one table in turns: each operation of the table is one step, and a schedule says whose step is next. So
//! an interleaving of CPUs is an argument of a test, and a failing one can be run again.

use std::{
    boxed::Box,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    vec::Vec,
};

use super::table::{F, Scan, Slot, Table};
use crate::{
    abi::{
        config::Config,
        flow::{FlowKey4, Word, seen},
    },
    conntrack::{
        removal::{self, Outcome, Why},
        state::{known, refutes_reset},
    },
    nat::{
        claim::EXHAUSTED_NS,
        fair::{Account, Admission, admit, spent, vain},
        store::{FlowStore, Half, Insert},
    },
};

/// Nobody's turn: no schedule is at work.
const FREE: usize = usize::MAX;

struct Shared<'a> {
    turn: AtomicUsize,
    work: Mutex<Work<'a>>,
}

struct Work<'a> {
    table: &'a mut Table,
    schedule: Vec<u8>,
    next: usize,
    alive: Vec<usize>,
    steps: usize,
}

impl Work<'_> {
    /// Whose step is next. The schedule names one of those not done; after its end everyone works on as before.
    fn pass(&mut self, me: usize) -> usize {
        let scheduled = self.schedule.get(self.next).map(|n| usize::from(*n) % self.alive.len().max(1));
        self.next += 1;
        match scheduled {
            Some(n) => self.alive.get(n).copied().unwrap_or(FREE),
            None if self.alive.contains(&me) => me,
            None => self.alive.first().copied().unwrap_or(FREE),
        }
    }
}

/// One actor's view of the table: a CPU.
pub(crate) struct Cpu<'s, 't> {
    shared: &'s Shared<'t>,
    me: usize,
}

/// What an actor does.
pub(crate) type Act<'a> = Box<dyn FnOnce(&mut Cpu<'_, '_>) + Send + 'a>;

/// Runs actors on a table in the order of the schedule; how many steps they took together.
pub(crate) fn run(table: &mut Table, schedule: &[u8], actors: Vec<Act<'_>>) -> usize {
    let alive = (0..actors.len()).collect();
    let mut work = Work { table, schedule: schedule.to_vec(), next: 0, alive, steps: 0 };
    let first = work.pass(0);
    let shared = Shared { turn: AtomicUsize::new(first), work: Mutex::new(work) };
    thread::scope(|scope| {
        for (me, act) in actors.into_iter().enumerate() {
            let shared = &shared;
            scope.spawn(move || {
                let mut cpu = Cpu { shared, me };
                act(&mut cpu);
                cpu.wait();
                let mut work = shared.work.lock().unwrap();
                work.alive.retain(|other| *other != me);
                let next = work.pass(me);
                shared.turn.store(next, Ordering::SeqCst);
            });
        }
    });
    shared.work.into_inner().unwrap().steps
}

/// Runs one actor alone.
pub(crate) fn alone<T: Send>(table: &mut Table, act: impl FnOnce(&mut Cpu<'_, '_>) -> T) -> T {
    let work = Work { table, schedule: Vec::new(), next: 0, alive: std::vec![0], steps: 0 };
    let shared = Shared { turn: AtomicUsize::new(0), work: Mutex::new(work) };
    act(&mut Cpu { shared: &shared, me: 0 })
}

/// Every schedule of two actors, the first with `a` steps, the second with `b`.
pub(crate) fn interleavings(a: usize, b: usize) -> Vec<Vec<u8>> {
    if a == 0 || b == 0 {
        return std::vec![std::vec![u8::from(a == 0); a + b]];
    }
    let with = |first: u8, rest: Vec<Vec<u8>>| {
        rest.into_iter().map(move |rest| [&[first][..], &rest].concat()).collect::<Vec<_>>()
    };
    [with(0, interleavings(a - 1, b)), with(1, interleavings(a, b - 1))].concat()
}

impl Cpu<'_, '_> {
    fn wait(&self) {
        while self.shared.turn.load(Ordering::SeqCst) != self.me {
            thread::yield_now();
        }
    }

    /// Does one step when it is this CPU's turn.
    pub(crate) fn step<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        self.wait();
        let mut work = self.shared.work.lock().unwrap();
        work.steps += 1;
        let result = act(work.table);
        let next = work.pass(self.me);
        self.shared.turn.store(next, Ordering::SeqCst);
        result
    }

    /// A packet of the flow half `key`, step for step as `Entry::touch` of the BPF programs; the mapping it went by.
    pub(crate) fn touch(&self, key: &FlowKey4, shown: u8, now: u32) -> Option<([u8; 4], u16)> {
        let slot = self.step(|table| table.index.get(key).copied())?;
        self.step(|table| table.slots[slot].last_seen = now);
        let nat_addr = self.step(|table| table.slots[slot].nat_addr);
        let word = self.step(|table| table.slots[slot].word);
        if !word.carries(key.dir) {
            return None;
        }
        if !known(word.seen, shown) {
            self.step(|table| table.slots[slot].word.seen |= shown);
            if refutes_reset(shown) {
                self.step(|table| table.slots[slot].word.seen &= !seen::RST);
            }
        }
        Some((nat_addr, word.port))
    }
}

impl FlowStore<F> for Cpu<'_, '_> {
    fn get(&self, key: &FlowKey4) -> Option<Half<F>> {
        self.step(|table| {
            let Slot { nat_addr, word, last_seen, created } = table.find(key)?;
            Some(Half { nat_addr, word, last_seen, created })
        })
    }

    fn insert_new(&mut self, key: &FlowKey4, nat_addr: [u8; 4], word: Word, now: u32) -> Insert {
        self.step(|table| {
            if table.index.contains_key(key) {
                Insert::Exists
            } else if table.insert(key, Slot { nat_addr, word, last_seen: now, created: now }) {
                Insert::Done
            } else {
                Insert::Full
            }
        })
    }

    fn swap_word(&mut self, key: &FlowKey4, from: Word, to: Word) -> bool {
        self.step(|table| {
            let Some(slot) = table.at(key).filter(|slot| slot.word == from) else { return false };
            slot.word = to;
            true
        })
    }

    fn clear(&mut self, key: &FlowKey4, bits: Word) {
        self.step(|table| {
            if let Some(slot) = table.at(key) {
                slot.word = Word::from_raw(slot.word.raw() & !bits.raw());
            }
        });
    }

    fn remove(&mut self, key: &FlowKey4) {
        self.step(|table| table.remove(key));
    }

    fn begun(&mut self, _key: &FlowKey4, _reply: &FlowKey4) {
        self.step(|table| table.living += 1);
    }

    fn ending(&mut self, _key: &FlowKey4, _reply: &FlowKey4, _why: u8) {
        self.step(|table| table.living -= 1);
    }

    fn reclaim(&mut self, reply: &FlowKey4, now: u32) -> bool {
        let ended = |half: &Half<F>| half.word.seen & (seen::FIN | seen::RST) != 0;
        let Some(back) = self.get(reply).filter(ended) else { return false };
        let key = reply.original(back.nat_addr, back.word.port);
        removal::remove(self, &key, now, Why::Reclaim) == Outcome::Removed
    }

    fn admit(&mut self, config: &Config, reply: &FlowKey4, key: &FlowKey4, first: bool) -> Admission {
        self.step(|table| {
            let account = Account::new(&config.port_key, key, &reply.daddr);
            let counts = Scan { table, secret: &config.port_key };
            let pace = || !first || table.pace != Some(0);
            match admit(config, key, &account, &counts, pace) {
                Admission::Closed if table.exhausted.contains_key(&vain(reply, &key.saddr)) => Admission::Refused,
                admission => admission,
            }
        })
    }

    fn in_vain(&mut self, config: &Config, reply: &FlowKey4, key: &FlowKey4, admission: Admission) -> bool {
        self.step(|table| {
            let account = Account::new(&config.port_key, key, &reply.daddr);
            let memory = match admission {
                Admission::Open => {
                    Some(*reply).filter(|_| spent(config, key, &account, &Scan { table, secret: &config.port_key }))
                }
                Admission::Closed => Some(vain(reply, &key.saddr)),
                Admission::Unused | Admission::Refused => None,
            };
            table.limited += u32::from(admission != Admission::Open);
            table.exhausted.extend(memory.map(|key| (key, EXHAUSTED_NS)));
            memory.is_some()
        })
    }

    fn exhausted(&self, reply: &FlowKey4) -> bool {
        self.step(|table| table.exhausted.contains_key(reply))
    }
}
