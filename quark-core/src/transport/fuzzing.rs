//! Fuzz targets of the transport: what a peer says on a link, and how.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::carrier::{Accept as _, Hello, Inbound};
use super::control;
use super::engine::{Dispatch, Engine, Receive};
pub(crate) use super::grpc::fuzzing::{frames, health, metadata};
use super::link::Outgoing;
use super::networks::Networks;
use super::outbox::Frame;
use super::parts::Parts;
use super::pending::Completion;
use super::turns::{Senders, Turn};
use crate::config::TransportConfig;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::Error;
use crate::fuzzing::Script;
use crate::id::SiloId;
use crate::request::Request;
use crate::tls::Proof;

/// Parts in any order, beside a model that keeps all of them.
pub(crate) fn parts(bytes: &[u8]) {
    const LIMIT: usize = 600;
    let (mut script, mut parts) = (Script::new(bytes), Parts::default());
    let (mut whose, mut model) = (String::new(), Vec::new());
    while let Some(step) = script.byte() {
        let id = ["", "1", "2", "3"][usize::from(step >> 4) & 3];
        let part = Bytes::from(vec![step; script.number()]);
        // Mostly where the last one ended, or nothing but errors would be seen.
        let offset = match step >> 6 {
            0 => 0,
            1 => script.large_number(),
            _ => model.len(),
        } as u64;
        let follows = id == whose && offset == model.len() as u64;
        match step & 3 {
            0 => {
                parts.forget(id);
                if id == whose {
                    (whose, model) = Default::default();
                }
            }
            1 => match parts.complete(id, &part, offset, LIMIT) {
                Ok(whole) if offset == 0 => assert_eq!(whole.unwrap(), part),
                Ok(whole) => {
                    assert!(follows);
                    model.extend_from_slice(&part);
                    match whole {
                        Ok(payload) => assert_eq!(payload, model),
                        Err(length) => assert!(length == model.len() as u64 && model.len() > LIMIT),
                    }
                    (whose, model) = Default::default();
                }
                Err(_) => assert!(!follows),
            },
            _ => match parts.add(id, &part, offset, LIMIT) {
                Ok(()) if offset == 0 => (whose, model) = (id.to_owned(), part.to_vec()),
                Ok(()) => {
                    assert!(follows);
                    model.extend_from_slice(&part);
                }
                Err(_) => assert!(!follows),
            },
        }
        assert!(parts.held() <= 2 * LIMIT, "{} bytes are held", parts.held());
    }
}

/// What a sender says of its turns, a line for each.
pub(crate) fn turns(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (senders, id) = (Senders::default(), SiloId::plain());
    let _present = senders.present(&id);
    for turn in text.lines().filter_map(Turn::parse) {
        assert_eq!(Turn::parse(&turn.to_string()), Some(turn));
        let sender = senders.sender(&id, turn);
        let before = *sender.lock();
        sender.begin(turn);
        assert_eq!(*sender.lock(), before.max(turn.number));
        assert!(senders.lives(&id) <= 8);
    }
}

/// Answers as the method says; keeps what it is to keep.
#[derive(Default)]
struct Handler {
    kept: Mutex<Vec<Request>>,
}

impl Receive for Handler {
    fn receive(&self, requests: &mut Vec<Request>) {
        for mut request in requests.drain(..) {
            match request.method_name().as_bytes().first() {
                Some(b'k') => self.kept.lock().unwrap().push(request),
                Some(b'd') => drop(request),
                _ => {
                    let payload = Bytes::copy_from_slice(request.payload());
                    let _ = request.reply(payload);
                }
            }
        }
    }

    fn link_lost(&self, _peer: &SiloId) {}

    fn resend(&self, _frames: Vec<Frame>) {}
}

/// A whole conversation: messages of every kind in any order, from a peer of any kind that reads its answers or not,
/// while calls to it are under way. Every call must end once, and what waits for the peer must not grow without end.
pub(crate) fn link(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(conversation(Script::new(bytes))));
}

const LIMIT: usize = 2_000;

