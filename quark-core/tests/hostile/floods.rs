//! Floods, nonsense and slowness.

use std::io::{ErrorKind as Io, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http2::*;
use crate::{Attacked, LIMIT};

/// Five times at once, so that it counts.
fn often(attack: impl Fn(SocketAddr) + Send + Clone + 'static) -> Vec<Box<dyn FnOnce(SocketAddr) + Send>> {
    (0..5)
        .map(|_| {
            let attack = attack.clone();
            Box::new(attack) as Box<dyn FnOnce(SocketAddr) + Send>
        })
        .collect()
}

#[tokio::test]
async fn row_23_what_is_not_http2_is_closed() {
    let garbage =
        |seed: u8| (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ seed).collect();
    let nonsense: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        format!("POST /{} HTTP/1.1\r\n", "x".repeat(1 << 20)).into_bytes(),
        garbage(0),
        [PREFACE, &garbage(1)].concat(),
        [PREFACE, &frame(HEADERS, END_HEADERS, 1, &[0xff; 100])].concat(),
        [PREFACE, &[0xff; 9]].concat(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    let attack = move |address| {
        for bytes in &nonsense {
            let mut socket = Socket::open(address);
            socket.send(bytes);
            let mut answer = Vec::new();
            let read = socket.0.read_to_end(&mut answer);
            assert!(read.is_ok() || read.unwrap_err().kind() == Io::ConnectionReset);
        }
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_a_flood_of_continuations_is_closed() {
    let attack = |address| {
        let mut socket = Socket::http2(address);
        socket.send(&frame(HEADERS, 0, 1, &request(PATH, &[])));
        socket.flood(&frame(CONTINUATION, 0, 1, &header("x", &"y".repeat(16_000))));
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_empty_continuations_are_a_flood_too() {
    let attack = |address| {
        let mut socket = Socket::http2(address);
        socket.send(&frame(HEADERS, 0, 1, &request(PATH, &[])));
        socket.flood(&frame(CONTINUATION, 0, 1, &[]));
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_streams_opened_and_reset_at_once_are_closed() {
    let attack = |address| {
        let mut socket = Socket::http2(address);
        let began = Instant::now();
        let headers = request("/grpc.health.v1.Health/Check", &[]);
        for stream in (1..).step_by(2) {
            let both =
                [frame(HEADERS, END_HEADERS, stream, &headers), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])];
            if !socket.send(&both.concat()) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "it takes everything");
        }
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_streams_that_announce_and_reset_are_closed_and_forgotten() {
    let attack = |address| {
        let mut socket = Socket::http2(address);
        for i in 0..10_000_u32 {
            let id = format!("{:03x}", i % 4096);
            let headers = frame(HEADERS, END_HEADERS, 1 + 2 * i, &announced(&id));
            if !socket.send(&[headers, frame(RST_STREAM, 0, 1 + 2 * i, &[0, 0, 0, 8])].concat()) {
                return;
            }
        }
        panic!("it takes everything");
    };
    Attacked::start().under(often(attack)).await;
}

/// A connection that may stay, because it asked for something.
fn asked(address: SocketAddr) -> Socket {
    let mut socket = Socket::http2(address);
    socket.send(&frame(HEADERS, END_HEADERS, 1, &request("/grpc.health.v1.Health/Watch", &[])));
    socket
}

#[tokio::test]
async fn row_23_a_flood_of_settings_is_closed() {
    Attacked::start().under(often(|address| asked(address).flood(&frame(SETTINGS, 0, 0, &[])))).await;
}

#[tokio::test]
async fn row_23_a_flood_of_pings_is_closed() {
    Attacked::start().under(often(|address| asked(address).flood(&frame(PING, 0, 0, &[1; 8])))).await;
}

#[tokio::test]
async fn row_23_a_flood_of_pings_whose_answers_are_read_is_closed() {
    let attack = |address| {
        let mut socket = asked(address);
        let began = Instant::now();
        while socket.send(&frame(PING, 0, 0, &[1; 8])) && socket.next().is_some() {
            assert!(began.elapsed() < LIMIT, "it answers everything");
        }
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_a_flood_of_frames_that_nobody_knows_is_closed() {
    Attacked::start().under(often(|address| asked(address).flood(&frame(0x77, 0, 0, &[])))).await;
}

#[tokio::test]
async fn row_23_a_flood_of_empty_data_is_closed() {
    let attack = |address| {
        let mut socket = Socket::http2(address);
        socket.send(&frame(HEADERS, END_HEADERS, 1, &request(PATH, &[])));
        socket.flood(&frame(DATA, 0, 1, &[]));
    };
    Attacked::start().under(often(attack)).await;
}

#[tokio::test]
async fn row_23_the_slow_are_closed_when_the_time_for_the_handshake_is_over() {
    let silent = |address| Socket::open(address).until_closed();
    let drop_by_drop = |address| {
        let mut socket = Socket::open(address);
        let began = Instant::now();
        for byte in PREFACE.iter().cycle() {
            if !socket.send(&[*byte]) {
                break;
            }
            assert!(began.elapsed() < LIMIT, "it waits for ever");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let asks_nothing = |address| Socket::http2(address).until_closed();
    let half_a_header = |address| {
        let mut socket = Socket::http2(address);
        socket.send(&frame(HEADERS, 0, 1, &request(PATH, &[])));
        socket.until_closed();
    };
    let something_else = |address| {
        let mut socket = Socket::http2(address);
        socket.send(&frame(HEADERS, END_HEADERS, 1, &request("/other", &[])));
        socket.until_closed();
    };
    let attacked = Attacked::start();
    let began = Instant::now();
    attacked
        .under(vec![
            Box::new(silent),
            Box::new(drop_by_drop),
            Box::new(asks_nothing),
            Box::new(half_a_header),
            Box::new(something_else),
        ])
        .await;
    assert!(began.elapsed() >= Duration::from_secs(1), "they had their time");
}

#[tokio::test]
async fn row_23_a_flood_of_connections_from_one_address_shuts_out_nobody_else() {
    let attacked = Attacked::start();
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let over = over.clone();
        move |address| {
            let mut opened = 0;
            let mut held = std::collections::VecDeque::new();
            while !over.load(Ordering::Relaxed) || opened <= 400 {
                held.extend(stranger(address));
                opened += 1;
                if held.len() > 200 {
                    held.pop_front();
                }
            }
        }
    };
    let others = async {
        for _ in 0..20 {
            let client = attacked.client().await;
            client.call(("T", "2"), "", "x").timeout(LIMIT).await.expect("there is room for others");
            client.stop(LIMIT).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(attacked.under(vec![Box::new(flood)]), others);
}
