//! When who writes a link looks for more: when it is told, and not before.
//!
//! Whoever has put something there asks for a wake-up, which a batch may keep until its end. A writer that is awake for other
//! reasons leaves what is there until then: else it takes messages by twos and threes while others still make them, each at
//! the cost of a write.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::batch;

/// Nobody has asked since the last look.
const ASLEEP: u8 = 0;
/// A wake-up is on its way, or kept.
const ASKED: u8 = 1;
/// It was woken and has not looked since.
const TOLD: u8 = 2;

#[derive(Default)]
pub(super) struct Rousing {
    state: AtomicU8,
    /// The batch that kept a wake-up last, since the last look.
    keeper: AtomicUsize,
    waker: AtomicWaker,
}

impl Rousing {
    /// Something new is there; says whether a wake-up is to be given or kept here. Not when the batch that is open here kept the last
    /// one; any other's may take longer than this one.
    ///
    /// What the writer is to find was put there under a lock that it takes after it has said that it looks.
    pub(super) fn ask(&self) -> bool {
        let here = batch::here().map_or(0, usize::from);
        match self.state.load(Ordering::Acquire) {
            TOLD => return false,
            ASKED if here != 0 && self.keeper.load(Ordering::Relaxed) == here => return false,
            _ => {}
        }
        // Not when it was told meanwhile: then it will look.
        let asks = self.state.fetch_max(ASKED, Ordering::AcqRel) != TOLD;
        if asks {
            self.keeper.store(here, Ordering::Relaxed);
        }
        asks
    }

    /// The wake-up; no effect when the writer has looked since, or will.
    pub(super) fn tell(&self) {
        if self.state.compare_exchange(ASKED, TOLD, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.waker.wake();
        }
    }

    /// Whether to look now; whoever may not is woken when it may. `left` says that the last look left something.
    pub(super) fn may_look(&self, cx: &Context<'_>, left: bool) -> bool {
        self.waker.register(cx.waker());
        if self.state.load(Ordering::Acquire) == ASKED {
            return left;
        }
        self.keeper.store(0, Ordering::Relaxed);
        self.state.store(ASLEEP, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use std::task::{Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::batch::Wake;

    #[derive(Default)]
    struct Desk {
        rousing: Rousing,
        items: Mutex<VecDeque<usize>>,
    }

    impl Wake for Desk {
        fn wake(&self) {
            self.rousing.tell();
        }
    }

    impl Desk {
        fn put(self: &Arc<Self>, item: usize) {
            self.items.lock().unwrap().push_back(item);
            if self.rousing.ask() {
                batch::wake(self.clone());
            }
        }

        /// Takes three at most when it may look.
        fn take(&self, cx: &Context<'_>, left: &mut bool) -> Vec<usize> {
            if !self.rousing.may_look(cx, *left) {
                return Vec::new();
            }
            let mut items = self.items.lock().unwrap();
            let some = items.len().min(3);
            let taken = items.drain(..some).collect();
            *left = !items.is_empty();
            taken
        }
    }

    #[test]
    fn what_a_batch_keeps_to_itself_is_not_looked_at_before_its_end() {
        let (at, cx, mut left) = (Arc::<Desk>::default(), Context::from_waker(Waker::noop()), false);
        assert!(at.take(&cx, &mut left).is_empty());
        batch::run(|| {
            (0..4).for_each(|item| at.put(item));
            assert!(at.take(&cx, &mut left).is_empty());
        });
        assert_eq!(at.take(&cx, &mut left), [0, 1, 2]);
        batch::run(|| {
            at.put(4);
            assert_eq!(at.take(&cx, &mut left), [3, 4], "what was left is not forgotten");
            at.put(5);
            assert!(at.take(&cx, &mut left).is_empty());
        });
        assert_eq!(at.take(&cx, &mut left), [5]);
    }

    #[test]
    fn a_batch_keeps_one_wake_up_and_holds_up_nobody_elses() {
        let (at, cx, mut left) = (Arc::<Desk>::default(), Context::from_waker(Waker::noop()), false);
        batch::run(|| {
            assert!(at.rousing.ask() && !at.rousing.ask());
            assert!(at.take(&cx, &mut left).is_empty());
            std::thread::scope(|scope| scope.spawn(|| at.put(7)).join()).unwrap();
            assert_eq!(at.take(&cx, &mut left), [7]);
        });
    }

    #[test]
    fn nothing_is_lost_whoever_puts_it_there() {
        const EACH: usize = if cfg!(miri) { 30 } else { 20_000 };
        let at = Arc::<Desk>::default();
        let put = |how: fn(&mut dyn FnMut())| {
            let at = at.clone();
            std::thread::spawn(move || {
                for some in 0..EACH / 10 {
                    how(&mut || (0..10).for_each(|item| at.put(some * 10 + item)));
                }
            })
        };
        let putting =
            [put(|work| work()), put(|work| batch::run(work)), put(|work| batch::run_foreign(work))];
        let (mut seen, mut left) = (0, false);
        let taking = poll_fn(|cx| {
            loop {
                match at.take(cx, &mut left).len() {
                    0 if seen == 3 * EACH => return Poll::Ready(()),
                    0 => return Poll::Pending,
                    some => seen += some,
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), taking).await });
        putting.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(ended.is_ok(), "{seen} of {}", 3 * EACH);
    }
}
