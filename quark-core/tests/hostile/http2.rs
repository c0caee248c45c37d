//! HTTP/2 by hand: frames as bytes, right or wrong.

use std::io::{ErrorKind as Io, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::LIMIT;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const PATH: &str = "/quark.QuarkTransport/ActorStream";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header as a literal that is not indexed.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    pub(crate) fn text(text: &str) -> Vec<u8> {
        // A length of up to 126 fits into one byte, what is over it follows in sevens of bits.
        let (mut bytes, mut rest) = (vec![text.len().min(127) as u8], text.len().saturating_sub(127));
        if text.len() >= 127 {
            while rest >= 128 {
                bytes.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
        [&bytes, text.as_bytes()].concat()
    }
    [vec![0], text(name), text(value)].concat()
}

pub(crate) fn request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    usual.iter().chain(more).flat_map(|(name, value)| header(name, value)).collect()
}

/// The start of a stream that announces a silo.
pub(crate) fn announced(id: &str) -> Vec<u8> {
    // Base64 of ids of three letters.
    let base64 = |text: &str| {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = text.bytes().fold(0, |bits, byte| bits << 8 | u32::from(byte));
        (0..4).rev().map(|i| char::from(LETTERS[(bits >> (6 * i) & 63) as usize])).collect::<String>()
    };
    assert_eq!(id.len(), 3);
    let id = base64(id);
    request(PATH, &[("quark-protocol", "1"), ("quark-cluster", "quark"), ("quark-silo-id-bin", &id)])
}

/// One frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The last 32 bits: the code of a reset, the increment of a window; those after the first of a farewell.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(crate) struct Socket(pub(crate) TcpStream);

impl Socket {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    /// A connection of HTTP/2 that has said hello.
    pub(crate) fn http2(address: SocketAddr) -> Self {
        let mut socket = Self::open(address);
        assert!(socket.send(PREFACE) && socket.send(&frame(SETTINGS, 0, 0, &[])));
        socket
    }

    /// Whether the other side still takes it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.0.write_all(bytes) {
            Ok(()) => true,
            Err(error) => {
                assert!(matches!(error.kind(), Io::BrokenPipe | Io::ConnectionReset), "{error}");
                false
            }
        }
    }

    /// The next frame, nothing when the connection was closed.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.read(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
        Some(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> Option<()> {
        match self.0.read_exact(into) {
            Ok(()) => Some(()),
            Err(error) => {
                let closed = matches!(error.kind(), Io::UnexpectedEof | Io::ConnectionReset | Io::BrokenPipe);
                assert!(closed, "the connection is still there: {error}");
                None
            }
        }
    }

    pub(crate) fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Frame {
        std::iter::from_fn(|| self.next()).find(is_it).expect("the connection was closed")
    }

    pub(crate) fn until_closed(&mut self) {
        while self.next().is_some() {}
    }

    /// Sends this again and again, and reads nothing, until the other side closes.
    pub(crate) fn flood(&mut self, bytes: &[u8]) {
        let began = Instant::now();
        let many = bytes.repeat((64 * 1024 / bytes.len()).max(1));
        while self.send(&many) {
            assert!(began.elapsed() < LIMIT, "it takes everything");
        }
    }
}

/// A connection from another address of this machine.
pub(crate) fn stranger(address: SocketAddr) -> Option<TcpStream> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.66:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&address.into()).ok()?;
    Some(socket.into())
}
