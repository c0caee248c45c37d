//! The baseline below gRPC: length-prefixed protobuf on one TCP connection and one thread, with a future for each
//! request and without.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::load::Load;
use crate::message::Echo;
use crate::meter::Meter;
use crate::until_dismissed;
use crate::waiting::Waiting;

/// What is read at once, and so about what is written at once: with more, both sides take turns.
const CHUNK: usize = 16 * 1024;

/// Frames that wait to be written, and who has to hear of them.
#[derive(Default)]
struct Outgoing {
    bytes: Mutex<BytesMut>,
    more: Notify,
}

impl Outgoing {
    fn push(&self, echo: &Echo) {
        let mut bytes = self.bytes.lock().expect("nobody panics with it");
        bytes.put_u32_le(u32::try_from(echo.encoded_len()).expect("a frame below 4 GiB"));
        echo.encode(&mut *bytes).expect("room for it");
    }

    /// Writes what the socket takes; says whether something is left.
    fn flush(&self, stream: &TcpStream) -> bool {
        let mut bytes = self.bytes.lock().expect("nobody panics with it");
        while !bytes.is_empty() {
            match stream.try_write(&bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        false
    }
}

/// Moves frames both ways until the other side closes. Never waits for a write while there is something to read, so
/// that two sides cannot wait for each other.
async fn pump(stream: TcpStream, outgoing: &Outgoing, mut arrived: impl FnMut(Echo)) {
    stream.set_nodelay(true).expect("a socket");
    let mut incoming = BytesMut::new();
    loop {
        let left = outgoing.flush(&stream);
        let interest = if left { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        tokio::select! {
            biased;
            ready = stream.ready(interest) => drop(ready.expect("a socket")),
            () = outgoing.more.notified() => continue,
        }
        let missing = frame_length(&incoming).map_or(0, |length| length.saturating_sub(incoming.len()));
        incoming.reserve(missing.max(CHUNK));
        match stream.try_read_buf(&mut incoming) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        while let Some(length) = frame_length(&incoming).filter(|length| *length <= incoming.len()) {
            let frame = incoming.split_to(length).freeze();
            arrived(Echo::decode(frame.slice(4..)).expect("a frame of ours"));
        }
    }
}

/// With its prefix, once that is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk()?;
    Some(u32::from_le_bytes(*prefix) as usize + 4)
}

pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("ready {}", listener.local_addr().expect("an address"));
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let outgoing = Outgoing::default();
            pump(stream, &outgoing, |echo| outgoing.push(&echo.answered())).await;
        }
    };
    tokio::select! {
        () = accept => {}
        () = until_dismissed() => {}
    }
}

/// A future for each request.
pub(crate) async fn call_with_futures(load: Load) {
    let stream = TcpStream::connect(load.address()).await.expect("a connection");
    let (waiting, outgoing) = (Arc::new(Waiting::default()), Arc::new(Outgoing::default()));
    let (completing, flushing) = (waiting.clone(), outgoing.clone());
    tokio::spawn(async move {
        pump(stream, &flushing, |echo| completing.end(echo)).await;
        panic!("the connection ended");
    });
    let size = load.payload;
    let payload = Bytes::from(vec![7; size]);
    let call = move || {
        let (slot, answer) = waiting.begin();
        outgoing.push(&Echo::request(slot, payload.clone()));
        outgoing.more.notify_one();
        async move { assert_eq!(answer.await.expect("an answer").response_payload.len(), size) }
    };
    Meter::new(load).run(call).await;
}

/// Each answer makes the next request, in the loop that reads.
pub(crate) async fn call(load: Load) {
    let stream = TcpStream::connect(load.address()).await.expect("a connection");
    let meter = Meter::new(load);
    let load = &meter.load;
    let payload = Bytes::from(vec![7; load.payload]);
    let outgoing = Outgoing::default();
    let mut began = vec![Instant::now(); load.depth];
    for slot in 0..load.depth {
        outgoing.push(&Echo::request(slot, payload.clone()));
    }
    let warm = Instant::now() + load.warm_up;
    let mut begun = None;
    let mut end = warm + Duration::from_secs(3600);
    let ended = Notify::new();
    let pumped = pump(stream, &outgoing, |echo| {
        let (slot, now) = (echo.slot(), Instant::now());
        assert_eq!(echo.response_payload.len(), load.payload);
        meter.record(now - began[slot]);
        if begun.is_none() && now >= warm {
            begun = Some(meter.begin());
            end = now + load.measured;
        }
        if now >= end
            && let Some(begun) = &begun
        {
            meter.report(begun);
            end += Duration::from_secs(3600);
            return ended.notify_one();
        }
        began[slot] = now;
        outgoing.push(&Echo::request(slot, payload.clone()));
    });
    tokio::select! {
        () = pumped => panic!("the connection ended"),
        () = ended.notified() => {}
    }
}
