//! The bytes of one connection, with or without TLS, and what they say of TLS when they end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Settings;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::id::SiloId;
use crate::tls::{self, NoHandshake, TlsStream};

/// A connection.
pub(super) struct Socket {
    bytes: Bytes,
    refusal: Refusal,
    /// Something was read.
    begun: bool,
}

enum Bytes {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a peer ended the connection, when it was for the sake of TLS. HTTP/2 says only that it ended.
#[derive(Clone, Default)]
pub(super) struct Refusal(Arc<OnceLock<Error>>);

impl Refusal {
    /// What is known of the peer at `to`, or else `error`.
    pub(super) fn or(&self, to: &Endpoint, error: Error) -> Error {
        self.0.get().map_or(error, |refusal| at(to, refusal))
    }
}

impl Socket {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::new(Bytes::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Bytes::Tls(Box::new(stream)))
    }

    fn new(bytes: Bytes) -> Self {
        Self { bytes, refusal: Refusal::default(), begun: false }
    }

    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    fn bytes(self: Pin<&mut Self>) -> Pin<&mut (dyn Stream + '_)> {
        match &mut self.get_mut().bytes {
            Bytes::Plain(stream) => Pin::new(stream),
            Bytes::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Why there is no connection.
pub(super) enum NoSocket {
    /// Nobody is there.
    NotConnected(io::Error),
    /// Somebody is, who did not prove to be the one who was dialled.
    NotProved(NoHandshake),
}

/// Connects to a silo and proves who it is, where there is TLS.
pub(super) async fn open(settings: &Settings, to: &Endpoint, silo: &SiloId) -> Result<Socket, NoSocket> {
    let addresses: Vec<_> =
        tokio::net::lookup_host((to.host(), to.port())).await.map_err(NoSocket::NotConnected)?.collect();
    if settings.tls.is_none() && !settings.allow_plaintext && !addresses.iter().all(is_here) {
        let message = format!("is beyond this machine and there is no TLS; {PERMISSION}");
        let error = Error::new(ErrorKind::Unauthenticated, message);
        return Err(NoSocket::NotProved(NoHandshake::Untrusted(error)));
    }
    let stream = TcpStream::connect(&*addresses).await.map_err(NoSocket::NotConnected)?;
    // A failure here only costs latency.
    let _ = stream.set_nodelay(true);
    match &settings.tls {
        None => Ok(Socket::plain(stream)),
        Some(credentials) => {
            let stream = credentials.connect(stream, silo).await.map_err(NoSocket::NotProved)?;
            Ok(Socket::tls(stream))
        }
    }
}

impl NoSocket {
    /// The error of whoever wanted to connect to `to`.
    pub(super) fn error(self, to: &Endpoint) -> Error {
        match self {
            Self::NotConnected(error) => Error::new(ErrorKind::Unreachable, format!("{to}: {error}")),
            Self::NotProved(failed) => at(to, &failed.into()),
        }
    }
}

fn at(to: &Endpoint, error: &Error) -> Error {
    Error::new(error.kind(), format!("{to}: {}", error.message()))
}

/// What to do where there is no TLS.
pub(super) const PERMISSION: &str = "set tls, or allow_plaintext to accept that";

/// Whether an address is surely on this machine.
pub(super) fn is_here(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(self.as_mut().bytes().poll_read(cx, buffer));
        if let Err(error) = &read
            && let Some(error) = tls::reason(error)
        {
            let _ = self.refusal.0.set(error);
        }
        let is_first = !std::mem::replace(&mut self.begun, true);
        if is_first && matches!(self.bytes, Bytes::Plain(_)) && tls::is_alert(&buffer.filled()[before..]) {
            let error = Error::new(ErrorKind::Unauthenticated, "the peer speaks TLS, and none is set here");
            let _ = self.refusal.0.set(error);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.bytes().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bytes().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Plain(stream) => stream.is_write_vectored(),
            Bytes::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes().poll_shutdown(cx)
    }
}
