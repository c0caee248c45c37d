//! One stream to one peer: what goes out on it, and what it owes.
//!
//! Answers and control messages belong to the link and die with it; requests come from the peer's outbox while that is
//! attached. The link does no I/O: a carrier polls [`Outgoing`] and feeds the reader in `engine.rs`.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;

use super::engine::Engine;
use super::outbox::Outbox;
use crate::batch::{self, Wake};
use crate::envelope::Envelope;
use crate::id::SiloId;
use crate::request::AnswerTo;

/// Frames taken from the outbox at once.
const TAKE_FRAMES: usize = 64;
/// Payload bytes taken from the outbox at once; more would only sit in the link when it breaks.
const TAKE_BYTES: usize = 256 * 1024;
/// Answers that may wait before the link stops reading requests.
const MAX_ANSWERS_WAITING: usize = 16 * 1024;

/// Who is at the other end, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerKind {
    /// It announced itself: `kind` says what each message is.
    Announced,
    /// It did not: direction decides.
    Plain,
}

/// One stream.
pub(crate) struct Link {
    engine: Weak<Engine>,
    peer: SiloId,
    dialled: bool,
    kind: OnceLock<PeerKind>,
    state: Mutex<State>,
    writer: AtomicWaker,
    reader: AtomicWaker,
    /// The writer has been, or is about to be, woken.
    woken: AtomicBool,
    /// Requests received and not yet answered.
    unanswered: AtomicU64,
}

impl Wake for Link {
    fn wake(&self) {
        self.writer.wake();
    }
}

#[derive(Default)]
struct State {
    answers: VecDeque<Envelope>,
    outbox: Option<Arc<Outbox>>,
    /// The outbox whose frames went out here, with their numbers.
    sent: Option<(Arc<Outbox>, Range<u64>)>,
    /// Nothing new is sent; the stream ends when nothing is owed.
    finishing: bool,
    /// The peer sends no further requests.
    quiet: bool,
    /// Over: answers go nowhere.
    closed: bool,
}

impl Link {
    pub(crate) fn new(
        engine: Weak<Engine>,
        peer: SiloId,
        dialled: bool,
        kind: Option<PeerKind>,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            peer,
            dialled,
            kind: kind.map_or_else(OnceLock::new, OnceLock::from),
            state: Mutex::default(),
            writer: AtomicWaker::new(),
            reader: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            unanswered: AtomicU64::new(0),
        })
    }

    pub(crate) fn peer(&self) -> &SiloId {
        &self.peer
    }

    pub(crate) fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// What the peer is; `None` until its announcement is there or known to be missing.
    pub(crate) fn kind(&self) -> Option<PeerKind> {
        self.kind.get().copied()
    }

    pub(crate) fn set_kind(&self, kind: PeerKind) {
        let _ = self.kind.set(kind);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a link is locked")
    }

    /// Lets the writer look for more; once for a batch.
    pub(crate) fn wake(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            batch::wake(self.clone());
        }
    }

    /// Requests of this outbox go out here from now on.
    pub(crate) fn attach(self: &Arc<Self>, outbox: &Arc<Outbox>) {
        self.lock().outbox = Some(outbox.clone());
        outbox.attach(Some(self.clone()));
    }

    /// No further request goes out here; those that went may still be answered.
    pub(crate) fn detach(self: &Arc<Self>) {
        let outbox = self.lock().outbox.take();
        if let Some(outbox) = outbox {
            outbox.detach(self);
        }
    }

    /// Sends a control message; to announced peers only.
    pub(crate) fn control(self: &Arc<Self>, message: Envelope) {
        let mut state = self.lock();
        if !state.closed {
            state.answers.push_back(message);
            drop(state);
            self.wake();
        }
    }

    /// Ends our half of the stream once everything received has been answered.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.detach();
        self.lock().finishing = true;
        self.wake();
    }

    /// The stream is over. Returns the outbox and the numbers of the requests that went out here.
    pub(crate) fn close(self: &Arc<Self>) -> Option<(Arc<Outbox>, Range<u64>)> {
        self.detach();
        let mut state = self.lock();
        state.closed = true;
        state.answers.clear();
        let sent = state.sent.take();
        drop(state);
        self.wake();
        sent
    }

    /// A request came in that will be answered here.
    pub(crate) fn owe(&self) {
        self.unanswered.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nothing received waits for an answer and nothing waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 0 && self.lock().answers.is_empty()
    }

    /// The peer said that it sends no further requests.
    pub(crate) fn set_quiet(&self) {
        self.lock().quiet = true;
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().quiet
    }

    /// Until nothing more can be written on an accepted link: its answers are out, or the connection is gone.
    pub(crate) fn poll_written(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.lock().closed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether so many answers wait to be written that no more requests should be read. The reader is woken when that
    /// changes.
    pub(crate) fn is_clogged(&self, cx: &Context<'_>) -> bool {
        if self.lock().answers.len() < MAX_ANSWERS_WAITING {
            return false;
        }
        self.reader.register(cx.waker());
        self.lock().answers.len() >= MAX_ANSWERS_WAITING
    }
}

