//! One stream to one peer: what goes out on it, and what it owes.
//!
//! Answers and control messages belong to the link and die with it; requests come from the peer's outbox while that is
//! attached. The link does no I/O: a carrier polls [`Outgoing`] and feeds the reader in `receiving.rs`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::abandoned::{Abandoned, OnAbandoned};
use super::control;
use super::engine::Engine;
use super::flight::Flight;
use super::origins::Origins;
use super::outbox::{Outbox, Piece, Progress, Taken};
use super::parts::{self, LARGEST_PART, PART_BYTES};
use super::rousing::Rousing;
use super::turns::Turn;
use crate::batch::{self, Wake};
use crate::config::TransportConfig;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::{Delivered, Error, ErrorKind};
use crate::id::SiloId;
use crate::parcel::Parcel;
use crate::request::AnswerTo;

/// Frames taken from the outbox at once.
const TAKE_FRAMES: usize = 64;
/// Payload bytes taken at once from the outbox, and from the answers; more would only sit in the link when it breaks.
const TAKE_BYTES: usize = 256 * 1024;

/// More answers than any peer of ours has calls; fewer where that is tried.
const HOPELESS: usize = if cfg!(any(test, quark_fuzzing)) { 1 << 10 } else { 1 << 20 };
/// What such an answer weighs at most, as a rule.
const ANSWER_BYTES: usize = 1_024;
/// What a message weighs beside its content.
const MESSAGE_BYTES: usize = 512;

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
    origins: Origins,
    max_payload: usize,
    /// Bytes of answers that may wait before requests are refused.
    answer_capacity: usize,
    /// More wait.
    overfull: AtomicBool,
    state: Mutex<State>,
    writer: Rousing,
    reader: AtomicWaker,
    /// Requests received, counted by the reader alone, and answered, counted while the state is locked: neither number has
    /// two writers at once.
    received: AtomicU64,
    answered: AtomicU64,
    abandoned: Abandoned,
}

impl Wake for Link {
    fn wake(&self) {
        self.writer.tell();
    }
}

#[derive(Default)]
struct State {
    answers: VecDeque<Parcel>,
    /// Answers that leave in parts, so that small ones pass them.
    large_answers: VecDeque<Parcel>,
    /// What of the first of these has left.
    large_sent: usize,
    /// Parts that the peer has not seen yet.
    flight: Flight,
    /// The peer's half has ended: it can no longer say what it has seen.
    peer_is_mute: bool,
    /// Our half has ended.
    we_are_mute: bool,
    /// What all answers weigh.
    answer_bytes: usize,
    outbox: Option<Arc<Outbox>>,
    /// The turn that the peer must be told of as soon as it is known to be one of ours.
    turn: Option<Turn>,
    /// The outbox whose frames went out here, and which.
    sent: Option<(Arc<Outbox>, Taken)>,
    /// Nothing new is sent; the stream ends when nothing is owed.
    finishing: bool,
    /// The peer has been asked to send no further requests.
    asked_to_be_quiet: bool,
    /// It sends none.
    quiet: bool,
    /// Over: answers go nowhere.
    closed: bool,
}

/// What a waiting message takes of memory, about. Its texts are the peer's own, of whatever length it chose.
fn weight(message: &Envelope) -> usize {
    let texts = [
        &message.message_id,
        &message.actor_id,
        &message.actor_type,
        &message.method_name,
        &message.correlation_id,
        &message.error_message,
    ];
    MESSAGE_BYTES + message.payload_len() + texts.iter().map(|text| text.len()).sum::<usize>()
}

impl State {
    fn push_answer(&mut self, answer: Parcel, in_parts: bool) {
        self.answer_bytes += weight(&answer);
        if in_parts && answer.response_payload.len() > PART_BYTES {
            self.large_answers.push_back(answer);
        } else {
            self.answers.push_back(answer);
        }
    }

    /// Moves answers to where they leave from; not all when there are many, so that they are counted while they wait.
    fn take_answers(&mut self, into: &mut VecDeque<Parcel>) {
        let mut taken = 0;
        while taken < TAKE_BYTES {
            let Some(answer) = self.answers.pop_front() else { break };
            taken += weight(&answer);
            if answer.kind != EnvelopeKind::Control {
                self.flight.small_left();
            }
            into.push_back(answer);
        }
        self.answer_bytes -= taken;
        self.take_large_answer(into);
    }

    /// How many bytes of a large payload may leave as the next part.
    fn room_for_part(&self) -> usize {
        if self.peer_is_mute { LARGEST_PART } else { self.flight.room() }
    }

