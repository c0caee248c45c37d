//! Waking once for many: while a batch is open on this thread, wake-ups are kept and given out together at its end.
//!
//! A link that reads twenty messages at once opens a batch around them, so that a host queue or an event loop on another
//! thread is woken once, after the last, and finds all twenty. Without an open batch a wake-up goes out at once.

mod minder;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use minder::Kept;
pub(crate) use minder::mind;

/// Something that can be woken from any thread. Waking must not block.
pub(crate) trait Wake: Send + Sync {
    /// Wakes it.
    fn wake(&self);
}

/// Where the open batch of a thread keeps its wake-ups.
enum Open {
    /// Nobody else needs to see them: what runs in the batch is Quark's own, or an event loop's, and never waits.
    Own(Vec<Arc<dyn Wake>>),
    /// Foreign code runs in it.
    Minded(Arc<Kept>),
    /// It is a part of what is held.
    Held(Arc<Kept>),
}

impl Open {
    fn take(&mut self) -> Vec<Arc<dyn Wake>> {
        match self {
            Self::Own(kept) => std::mem::take(kept),
            Self::Minded(kept) | Self::Held(kept) => kept.take(),
        }
    }

    fn close(mut self) -> Vec<Arc<dyn Wake>> {
        match self {
            Self::Held(_) => Vec::new(),
            _ => self.take(),
        }
    }
}

thread_local! {
    static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
}

/// Runs `work`, which does not wait for anything, as one batch. A batch inside a batch is part of it.
pub fn run<T>(work: impl FnOnce() -> T) -> T {
    inside(|| Open::Own(Vec::new()), work)
}

/// Runs foreign code as one batch. What it keeps is given out after a millisecond or so if it goes on for longer.
pub fn run_foreign<T>(work: impl FnOnce() -> T) -> T {
    inside(|| Open::Minded(minder::kept_here()), work)
}

/// The same, and returns what it kept, to be given out at once.
pub(crate) fn gather_foreign(work: impl FnOnce()) -> Wakes {
    run_foreign(|| {
        work();
        if crate::host::is_forked() {
            return Wakes::default();
        }
        Wakes(OPEN.with_borrow_mut(|open| open.as_mut().map(Open::take)).unwrap_or_default())
    })
}

/// Wake-ups that were kept.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<dyn Wake>>);

impl Wakes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives them out.
    pub(crate) fn give_out(&mut self) {
        self.0.drain(..).for_each(|target| target.wake());
    }
}

/// Wake-ups of several batches, held until they are given out: for an event loop that runs what came together one piece after
/// the other. They are given out after a millisecond or so where that takes longer.
pub struct Held(Arc<Kept>);

impl Default for Held {
    fn default() -> Self {
        Self(minder::register())
    }
}

impl Held {
    /// Runs `work` as a batch whose wake-ups are held; inside another batch it is part of that.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        inside(|| Open::Held(self.0.clone()), work)
    }

    /// Gives out what is held.
    pub fn give_out(&self) {
        give_out(Some(self.0.take()));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !crate::host::is_forked() {
            self.give_out();
        }
    }
}

fn inside<T>(open: impl FnOnce() -> Open, work: impl FnOnce() -> T) -> T {
    /// Gives out the wake-ups also when `work` panics.
    struct Close;
    impl Drop for Close {
        fn drop(&mut self) {
            let open = OPEN.with_borrow_mut(Option::take);
            if crate::host::is_forked() {
                // Whom a forked child would wake is in the parent.
                return std::mem::forget(open);
            }
            give_out(open.map(Open::close));
        }
    }
    let outermost = OPEN.with_borrow_mut(|now| {
        let outermost = now.is_none();
        now.get_or_insert_with(open);
        outermost
    });
    let _close = outermost.then(|| Close);
    work()
}

/// Which batch is open on this thread, if one is: while it keeps something, no other has the same number.
pub(crate) fn here() -> Option<NonZeroUsize> {
    OPEN.with(|open| {
        NonZeroUsize::new(match &*open.borrow() {
            None => 0,
            Some(Open::Own(_)) => std::ptr::from_ref(open).addr(),
            Some(Open::Minded(kept) | Open::Held(kept)) => Arc::as_ptr(kept).addr(),
        })
    })
}

/// Gives out what the open batch has kept so far; before this thread blocks.
pub(crate) fn flush() {
    give_out(OPEN.with_borrow_mut(|open| open.as_mut().map(Open::take)));
}

/// Runs `work` outside the batch that is open on this thread, if one is; what that has kept is given out before.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    struct Back(Option<Open>);
    impl Drop for Back {
        fn drop(&mut self) {
            OPEN.set(self.0.take());
        }
    }
    flush();
    let _back = Back(OPEN.take());
    work()
}

fn give_out(kept: Option<Vec<Arc<dyn Wake>>>) {
    kept.into_iter().flatten().for_each(|target| target.wake());
}

/// Wakes `target` at the end of the batch that is open on this thread, else now. Who asks for the same again and again until it has
/// been woken makes the batch keep it each time.
pub(crate) fn wake(target: Arc<dyn Wake>) {
    let now = OPEN.with_borrow_mut(|open| match open {
        Some(Open::Own(kept)) => {
            kept.push(target);
            None
        }
        Some(Open::Minded(kept) | Open::Held(kept)) => kept.keep(target),
        None => Some(target),
    });
    if let Some(target) = now {
        target.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_held_is_given_out_once_also_by_the_minder() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let held = Held::default();
        held.run(|| wake(count.clone()));
        held.run(|| wake(count.clone()));
        held.give_out();
        held.give_out();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        run(|| held.run(|| wake(count.clone())));
        assert_eq!(count.0.load(Ordering::Relaxed), 3, "part of the outer batch");
        held.run(|| wake(count.clone()));
        let waited = std::time::Instant::now();
        while count.0.load(Ordering::Relaxed) < 4 {
            assert!(waited.elapsed().as_secs() < 30, "nobody minds what is held");
            std::thread::yield_now();
        }
        held.run(|| wake(count.clone()));
        drop(held);
        assert_eq!(count.0.load(Ordering::Relaxed), 5, "also when it goes");
    }

    #[test]
    fn what_is_done_aside_is_no_part_of_a_batch() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let woken = || count.0.load(Ordering::Relaxed);
        run(|| {
            wake(count.clone());
            aside(|| {
                assert_eq!(woken(), 1);
                wake(count.clone());
                assert_eq!(woken(), 2);
            });
            wake(count.clone());
            assert_eq!(woken(), 2, "it goes on");
        });
        assert_eq!(woken(), 3);
    }

    #[test]
    fn a_batch_wakes_at_its_end() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let woken = || count.0.load(Ordering::Relaxed);
        wake(count.clone());
        assert_eq!(woken(), 1);
        run(|| {
            run(|| wake(count.clone()));
            assert_eq!(woken(), 1, "the inner batch is part of the outer");
            flush();
            assert_eq!(woken(), 2);
            wake(count.clone());
            assert_eq!(woken(), 2);
        });
        assert_eq!(woken(), 3);
    }
}
