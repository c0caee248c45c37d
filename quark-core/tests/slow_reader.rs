//! Row 5: a caller that asks as fast as it can and does not read its answers. Alone in its program, because it looks at
//! the memory of the process.
//!
//! `QUARK_STALL_SECONDS` says for how long nothing is read, 5 by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _};
use quark_core::{Client, Envelope, ErrorKind, Request, Silo};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const LIMIT: Duration = Duration::from_secs(60);
/// What may be there beyond the answers that wait: windows and buffers of both ends, which are in this process both.
const MARGIN: usize = 48 << 20;
const ANSWERS: usize = 8 << 20;

/// A stock gRPC client's view of the wire: bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Envelope;
    type Decode = Envelope;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Envelope;
    type Error = Status;
    fn encode(&mut self, envelope: Envelope, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(envelope.encode());
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Envelope;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Envelope>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Envelope::decode(bytes).map(Some).map_err(|error| Status::internal(error.message()))
    }
}

/// Memory of this process, in bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_5_a_caller_that_does_not_read_costs_bounded_memory_and_nobody_else_notices() {
    let stall = std::env::var("QUARK_STALL_SECONDS").map_or(5, |text| text.parse().expect("a number"));
    let url = "memory://slow-reader";
    let silo = Silo::builder("a")
        .membership(url.parse().unwrap())
        .handler(|request: Request| async move { Ok(request.payload().clone()) })
        .configure(|config| config.transport.answer_capacity = ANSWERS)
        .start()
        .await
        .unwrap();
    let client = Client::builder().membership(url.parse().unwrap()).start().await.unwrap();
    client.call(("T", "1"), "", "warm").timeout(LIMIT).await.unwrap();

    let channel = tonic::transport::Channel::from_shared(format!("http://{}", silo.endpoint())).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let (sender, mut receiver) = mpsc::channel::<Envelope>(64);
    let requests = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let path = "/quark.QuarkTransport/ActorStream".parse().unwrap();
    let mut answers = grpc.streaming(tonic::Request::new(requests), path, Raw).await.unwrap().into_inner();
    let sent = Arc::new(AtomicUsize::new(0));
    let flood = {
        let sent = sent.clone();
        tokio::spawn(async move {
            for i in 0.. {
                let request = Envelope::request("T", "1", "", vec![7; 64]).with_message_id(i.to_string());
                if sender.send(request).await.is_err() {
                    return;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let before = memory();
    let (mut most, mut calls, began) = (0, 0, Instant::now());
    while began.elapsed() < Duration::from_secs(stall) {
        // Another caller, on another link.
        let reply = client.call(("T", "2"), "", "x").timeout(LIMIT).await;
        assert_eq!(reply.expect("others do not notice"), "x");
        calls += 1;
        most = most.max(memory().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = sent.load(Ordering::Relaxed);
    println!(
        "{asked} requests without reading for {stall} s: {} MiB at most; {calls} other calls",
        most >> 20
    );
    assert!(asked > 1000, "only {asked}");
    assert!(most < ANSWERS + MARGIN, "{most} bytes");

    // The link was not torn down: it reads now, and every request that was sent has its answer.
    flood.abort();
    let _ = flood.await;
    let (mut replies, mut refusals) = (0, 0);
    let reading = async {
        while replies + refusals < sent.load(Ordering::Relaxed) {
            match answers.message().await.expect("the link lives").expect("more to come").into_result() {
                Ok(reply) => {
                    assert_eq!(reply.len(), 64);
                    replies += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
                    refusals += 1;
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("all are answered");
    println!("{replies} replies, {refusals} refusals");
    silo.stop(LIMIT).await;
}
