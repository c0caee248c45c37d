//! Requests on their way out: room for them, their place in the outbox and in the table of calls, and where they go when their silo is
//! gone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::{Dispatch, Engine, is_final, not_running};
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Permit, Request};
use crate::transport::claim::Claim;
use crate::transport::outbox::{Frame, Queue};
use crate::transport::peer::Peer;
use crate::transport::pending::{Completion, Route, Ticket};
use crate::transport::room::{InLine, Need};

/// Calls that are sent together: few enough for what they need meanwhile to be on the stack.
pub(crate) const TOGETHER: usize = 64;

/// What each of such calls needs.
pub(crate) type Needs = SmallVec<[Need; TOGETHER]>;

/// Room for one request: in the outbox, and in the pending table if somebody waits for the answer.
pub(crate) struct Room<'a> {
    space: SemaphorePermit<'a>,
    place: Option<SemaphorePermit<'a>>,
    /// Held until the request is in the outbox, so that none overtakes it.
    _first: SemaphorePermit<'a>,
    in_line: InLine<'a>,
}

impl Engine {
    /// Sends at once when there is room, and says so; otherwise gives the dispatch back.
    pub(crate) fn try_send(&self, peer: &Arc<Peer>, dispatch: Dispatch) -> Result<Option<Ticket>, Dispatch> {
        let need = peer.outbox.need(&dispatch.envelope);
        let Some(space) = peer.outbox.try_room(need) else { return Err(dispatch) };
        if dispatch.completion.is_some() {
            let Ok(place) = self.calls.places().try_acquire() else { return Err(dispatch) };
            place.forget();
        }
        space.forget();
        Ok(self.enqueue(peer, dispatch, need))
    }

