//! From the runtime's thread to an event loop of the host's: a queue, and a descriptor that becomes readable when the
//! queue is no longer empty. One wake-up brings everything that is there. A loop that [waits](super::LoopWait) in another way
//! needs no descriptor meanwhile.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::batch::{self, Wake};

/// It watches the descriptor.
const WATCHES: u8 = 0;
/// It looks by itself before it waits.
const LOOKS: u8 = 1;
/// It drives the runtime.
const DRIVES: u8 = 2;

/// A queue with a descriptor to poll. Bounded by what fills it: requests by the inbox, replies by the pending table.
pub struct Mailbox<T> {
    items: Mutex<VecDeque<T>>,
    /// Whether the descriptor has been, or is about to be, made readable.
    armed: AtomicBool,
    /// Nobody takes anything any more.
    closed: AtomicBool,
    /// How whoever takes learns that there is something.
    taker: AtomicU8,
    /// Wakes one that drives.
    driving: AtomicWaker,
    /// The descriptor may be readable.
    written: AtomicBool,
    reader: UnixStream,
    writer: UnixStream,
}

impl<T: Send + 'static> Mailbox<T> {
    /// An empty mailbox.
    ///
    /// # Errors
    /// What the system says when there are no descriptors left.
    pub fn new() -> io::Result<Arc<Self>> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Arc::new(Self {
            items: Mutex::default(),
            armed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            taker: AtomicU8::new(WATCHES),
            driving: AtomicWaker::new(),
            written: AtomicBool::new(false),
            reader,
            writer,
        }))
    }

    /// The descriptor; readable when [`take`](Self::take) has something. Owned by the mailbox.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().expect("no panic while a mailbox is locked")
    }

    /// Puts an item at the end, from any thread; drops it when the mailbox is closed.
    pub fn push(self: &Arc<Self>, item: T) {
        let mut items = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            drop(items);
            return drop(item);
        }
        items.push_back(item);
        drop(items);
        if !self.armed.swap(true, Ordering::AcqRel) {
            batch::wake(self.clone());
        }
    }

    /// Makes the descriptor readable although nothing new has come: for who took more than he wants to handle now.
    pub fn wake(&self) {
        // Also when it is armed: a wake-up that is kept for what has been taken meanwhile comes to nothing.
        self.armed.store(true, Ordering::SeqCst);
        self.signal();
    }

    fn signal(&self) {
        match self.taker.load(Ordering::SeqCst) {
            LOOKS => {}
            DRIVES => self.driving.wake(),
            _ => {
                // A full buffer means that the descriptor is readable already.
                let _ = (&self.writer).write(&[1]);
                self.written.store(true, Ordering::Release);
            }
        }
    }

    /// Whoever takes looks [whether there is something](Self::has_items) before it waits, and needs no wake-up until then.
    pub(super) fn is_looked_at(&self) {
        self.taker.store(LOOKS, Ordering::SeqCst);
    }

    /// It is to be woken by the descriptor. Says whether there is something already.
    pub(super) fn is_watched(&self) -> bool {
        self.wakes_by(WATCHES)
    }

    /// It drives the runtime and is to be woken there. Says whether there is something already.
    pub(super) fn is_driven(&self, cx: &Context<'_>) -> bool {
        self.driving.register(cx.waker());
        self.wakes_by(DRIVES)
    }

    fn wakes_by(&self, way: u8) -> bool {
        self.taker.store(way, Ordering::SeqCst);
        // In this order: a wake-up that came to nothing before was for what is there now, if it is.
        self.armed.store(false, Ordering::SeqCst);
        self.has_items()
    }

    pub(super) fn has_items(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Nothing is taken any more: what comes from now on is dropped. Returns what is there.
    #[must_use]
    pub fn close(&self) -> Vec<T> {
        let mut items = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        std::mem::take(&mut *items).into()
    }

    /// Takes everything that is there, in order. The descriptor is quiet until the next push.
    pub fn take(&self) -> Vec<T> {
        // In this order: an item that comes in between arms the mailbox again, at worst for nothing.
        if self.written.swap(false, Ordering::Acquire) {
            let mut bytes = [0; 16];
            while matches!((&self.reader).read(&mut bytes), Ok(read) if read == bytes.len()) {}
        }
        self.armed.store(false, Ordering::Release);
        std::mem::take(&mut *self.lock()).into()
    }

    /// The same, but no more than `most`. The descriptor stays readable while there are others; for who was told by it.
    pub fn take_at_most(&self, most: usize) -> Vec<T> {
        let mut items = self.lock();
        if items.len() > most {
            return items.drain(..most).collect();
        }
        drop(items);
        self.take()
    }

    /// Takes the first items as far as they are wanted, in order, for who is where they are handled without having been
    /// told. A wake-up that is kept for them on this thread is not given out when nothing is left.
    pub fn take_first(&self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut items = self.lock();
        let wanted = items.iter().take_while(|item| is_wanted(item)).count();
        items.drain(..wanted).collect()
    }
}

impl<T: Send + 'static> Wake for Mailbox<T> {
    fn wake(&self) {
        let items = self.lock();
        if items.is_empty() {
            // Taken meanwhile. Whoever pushes after this arms it again.
            return self.armed.store(false, Ordering::Release);
        }
        drop(items);
        self.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_up_brings_everything() {
        let mailbox = Mailbox::new().unwrap();
        batch::run(|| (0..100).for_each(|i| mailbox.push(i)));
        mailbox.push(100);
        assert_eq!(mailbox.take(), (0..=100).collect::<Vec<_>>());
        assert_eq!((&mailbox.reader).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        mailbox.push(7);
        assert_eq!((&mailbox.reader).read(&mut [0]).unwrap(), 1);
        assert_eq!(mailbox.close(), [7]);
        mailbox.push(8);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn who_takes_a_part_is_told_of_the_rest() {
        let mailbox = Mailbox::new().unwrap();
        (0..5).for_each(|i| mailbox.push(i));
        let mut taken = Vec::new();
        for most in [2, 2, 2] {
            assert_eq!((&mailbox.reader).read(&mut [0]).unwrap(), 1, "the descriptor is readable");
            mailbox.wake();
            taken.extend(mailbox.take_at_most(most));
        }
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert_eq!((&mailbox.reader).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_taken_where_it_was_pushed_wakes_nobody() {
        let mailbox = Mailbox::new().unwrap();
        let is_quiet = || (&mailbox.reader).read(&mut [0]).is_err();
        batch::run(|| {
            (1..=3).for_each(|i| mailbox.push(i));
            assert_eq!(mailbox.take_first(|item| *item < 3), [1, 2]);
            assert_eq!(mailbox.take_first(|_| true), [3]);
        });
        assert!(is_quiet());
        batch::run(|| {
            (1..=3).for_each(|i| mailbox.push(i));
            assert_eq!(mailbox.take_first(|item| *item != 2), [1]);
        });
        assert!(!is_quiet(), "what is left is told");
        assert_eq!(mailbox.take(), [2, 3]);
        mailbox.wake();
        assert!(!is_quiet(), "for who asks it is, also without items");
        assert!(mailbox.take().is_empty());
        batch::run(|| {
            mailbox.push(4);
            assert_eq!(mailbox.take_first(|_| true), [4]);
            mailbox.wake();
        });
        assert!(!is_quiet(), "and also while a wake-up is kept");
    }
}
