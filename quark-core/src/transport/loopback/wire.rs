//! One direction of one link: what is on its way, and how either end learns that the other is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Network;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;
use crate::transport::carrier::{Hello, Inbound, Incoming};
use crate::transport::link::Outgoing;

/// Messages and bytes that may be on their way.
const WINDOW: (usize, usize) = (1024, 4 * 1024 * 1024);

pub(super) struct Wire {
    network: Arc<Network>,
    from: SiloId,
    to: SiloId,
    /// How long the reader bears a cut.
    patience: Duration,
    state: Mutex<State>,
    /// Something was put in, taken out, or ended.
    changed: Notify,
    /// The other direction.
    pair: OnceLock<Weak<Wire>>,
}

#[derive(Default)]
struct State {
    on_the_way: VecDeque<(Instant, Inbound)>,
    bytes: usize,
    /// How much later than others everything arrives.
    stalled: Duration,
    /// Nothing more is put in.
    ended: bool,
    /// Nobody takes anything out.
    reader_gone: bool,
    /// The writer's host has closed the connection.
    hung_up: bool,
    reset: bool,
}

/// What the reader finds.
enum Found {
    Message(Inbound),
    End,
    Broken(&'static str),
    /// Nothing until then, or until something changes.
    Nothing(Option<Instant>),
}

impl Wire {
    pub(super) fn new(network: &Arc<Network>, from: SiloId, to: SiloId, patience: Duration) -> Arc<Self> {
        let wire = Arc::new(Self {
            network: network.clone(),
            from,
            to,
            patience,
            state: Mutex::default(),
            changed: Notify::new(),
            pair: OnceLock::new(),
        });
        network.add_wire(&wire);
        wire
    }

    pub(super) fn pair_with(self: &Arc<Self>, other: &Arc<Self>) {
        let _ = self.pair.set(Arc::downgrade(other));
        let _ = other.pair.set(Arc::downgrade(self));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a wire is locked")
    }

    pub(super) fn goes(&self, from: &str, to: &str) -> bool {
        self.from.as_str() == from && self.to.as_str() == to
    }

    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        !(state.ended || state.reset || state.reader_gone)
    }

    /// What is on its way, and what follows, arrives so much later.
    pub(super) fn stall(&self, by: Duration) {
        let mut state = self.lock();
        state.stalled += by;
        state.on_the_way.iter_mut().for_each(|(arrival, _)| *arrival += by);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Breaks it; what is on its way is lost.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.reset = true;
        state.on_the_way.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn announce(&self, hello: Hello) {
        self.put(Inbound::Hello(Some(hello)), 0);
    }

    fn put(&self, message: Inbound, bytes: usize) {
        let arrival = self.network.paths.arrival(&self.from, &self.to);
        let mut state = self.lock();
        if !state.reader_gone && !state.reset {
            // One link keeps the order, as TCP does.
            let arrival = arrival + state.stalled;
            let arrival = state.on_the_way.back().map_or(arrival, |(last, _)| arrival.max(*last));
            state.on_the_way.push_back((arrival, message));
            state.bytes += bytes;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    // ---- The writing end -----------------------------------------------------------------------------------------

    /// Carries what the writer gives until it gives no more, or learns that nobody reads.
    pub(super) async fn carry(self: Arc<Self>, mut outgoing: Outgoing) {
        loop {
            let next = async {
                self.room().await;
                outgoing.next().await
            };
            let message: Option<Parcel> = tokio::select! {
                biased;
                () = self.writer_learns() => None,
                message = next => message,
            };
            match message {
                Some(message) => {
                    let bytes = message.payload_len();
                    self.put(Inbound::Envelope(message), bytes);
                }
                None => break,
            }
        }
        drop(outgoing);
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    async fn room(&self) {
        self.until(|state| state.on_the_way.len() < WINDOW.0 && state.bytes < WINDOW.1).await;
    }

    /// Until the writer has heard that nobody reads.
    async fn writer_learns(&self) {
        self.until(|state| state.reader_gone || state.reset || state.hung_up).await;
        let knows = {
            let state = self.lock();
            state.reset || state.hung_up
        };
        if !knows {
            self.network.paths.travel(&self.to, &self.from).await;
        }
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    // ---- The reading end -----------------------------------------------------------------------------------------

    /// The half of whoever dialled: dropping it closes the connection.
    pub(super) fn dialled_reader(self: &Arc<Self>) -> Incoming {
        /// Closes the other direction too.
        struct HangUp(Arc<Wire>);
        impl Drop for HangUp {
            fn drop(&mut self) {
                if let Some(pair) = self.0.pair.get().and_then(Weak::upgrade) {
                    pair.lock().hung_up = true;
                    pair.changed.notify_waiters();
                }
            }
        }
        let (reader, hang_up) = (self.reader(), HangUp(self.clone()));
        Box::pin(reader.inspect(move |_| {
            let _ = &hang_up;
        }))
    }

    pub(super) fn reader(self: &Arc<Self>) -> Incoming {
        /// Tells the writer when the reader is dropped.
        struct Reader(Arc<Wire>);
        impl Drop for Reader {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                state.reader_gone = true;
                state.on_the_way.clear();
                drop(state);
                self.0.changed.notify_waiters();
                if let Some(pair) = self.0.pair.get().and_then(Weak::upgrade) {
                    pair.changed.notify_waiters();
                }
            }
        }
        let reader = Reader(self.clone());
        Box::pin(futures_util::stream::unfold(reader, |reader| async move {
            let next = reader.0.next().await;
            next.map(|next| (next, reader))
        }))
    }

    async fn next(&self) -> Option<Result<Inbound>> {
        loop {
            let (changed, paths_changed) = (self.changed.notified(), self.network.paths.changed());
            let (mut changed, mut paths_changed) = (std::pin::pin!(changed), std::pin::pin!(paths_changed));
            changed.as_mut().enable();
            paths_changed.as_mut().enable();
            let until = match self.look() {
                Found::Message(message) => {
                    self.changed.notify_waiters();
                    return Some(Ok(message));
                }
                Found::End => return None,
                Found::Broken(why) => return Some(Err(Error::new(ErrorKind::ConnectionLost, why))),
                Found::Nothing(until) => until,
            };
            let time = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = paths_changed => {}
                () = time => {}
            }
        }
    }

    fn look(&self) -> Found {
        let now = Instant::now();
        let cut = self.network.paths.cut_since(&self.from, &self.to);
        let mut state = self.lock();
        if state.reset {
            return Found::Broken("the connection was reset");
        }
        if let Some(since) = cut {
            let given_up = since + self.patience;
            return if now >= given_up {
                Found::Broken("no answer to probes")
            } else {
                Found::Nothing(Some(given_up))
            };
        }
        match state.on_the_way.front() {
            Some((arrival, _)) if *arrival > now => Found::Nothing(Some(*arrival)),
            Some(_) => {
                let Some((_, message)) = state.on_the_way.pop_front() else { return Found::End };
                if let Inbound::Envelope(envelope) = &message {
                    state.bytes -= envelope.payload_len();
                }
                Found::Message(message)
            }
            None if !state.ended => Found::Nothing(None),
            None => {
                drop(state);
                let peer_reads = |pair: Arc<Self>| !pair.lock().reader_gone;
                match self.pair.get().and_then(Weak::upgrade).is_some_and(peer_reads) {
                    true => Found::End,
                    false => Found::Broken("the other side is gone"),
                }
            }
        }
    }
}