    /// Takes room for all of these calls if it is there at once, and says what each has.
    pub(crate) fn try_rooms<'a>(
        &self,
        peer: &Peer,
        calls: impl Iterator<Item = &'a Dispatch>,
    ) -> Option<Needs> {
        let needs: Needs = calls.map(|call| peer.outbox.need(&call.envelope)).collect();
        let space = peer.outbox.try_room(Need::sum(&needs)?)?;
        self.calls.places().try_acquire_many(u32::try_from(needs.len()).ok()?).ok()?.forget();
        space.forget();
        Some(needs)
    }

    /// Sends calls in their order into the room that was taken for them.
    pub(crate) fn send_all(&self, peer: &Arc<Peer>, calls: impl Iterator<Item = Dispatch>, needs: Needs) {
        let mut tickets = SmallVec::<[Ticket; TOGETHER]>::new();
        let mut refused = Vec::new();
        let mut queue = peer.outbox.lock();
        self.calls.begin(|table| {
            for (call, need) in calls.zip(needs) {
                match peer.outbox.put(&mut queue, call, need, |envelope, deadline, route, completion| {
                    table.add(envelope, deadline, Some(route), completion)
                }) {
                    Ok(ticket) => tickets.extend(ticket),
                    Err((error, completion)) => refused.push((need, error, completion)),
                }
            }
        });
        self.look_again(peer, queue, &tickets);
        refused
            .into_iter()
            .for_each(|(need, error, completion)| self.refuse_call(peer, need, error, completion));
    }

    /// Sends, waiting for room until the deadline.
    ///
    /// # Errors
    /// `OVERLOADED` or `UNREACHABLE`, with the dispatch, when there was no room until then.
    pub(crate) async fn send(
        &self,
        peer: &Arc<Peer>,
        dispatch: Dispatch,
    ) -> Result<Option<Ticket>, (Dispatch, Error)> {
        match self.try_send(peer, dispatch) {
            Ok(ticket) => Ok(ticket),
            Err(dispatch) => self.send_later(peer, dispatch).await,
        }
    }

    /// The same where there was no room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn send_later(
        &self,
        peer: &Arc<Peer>,
        dispatch: Dispatch,
    ) -> Result<Option<Ticket>, (Dispatch, Error)> {
        match self.room(peer, &dispatch).await {
            Ok(room) => Ok(self.send_into(peer, dispatch, room)),
            Err(error) => Err((dispatch, error)),
        }
    }

    /// Waits for room until the dispatch's deadline.
    ///
    /// # Errors
    /// `OVERLOADED` or `UNREACHABLE` when there was none until then.
    pub(crate) fn room<'a>(
        &'a self,
        peer: &'a Peer,
        dispatch: &Dispatch,
    ) -> impl Future<Output = Result<Room<'a>>> + use<'a> {
        let in_line = peer.outbox.stand_in_line(&dispatch.envelope);
        let (waits, deadline) = (dispatch.completion.is_some(), dispatch.deadline);
        async move {
            let room = async {
                let first = in_line.until_first().await;
                let place = match waits {
                    true => Some(self.calls.places().acquire().await.expect("never closed")),
                    false => None,
                };
                let space = in_line.room().await;
                (first, space, place)
            };
            match tokio::time::timeout_at(deadline, room).await {
                Ok((first, space, place)) => Ok(Room { space, place, _first: first, in_line }),
                Err(_) => Err(no_room(peer)),
            }
        }
    }

    /// Sends what waited for this room.
    pub(crate) fn send_into(&self, peer: &Arc<Peer>, dispatch: Dispatch, room: Room<'_>) -> Option<Ticket> {
        let Room { space, place, _first, in_line } = room;
        space.forget();
        if let Some(place) = place {
            place.forget();
        }
        self.enqueue(peer, dispatch, in_line.need)
    }

    /// Waits until there is a link to the peer.
    ///
    /// # Errors
    /// `UNREACHABLE` when there is none until the deadline; what the peer said when it turned us away.
    pub(crate) async fn linked(&self, peer: &Arc<Peer>, deadline: Instant) -> Result<()> {
        if peer.outbox.has_link() {
            return Ok(());
        }
        peer.want_link();
        match tokio::time::timeout_at(deadline, peer.outbox.until_linked()).await {
            Ok(result) => result,
            Err(_) => Err(no_link(peer)),
        }
    }

    /// Why a one-way request that waited for a link was not sent.
    pub(crate) fn not_sent(&self, peer: &Peer) -> Error {
        match peer.outbox.trouble().filter(is_final) {
            _ if !self.is_running() => not_running(),
            Some(error) => error,
            None => no_link(peer),
        }
    }

    /// Puts a request into the outbox; room was acquired before. The call is in the table before a link can take it.
    fn enqueue(&self, peer: &Arc<Peer>, dispatch: Dispatch, need: Need) -> Option<Ticket> {
        let mut queue = peer.outbox.lock();
        let put = peer.outbox.put(&mut queue, dispatch, need, |envelope, deadline, route, completion| {
            self.calls.begin(|table| table.add(envelope, deadline, Some(route), completion))
        });
        match put {
            Ok(ticket) => {
                self.look_again(peer, queue, ticket.as_slice());
                ticket
            }
            Err((error, completion)) => {
                drop(queue);
                self.refuse_call(peer, need, error, completion);
                None
            }
        }
    }

    /// Ends a call that could not be put into the table, and gives back its room.
    fn refuse_call(&self, peer: &Peer, need: Need, error: Error, completion: Completion) {
        self.calls.places().add_permits(1);
        peer.outbox.give_back(need);
        completion.complete(Err(error));
    }

    /// Sees to it that somebody takes what was pushed.
    fn look_again(&self, peer: &Arc<Peer>, queue: MutexGuard<'_, Queue>, tickets: &[Ticket]) {
        let linked = queue.link().is_some();
        drop(queue);
        if !linked {
            self.unlinked(peer);
        }
        // Pushed while the engine stopped or the peer was removed: nobody else will look at it.
        if self.stopped.load(Ordering::Acquire) {
            tickets.iter().for_each(|ticket| self.calls.too_late(*ticket));
        } else if peer.is_retired() {
            let frames = peer.outbox.drain();
            self.with_receiver(|receiver| receiver.resend(frames));
        }
    }

    /// Puts a frame that was not sent into another silo's outbox. It keeps its place in the table; the order among
    /// such frames is kept.
    pub(crate) fn resend(&self, peer: &Arc<Peer>, mut frame: Frame) {
        let Need { size, cost } = peer.outbox.need(&frame.envelope);
        // It was admitted once; the new outbox may pass its capacity by what the old one held.
        let cost = peer.outbox.space(size).take_what_is_there(cost);
        frame.need = Need { size, cost };
        let mut queue = peer.outbox.lock();
        let place = queue.next_place(size);
        if let Some(ticket) = frame.ticket {
            let route = Route { outbox: peer.outbox.clone(), place };
            if !self.calls.reroute(ticket, Some(route)) {
                drop(queue);
                peer.outbox.give_back(frame.need);
                return;
            }
        }
        queue.push(frame);
        let linked = queue.link().is_some();
        drop(queue);
        if !linked {
            self.unlinked(peer);
        }
    }

    /// Makes a request to this silo of a frame that was meant for another one.
    pub(crate) fn take_over(&self, frame: Frame) -> Option<Request> {
        if !frame.claim.is_none_or(Claim::take) {
            return None;
        }
        if frame.ticket.is_some_and(|ticket| !self.calls.reroute(ticket, None)) {
            return None;
        }
        Some(self.calls.request(frame.envelope, frame.deadline, frame.ticket))
    }

    /// A place among the calls that wait for room in a task of their own; there are as many as may be pending.
    pub(crate) fn take_waiting_place(&self) -> Option<Permit> {
        Permit::take(&self.waiting, 1, self.config.max_pending)
    }

    fn unlinked(&self, peer: &Arc<Peer>) {
        if !peer.is_reachable_in_principle() {
            peer.outbox.set_trouble(Some(Error::new(ErrorKind::Unreachable, "its endpoint is not known")));
        }
        peer.nudge();
    }
}

/// Why a call could not even be queued until its deadline.
fn no_room(peer: &Peer) -> Error {
    if peer.outbox.has_link() {
        Error::new(
            ErrorKind::Overloaded,
            format!("the queue to silo {} was full until the deadline", peer.id),
        )
    } else {
        no_link(peer)
    }
}

fn no_link(peer: &Peer) -> Error {
    let reason = peer.outbox.trouble().map(|error| format!(": {}", error.message())).unwrap_or_default();
    Error::new(ErrorKind::Unreachable, format!("no link to silo {} before the deadline{reason}", peer.id))
}
