//! What waits to be sent to one silo, in order, bounded. It outlives the links: what no link has taken was surely not
//! sent, stays in its place, and goes out on the next one.
//!
//! Large requests wait in a lane of their own and leave in parts, so that small ones to the same silo pass them. The
//! order of one actor's requests holds nevertheless: what follows a large request to the same actor waits behind it, and
//! a large request is complete only after the small ones that were there before it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::calls::Calls;
use super::claim::Claim;
use super::control;
use super::engine::Dispatch;
use super::lane::Lane;
use super::link::Link;
use super::parts;
use super::pending::{Completion, Route, Ticket, millis_up};
use super::room::{Need, Space, actor_of};
use super::turns::Turns;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;

/// A request on its way out.
pub(crate) struct Frame {
    pub(crate) envelope: Parcel,
    /// When it need no longer be sent.
    pub(crate) deadline: Instant,
    /// The call that waits; none for one-way requests.
    pub(crate) ticket: Option<Ticket>,
    /// Of a one-way request whose sender waits until a link takes it.
    pub(crate) claim: Option<Claim>,
    /// What it takes of the outbox's room.
    pub(crate) need: Need,
    /// Of a large frame: it is complete only when the small lane has come to this number.
    pub(crate) after: u64,
}

/// Which line a frame stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

/// A frame's place in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) size: Size,
    pub(crate) number: u64,
}

/// The places of the frames that a link has taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    small: Range<u64>,
    large: Range<u64>,
}

impl Taken {
    pub(crate) fn contains(&self, place: Place) -> bool {
        match place.size {
            Size::Small => self.small.contains(&place.number),
            Size::Large => self.large.contains(&place.number),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Adds what was taken next.
    pub(crate) fn extend(&mut self, more: Self) {
        for (all, more) in [(&mut self.small, more.small), (&mut self.large, more.large)] {
            match (all.is_empty(), more.is_empty()) {
                (_, true) => {}
                (true, false) => *all = more,
                (false, false) => all.end = more.end,
            }
        }
    }
}

/// How far a link has come with the large frame at the front.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    number: u64,
    sent: usize,
}

/// What left of the large lane.
pub(crate) enum Piece {
    Nothing,
    /// A part of so many bytes.
    Part(usize),
    /// The frame itself, with what was left of its payload.
    Frame(Taken),
}

/// What became of a request whose caller gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recalled {
    /// No link had taken it, and none will: it was surely not handed over.
    Unsent,
    /// It was on its way; the other side has been told.
    Sent,
}

/// A bounded queue of frames to one silo.
pub(crate) struct Outbox {
    peer: SiloId,
    state: Mutex<Queue>,
    small: Space,
    large: Space,
    capacity: u32,
    /// Whether any actor has a large request, looked at without the lock.
    has_large: Arc<AtomicBool>,
    /// Why there is no link, when there is none.
    trouble: Mutex<Option<Error>>,
    /// Told when a link comes, or when none will.
    news: Notify,
    turns: Arc<Turns>,
}

/// The inside of an outbox, while it is locked.
#[derive(Default)]
pub(crate) struct Queue {
    small: Lane,
    large: Lane,
    /// Large requests by their actor, those that wait for room included.
    actors: HashMap<u64, usize>,
    has_large: Arc<AtomicBool>,
    /// The link that takes frames now.
    link: Option<Arc<Link>>,
}

