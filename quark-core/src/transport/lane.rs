//! One line of frames in an outbox. Pure.
//!
//! Frames are numbered as they come, and the numbers tell what a link has taken: a frame's number is below the lane's
//! first, or it is not. A frame that is withdrawn leaves a gap, so that the others keep their numbers.

use std::collections::VecDeque;
use std::ops::Range;

use super::outbox::Frame;

/// Gaps that are not worth the work of closing them.
const FEW_GAPS: usize = 64;

/// A line of frames.
#[derive(Default)]
pub(crate) struct Lane {
    frames: VecDeque<Option<Frame>>,
    next_number: u64,
    gaps: usize,
}

impl Lane {
    /// The number that the next pushed frame gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of the first frame that nobody has taken.
    pub(crate) fn first_number(&self) -> u64 {
        self.next_number - self.frames.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        // There is no gap at the front.
        self.frames.is_empty()
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push_back(Some(frame));
        self.next_number += 1;
    }

    /// The first frame with its number.
    pub(crate) fn front(&self) -> Option<(u64, &Frame)> {
        self.frames.front().and_then(Option::as_ref).map(|frame| (self.first_number(), frame))
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front().flatten();
        self.drop_gaps_at_the_front();
        frame
    }

    /// Takes a frame out of the line; nothing when it was taken before.
    pub(crate) fn withdraw(&mut self, number: u64) -> Option<Frame> {
        let place = usize::try_from(number.checked_sub(self.first_number())?).ok()?;
        let frame = self.frames.get_mut(place)?.take();
        self.gaps += usize::from(frame.is_some());
        self.drop_gaps_at_the_front();
        frame
    }

    fn drop_gaps_at_the_front(&mut self) {
        while let Some(None) = self.frames.front() {
            self.frames.pop_front();
            self.gaps -= 1;
        }
    }

    /// Closes the gaps once they are more than the frames, so that a line whose front does not move cannot grow by
    /// what came and went behind it. The frames get new numbers, all above the old ones, and `renumbered` hears of each.
    /// Returns the old numbers, which are nobody's any more.
    pub(crate) fn close_gaps(&mut self, mut renumbered: impl FnMut(&Frame, u64)) -> Option<Range<u64>> {
        if self.gaps <= FEW_GAPS.max(self.frames.len() / 2) {
            return None;
        }
        let old = self.first_number()..self.next_number;
        self.frames.retain(Option::is_some);
        self.gaps = 0;
        self.next_number = old.end + self.frames.len() as u64;
        for (number, frame) in (old.end..).zip(self.frames.iter().flatten()) {
            renumbered(frame, number);
        }
        Some(old)
    }

    pub(crate) fn frames_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        self.frames.iter_mut().flatten()
    }

    /// Takes everything out, in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Frame> {
        self.gaps = 0;
        self.frames.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::transport::outbox::Size;
    use crate::transport::room::Need;
    use tokio::time::Instant;

    fn frame(name: usize) -> Frame {
        let envelope = Envelope::request("T", name.to_string(), "", "").into();
        let need = Need { size: Size::Small, cost: 1 };
        Frame { envelope, deadline: Instant::now(), ticket: None, claim: None, need, after: 0 }
    }

    fn names(lane: &mut Lane) -> Vec<usize> {
        lane.drain().map(|frame| frame.envelope.actor_id.parse().unwrap()).collect()
    }

    #[test]
    fn a_withdrawn_frame_leaves_the_others_their_numbers() {
        let mut lane = Lane::default();
        (0..4).for_each(|name| lane.push(frame(name)));
        assert_eq!(lane.withdraw(1).unwrap().envelope.actor_id, "1");
        assert!(lane.withdraw(1).is_none(), "once");
        assert_eq!(lane.first_number(), 0);
        assert!(lane.withdraw(0).is_some());
        assert_eq!(lane.first_number(), 2, "a gap at the front is no place of anybody");
        assert_eq!(lane.pop().unwrap().envelope.actor_id, "2");
        assert!(lane.withdraw(2).is_none(), "it was taken");
        assert_eq!(names(&mut lane), [3]);
    }

    #[test]
    fn gaps_behind_a_front_that_does_not_move_do_not_pile_up() {
        let mut lane = Lane::default();
        lane.push(frame(0));
        let mut number_of_first = 0;
        for name in 1..10_000 {
            let number = lane.next_number();
            lane.push(frame(name));
            assert!(lane.withdraw(number).is_some());
            lane.close_gaps(|_, number| number_of_first = number);
            assert!(lane.frames.len() <= 2 * FEW_GAPS);
        }
        assert_eq!(lane.front().unwrap().0, number_of_first);
        assert_eq!(names(&mut lane), [0]);
    }

    #[test]
    fn closing_gaps_keeps_the_order() {
        let mut lane = Lane::default();
        (0..300).for_each(|name| lane.push(frame(name)));
        (1..200).filter(|n| n % 10 != 0).for_each(|number| drop(lane.withdraw(number)));
        let mut numbers = Vec::new();
        let old = lane.close_gaps(|_, number| numbers.push(number)).unwrap();
        assert_eq!((old, lane.first_number()), (0..300, 300));
        let expected: Vec<_> = (0..200).step_by(10).chain(200..300).collect();
        assert_eq!(numbers, (300..300 + expected.len() as u64).collect::<Vec<_>>());
        assert_eq!(names(&mut lane), expected);
    }
}