    /// The next piece of the first large answer.
    fn take_large_answer(&mut self, into: &mut VecDeque<Parcel>) {
        let Some(answer) = self.large_answers.front() else { return };
        let payload = &answer.response_payload;
        if let Some(part) = parts::next(payload, self.large_sent, self.room_for_part()) {
            if !part.is_empty() {
                let bytes = payload.slice(part.clone());
                into.push_back(control::part(control::RESPONSE_PART, &answer.message_id, bytes, part.start));
                self.flight.begin(part.len(), Instant::now());
                self.large_sent = part.end;
            }
        } else if let Some(mut answer) = self.large_answers.pop_front() {
            self.answer_bytes -= weight(&answer);
            let sent = std::mem::take(&mut self.large_sent);
            answer.parts_bytes = sent as u64;
            answer.response_payload = answer.response_payload.slice(sent..);
            into.push_back(answer);
        }
    }

    fn has_answers(&self) -> bool {
        !self.answers.is_empty() || !self.large_answers.is_empty()
    }
}

impl Link {
    pub(crate) fn new(
        engine: Weak<Engine>,
        config: &TransportConfig,
        peer: SiloId,
        accepted: Option<(PeerKind, Origins)>,
    ) -> Arc<Self> {
        let dialled = accepted.is_none();
        let (kind, origins) = match accepted {
            Some((kind, origins)) => (OnceLock::from(kind), origins),
            // The carrier saw to it that nobody else answers.
            None if config.tls.is_some() => (OnceLock::new(), Origins::Silo(peer.clone())),
            None => (OnceLock::new(), Origins::Any),
        };
        Arc::new(Self {
            engine,
            peer,
            dialled,
            kind,
            origins,
            max_payload: config.max_payload,
            answer_capacity: config.answer_capacity,
            overfull: AtomicBool::new(false),
            state: Mutex::default(),
            writer: Rousing::default(),
            reader: AtomicWaker::new(),
            received: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            abandoned: Abandoned::default(),
        })
    }

    pub(crate) fn peer(&self) -> &SiloId {
        &self.peer
    }

    pub(crate) fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// Whose requests it may bring.
    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// What the peer is; `None` until its announcement is there or known to be missing.
    pub(crate) fn kind(&self) -> Option<PeerKind> {
        self.kind.get().copied()
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.kind() == Some(PeerKind::Announced)
    }

    pub(crate) fn set_kind(self: &Arc<Self>, kind: PeerKind) {
        let _ = self.kind.set(kind);
        self.tell_turn();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a link is locked")
    }

