//! How many parts of large payloads are on their way: what is in the buffers between two silos is what a small message waits
//! behind. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::parts::{LARGEST_PART, PART_BYTES};

/// Bytes on their way where the peer is near: 256 KiB are 2 ms on a line of 1 Gbit/s.
const NEAR: usize = 4 * PART_BYTES;
/// Where it is far, or no small message would wait: with 1 MiB a transfer gets 20 MB/s over a round trip of 50 ms.
const FAR: usize = 16 * PART_BYTES;
/// So many bytes without a small message between them have the link for themselves.
const ALONE: usize = 64 * PART_BYTES;
/// A part that is seen later than this has gone far, or behind much else.
const LONG: Duration = Duration::from_millis(5);

/// The parts of one link that the peer has not seen yet.
pub(super) struct Flight {
    /// How long each of them is, and when it left.
    parts: VecDeque<(usize, Instant)>,
    /// How long they are together, in bytes, and may be.
    bytes: usize,
    most: usize,
    /// Bytes that have left since the last small message.
    since_small: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Self { parts: VecDeque::new(), bytes: 0, most: NEAR, since_small: 0 }
    }
}

impl Flight {
    /// How many bytes may leave as the next part.
    pub(super) fn room(&self) -> usize {
        let (most, part) =
            if self.since_small < ALONE { (self.most, PART_BYTES) } else { (FAR, LARGEST_PART) };
        // No part is cut for what little room there is.
        (most.saturating_sub(self.bytes) / PART_BYTES * PART_BYTES).min(part)
    }

    /// A small message leaves on the same link.
    pub(super) fn small_left(&mut self) {
        self.since_small = 0;
    }

    /// A part leaves.
    pub(super) fn begin(&mut self, bytes: usize, now: Instant) {
        self.parts.push_back((bytes, now));
        self.bytes += bytes;
        self.since_small = self.since_small.saturating_add(bytes);
    }

    /// The first of them has been seen.
    pub(super) fn end(&mut self, now: Instant) {
        let Some((bytes, left)) = self.parts.pop_front() else { return };
        self.bytes -= bytes;
        self.most = match now.duration_since(left) > LONG {
            true => (self.most + PART_BYTES).min(FAR),
            false => (self.most - PART_BYTES).max(NEAR),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(flight: &mut Flight, now: Instant) {
        while flight.room() > 0 {
            flight.begin(flight.room(), now);
        }
    }

    /// How many bytes are on their way after many that were each seen after `round_trip`.
    fn in_flight(flight: &mut Flight, round_trip: Duration) -> usize {
        let mut now = Instant::now();
        for _ in 0..100 {
            flight.small_left();
            fill(flight, now);
            now += round_trip;
            (0..flight.parts.len()).for_each(|_| flight.end(now));
        }
        fill(flight, now);
        flight.bytes
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
        while flight.since_small < ALONE {
            assert_eq!(flight.room(), PART_BYTES);
            flight.begin(flight.room(), now);
            flight.end(now);
        }
        assert_eq!(flight.room(), LARGEST_PART);
        fill(&mut flight, now);
        assert_eq!(flight.bytes, FAR);
        flight.small_left();
        while flight.bytes >= NEAR {
            assert_eq!(flight.room(), 0);
            flight.end(now);
        }
        assert_eq!(flight.room(), PART_BYTES);
    }

    #[test]
    fn what_little_room_there_is_waits_to_become_more() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        flight.begin(NEAR - PART_BYTES + 1, now);
        assert_eq!(flight.room(), 0);
        flight.end(now);
        assert_eq!(flight.room(), PART_BYTES);
    }

    #[test]
    fn what_the_peer_has_seen_and_never_got_changes_nothing() {
        let mut flight = Flight::default();
        flight.end(Instant::now());
        assert!(flight.room() == PART_BYTES && flight.most == NEAR);
    }
}
