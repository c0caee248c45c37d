//! The shell around the pending table: its lock, its capacity, and the task that watches the deadlines.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::abandoned::OnAbandoned;
use super::outbox::{Outbox, Recalled, Taken};
use super::pending::{Completion, Ended, Pending, Route, Ticket};
use crate::batch;
use crate::envelope::Envelope;
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;
use crate::request::{AnswerTo, Asker, Request};

/// Calls that wait for their ending.
pub(crate) struct Calls {
    local: SiloId,
    table: Mutex<Table>,
    /// Free places. Fair: who waits longest gets the next.
    places: Semaphore,
    wake: Notify,
    max_payload: usize,
}

/// The table, while it is locked.
pub(crate) struct Table {
    pending: Pending,
    /// When the watching task means to look next.
    planned: Option<Instant>,
}

impl Table {
    /// Adds a call and gives its request a message id, unless it has one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when another call in flight has that; the completion comes back.
    pub(crate) fn add(
        &mut self,
        envelope: &mut Envelope,
        deadline: Instant,
        route: Option<Route>,
        completion: Completion,
    ) -> Result<Ticket, (Error, Completion)> {
        let name = Some(envelope.message_id.as_str()).filter(|id| !id.is_empty());
        let ticket = self.pending.insert(deadline, name, route, completion)?;
        if envelope.message_id.is_empty() {
            envelope.message_id = self.pending.message_id(ticket);
        }
        if envelope.correlation_id.is_empty() {
            envelope.correlation_id.clone_from(&envelope.message_id);
        }
        if self.planned.is_none_or(|planned| deadline < planned) {
            self.planned = Some(deadline);
        }
        Ok(ticket)
    }
}

impl Calls {
    pub(crate) fn new(local: SiloId, capacity: usize, max_payload: usize) -> Arc<Self> {
        let pending = Pending::new(fastrand::u64(..), Instant::now());
        Arc::new(Self {
            local,
            table: Mutex::new(Table { pending, planned: None }),
            places: Semaphore::new(capacity),
            wake: Notify::new(),
            max_payload,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while the pending table is locked")
    }

    /// The places; one is acquired and forgotten for each call before [`begin`](Self::begin).
    pub(crate) fn places(&self) -> &Semaphore {
        &self.places
    }

    /// Places that are given back together.
    pub(crate) fn freed(&self) -> Freed<'_> {
        Freed { places: &self.places, count: 0 }
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().pending.len()
    }

    /// Lets `work` add calls to the table, which is locked meanwhile. Their places were acquired before.
    pub(crate) fn begin<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        let planned = table.planned;
        let done = work(&mut table);
        let sooner = table.planned != planned;
        drop(table);
        if sooner {
            self.wake.notify_one();
        }
        done
    }

    /// A call's request, or a one-way one, to this silo itself.
    pub(crate) fn request(
        self: &Arc<Self>,
        envelope: Parcel,
        deadline: Instant,
        ticket: Option<Ticket>,
    ) -> Request {
        let asker = Asker::with_token(self.clone(), ticket.map_or(0, Ticket::to_bits));
        Request::new(envelope, deadline, asker, ticket.is_some())
    }

    /// Notes where a call's request went instead; says whether the call still waits.
    pub(crate) fn reroute(&self, ticket: Ticket, route: Option<Route>) -> bool {
        self.lock().pending.reroute(ticket, route)
    }

    /// Ends the call that this response answers; says whether there was one that this peer was asked. Who has many responses
    /// gives back all their places at once.
    pub(crate) fn respond(&self, peer: &SiloId, response: Parcel, freed: &mut Freed<'_>) -> bool {
        let ended = {
            let mut table = self.lock();
            let ticket = table.pending.find(&response.message_id);
            let ticket = ticket.filter(|ticket| table.pending.is_asked(*ticket, peer));
            ticket.and_then(|ticket| table.pending.remove(ticket))
        };
        let Some(ended) = ended else { return false };
        freed.add();
        ended.completion.complete(Ok(response));
        true
    }

    /// Ends one call with an error; says whether it still waited.
    pub(crate) fn fail(&self, ticket: Ticket, error: Error) -> bool {
        let ended = self.lock().pending.remove(ticket);
        self.end(ended, Err(error))
    }

    /// Ends a call whose caller gave up, and tells whoever has its request; says whether it still waited.
    pub(crate) fn cancel(&self, ticket: Ticket) -> bool {
        let Some(mut ended) = self.lock().pending.remove(ticket) else { return false };
        let error = cancelled(self.recall(&mut ended));
        self.end(Some(ended), Err(error))
    }

    /// Ends a call that was made while the silo stopped.
    pub(crate) fn too_late(&self, ticket: Ticket) {
        let Some(mut ended) = self.lock().pending.remove(ticket) else { return };
        let error = match self.recall(&mut ended) {
            Recalled::Unsent => super::not_running(),
            Recalled::Sent => Error::new(ErrorKind::ConnectionLost, "the silo stopped before the reply came"),
        };
        self.end(Some(ended), Err(error));
    }

    /// The same for a caller who is gone and hears of no ending.
    pub(crate) fn forget(&self, ticket: Ticket) {
        let ended = self.lock().pending.remove(ticket);
        if let Some(mut ended) = ended {
            self.places.add_permits(1);
            self.recall(&mut ended);
        }
    }

