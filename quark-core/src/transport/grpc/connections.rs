//! Accepting connections: how many there may be, in total and from one address, and how long each may take until it has
//! asked for something. What is over a limit is hung up on at once, so that whoever dialled hears of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use super::flood::Frames;
use crate::telemetry::{LINK, Seldom};

/// How long accepting pauses after a failure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections are held to.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) total: usize,
    /// Connections at once from one address, or from one network of 2^64 addresses of IPv6.
    pub(super) per_address: usize,
    /// From accepting a connection until its first request.
    pub(super) handshake: Duration,
}

/// What is done with a socket before HTTP/2 is spoken on it.
pub(super) trait Prepare: Send + Sync + 'static {
    /// What HTTP/2 is spoken on.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// What is known of the other side; requests have it in their extensions, in [`Remote`].
    type Identity: Clone + Send + Sync + 'static;

    /// Runs in a task of its own, which ends with the time for the handshake. An error closes the connection.
    fn prepare(
        &self,
        socket: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Io, Self::Identity)>> + Send;
}

/// The connections that come in on a listener, prepared.
pub(super) fn connections<P: Prepare>(
    listener: TcpListener,
    limits: Limits,
    prepare: P,
) -> impl Stream<Item = Result<Connection<P>, Infallible>> {
    let acceptor = Acceptor {
        listening: Listening(listener),
        limits,
        places: Arc::default(),
        prepare: Arc::new(prepare),
        preparing: JoinSet::new(),
    };
    futures_util::stream::unfold(acceptor, |mut acceptor| async move {
        let connection = acceptor.next().await;
        Some((Ok(connection), acceptor))
    })
}

struct Acceptor<P: Prepare> {
    listening: Listening,
    limits: Limits,
    places: Arc<Places>,
    prepare: Arc<P>,
    preparing: JoinSet<Option<Connection<P>>>,
}

impl<P: Prepare> Acceptor<P> {
    async fn next(&mut self) -> Connection<P> {
        loop {
            tokio::select! {
                Some(prepared) = self.preparing.join_next() => {
                    if let Ok(Some(connection)) = prepared {
                        return connection;
                    }
                }
                (socket, address) = self.listening.accept() => self.begin(socket, address),
            }
        }
    }

    fn begin(&mut self, socket: TcpStream, address: SocketAddr) {
        let place = match self.places.take(address.ip(), &self.limits) {
            Ok(place) => place,
            Err(reason) => return self.places.closed(address, reason),
        };
        // A failure here only costs latency.
        let _ = socket.set_nodelay(true);
        let deadline = Instant::now() + self.limits.handshake;
        let prepare = self.prepare.clone();
        self.preparing.spawn(async move {
            let error = match tokio::time::timeout_at(deadline, prepare.prepare(socket)).await {
                Ok(Ok((io, identity))) => {
                    let remote = Remote { address, identity, has_asked: Arc::default() };
                    let first_request = Some(Box::pin(tokio::time::sleep_until(deadline)));
                    let frames = Frames::new(Instant::now());
                    return Some(Connection { io, remote, first_request, frames, place });
                }
                Ok(Err(error)) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no handshake within handshake_timeout"),
            };
            place.places.closed(address, &error);
            None
        });
    }
}

/// A listening socket that stops listening when it is dropped, also where a forked child has a copy of it: there it would
/// keep the port, and accept connections that nobody serves.
struct Listening(TcpListener);

impl Listening {
    /// Accepts one connection. When that fails, descriptors have run out as a rule: it pauses, and goes on when there are
    /// some.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(target: LINK, %error, "cannot accept connections, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It fails only on a socket that does not listen.
        let _ = socket2::SockRef::from(&self.0).shutdown(std::net::Shutdown::Both);
    }
}

/// How many connections there are.
#[derive(Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    said: Seldom,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    /// A place for a connection from this address, or what there are too many of.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Result<Place, &'static str> {
        let address = network(address);
        let mut taken = self.taken.lock().expect("no panic while locked");
        if taken.total >= limits.total {
            return Err("as many connections as max_connections");
        }
        let there = taken.by_address.get(&address).copied().unwrap_or(0);
        if there >= limits.per_address {
            return Err("as many connections from one address as max_connections_per_address");
        }
        taken.by_address.insert(address, there + 1);
        taken.total += 1;
        Ok(Place { places: self.clone(), address })
    }

    /// A connection was closed because of what the other side did. Whoever floods us fills no log.
    pub(super) fn closed(&self, address: SocketAddr, reason: impl Display) {
        match self.said.now() {
            Some(others) => {
                tracing::warn!(target: LINK, %address, %reason, others, "closed a connection");
            }
            None => tracing::debug!(target: LINK, %address, %reason, "closed a connection"),
        }
    }
}

