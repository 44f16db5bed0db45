//! How often the flow table is gone through. A round costs what the table holds and, less, how large it is; rounds are so far apart
//! that a table at rest costs little, and never so far that a timeout means nothing.

use std::time::{Duration, Instant};

/// Time between two ticks.
pub const TICK: Duration = Duration::from_millis(250);

/// Entries of each family that a tick looks at: what it costs does not grow with the table, and 2 million entries are gone round
/// in 8 seconds.
pub const PART: usize = 65_536;

/// Shortest time from the beginning of one round to that of the next.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest, unless the ticks of the round itself take longer.
const LONGEST: Duration = Duration::from_secs(10);

/// Time added for each entry that was found. A look at one takes half a microsecond.
const FOR_ENTRY: Duration = Duration::from_micros(20);

/// Time added for each entry that the table has room for. An empty place takes 3 nanoseconds.
const FOR_PLACE: Duration = Duration::from_micros(2);

/// The pace of one family.
#[derive(Debug)]
pub struct Pace {
    room: u32,
    began: Option<Instant>,
    seen: u32,
    over: bool,
}

impl Pace {
    /// For a table with room for so many entries.
    #[must_use]
    pub const fn new(room: u32) -> Self {
        Self { room, began: None, seen: 0, over: true }
    }

    /// Whether a tick at this time is to look at a part of the table.
    pub fn due(&mut self, at: Instant) -> bool {
        if self.over {
            if self.began.is_some_and(|began| at.saturating_duration_since(began) < self.rest()) {
                return false;
            }
            *self = Self { began: Some(at), seen: 0, over: false, ..*self };
        }
        true
    }

    /// So many entries were found, and the table's end or not.
    pub const fn looked(&mut self, entries: u32, end: bool) {
        self.seen = self.seen.saturating_add(entries);
        self.over = end;
    }

    /// From the beginning of the last round to that of the next.
    fn rest(&self) -> Duration {
        (FOR_ENTRY * self.seen + FOR_PLACE * self.room).clamp(SHORTEST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a made-up table of so many entries makes of `ticks` ticks: when rounds began.
    fn rounds(room: u32, entries: impl Fn(usize) -> u32, every: Duration, ticks: u32) -> Vec<Duration> {
        let start = Instant::now();
        let (mut pace, mut began, mut left) = (Pace::new(room), Vec::new(), 0);
        for tick in 0..ticks {
            let over = pace.over;
            if !pace.due(start + every * tick) {
                continue;
            }
            if over {
                left = entries(began.len());
                began.push(every * tick);
            }
            let part = left.min(PART as u32);
            left -= part;
            pace.looked(part, left == 0);
        }
        began
    }

    fn gaps(began: &[Duration]) -> Vec<Duration> {
        began.windows(2).map(|two| two[1] - two[0]).collect()
    }

    /// Whatever was found before (the defect of a collector whose interval grew with each round that found little).
    #[test]
    fn the_time_between_rounds_never_runs_away() {
        let sizes = [0, 2_000_000, 3, 0, 0, 500_000, 1, 2_000_000, 70_000];
        let began = rounds(1 << 21, |round| sizes[round % sizes.len()], TICK, 100_000);
        let gaps = gaps(&began);
        assert!(gaps.len() > 2000, "{}", gaps.len());
        assert!(gaps.iter().all(|gap| *gap >= SHORTEST && *gap <= LONGEST + TICK), "{:?}", gaps.iter().max());
        // One like the other: there is no memory of rounds before the last.
        assert_eq!(gaps[0], gaps[sizes.len()]);
        assert_eq!(gaps[1], gaps[sizes.len() * 100 + 1]);
    }

    #[test]
    fn a_million_flows_are_gone_round_in_ten_seconds() {
        let gaps = gaps(&rounds(1 << 21, |_| 2_000_000, TICK, 1000));
        assert!(gaps.iter().all(|gap| *gap <= LONGEST), "{gaps:?}");
    }

    /// More than fits a round, and ticks that are late: the next round follows at once.
    #[test]
    fn what_takes_longer_is_followed_at_once() {
        let gaps = gaps(&rounds(1 << 23, |_| 8_000_000, 3 * TICK, 1000));
        let parts = 8_000_000_u32.div_ceil(PART as u32);
        assert!(gaps.iter().all(|gap| *gap == 3 * TICK * parts), "{gaps:?}");
    }

    #[test]
    fn small_tables_are_looked_at_every_second_and_large_empty_ones_less_often() {
        let of = |room, entries| gaps(&rounds(room, |_| entries, TICK, 100))[0];
        assert_eq!(of(1 << 15, 0), SHORTEST);
        assert_eq!(of(1 << 15, 30_000), SHORTEST);
        assert!(of(1 << 21, 0) > 4 * SHORTEST);
    }
}
