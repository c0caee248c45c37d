//! A UDP socket with QUIC on it, and who refused its datagrams.
//!
//! When a process is killed, its kernel closes TCP connections, and tells those who send datagrams to its UDP port that nobody
//! listens there. QUIC ignores that, because anybody can forge such a message; so here it is a reason to ask, and the
//! connection is given up when no answer comes. Linux only: elsewhere silence tells.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig, TokioRuntime};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::broadcast;

use super::{NOBODY_THERE, NOTHING_WRONG};

/// How long somebody whose port is said to be closed has to answer, beside the usual time of an answer.
const DOUBT: Duration = Duration::from_millis(150);
/// Length of a connection's id; quinn's own has as many.
const ID_BYTES: usize = 8;
/// What the kernel may keep of datagrams, in bytes; it gives what it allows.
const BUFFER: usize = 4 * 1024 * 1024;

/// The socket. It closes when all connections of it are over.
#[derive(Clone)]
pub(super) struct Socket {
    pub(super) endpoint: quinn::Endpoint,
    refusals: broadcast::Sender<SocketAddr>,
    _watch: Arc<Watch>,
}

impl Socket {
    /// Binds one. What is secret makes the resets that tell peers of an earlier life of this silo that it is over.
    pub(super) fn bind(
        at: SocketAddr,
        server: Option<ServerConfig>,
        secret: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        let buffers = socket2::SockRef::from(&socket);
        // Smaller ones cost speed only.
        let _ = (buffers.set_recv_buffer_size(BUFFER), buffers.set_send_buffer_size(BUFFER));
        let (refusals, _) = broadcast::channel(64);
        let watch = Arc::new(Watch::begin(&socket, refusals.clone()));
        let config = secret.map_or_else(EndpointConfig::default, |secret| {
            let label = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), b"quark: resets of QUIC");
            let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, label.as_ref())));
            // quinn's own are marked with what each life has for itself, and those of others get no reset.
            config.cid_generator(|| Box::new(AnyId));
            config
        });
        let endpoint = quinn::Endpoint::new(config, server, socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, refusals, _watch: watch })
    }

    /// Who refuses datagrams from now on.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals(self.refusals.subscribe())
    }

    /// Closes all connections, without waiting.
    pub(super) fn close(&self) {
        self.endpoint.close(NOTHING_WRONG, b"");
    }

    /// Until all connections are over.
    pub(super) async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

/// Random ids of connections.
struct AnyId;

impl ConnectionIdGenerator for AnyId {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        SystemRandom::new().fill(&mut id).expect("the system has random bytes");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The addresses that refuse datagrams.
pub(super) struct Refusals(broadcast::Receiver<SocketAddr>);

impl Refusals {
    /// Until this address does.
    pub(super) async fn of(&mut self, address: SocketAddr) {
        loop {
            match self.0.recv().await {
                Ok(refusing) if refusing.port() == address.port() && same(refusing, address) => return,
                // It may be among those that were missed; whoever asks in vain has lost nothing.
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// Closes the connection when its peer's port is closed: datagrams are refused, and a question gets no answer.
    pub(super) async fn close(mut self, connection: Connection) {
        let peer = connection.remote_address();
        loop {
            self.of(peer).await;
            let before = connection.stats().udp_rx.datagrams;
            // It has to be acknowledged. Nobody reads it.
            if connection.send_datagram(Bytes::new()).is_err() {
                continue;
            }
            tokio::time::sleep(DOUBT + connection.rtt() * 4).await;
            if connection.stats().udp_rx.datagrams == before {
                connection.close(NOBODY_THERE, b"nobody listens there");
                return;
            }
        }
    }
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().to_canonical() == other.ip().to_canonical()
}

/// Reads refusals as long as it is there.
struct Watch(Option<tokio::task::JoinHandle<()>>);

impl Watch {
    /// Where that is not possible, silence tells.
    fn begin(socket: &UdpSocket, refusals: broadcast::Sender<SocketAddr>) -> Self {
        Self(errors::watch(socket, refusals).ok().map(tokio::spawn))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(target_os = "linux")]
mod errors {
    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
    use tokio::io::Interest;
    use tokio::sync::broadcast;

    /// Reads the errors of this socket beside whoever reads its datagrams.
    pub(super) fn watch(
        socket: &UdpSocket,
        refusals: broadcast::Sender<SocketAddr>,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let socket = socket.try_clone()?;
        if socket.local_addr()?.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(async move {
            while let Ok(refusal) = socket.async_io(Interest::ERROR, || next(&socket)).await {
                if let Some(address) = refusal {
                    // Nobody may have a connection now.
                    let _ = refusals.send(address);
                }
            }
        })
    }

    /// The next error: whose port is closed, or nothing when it is about something else.
    fn next(socket: &tokio::net::UdpSocket) -> io::Result<Option<SocketAddr>> {
        // quinn has the kernel say more than this of each datagram.
        let mut space = nix::cmsg_space!([u8; 512]);
        let mut data = [0; 1];
        let mut data = [IoSliceMut::new(&mut data)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut data, Some(&mut space), flags)?;
        let refused = message.cmsgs().is_ok_and(|mut cmsgs| {
            cmsgs.any(|cmsg| match cmsg {
                ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                    error.ee_errno == nix::libc::ECONNREFUSED.unsigned_abs()
                }
                _ => false,
            })
        });
        Ok(message.address.filter(|_| refused).and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
        }))
    }
}

#[cfg(not(target_os = "linux"))]
mod errors {
    use std::io;
    use std::net::{SocketAddr, UdpSocket};

    use tokio::sync::broadcast;

    pub(super) fn watch(
        _socket: &UdpSocket,
        _refusals: broadcast::Sender<SocketAddr>,
    ) -> io::Result<std::future::Ready<()>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
