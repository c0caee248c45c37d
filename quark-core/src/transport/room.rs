//! Room in an outbox: how much may wait there, and in what order those come in who wait for room.
//!
//! Large requests have room of their own, so that one that waits for it does not hold up small ones.

use std::future::Future as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::outbox::{Outbox, Size};
use super::parts::PART_BYTES;
use crate::envelope::Envelope;

/// Room for frames of one size.
pub(crate) struct Space {
    permits: Semaphore,
    /// Whoever waits does so one after the other, so that callers keep their order whatever they wait for.
    line: Semaphore,
    waiting: AtomicUsize,
}

impl Space {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            permits: Semaphore::new(capacity as usize),
            line: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        }
    }

    fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    pub(crate) fn give_back(&self, cost: u32) {
        self.permits.add_permits(cost as usize);
    }

    /// Takes what can be taken of this much at once, for a frame that may pass the capacity.
    pub(crate) fn take_what_is_there(&self, cost: u32) -> u32 {
        u32::try_from(self.permits.forget_permits(cost as usize)).unwrap_or(0)
    }
}

/// The actor of a request, as far as the order of its requests goes. Two actors of one hash only wait for each other.
pub(crate) fn actor_of(envelope: &Envelope) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&envelope.actor_type, &envelope.actor_id).hash(&mut hasher);
    hasher.finish()
}

/// What a request needs of an outbox.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    pub(crate) size: Size,
    pub(crate) cost: u32,
}

impl Need {
    /// What small requests need together; nothing when a large one is among them.
    pub(crate) fn sum(needs: &[Self]) -> Option<Self> {
        let all_small = needs.iter().all(|need| need.size == Size::Small);
        let cost = needs.iter().fold(0u32, |sum, need| sum.saturating_add(need.cost));
        all_small.then_some(Self { size: Size::Small, cost })
    }
}

impl Outbox {
    /// What a request needs: one, and one more for each KiB, but never more than there is. A request behind a large one
    /// of its actor counts as large.
    pub(crate) fn need(&self, envelope: &Envelope) -> Need {
        let kib = u32::try_from(envelope.payload_len() / 1024).unwrap_or(u32::MAX);
        let cost = kib.saturating_add(1).min(self.capacity());
        let is_large = envelope.payload.len() > PART_BYTES || self.is_behind_a_large_one(envelope);
        Need { size: if is_large { Size::Large } else { Size::Small }, cost }
    }

    /// Room at once, unless somebody waits for it, who must not be overtaken.
    pub(crate) fn try_room(&self, need: Need) -> Option<SemaphorePermit<'_>> {
        let space = self.space(need.size);
        if space.has_waiting() || self.space(Size::Small).has_waiting() {
            return None;
        }
        space.permits.try_acquire_many(need.cost).ok()
    }

    /// Joins those who wait for room.
    pub(crate) fn stand_in_line(&self, envelope: &Envelope) -> InLine<'_> {
        let need = self.need(envelope);
        let actor = actor_of(envelope);
        if need.size == Size::Large {
            // Small requests of this actor go behind it from now on.
            self.lock().hold(actor);
        }
        self.space(need.size).waiting.fetch_add(1, Ordering::AcqRel);
        if need.size == Size::Large {
            self.space(Size::Small).waiting.fetch_add(1, Ordering::AcqRel);
        }
        InLine { outbox: self, need, actor, behind_small: AtomicBool::new(need.size == Size::Large) }
    }
}

/// Somebody who waits for room, until it is dropped.
pub(crate) struct InLine<'a> {
    outbox: &'a Outbox,
    pub(crate) need: Need,
    actor: u64,
    /// A large request that waits for its turn among the small ones.
    behind_small: AtomicBool,
}

impl<'a> InLine<'a> {
    /// Until those before have come in. Nobody else of this size does while the permit is held.
    ///
    /// All wait in the line of small requests first, so that a large one does not overtake small ones of its actor; from
    /// there, large ones go over to their own.
    pub(crate) async fn until_first(&self) -> SemaphorePermit<'a> {
        let among_all = self.outbox.space(Size::Small).line.acquire().await.expect("never closed");
        if self.need.size == Size::Small {
            return among_all;
        }
        let mut among_large = std::pin::pin!(self.outbox.space(Size::Large).line.acquire());
        // Polled once it has its place there, before anybody else can take that.
        let at_once = std::future::poll_fn(|cx| Poll::Ready(among_large.as_mut().poll(cx))).await;
        self.passed_small();
        drop(among_all);
        match at_once {
            Poll::Ready(first) => first,
            Poll::Pending => among_large.await,
        }
        .expect("never closed")
    }

    fn passed_small(&self) {
        if self.behind_small.swap(false, Ordering::AcqRel) {
            self.outbox.space(Size::Small).waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) async fn room(&self) -> SemaphorePermit<'a> {
        let permits = &self.outbox.space(self.need.size).permits;
        permits.acquire_many(self.need.cost).await.expect("never closed")
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.passed_small();
        self.outbox.space(self.need.size).waiting.fetch_sub(1, Ordering::AcqRel);
        if self.need.size == Size::Large {
            self.outbox.lock().release(self.actor);
        }
    }
}