    /// Lets the writer look for more; once for a batch.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.writer.ask() {
            batch::wake(self.clone());
        }
    }

    /// Requests of this outbox go out here from now on.
    pub(crate) fn attach(self: &Arc<Self>, outbox: &Arc<Outbox>) {
        self.lock().outbox = Some(outbox.clone());
        outbox.attach(self);
    }

    /// The outbox's frames go out here from now on: the sender's turn with this link begins.
    pub(crate) fn begin_turn(self: &Arc<Self>, turn: Turn) {
        self.lock().turn = Some(turn);
        self.tell_turn();
    }

    /// Tells an announced peer that what comes on its older links is late.
    fn tell_turn(self: &Arc<Self>) {
        if self.is_announced() {
            let turn = self.lock().turn.take();
            if let Some(turn) = turn {
                self.control(control::about(control::TURN, turn.to_string()));
            }
        }
    }

    /// No further request goes out here; those that went may still be answered.
    pub(crate) fn detach(self: &Arc<Self>) {
        let outbox = self.lock().outbox.take();
        if let Some(outbox) = outbox {
            outbox.detach(self);
        }
    }

    /// Sends a control message; to announced peers only.
    pub(crate) fn control(self: &Arc<Self>, message: Parcel) {
        let mut state = self.lock();
        if !state.closed && !state.we_are_mute {
            state.push_answer(message, false);
            self.weigh(&state);
            drop(state);
            self.wake();
        }
    }

    /// The peer has asked its last and waits for the answers.
    pub(crate) fn peer_finished(self: &Arc<Self>) {
        self.lock().peer_is_mute = true;
        self.finish();
    }

    /// Ends our half of the stream once everything received has been answered.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.detach();
        self.lock().finishing = true;
        self.wake();
    }

    /// The stream is over. Returns the outbox and which of its requests went out here.
    pub(crate) fn close(self: &Arc<Self>) -> Option<(Arc<Outbox>, Taken)> {
        self.detach();
        let mut state = self.lock();
        state.closed = true;
        state.answers.clear();
        state.large_answers.clear();
        state.answer_bytes = 0;
        let sent = state.sent.take();
        drop(state);
        self.wake();
        self.abandoned.give_up_all();
        sent
    }

    /// A request came in that will be answered here; for the reader.
    pub(crate) fn owe(&self) {
        add_alone(&self.received);
    }

    /// Whether something received was not answered yet.
    fn owes(&self) -> bool {
        let answered = self.answered.load(Ordering::Acquire);
        self.received.load(Ordering::Acquire) != answered
    }

    /// The caller of a request that came in gave up.
    pub(crate) fn give_up(&self, message_id: &str) {
        // What was answered before is not remembered.
        if self.owes() {
            self.abandoned.give_up(message_id);
        }
    }

    /// How many bytes of a large payload may leave as the next part; nothing where the peer does not know parts.
    fn room_for_part(&self) -> Option<usize> {
        self.is_announced().then(|| self.lock().room_for_part())
    }

    /// The peer has seen a part.
    pub(crate) fn part_seen(self: &Arc<Self>) {
        let mut state = self.lock();
        state.flight.end(Instant::now());
        drop(state);
        self.wake();
    }

    /// Whether nothing received waits for an answer and nothing waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        !self.owes() && !self.lock().has_answers()
    }

    /// The peer said that it sends no further requests.
    pub(crate) fn set_quiet(&self) {
        self.lock().quiet = true;
    }

    /// Asks the peer to send no further requests, unless it has been asked or cannot be.
    pub(crate) fn ask_to_be_quiet(self: &Arc<Self>) {
        if self.is_announced() && !std::mem::replace(&mut self.lock().asked_to_be_quiet, true) {
            self.control(control::about(control::LEAVING, ""));
        }
    }

    /// Whether it does not; who cannot be asked is not waited for.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_announced() || self.lock().quiet
    }

    /// Until nothing more can be written on an accepted link: its answers are out, or the connection is gone.
    pub(crate) fn poll_written(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.lock().closed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes when more waits than may.
    fn weigh(&self, state: &State) {
        if state.answer_bytes > self.answer_capacity {
            self.overfull.store(true, Ordering::Release);
        }
    }

    /// Whether the peer reads its answers so slowly that its requests are refused.
    pub(crate) fn is_overfull(&self) -> bool {
        self.overfull.load(Ordering::Acquire)
    }

    /// Whether the peer reads no answers, not even the refusals, and more of them wait than any peer of ours has calls.
    pub(crate) fn is_hopeless(&self) -> bool {
        let replies = self.answer_capacity.saturating_mul(2).saturating_add(self.max_payload);
        let most = replies.saturating_add(HOPELESS * ANSWER_BYTES);
        let state = self.lock();
        state.answers.len() > HOPELESS || state.answer_bytes > most
    }

    /// Whether so many answers wait that nothing more should be read from a plain peer. The reader is woken when that
    /// changes. Announced peers are always read: two that wait for each other to read would wait for ever.
    pub(crate) fn is_clogged(&self, cx: &Context<'_>) -> bool {
        if self.is_announced() || !self.is_overfull() {
            return false;
        }
        self.reader.register(cx.waker());
        self.is_overfull()
    }
}

/// Adds one to a number that nobody else writes meanwhile, at a tenth of what it costs to be safe from others.
fn add_alone(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Release);
}

impl AnswerTo for Link {
    fn silo(&self) -> &SiloId {
        &self.peer
    }

