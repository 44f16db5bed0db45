//! Passes on what the programs report: exhausted and limited sources to the agent's log, and, where one is asked for, the
//! beginning and end of every flow to the flow log. On a thread of its own: a reader of the flow log that does not read must not
//! hold the gateway up, neither while it runs nor when it ends.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use egress_common::{
    abi::{
        family::{V4, V6},
        flow::OUT,
    },
    verdict::Counter,
};
use k8s_openapi::jiff::Timestamp;
use tracing::warn;

use super::flow_log::FlowLog;
use crate::datapath::{
    events::Events,
    flows::Walk,
    journal::{Clock, Line, warning},
    now_ns,
    pins::Pins,
    stats::counter,
    tables::Tables,
};

/// Time between two looks at the ring buffer, which holds 30,000 records where flows are told.
const FLOWS_EVERY: Duration = Duration::from_millis(100);
/// Where they are not.
const EVERY: Duration = Duration::from_secs(1);
/// Records taken in one look; if there are more the next look comes at once.
const MOST: usize = 16_384;
/// Lines in the agent's log for one look.
const MOST_WARNINGS: usize = 100;
/// Batches of the table written in one look.
const BATCHES: usize = 4;
/// A program may have begun by the configuration before: what it does is in the table after so long.
const SETTLE: Duration = Duration::from_secs(1);
/// Shortest time from the beginning of one way through the table to that of the next.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the thread has for its last look: it may be held up in a write that nobody reads.
const LAST: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped, after a last look.
pub struct Reporter {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts it. The configuration in force must tell flows if `log` is given.
    pub fn start(pins: &Pins, log: Option<FlowLog>) -> Result<Self> {
        let mut work = Work::open(pins, log)?;
        let every = if work.log.is_some() { FLOWS_EVERY } else { EVERY };
        let (stop, stopped) = channel::<()>();
        let (ending, ended) = channel::<()>();
        let thread = thread::Builder::new().name("reporter".into()).spawn(move || {
            // Closed when the thread ends, however it does.
            let _ending = ending;
            let mut wait = every;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = if work.look(Instant::now()) { Duration::ZERO } else { every };
            }
            work.look(Instant::now());
        });
        Ok(Self { stop: Some(stop), ended, thread: Some(thread.context("start a thread")?) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop.take();
        if self.ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            warn!("flow log: held up; its last lines are not written");
            return;
        }
        if let Some(thread) = self.thread.take() {
            // It panicked: the panic was printed.
            let _ = thread.join();
        }
    }
}

struct Work {
    pins: Pins,
    tables: Tables,
    events: Events,
    log: Option<FlowLog>,
    /// Records that were lost until now.
    lost: u64,
    /// When to begin with the table.
    owed: Option<Instant>,
    table: Option<Table>,
    broken: bool,
}

/// On the way through the table.
struct Table {
    v4: Walk<V4>,
    v6: Walk<V6>,
    v4_done: bool,
    since_ns: u64,
    flows: u64,
}

impl Work {
    fn open(pins: &Pins, log: Option<FlowLog>) -> Result<Self> {
        let tables = Tables::open(pins)?;
        let lost = counter(&tables, Counter::EventsLost)?;
        let owed = log.is_some().then(|| Instant::now() + SETTLE);
        let (pins, events) = (pins.clone(), Events::open(pins)?);
        Ok(Self { pins, tables, events, log, lost, owed, table: None, broken: false })
    }

    /// Takes what came; true if there is more.
    fn look(&mut self, at: Instant) -> bool {
        match self.pass_on(at) {
            Ok(more) => {
                self.broken = false;
                more
            }
            Err(error) => {
                // Once: a full disk stays full for a while. What was not written is owed again.
                if !std::mem::replace(&mut self.broken, true) {
                    warn!("flow log: {error:#}");
                }
                self.table = None;
                self.owed = Some(at + AGAIN);
                false
            }
        }
    }

    fn pass_on(&mut self, at: Instant) -> Result<bool> {
        let config = self.tables.config()?;
        let clock = Clock { datapath_ns: now_ns(&config), wall: Timestamp::now() };
        let (mut lines, mut warnings) = (Vec::new(), 0);
        let taken = self.events.take(MOST, |event| {
            if let Some(text) = warning(event) {
                warnings += 1;
                if warnings <= MOST_WARNINGS {
                    warn!("{text}");
                }
            }
            if self.log.is_some() {
                lines.extend(Line::of(event, &clock));
            }
        });
        if warnings > MOST_WARNINGS {
            warn!("and {} more of this kind", warnings - MOST_WARNINGS);
        }
        if self.log.is_some() {
            self.account(at, &clock, &mut lines)?;
            self.write(&lines)?;
        }
        Ok(taken == MOST)
    }

    /// Notices what was lost, and goes on with the table where that is owed.
    fn account(&mut self, at: Instant, clock: &Clock, lines: &mut Vec<Line>) -> Result<()> {
        // Before the table is read: what is lost after this look makes another.
        let lost = counter(&self.tables, Counter::EventsLost)?;
        let more = lost.saturating_sub(self.lost);
        if more > 0 {
            lines.push(Line { count: Some(more), ..Line::plain("lost", clock) });
            self.owed.get_or_insert(at);
        }
        self.lost = lost;
        if self.table.is_none() && self.owed.is_some_and(|due| due <= at) {
            let (v4, v6) = (Walk::open(&self.pins)?, Walk::open(&self.pins)?);
            self.table = Some(Table { v4, v6, v4_done: false, since_ns: clock.datapath_ns, flows: 0 });
            self.owed = None;
        }
        let Some(table) = &mut self.table else { return Ok(()) };
        for _ in 0..BATCHES {
            if !table.batch(clock, lines)? {
                lines.push(Line::table(clock, table.since_ns, table.flows));
                self.table = None;
                self.owed = self.owed.map(|_| at + AGAIN);
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, lines: &[Line]) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.write(lines))
    }
}

impl Table {
    /// Tells of the flows of one batch; false at the end.
    fn batch(&mut self, clock: &Clock, lines: &mut Vec<Line>) -> Result<bool> {
        let before = lines.len();
        if !self.v4_done {
            self.v4_done = !self.v4.batch(|key, value| {
                if key.dir == OUT && !value.word.dying() {
                    lines.push(Line::found::<V4>(key, value, clock));
                }
            })?;
            self.flows += (lines.len() - before) as u64;
            return Ok(true);
        }
        let more = self.v6.batch(|key, value| {
            if key.dir == OUT && !value.word.dying() {
                lines.push(Line::found::<V6>(key, value, clock));
            }
        })?;
        self.flows += (lines.len() - before) as u64;
        Ok(more)
    }
}