impl Outbox {
    pub(crate) fn new(peer: SiloId, capacity: u32, turns: Arc<Turns>) -> Arc<Self> {
        let has_large = Arc::<AtomicBool>::default();
        Arc::new(Self {
            peer,
            trouble: Mutex::default(),
            news: Notify::new(),
            state: Mutex::new(Queue { has_large: has_large.clone(), ..Queue::default() }),
            small: Space::new(capacity),
            large: Space::new(capacity),
            has_large: has_large.clone(),
            capacity,
            turns,
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

    /// Lets `link` take frames from now on. It is told its turn before it can take any.
    pub(crate) fn attach(&self, link: &Arc<Link>) {
        let mut queue = self.lock();
        link.begin_turn(self.turns.next());
        queue.link = Some(link.clone());
        link.wake();
        drop(queue);
        self.news.notify_waiters();
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

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn space(&self, size: Size) -> &Space {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }

    /// Whether a large request to the same actor waits here, or for room.
    pub(crate) fn is_behind_a_large_one(&self, envelope: &Envelope) -> bool {
        self.has_large.load(Ordering::Acquire) && self.lock().actors.contains_key(&actor_of(envelope))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().expect("no panic while an outbox is locked")
    }

    /// Puts a request at the end of the queue, which is this outbox's; `add` puts its call, if it is one, into the table, and gives the
    /// completion back when it cannot.
    pub(crate) fn put<E>(
        self: &Arc<Self>,
        queue: &mut Queue,
        dispatch: Dispatch,
        need: Need,
        add: impl FnOnce(&mut Envelope, Instant, Route, Completion) -> Result<Ticket, E>,
    ) -> Result<Option<Ticket>, E> {
        let Dispatch { mut envelope, deadline, completion, claim } = dispatch;
        let ticket = match completion {
            None => None,
            Some(completion) => {
                let route = Route { outbox: self.clone(), place: queue.next_place(need.size) };
                Some(add(&mut envelope, deadline, route, completion)?)
            }
        };
        queue.push(Frame { envelope, deadline, ticket, claim, need, after: 0 });
        Ok(ticket)
    }

    /// Takes small frames for `link` until there are `count` or `bytes` of payload.
    pub(crate) fn take_small(
        &self,
        link: &Arc<Link>,
        count: usize,
        bytes: usize,
        into: &mut VecDeque<Parcel>,
    ) -> Taken {
        let mut queue = self.lock();
        let first = queue.small.first_number();
        if !queue.is_attached_to(link) || queue.small.is_empty() {
            return Taken::default();
        }
        let now = Instant::now();
        let (mut freed, mut taken_bytes) = (0, 0);
        while into.len() < count && taken_bytes < bytes {
            let Some(frame) = queue.small.pop() else { break };
            freed += frame.need.cost;
            taken_bytes += frame.envelope.payload_len() + 64;
            into.extend(frame.leave(now));
        }
        let small = first..queue.small.first_number();
        drop(queue);
        self.small.give_back(freed);
        Taken { small, ..Taken::default() }
    }

    /// Takes the next piece of the large frame at the front for `link`: a part of at most `most_of_part` bytes, or the frame
    /// itself with what is left of its payload; all of it where the peer does not know parts.
    pub(crate) fn take_large(
        &self,
        link: &Arc<Link>,
        progress: &mut Progress,
        most_of_part: Option<usize>,
        into: &mut VecDeque<Parcel>,
    ) -> Piece {
        let mut queue = self.lock();
        if !queue.is_attached_to(link) {
            return Piece::Nothing;
        }
        let Some((number, frame)) = queue.large.front() else { return Piece::Nothing };
        let payload = &frame.envelope.payload;
        if progress.number != number {
            *progress = Progress { number, sent: 0 };
        }
        if let Some(most) = most_of_part
            && let Some(part) = parts::next(payload, progress.sent, most)
            && frame.deadline > Instant::now()
        {
            if part.is_empty() {
                return Piece::Nothing;
            }
            into.push_back(control::part(
                control::REQUEST_PART,
                &frame.envelope.message_id,
                payload.slice(part.clone()),
                part.start,
            ));
            progress.sent = part.end;
            return Piece::Part(part.len());
        }
        if queue.small.first_number() < frame.after {
            return Piece::Nothing;
        }
        let Some(mut frame) = queue.pop_large() else { return Piece::Nothing };
        drop(queue);
        self.large.give_back(frame.need.cost);
        frame.envelope.parts_bytes = progress.sent as u64;
        frame.envelope.payload = frame.envelope.payload.slice(progress.sent..);
        into.extend(frame.leave(Instant::now()));
        Piece::Frame(Taken { large: number..number + 1, ..Taken::default() })
    }

    /// Takes out everything that no link has taken. Of one actor's frames the order is kept.
    pub(crate) fn drain(&self) -> Vec<Frame> {
        let mut queue = self.lock();
        let large: Vec<_> = queue.large.drain().collect();
        large.iter().for_each(|frame| queue.release(actor_of(&frame.envelope)));
        let frames: Vec<_> = queue.small.drain().chain(large).collect();
        drop(queue);
        frames.iter().for_each(|frame| self.give_back(frame.need));
        frames
    }

    pub(crate) fn give_back(&self, need: Need) {
        self.space(need.size).give_back(need.cost);
    }

    /// The caller of a request gave up: takes the request out if no link has taken it, else tells the other side.
    pub(crate) fn recall(self: &Arc<Self>, place: Place, message_id: &str, calls: &Calls) -> Recalled {
        let mut queue = self.lock();
        let withdrawn = queue.withdraw(place);
        if withdrawn.is_some() {
            // A call that has just ended too is not found; its request is sent, and its caller was not told otherwise.
            queue.close_gaps(|ticket, place| {
                calls.reroute(ticket, Some(Route { outbox: self.clone(), place }));
            });
        }
        let link = queue.link.clone();
        drop(queue);
        if let Some(link) = link.filter(|link| link.is_announced()) {
            // Also when only parts of it have left: the other side can let go of them.
            link.control(control::about(control::CANCEL, message_id));
        }
        match withdrawn {
            Some(frame) => {
                self.give_back(frame.need);
                Recalled::Unsent
            }
            None => Recalled::Sent,
        }
    }

    pub(crate) fn has_link(&self) -> bool {
        self.lock().link.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.small.is_empty() && queue.large.is_empty()
    }
}

impl Frame {
    /// The envelope as it leaves, unless it is too late for that: then its call has ended, or is about to.
    fn leave(self, now: Instant) -> Option<Parcel> {
        let left = self.deadline.checked_duration_since(now).filter(|left| !left.is_zero())?;
        if !self.claim.is_none_or(Claim::take) {
            return None;
        }
        let mut envelope = self.envelope;
        // Rounded up: the caller's own clock is the first to say that it is over.
        envelope.timeout_ms = millis_up(left);
        Some(envelope)
    }
}

impl Queue {
    /// The place that a frame of this size gets when it is pushed next.
    pub(crate) fn next_place(&self, size: Size) -> Place {
        let lane = if size == Size::Small { &self.small } else { &self.large };
        Place { size, number: lane.next_number() }
    }

    /// Puts a frame at the end and wakes the link. The room was acquired before.
    pub(crate) fn push(&mut self, mut frame: Frame) {
        match frame.need.size {
            Size::Small => self.small.push(frame),
            Size::Large => {
                self.hold(actor_of(&frame.envelope));
                frame.after = self.small.next_number();
                self.large.push(frame);
            }
        }
        if let Some(link) = &self.link {
            link.wake();
        }
    }

    /// Requests of this actor count as large from now on.
    pub(crate) fn hold(&mut self, actor: u64) {
        *self.actors.entry(actor).or_default() += 1;
        self.has_large.store(true, Ordering::Release);
    }

    /// One large request of this actor is gone.
    pub(crate) fn release(&mut self, actor: u64) {
        if let Some(count) = self.actors.get_mut(&actor) {
            *count -= 1;
            if *count == 0 {
                self.actors.remove(&actor);
                self.has_large.store(!self.actors.is_empty(), Ordering::Release);
            }
        }
    }

    fn pop_large(&mut self) -> Option<Frame> {
        let frame = self.large.pop()?;
        self.release(actor_of(&frame.envelope));
        Some(frame)
    }

    fn withdraw(&mut self, place: Place) -> Option<Frame> {
        match place.size {
            Size::Small => self.small.withdraw(place.number),
            Size::Large => {
                let frame = self.large.withdraw(place.number)?;
                self.release(actor_of(&frame.envelope));
                Some(frame)
            }
        }
    }

    fn close_gaps(&mut self, mut moved: impl FnMut(Ticket, Place)) {
        let mut moved_to = |size, frame: &Frame, number| {
            if let Some(ticket) = frame.ticket {
                moved(ticket, Place { size, number });
            }
        };
        if let Some(old) = self.small.close_gaps(|frame, number| moved_to(Size::Small, frame, number)) {
            // Large frames wait for small ones by their numbers; now for all that are there, which is no less.
            let next = self.small.next_number();
            self.large
                .frames_mut()
                .filter(|frame| frame.after > old.start)
                .for_each(|frame| frame.after = next);
        }
        self.large.close_gaps(|frame, number| moved_to(Size::Large, frame, number));
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
