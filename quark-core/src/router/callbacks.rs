//! Calls whose endings functions are told of, for who does not want a future for each: one by one, and many at once.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::routes::Routes;
use super::{Router, Target};
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::parcel::Parcel;
use crate::transport::{Completion, Dispatch, Endings, Peer, TOGETHER, Ticket, Told, not_running};

/// A call that was not sent yet. Dropped, as when the silo stops, it ends with `NOT_RUNNING`.
struct Unsent(Option<Dispatch>);

impl Unsent {
    fn take(&mut self) -> Dispatch {
        self.0.take().expect("taken once")
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(dispatch) = self.0.take() {
            dispatch.fail(not_running());
        }
    }
}

/// Hears of the ending of a call, on whatever thread it comes; must not block.
pub(crate) type Done = Box<dyn FnOnce(Result<bytes::Bytes>) + Send>;

/// What has become of a call with a callback.
pub(crate) enum Called {
    Ended,
    Waits(Ticket),
    WaitsForRoom(Arc<WaitsForRoom>),
}

impl From<Option<Ticket>> for Called {
    fn from(ticket: Option<Ticket>) -> Self {
        ticket.map_or(Self::Ended, Self::Waits)
    }
}

/// A call that waits for room to be sent, or did.
#[derive(Default)]
pub(crate) struct WaitsForRoom {
    state: Mutex<RoomState>,
    cancelled: Notify,
}

#[derive(Clone, Copy, Default)]
enum RoomState {
    #[default]
    Waits,
    Sent(Ticket),
    Ended,
}

impl WaitsForRoom {
    fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().expect("no panic while locked")
    }
}

impl Router {
    /// Calls, and tells `done` of the ending on whatever thread it comes; `done` must not block.
    pub(crate) fn call_with(
        self: &Arc<Self>,
        envelope: Parcel,
        timeout: Option<Duration>,
        done: Done,
    ) -> Called {
        let done = Completion::Callback(done);
        match self.direct(&self.routes.load(), Instant::now(), envelope, timeout, done) {
            None => Called::Ended,
            Some((Target::Here, dispatch)) => self.deliver_here(dispatch).unwrap_or(None).into(),
            Some((Target::There(peer), dispatch)) => self.send_with(peer, dispatch),
        }
    }

    /// The same of many, each with a key for `endings`. Those to one silo are sent together and keep their order.
    pub(crate) fn call_many(
        self: &Arc<Self>,
        calls: impl Iterator<Item = (usize, Parcel, Option<Duration>)>,
        endings: &Arc<dyn Endings>,
    ) {
        let mut calls = calls.peekable();
        while calls.peek().is_some() {
            let (routes, now) = (self.routes.load(), Instant::now());
            let mut there = SmallVec::<[_; TOGETHER]>::new();
            for (key, envelope, timeout) in calls.by_ref().take(TOGETHER) {
                let told = Completion::Shared(Told::new(endings.clone(), key));
                match self.direct(&routes, now, envelope, timeout, told) {
                    None => {}
                    Some((Target::Here, dispatch)) => drop(self.deliver_here(dispatch)),
                    Some((Target::There(peer), dispatch)) => there.push((peer, dispatch)),
                }
            }
            // To sort takes memory, and most go to one silo.
            if !there.is_sorted_by_key(|(peer, _)| Arc::as_ptr(peer)) {
                there.sort_by_key(|(peer, _)| Arc::as_ptr(peer));
            }
            let mut rest = there.into_iter();
            while let Some(run) =
                rest.as_slice().chunk_by(|(one, _), (next, _)| Arc::ptr_eq(one, next)).next()
            {
                let (peer, count) = (run[0].0, run.len());
                let rooms = self.engine.try_rooms(peer, run.iter().map(|(_, dispatch)| dispatch));
                let run = rest.by_ref().take(count).map(|(_, dispatch)| dispatch);
                match rooms {
                    Some(needs) => self.engine.send_all(peer, run, needs),
                    None => run.for_each(|dispatch| drop(self.send_with(peer, dispatch))),
                }
            }
        }
    }

    /// Where a call with a callback goes, ready to be sent; nothing when it has ended.
    fn direct<'a>(
        &self,
        routes: &'a Routes,
        now: Instant,
        envelope: Parcel,
        timeout: Option<Duration>,
        completion: Completion,
    ) -> Option<(Target<'a>, Dispatch)> {
        let prepared = self.prepare(envelope, timeout, now).and_then(|(mut envelope, deadline)| {
            let target = self.target(routes, &mut envelope)?;
            Ok((target, envelope, deadline))
        });
        match prepared {
            Ok((target, envelope, deadline)) => {
                Some((target, Dispatch::new(envelope, deadline, Some(completion))))
            }
            Err(error) => {
                completion.complete(Err(error));
                None
            }
        }
    }

    /// Sends a call with a callback, at once or when there is room.
    fn send_with(self: &Arc<Self>, peer: &Arc<Peer>, dispatch: Dispatch) -> Called {
        match self.engine.try_send(peer, dispatch) {
            Ok(ticket) => ticket.into(),
            Err(dispatch) => self.wait_for_room(peer.clone(), dispatch),
        }
    }

    /// The slow way of [`call_with`](Self::call_with): a task waits for room.
    fn wait_for_room(self: &Arc<Self>, peer: Arc<Peer>, dispatch: Dispatch) -> Called {
        let Some(place) = self.engine.take_waiting_place() else {
            dispatch.fail(Error::new(ErrorKind::Overloaded, "too many calls wait for room to be sent"));
            return Called::Ended;
        };
        let waiting = Arc::new(WaitsForRoom::default());
        let (engine, told) = (self.engine.clone(), waiting.clone());
        let mut unsent = Unsent(Some(dispatch));
        // Begun here: those that are made after it must find it in line.
        self.engine.begin(async move {
            let _place = place;
            let room = tokio::select! {
                biased;
                () = told.cancelled.notified() => None,
                room = engine.room(&peer, unsent.0.as_ref().expect("not taken yet")) => Some(room),
            };
            let dispatch = unsent.take();
            let mut state = told.lock();
            match (room, *state) {
                (Some(Ok(room)), RoomState::Waits) => {
                    *state =
                        engine.send_into(&peer, dispatch, room).map_or(RoomState::Ended, RoomState::Sent);
                }
                (Some(Err(error)), RoomState::Waits) => {
                    *state = RoomState::Ended;
                    drop(state);
                    dispatch.fail(error);
                }
                _ => {
                    drop(state);
                    let error = Error::new(ErrorKind::Cancelled, "the caller gave up");
                    dispatch.fail(error.with_delivered(Delivered::No));
                }
            }
        });
        Called::WaitsForRoom(waiting)
    }

    /// Gives up a call; says whether it still waited.
    pub(crate) fn cancel(&self, called: &Called) -> bool {
        let ticket = match called {
            Called::Ended => return false,
            Called::Waits(ticket) => *ticket,
            Called::WaitsForRoom(waiting) => {
                let mut state = waiting.lock();
                match *state {
                    RoomState::Sent(ticket) => ticket,
                    RoomState::Waits => {
                        *state = RoomState::Ended;
                        waiting.cancelled.notify_one();
                        return true;
                    }
                    RoomState::Ended => return false,
                }
            }
        };
        self.engine.calls().cancel(ticket)
    }
}
