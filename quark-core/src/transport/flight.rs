//! How many parts of large payloads are on their way: what is in the buffers between two silos is what a small message waits
//! behind. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Parts on their way where the peer is near: 256 KiB are 2 ms on a line of 1 Gbit/s.
const NEAR: usize = 4;
/// Where it is far, or no small message would wait: with 1 MiB a transfer gets 20 MB/s over a round trip of 50 ms.
const FAR: usize = 16;
/// So many parts without a small message between them have the link for themselves.
const ALONE: usize = 64;
/// A part that is seen later than this has gone far, or behind much else.
const LONG: Duration = Duration::from_millis(5);

/// The parts of one link that the peer has not seen yet.
pub(super) struct Flight {
    /// When each of them left.
    parts: VecDeque<Instant>,
    most: usize,
    /// How many have left since the last small message.
    since_small: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Self { parts: VecDeque::new(), most: NEAR, since_small: 0 }
    }
}

impl Flight {
    pub(super) fn has_room(&self) -> bool {
        let most = if self.since_small < ALONE { self.most } else { FAR };
        self.parts.len() < most
    }

    /// A small message leaves on the same link.
    pub(super) fn small_left(&mut self) {
        self.since_small = 0;
    }

    /// A part leaves.
    pub(super) fn begin(&mut self, now: Instant) {
        self.parts.push_back(now);
        self.since_small = self.since_small.saturating_add(1);
    }

    /// The first of them has been seen.
    pub(super) fn end(&mut self, now: Instant) {
        let Some(left) = self.parts.pop_front() else { return };
        self.most = match now.duration_since(left) > LONG {
            true => (self.most + 1).min(FAR),
            false => (self.most - 1).max(NEAR),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts are on their way after many that were each seen after `round_trip`.
    fn in_flight(flight: &mut Flight, round_trip: Duration) -> usize {
        let mut now = Instant::now();
        for _ in 0..100 {
            flight.small_left();
            while flight.has_room() {
                flight.begin(now);
            }
            now += round_trip;
            (0..flight.parts.len()).for_each(|_| flight.end(now));
        }
        while flight.has_room() {
            flight.begin(now);
        }
        flight.parts.len()
    }

    #[test]
    fn more_parts_are_on_their_way_to_who_is_far() {
        let mut flight = Flight::default();
        assert_eq!(in_flight(&mut flight, Duration::from_millis(1)), NEAR);
        assert_eq!(in_flight(&mut flight, Duration::from_millis(50)), FAR);
        assert_eq!(in_flight(&mut flight, Duration::from_millis(1)), NEAR);
    }

    #[test]
    fn large_payloads_alone_take_all_there_is_until_the_next_small_message() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        for _ in 0..ALONE {
            flight.begin(now);
            flight.end(now);
        }
        (0..FAR).for_each(|_| {
            assert!(flight.has_room());
            flight.begin(now);
        });
        assert!(!flight.has_room());
        flight.small_left();
        (0..=FAR - NEAR).for_each(|_| {
            assert!(!flight.has_room());
            flight.end(now);
        });
        assert!(flight.has_room());
    }

    #[test]
    fn what_the_peer_has_seen_and_never_got_changes_nothing() {
        let mut flight = Flight::default();
        flight.end(Instant::now());
        assert!(flight.has_room() && flight.most == NEAR);
    }
}
