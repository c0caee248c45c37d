//! A TCP proxy between two silos: each direction can be stopped or slowed, connections can be broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quark_core::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// One direction of all connections.
#[derive(Default)]
pub(crate) struct Direction {
    stopped: AtomicBool,
    changed: Notify,
    /// Bytes for each second; 0 for as many as there are.
    rate: AtomicU64,
}

impl Direction {
    /// Nothing gets through any more; what comes is kept.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.stopped.store(false, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Lets so many bytes through each second.
    pub(crate) fn slow(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    async fn until_open(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if !self.stopped.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }

    async fn carry(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
            self.until_open().await;
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            let rate = self.rate.load(Ordering::SeqCst);
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
            }
        }
    }
}

/// The proxy. Dropped, it breaks its connections.
pub(crate) struct Proxy {
    pub(crate) endpoint: Endpoint,
    /// From whoever dials.
    pub(crate) there: Arc<Direction>,
    /// To whoever dialled.
    pub(crate) back: Arc<Direction>,
    pub(crate) connections: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(target: &Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().into();
        let (there, back) = (Arc::<Direction>::default(), Arc::<Direction>::default());
        let (connections, cut) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let target = (target.host().to_owned(), target.port());
        let task = {
            let (there, back, connections, cut) =
                (there.clone(), back.clone(), connections.clone(), cut.clone());
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let (there, back, cut) = (there.clone(), back.clone(), cut.clone());
                    let target = target.clone();
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let Ok(server) = TcpStream::connect(target).await else { return };
                        let (client_read, client_write) = client.into_split();
                        let (server_read, server_write) = server.into_split();
                        // When one direction ends, so does the other: both sockets close.
                        tokio::select! {
                            () = there.carry(client_read, server_write) => {}
                            () = back.carry(server_read, client_write) => {}
                            () = cut.notified() => {}
                        }
                    });
                }
            }
        };
        let task = tokio::spawn(task);
        Self { endpoint, there, back, connections, cut, task }
    }

    /// Breaks all connections.
    pub(crate) fn reset(&self) {
        self.cut.notify_waiters();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.reset();
    }
}
