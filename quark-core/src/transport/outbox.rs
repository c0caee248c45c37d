//! What waits to be sent to one silo, in order, bounded. It outlives the links: what no link has taken was surely not
//! sent, stays in its place, and goes out on the next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::link::Link;
use super::pending::Ticket;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;

/// A request on its way out.
pub(crate) struct Frame {
    pub(crate) envelope: Envelope,
    /// When it need no longer be sent.
    pub(crate) deadline: Instant,
    /// The call that waits; none for one-way requests.
    pub(crate) ticket: Option<Ticket>,
    /// What it takes of the outbox's capacity.
    pub(crate) cost: u32,
}

/// A bounded queue of frames to one silo.
pub(crate) struct Outbox {
    peer: SiloId,
    state: Mutex<Queue>,
    /// Fair, so that callers that wait for space keep their order.
    pub(crate) space: Semaphore,
    capacity: u32,
    /// Why there is no link, when there is none.
    trouble: Mutex<Option<Error>>,
    /// Told when a link comes, or when none will.
    news: Notify,
}

/// The inside of an outbox, while it is locked.
pub(crate) struct Queue {
    frames: VecDeque<Frame>,
    /// The number that the next frame gets.
    next_number: u64,
    /// The link that takes frames now.
    link: Option<Arc<Link>>,
}

impl Outbox {
    pub(crate) fn new(peer: SiloId, capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            peer,
            trouble: Mutex::default(),
            news: Notify::new(),
            state: Mutex::new(Queue { frames: VecDeque::new(), next_number: 0, link: None }),
            space: Semaphore::new(capacity as usize),
            capacity,
        })
    }

    pub(crate) fn peer(&self) -> &SiloId {
        &self.peer
    }

    /// Notes why there is no link, or that there is one.
    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        *self.trouble.lock().expect("no panic while locked") = trouble;
        self.news.notify_waiters();
    }

    /// Lets `link` take frames from now on, or nobody.
    pub(crate) fn attach(&self, link: Option<Arc<Link>>) {
        let mut queue = self.lock();
        queue.link = link;
        if let Some(link) = &queue.link {
            link.wake();
            drop(queue);
            self.news.notify_waiters();
        }
    }

    /// Nobody takes frames any more, if `link` does now.
    pub(crate) fn detach(&self, link: &Arc<Link>) {
        let mut queue = self.lock();
        if queue.is_attached_to(link) {
            queue.link = None;
        }
    }

    /// Waits for a link.
    ///
    /// # Errors
    /// What the peer said when it turned us away for good.
    pub(crate) async fn until_linked(&self) -> Result<()> {
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            news.as_mut().enable();
            if self.has_link() {
                return Ok(());
            }
            if let Some(error) = self.trouble().filter(is_final) {
                return Err(error);
            }
            news.await;
        }
    }

    /// Why there is no link, if an attempt failed.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.trouble.lock().expect("no panic while locked").clone()
    }

    /// What an envelope takes of the capacity: one, and one more for each KiB, but never more than there is.
    pub(crate) fn cost(&self, envelope: &Envelope) -> u32 {
        let kib = u32::try_from(envelope.payload_len() / 1024).unwrap_or(u32::MAX);
        kib.saturating_add(1).min(self.capacity)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().expect("no panic while an outbox is locked")
    }

    /// Takes frames for `link` until `bytes` of payload or `count` frames; those past their deadline fall away, their
    /// calls have ended or are about to. Returns the numbers that were passed.
    pub(crate) fn take(
        &self,
        link: &Arc<Link>,
        count: usize,
        bytes: usize,
        into: &mut VecDeque<Envelope>,
    ) -> std::ops::Range<u64> {
        let mut queue = self.lock();
        let first = queue.first_number();
        if !queue.is_attached_to(link) || queue.frames.is_empty() {
            return first..first;
        }
        let now = Instant::now();
        let (mut freed, mut taken_bytes) = (0, 0);
        while into.len() < count && taken_bytes < bytes {
            let Some(mut frame) = queue.frames.pop_front() else { break };
            freed += frame.cost as usize;
            let Some(left) = frame.deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                continue;
            };
            taken_bytes += frame.envelope.payload_len() + 64;
            frame.envelope.timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            into.push_back(frame.envelope);
        }
        let passed = first..queue.first_number();
        drop(queue);
        self.space.add_permits(freed);
        passed
    }

    /// Takes out everything that no link has taken.
    pub(crate) fn drain(&self) -> Vec<Frame> {
        let frames: Vec<_> = self.lock().frames.drain(..).collect();
        self.space.add_permits(frames.iter().map(|frame| frame.cost as usize).sum());
        frames
    }

    /// Whether some link has taken the frame with this number.
    pub(crate) fn was_taken(&self, number: u64) -> bool {
        number < self.lock().first_number()
    }

    pub(crate) fn has_link(&self) -> bool {
        self.lock().link.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().frames.is_empty()
    }
}

impl Queue {
    /// Puts a frame at the end and wakes the link. The capacity was acquired before.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
        self.next_number += 1;
        if let Some(link) = &self.link {
            link.wake();
        }
    }

    /// The number that the next pushed frame gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    fn first_number(&self) -> u64 {
        self.next_number - self.frames.len() as u64
    }

    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    pub(crate) fn is_attached_to(&self, link: &Arc<Link>) -> bool {
        self.link.as_ref().is_some_and(|attached| Arc::ptr_eq(attached, link))
    }
}

/// Whether trying again is useless.
pub(crate) fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Incompatible | ErrorKind::Unauthenticated)
}