async fn conversation(mut script: Script<'_>) {
    let config = TransportConfig { max_payload: LIMIT, answer_capacity: 4 * LIMIT, ..Default::default() };
    let me: SiloId = "m".parse().unwrap();
    let carrier = Arc::new(Networks::new(&me, &config).unwrap());
    let engine = Engine::new(me, config.clone(), carrier);
    let handler = Arc::new(Handler::default());
    let receiver: Weak<dyn Receive> = Arc::downgrade(&(handler.clone() as Arc<dyn Receive>));
    engine.start(receiver, None).await.unwrap();

    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|inbound| (inbound, receiver))
    });
    let incoming = Box::pin(receiver);
    let hello = |id: &str| Hello {
        protocol: 1,
        cluster: "quark".to_owned(),
        silo_id: id.parse().unwrap(),
        incarnation: 1,
    };
    let how = script.number();
    let id = ["a", "z", "client:1"][how % 3];
    let is_dialled = how & 0x80 != 0;
    let mut outgoing = if is_dialled {
        let link = engine.new_link(id.parse().unwrap(), None);
        link.attach(&engine.peer_named(link.peer()).outbox);
        let _ = sender.send(Ok(Inbound::Hello(Some(hello(id)).filter(|_| how & 0x40 != 0))));
        engine.spawn(engine.clone().read(link.clone(), incoming));
        Outgoing::new(link)
    } else {
        let hello = Some(hello(id)).filter(|_| how & 0x40 != 0);
        engine.accept(hello, &Proof::Plaintext).unwrap().run(incoming)
    };

    // Answered by name, since other ids are chance.
    let (mut calls, peer) = (Vec::new(), engine.peer_named(&id.parse().unwrap()));
    for name in ["1", "2", "3"] {
        let (completion, ended) = tokio::sync::oneshot::channel();
        let payload = vec![0; script.large_number() % LIMIT];
        let request = Envelope::request("T", "1", "", payload).with_message_id(name);
        let deadline = Instant::now() + Duration::from_secs(60);
        let call = Dispatch::new(request.into(), deadline, Some(Completion::Future(completion)));
        assert!(engine.try_send(&peer, call).is_ok());
        calls.push(ended);
    }
    let mut most = 3 * config.answer_capacity + LIMIT;
    while let Some(step) = script.byte() {
        // An id, and what is said of a refusal.
        most += 512;
        match step & 7 {
            0 => while outgoing.next().now_or_never().flatten().is_some() {},
            1 => drop(handler.kept.lock().unwrap().pop()),
            2 => drop(sender.send(Err(Error::new(crate::ErrorKind::ConnectionLost, "cut")))),
            _ => drop(sender.send(Ok(Inbound::Envelope(message(step, &mut script).into())))),
        }
        tokio::task::yield_now().await;
        let waiting = outgoing.waiting();
        assert!(waiting <= most, "{waiting} bytes wait for a peer that does not read");
    }
    drop(sender);
    tokio::task::yield_now().await;
    drop(outgoing);
    engine.abort();
    handler.kept.lock().unwrap().clear();
    for call in calls {
        // An error of the channel would say that nobody ended it.
        let _ = call.now_or_never().unwrap().unwrap();
    }
    // The tasks that were aborted go when the runtime runs.
    tokio::task::yield_now().await;
}

/// A message of any kind, plausible more often than not.
fn message(step: u8, script: &mut Script<'_>) -> Envelope {
    const METHODS: [&str; 12] = [
        control::REQUEST_PART,
        control::RESPONSE_PART,
        control::PART_SEEN,
        control::CANCEL,
        control::TURN,
        control::FENCE,
        control::FENCE_PASSED,
        control::LEAVING,
        control::LEAVING_SEEN,
        "keep",
        "drop",
        "",
    ];
    if step & 7 == 7 {
        let length = script.large_number();
        return Envelope::decode(script.bytes(length)).unwrap_or_default();
    }
    let what = script.number();
    let id = match script.number() {
        0 => "f00.1".to_owned(),
        1 => "f00.2".to_owned(),
        length @ 200.. => "x".repeat(length * length),
        digit => (digit % 6).to_string(),
    };
    let payload = Bytes::from(vec![1; script.large_number() % (2 * LIMIT)]);
    let is_response = step & 7 == 5;
    Envelope {
        kind: [EnvelopeKind::Control, EnvelopeKind::Request, EnvelopeKind::Response]
            [usize::from(step & 7) % 3],
        method_name: METHODS[what % METHODS.len()].into(),
        message_id: id.into(),
        parts_bytes: if what & 0x80 == 0 { 0 } else { script.large_number() as u64 },
        one_way: what & 0x40 != 0,
        is_error: what & 0x20 != 0,
        response_payload: if is_response { payload.clone() } else { Bytes::new() },
        payload: if is_response { Bytes::new() } else { payload },
        timeout_ms: [0, 1_000, u64::MAX][what % 3],
        ..Envelope::default()
    }
}
