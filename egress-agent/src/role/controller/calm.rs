//! Patience with whoever changes what we have applied: a webhook, another controller, a hand. Each change is an event, which would be
//! answered by another apply, which is changed again.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Waits before the same is applied to the same object again, the first and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// What is to be applied to an object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Apply {
    /// Its kind.
    pub(super) kind: &'static str,
    /// Its UID: one that was made anew is another.
    pub(super) uid: String,
    /// A hash of what is wanted.
    pub(super) hash: String,
}

/// What was applied last to gateways' objects.
#[derive(Default)]
pub(super) struct Calm {
    /// By gateway and kind.
    applied: BTreeMap<(String, &'static str), Applied>,
    /// Gateways that are to be looked at again, and when.
    due: BTreeMap<String, Instant>,
}

struct Applied {
    what: Apply,
    at: Instant,
    wait: Duration,
}

impl Calm {
    /// Whether this may be applied now. If not, the gateway becomes due when it may.
    pub(super) fn allows(&mut self, gateway: &str, what: &Apply, now: Instant) -> bool {
        let Some(last) = self.applied.get(&(gateway.to_owned(), what.kind)) else { return true };
        let next = last.at + last.wait;
        if last.what != *what || now >= next {
            return true;
        }
        let due = self.due.entry(gateway.to_owned()).or_insert(next);
        *due = next.min(*due);
        false
    }

    /// It was applied; for how long it rests if that is longer than usual, because somebody has changed it back before.
    pub(super) fn applied(&mut self, gateway: &str, what: Apply, now: Instant) -> Option<Duration> {
        let key = (gateway.to_owned(), what.kind);
        let wait = match self.applied.get(&key) {
            Some(last) if last.what == what && now < last.at + 2 * last.wait + WAIT.0 => (last.wait * 2).min(WAIT.1),
            _ => WAIT.0,
        };
        self.applied.insert(key, Applied { what, at: now, wait });
        (wait > WAIT.0).then_some(wait)
    }

    /// When a gateway is to be looked at again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The gateways that are.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<String> {
        self.due.extract_if(.., |_, at| *at <= now).map(|(gateway, _)| gateway).collect()
    }

    /// A gateway that is no more.
    pub(super) fn forget(&mut self, gateway: &str) {
        self.due.remove(gateway);
        self.applied.retain(|(of, _), _| of != gateway);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(uid: &str, hash: &str) -> Apply {
        Apply { kind: "Deployment", uid: uid.to_owned(), hash: hash.to_owned() }
    }

    #[test]
    fn what_is_changed_back_each_time_is_applied_ever_more_rarely() {
        let (mut calm, start) = (Calm::default(), Instant::now());
        let (mut now, mut times) = (start, Vec::new());
        // Somebody answers every apply at once.
        while now < start + Duration::from_secs(3600) {
            if calm.allows("a", &apply("u", "h"), now) {
                calm.applied("a", apply("u", "h"), now);
                times.push((now - start).as_secs());
                continue;
            }
            now = calm.due().unwrap();
            assert_eq!(calm.take_due(now), ["a"]);
        }
        assert_eq!(times[..6], [0, 1, 3, 7, 15, 31]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 300) && times.len() < 25, "{times:?}");
        assert_eq!(calm.due(), None);
    }

    #[test]
    fn what_is_new_does_not_wait_and_rest_is_forgotten() {
        let (mut calm, now) = (Calm::default(), Instant::now());
        assert!(calm.allows("a", &apply("u", "h"), now));
        assert_eq!(calm.applied("a", apply("u", "h"), now), None);
        assert!(!calm.allows("a", &apply("u", "h"), now));
        // Another spec, an object that was deleted and made again, another gateway, another kind.
        let config = Apply { kind: "ConfigMap", ..apply("u", "h") };
        for (gateway, what) in [("a", apply("u", "h2")), ("a", apply("u2", "h")), ("b", apply("u", "h")), ("a", config)]
        {
            assert!(calm.allows(gateway, &what, now), "{what:?}");
        }
        let second = now + Duration::from_secs(1);
        assert_eq!(calm.applied("a", apply("u", "h"), second), Some(Duration::from_secs(2)));
        // A hand's edit a while later is put right at once, and that is no beginning of a quarrel.
        let later = second + Duration::from_secs(60);
        assert!(calm.allows("a", &apply("u", "h"), later));
        assert_eq!(calm.applied("a", apply("u", "h"), later), None);
        calm.forget("a");
        assert!(calm.allows("a", &apply("u", "h"), later) && calm.due().is_none());
    }
}