/// Whoever has one address of IPv6 has a network of 64 bits of them as a rule.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// The place of one connection, free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().expect("no panic while locked");
        taken.total -= 1;
        if let Entry::Occupied(mut there) = taken.by_address.entry(self.address) {
            *there.get_mut() -= 1;
            if *there.get() == 0 {
                there.remove();
            }
        }
    }
}

/// Where a request comes from; in its extensions.
#[derive(Clone, Debug)]
pub(super) struct Remote<I> {
    pub(super) address: SocketAddr,
    pub(super) identity: I,
    has_asked: Arc<AtomicBool>,
}

impl<I> Remote<I> {
    /// The connection brought a request that makes sense: the time for the handshake is over for it.
    pub(super) fn has_asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }
}

/// A connection. It breaks when no request comes within the time for the handshake, and when it floods us.
pub(super) struct Connection<P: Prepare> {
    io: P::Io,
    remote: Remote<P::Identity>,
    /// When a request must have come; nothing when one did.
    first_request: Option<Pin<Box<Sleep>>>,
    frames: Frames,
    place: Place,
}

impl<P: Prepare> Unpin for Connection<P> {}

impl<P: Prepare> Connection<P> {
    /// Both directions look, because a peer that does not read stops HTTP/2 from reading.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(first_request) = &mut self.first_request else { return Ok(()) };
        if self.remote.has_asked.load(Ordering::Relaxed) {
            self.first_request = None;
        } else if first_request.as_mut().poll(cx).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "no request within handshake_timeout");
            self.place.places.closed(self.remote.address, &error);
            return Err(error);
        }
        Ok(())
    }
}

impl<P: Prepare> Connected for Connection<P> {
    type ConnectInfo = Remote<P::Identity>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.remote.clone()
    }
}

impl<P: Prepare> AsyncRead for Connection<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if let Err(error) = self.frames.read(&buffer.filled()[before..]) {
            self.place.places.closed(self.remote.address, &error);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<P: Prepare> AsyncWrite for Connection<P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total: 3, per_address: 2, handshake: Duration::from_secs(1) };

    #[test]
    fn places_are_counted_in_total_and_by_address_and_come_back() {
        let places = Arc::new(Places::default());
        let take = |address: &str| places.take(address.parse().unwrap(), &LIMITS);
        let first = take("10.0.0.1").unwrap();
        let _second = take("10.0.0.1").unwrap();
        assert!(take("10.0.0.1").err().unwrap().contains("max_connections_per_address"));
        assert!(take("::ffff:10.0.0.1").is_err(), "the same address in other words");
        let _third = take("10.0.0.2").unwrap();
        assert!(take("10.0.0.3").err().unwrap().ends_with("max_connections"));
        drop(first);
        let _fourth = take("10.0.0.3").unwrap();
        drop((_second, _third, _fourth));
        assert_eq!(places.taken.lock().unwrap().by_address.len(), 0);
        assert_eq!(places.taken.lock().unwrap().total, 0);
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_count_as_one() {
        let places = Arc::new(Places::default());
        let take = |address: &str| places.take(address.parse().unwrap(), &LIMITS);
        let _held = (take("2001:db8::1").unwrap(), take("2001:db8::ffff:1").unwrap());
        assert!(take("2001:db8::2").is_err());
        assert!(take("2001:db8:0:1::2").is_ok());
    }

    /// A slow one takes until the end of time.
    struct Slow;

    impl Prepare for Slow {
        type Io = TcpStream;
        type Identity = u8;

        async fn prepare(&self, socket: TcpStream) -> io::Result<(TcpStream, u8)> {
            let mut first = [0];
            socket.readable().await?;
            socket.try_read(&mut first)?;
            Ok((socket, first[0]))
        }
    }

    #[tokio::test]
    async fn a_slow_handshake_holds_up_nobody_and_ends_with_its_time() {
        use futures_util::StreamExt as _;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { handshake: Duration::from_millis(300), ..LIMITS };
        let mut connections = Box::pin(connections(listener, limits, Slow));
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut quick = TcpStream::connect(address).await.unwrap();
        quick.write_all(&[7]).await.unwrap();
        let Ok(mut prepared) = connections.next().await.unwrap();
        assert_eq!(prepared.connect_info().identity, 7);
        // One that was prepared and asks for nothing breaks; one that asked does not.
        let limit = Duration::from_secs(20);
        let error = tokio::time::timeout(limit, prepared.read(&mut [0])).await.expect("in time").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        prepared.connect_info().has_asked();
        quick.write_all(&[8]).await.unwrap();
        assert_eq!(prepared.read_u8().await.unwrap(), 8);
        // The slow one was hung up on while the next was waited for.
        let mut byte = [0];
        let hung_up = async {
            tokio::select! {
                _ = connections.next() => panic!("nobody else came"),
                read = slow.read(&mut byte) => read,
            }
        };
        let read = tokio::time::timeout(limit, hung_up).await;
        assert_eq!(read.expect("in time").unwrap(), 0);
    }
}
