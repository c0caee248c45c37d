//! Each limit, one over.

use std::net::TcpStream;
use std::time::Instant;

use crate::http2::*;
use crate::{Attacked, LIMIT};

/// Whether the silo keeps this connection: it says its settings.
fn is_let_in(socket: TcpStream) -> Option<Socket> {
    let mut socket = Socket(socket);
    socket.0.set_read_timeout(Some(LIMIT)).unwrap();
    (socket.send(PREFACE) && socket.send(&frame(SETTINGS, 0, 0, &[])) && socket.next().is_some())
        .then_some(socket)
}

#[test]
fn one_connection_over_the_limit_of_an_address_is_hung_up_on_and_one_over_the_total_too() {
    let attacked = Attacked::start();
    // They ask for something, so that they may stay.
    let stays = |mut socket: Socket| {
        socket.send(&frame(HEADERS, END_HEADERS, 1, &request("/grpc.health.v1.Health/Watch", &[])));
        socket
    };
    let mut held: Vec<_> = (0..40)
        .map(|i| stays(is_let_in(stranger(attacked.address).unwrap()).unwrap_or_else(|| panic!("{i}"))))
        .collect();
    assert!(is_let_in(stranger(attacked.address).unwrap()).is_none(), "one over the limit of the address");
    held.extend(
        (0..20).map(|i| stays(is_let_in(Socket::open(attacked.address).0).unwrap_or_else(|| panic!("{i}")))),
    );
    assert!(is_let_in(Socket::open(attacked.address).0).is_none(), "one over the total");
    // One goes, another may come.
    held.pop();
    let began = Instant::now();
    while is_let_in(Socket::open(attacked.address).0).is_none() {
        assert!(began.elapsed() < LIMIT, "its place is not free again");
    }
}

#[test]
fn one_stream_over_the_limit_is_refused() {
    let attacked = Attacked::start();
    let mut socket = Socket::http2(attacked.address);
    let settings = socket.until(|frame| frame.kind == SETTINGS);
    let streams =
        settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("it says its limit");
    assert_eq!(streams[2..], [0, 0, 0, 4]);
    for stream in [1, 3, 5, 7, 9] {
        socket.send(&frame(HEADERS, END_HEADERS, stream, &request(PATH, &[])));
    }
    let reset = socket.until(|frame| frame.kind == RST_STREAM);
    assert_eq!((reset.stream, reset.number(0)), (9, REFUSED_STREAM));
}

#[test]
fn metadata_over_the_limit_is_refused() {
    let attacked = Attacked::start();
    let mut socket = Socket::http2(attacked.address);
    // As much as is taken, what each entry costs counted. h2 takes a byte less than it says.
    let usual: usize = 6 * 32
        + ":method:scheme:path:authoritycontent-typete".len()
        + ["POST", "http", PATH, "x", "application/grpc", "trailers"].concat().len();
    let fits = 8 * 1024 - usual - 32 - 1 - 1;
    let ask = |socket: &mut Socket, stream, bytes| {
        let headers = request(PATH, &[("x", &"y".repeat(bytes))]);
        let (first, rest) = headers.split_at(4_000);
        socket.send(
            &[frame(HEADERS, 0, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)].concat(),
        );
        socket.until(|frame| frame.stream == stream)
    };
    // The first byte of an answer of status 200 is its place in the table of HPACK.
    let answer = ask(&mut socket, 1, fits);
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88));
    let refusal = ask(&mut socket, 3, fits + 1);
    assert!(refusal.kind == RST_STREAM || refusal.payload[0] != 0x88, "{refusal:?}");
}

#[test]
fn a_link_over_the_limit_of_its_silo_is_refused_and_other_silos_are_not() {
    let attacked = Attacked::start();
    let refused = |socket: &mut Socket, stream, id| {
        socket.send(&frame(HEADERS, END_HEADERS, stream, &announced(id)));
        let answer = socket.until(|frame| frame.kind == HEADERS && frame.stream == stream);
        // A refusal has nothing but headers.
        answer.flags & END_STREAM != 0
    };
    let mut sockets: Vec<_> = (0..3).map(|_| Socket::http2(attacked.address)).collect();
    assert!(!refused(&mut sockets[0], 1, "abc"));
    assert!(!refused(&mut sockets[1], 1, "abc"));
    assert!(refused(&mut sockets[2], 1, "abc"), "the third link of one id");
    assert!(!refused(&mut sockets[2], 3, "abd"));
    drop(sockets);
}

#[test]
fn bytes_in_flight_are_bounded_and_whoever_sends_more_is_closed() {
    let attacked = Attacked::start();
    let mut socket = Socket::http2(attacked.address);
    let settings = socket.until(|frame| frame.kind == SETTINGS);
    let window =
        settings.payload.chunks(6).find(|setting| setting[..2] == [0, 4]).expect("it says its window");
    assert_eq!(window[2..], (1_u32 << 16).to_be_bytes(), "a sixteenth of connection_window");
    let more = socket.until(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0);
    assert_eq!(more.number(0) + 65_535, 1 << 20);
    // A plain peer that asks and does not read: the silo stops reading. It goes on nevertheless.
    socket.send(&frame(HEADERS, END_HEADERS, 1, &request(PATH, &[])));
    let data = frame(DATA, 0, 1, &[0, 0, 0, 0, 0].repeat(3_000));
    for _ in 0..1_000 {
        if !socket.send(&data) {
            break;
        }
    }
    let ended = socket.until(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY);
    let code = ended.number(if ended.kind == GOAWAY { 4 } else { 0 });
    assert_eq!(code, FLOW_CONTROL_ERROR);
}