    /// Tells whoever has the request of a call that nobody waits for the answer.
    fn recall(&self, ended: &mut Ended) -> Recalled {
        ended.take_watchers().into_iter().for_each(|then| then());
        let Some(Route { outbox, place }) = &ended.route else { return Recalled::Sent };
        match ended.name() {
            Some(name) => outbox.recall(*place, name, self),
            None => {
                let id = self.lock().pending.message_id(ended.ticket);
                outbox.recall(*place, &id, self)
            }
        }
    }

    /// Ends the calls whose requests a link had taken from `outbox`.
    pub(crate) fn fail_sent(&self, outbox: &Arc<Outbox>, taken: &Taken, error: &Error) -> usize {
        let ended = self.lock().pending.remove_sent(outbox, taken);
        self.end_all(ended, |_| error.clone())
    }

    /// Ends every call that still waits, because the silo stops. Links are closed by then, so that those whose requests
    /// had been sent have ended.
    pub(crate) fn stop(&self) {
        let ended = self.lock().pending.remove_every();
        self.end_all(ended, |call| match &call.route {
            Some(_) => super::not_running(),
            // Its own handler may have it.
            None => {
                Error::new(ErrorKind::ConnectionLost, "the silo stopped before its own handler had replied")
            }
        });
    }

    fn end(&self, ended: Option<Ended>, result: Result<Parcel>) -> bool {
        let Some(ended) = ended else { return false };
        self.places.add_permits(1);
        ended.completion.complete(result);
        true
    }

    fn end_all(&self, ended: Vec<Ended>, error: impl Fn(&mut Ended) -> Error) -> usize {
        self.places.add_permits(ended.len());
        let count = ended.len();
        batch::run(|| {
            for mut call in ended {
                let error = error(&mut call);
                call.completion.complete(Err(error));
            }
        });
        count
    }

    /// Ends calls as their deadlines pass. Runs until it is dropped.
    pub(crate) async fn watch_deadlines(self: Arc<Self>) {
        loop {
            let due = {
                let mut table = self.lock();
                table.planned = table.pending.next_due();
                table.planned
            };
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = sleep => {}
                () = self.wake.notified() => continue,
            }
            let ended = self.lock().pending.expire(Instant::now());
            self.end_all(ended, |call| {
                let recalled = self.recall(call);
                expired(call, recalled)
            });
        }
    }
}

/// Free places that nobody misses.
const AMPLE: usize = 1024;

/// Places of calls that have ended, given back at the latest when this is dropped.
pub(crate) struct Freed<'a> {
    places: &'a Semaphore,
    count: usize,
}

impl Freed<'_> {
    fn add(&mut self) {
        self.count += 1;
        if self.places.available_permits() < AMPLE {
            self.give_back();
        }
    }

    pub(crate) fn give_back(&mut self) {
        if self.count > 0 {
            self.places.add_permits(std::mem::take(&mut self.count));
        }
    }
}

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What a call ends with when its deadline has passed.
fn expired(call: &Ended, recalled: Recalled) -> Error {
    let Some(Route { outbox, .. }) = &call.route else {
        return Error::new(ErrorKind::Timeout, "no reply from this silo's own handler before the deadline");
    };
    let peer = outbox.peer();
    if recalled == Recalled::Sent {
        return Error::new(ErrorKind::Timeout, format!("no reply from silo {peer} before the deadline"));
    }
    if outbox.has_link() {
        let message = format!("the request to silo {peer} was not sent before the deadline");
        return Error::new(ErrorKind::Timeout, message).with_delivered(Delivered::No).with_retryable(true);
    }
    let reason = outbox.trouble().map(|error| format!(": {}", error.message())).unwrap_or_default();
    Error::new(ErrorKind::Unreachable, format!("no link to silo {peer} before the deadline{reason}"))
}

/// What a call ends with when its caller gave up.
fn cancelled(recalled: Recalled) -> Error {
    let delivered = match recalled {
        Recalled::Unsent => Delivered::No,
        Recalled::Sent => Delivered::Unknown,
    };
    Error::new(ErrorKind::Cancelled, "the caller gave up").with_delivered(delivered)
}

/// A call of the silo to itself is answered straight into the table.
impl AnswerTo for Calls {
    fn silo(&self) -> &SiloId {
        &self.local
    }

    fn answer(self: Arc<Self>, token: u64, response: Parcel) {
        let ended = self.lock().pending.remove(Ticket::from_bits(token));
        self.end(ended, Ok(response));
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    fn repeats_names(&self) -> bool {
        false
    }

    fn is_abandoned(&self, token: u64, _message_id: &str) -> bool {
        self.lock().pending.call_mut(Ticket::from_bits(token)).is_none()
    }

    fn on_abandoned(&self, token: u64, _message_id: &str, then: OnAbandoned) {
        let mut table = self.lock();
        if let Some(call) = table.pending.call_mut(Ticket::from_bits(token)) {
            call.watch(then);
        } else {
            drop(table);
            then();
        }
    }

    // They go with the call.
    fn no_longer_watched(&self, _message_id: &str) {}
}