    fn answer(self: Arc<Self>, _token: u64, mut response: Parcel) {
        self.abandoned.answered(&response.message_id);
        let mut state = self.lock();
        add_alone(&self.answered);
        if state.closed {
            drop(state);
            if let Some(engine) = self.engine.upgrade() {
                engine.counters().answers_without_link.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        if state.answer_bytes > self.answer_capacity.saturating_mul(2)
            && !response.response_payload.is_empty()
        {
            let message =
                format!("the caller reads its answers too slowly: {} bytes wait", state.answer_bytes);
            let error = Error::new(ErrorKind::Overloaded, message).with_delivered(Delivered::Yes);
            response.respond(Err(error.with_retryable(false)));
        }
        state.push_answer(response, self.is_announced());
        self.weigh(&state);
        drop(state);
        self.wake();
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    fn repeats_names(&self) -> bool {
        // An announced peer finds its call by the id and knows the rest.
        !self.is_announced()
    }

    fn is_abandoned(&self, _token: u64, message_id: &str) -> bool {
        self.abandoned.contains(message_id)
    }

    fn on_abandoned(&self, _token: u64, message_id: &str, then: OnAbandoned) {
        self.abandoned.watch(message_id, then);
    }

    fn no_longer_watched(&self, message_id: &str) {
        self.abandoned.answered(message_id);
    }
}

/// The outgoing half of a link, polled by the carrier.
pub(crate) struct Outgoing {
    link: Arc<Link>,
    ready: VecDeque<Parcel>,
    large: Progress,
    /// The last look did not take all.
    has_left: bool,
    /// It took something, if only to throw it away: what is too late, or was given up, does not leave.
    has_taken: bool,
}

impl Outgoing {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, ready: VecDeque::new(), large: Progress::default(), has_left: false, has_taken: false }
    }

    /// Who is to read it.
    pub(crate) fn peer(&self) -> &SiloId {
        &self.link.peer
    }

    /// What waits to be written, in bytes: counted here, and not taken from the link's own account of it.
    #[cfg(any(test, quark_fuzzing))]
    pub(crate) fn waiting(&self) -> usize {
        let state = self.link.lock();
        let answers = state.answers.iter().chain(&state.large_answers).chain(&self.ready);
        answers.map(|answer| answer.encode().len()).sum()
    }

    /// Moves what is there into `ready`; says whether the stream is over.
    fn refill(&mut self) -> bool {
        let mut state = self.link.lock();
        if state.closed {
            return true;
        }
        state.take_answers(&mut self.ready);
        (self.has_left, self.has_taken) = (state.has_answers(), false);
        if self.link.is_overfull() && state.answer_bytes <= self.link.answer_capacity {
            self.link.overfull.store(false, Ordering::Release);
            self.link.reader.wake();
        }
        if let Some(outbox) = state.outbox.clone() {
            // Released while the outbox is locked: a push locks the outbox first and then may wake this link.
            drop(state);
            if self.take_requests(&outbox) {
                return true;
            }
        } else {
            // A large answer may wait for the peer to have seen what left of it.
            if state.finishing && !self.link.owes() && self.ready.is_empty() && !state.has_answers() {
                return true;
            }
        }
        false
    }

    /// Takes small requests and a piece of a large one; says whether the link is over.
    fn take_requests(&mut self, outbox: &Arc<Outbox>) -> bool {
        let link = &self.link;
        let count = self.ready.len() + TAKE_FRAMES;
        let mut taken = outbox.take_small(link, count, TAKE_BYTES, &mut self.ready);
        let small = !taken.is_empty();
        let most_of_part = link.room_for_part();
        let large = outbox.take_large(link, &mut self.large, most_of_part, &mut self.ready);
        self.has_left |= !outbox.is_empty();
        match large {
            Piece::Nothing => {}
            Piece::Part(bytes) => link.lock().flight.begin(bytes, Instant::now()),
            Piece::Frame(frame) => taken.extend(frame),
        }
        self.has_taken = !taken.is_empty();
        if taken.is_empty() {
            return false;
        }
        let mut state = link.lock();
        if small {
            state.flight.small_left();
        }
        if state.closed {
            // It closed in between: nobody else will end these calls.
            drop(state);
            if let Some(engine) = link.engine.upgrade() {
                engine.lose(outbox, &taken, &super::engine::connection_lost(&link.peer));
            }
            return true;
        }
        match &mut state.sent {
            Some((_, sent)) => sent.extend(taken),
            None => state.sent = Some((outbox.clone(), taken)),
        }
        false
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The carrier drops our half when it has written all or can write no more. On a link that we dialled the
        // peer's half tells how it ended; an accepted one is over.
        self.link.lock().we_are_mute = true;
        if !self.link.dialled {
            self.link.lock().closed = true;
            self.link.abandoned.give_up_all();
            self.link.reader.wake();
        }
    }
}

impl Stream for Outgoing {
    type Item = Parcel;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Parcel>> {
        if let Some(envelope) = self.ready.pop_front() {
            return Poll::Ready(Some(envelope));
        }
        // Again when all that was taken was dead: nobody comes back for what is behind it.
        while self.link.writer.may_look(cx, self.has_left) {
            if self.refill() {
                return Poll::Ready(None);
            }
            if let Some(envelope) = self.ready.pop_front() {
                return Poll::Ready(Some(envelope));
            }
            if !self.has_left || !self.has_taken {
                break;
            }
        }
        Poll::Pending
    }
}