impl AnswerTo for Link {
    fn answer(self: Arc<Self>, _token: u64, response: Envelope) {
        let mut state = self.lock();
        self.unanswered.fetch_sub(1, Ordering::AcqRel);
        if state.closed {
            drop(state);
            if let Some(engine) = self.engine.upgrade() {
                engine.counters().answers_without_link.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        state.answers.push_back(response);
        drop(state);
        self.wake();
    }

    fn max_payload(&self) -> usize {
        self.engine.upgrade().map_or(usize::MAX, |engine| engine.config().max_payload)
    }

    fn repeats_names(&self) -> bool {
        // An announced peer finds its call by the id and knows the rest.
        self.kind() != Some(PeerKind::Announced)
    }
}

/// The outgoing half of a link, polled by the carrier.
pub(crate) struct Outgoing {
    link: Arc<Link>,
    ready: VecDeque<Envelope>,
}

impl Outgoing {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, ready: VecDeque::new() }
    }

    /// Moves what is there into `ready`; says whether the stream is over.
    fn refill(&mut self) -> bool {
        let mut state = self.link.lock();
        if state.closed {
            return true;
        }
        let was_clogged = state.answers.len() >= MAX_ANSWERS_WAITING;
        std::mem::swap(&mut state.answers, &mut self.ready);
        if let Some(outbox) = state.outbox.clone() {
            // Released while the outbox is locked: a push locks the outbox first and then may wake this link.
            drop(state);
            let passed = outbox.take(&self.link, self.ready.len() + TAKE_FRAMES, TAKE_BYTES, &mut self.ready);
            if !passed.is_empty() {
                let mut state = self.link.lock();
                if state.closed {
                    // It closed in between: nobody else will end these calls.
                    drop(state);
                    if let Some(engine) = self.link.engine.upgrade() {
                        engine.lose(&outbox, &passed, &super::engine::connection_lost(&self.link.peer));
                    }
                    return true;
                }
                match &mut state.sent {
                    Some((_, sent)) => sent.end = passed.end,
                    None => state.sent = Some((outbox, passed)),
                }
            }
        } else {
            let owes = self.link.unanswered.load(Ordering::Acquire) > 0;
            if state.finishing && !owes && self.ready.is_empty() {
                return true;
            }
        }
        if was_clogged {
            self.link.reader.wake();
        }
        false
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The carrier drops our half when it has written all or can write no more. On a link that we dialled the
        // peer's half tells how it ended; an accepted one is over.
        if !self.link.dialled {
            self.link.lock().closed = true;
            self.link.reader.wake();
        }
    }
}

impl Stream for Outgoing {
    type Item = Envelope;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if let Some(envelope) = self.ready.pop_front() {
            return Poll::Ready(Some(envelope));
        }
        self.link.writer.register(cx.waker());
        self.link.woken.store(false, Ordering::Release);
        if self.refill() {
            return Poll::Ready(None);
        }
        match self.ready.pop_front() {
            Some(envelope) => Poll::Ready(Some(envelope)),
            None => Poll::Pending,
        }
    }
}
