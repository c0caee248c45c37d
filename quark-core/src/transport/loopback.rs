//! A network inside the process: the carrier of tests and simulations. Envelopes are handed over as they are.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::carrier::{Accept, Carrier, Hello, Inbound, Incoming};
use super::link::Outgoing;
use crate::endpoint::Endpoint;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};

/// A network of its own. Transports made from clones of one reach each other, and nobody else.
#[derive(Clone, Default)]
pub struct LoopbackNetwork(Arc<Hosts>);

#[derive(Default)]
struct Hosts {
    listening: Mutex<HashMap<Endpoint, Weak<dyn Accept>>>,
    next_port: AtomicU16,
}

impl LoopbackNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn carrier(&self) -> LoopbackCarrier {
        LoopbackCarrier { hosts: self.0.clone(), endpoint: Mutex::default() }
    }
}

/// One host of a [`LoopbackNetwork`].
pub(crate) struct LoopbackCarrier {
    hosts: Arc<Hosts>,
    endpoint: Mutex<Option<Endpoint>>,
}

impl Carrier for LoopbackCarrier {
    fn dial(&self, to: Endpoint, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>> {
        let accept =
            self.hosts.listening.lock().expect("no panic while locked").get(&to).and_then(Weak::upgrade);
        async move {
            let refused = || Error::new(ErrorKind::Unreachable, format!("nobody listens at {to}"));
            let accept = accept.ok_or_else(refused)?;
            let theirs = accept.hello();
            let (ours_alive, theirs_alive) = (Arc::new(()), Arc::new(()));
            let incoming =
                Half { messages: outgoing, peer: Arc::downgrade(&theirs_alive), _alive: ours_alive.clone() };
            let peer = Arc::downgrade(&ours_alive);
            let outgoing = accept.accept(Some(hello))?.run(Box::pin(incoming));
            let incoming = Half { messages: outgoing, peer, _alive: theirs_alive };
            let hello = futures_util::stream::once(async move { Ok(Inbound::Hello(Some(theirs))) });
            Ok(Box::pin(hello.chain(incoming)) as Incoming)
        }
        .boxed()
    }

    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>> {
        async move {
            let port = match at.port() {
                0 => 1 + self.hosts.next_port.fetch_add(1, Ordering::Relaxed),
                port => port,
            };
            let at = at.with_port(port);
            let mut listening = self.hosts.listening.lock().expect("no panic while locked");
            if listening.get(&at).is_some_and(|other| other.strong_count() > 0) {
                return Err(Error::new(
                    ErrorKind::AddressInUse,
                    format!("listen={at}: the address is taken"),
                ));
            }
            listening.insert(at.clone(), Arc::downgrade(&accept));
            *self.endpoint.lock().expect("no panic while locked") = Some(at.clone());
            Ok(at)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move { self.abort() }.boxed()
    }

    fn abort(&self) {
        if let Some(at) = self.endpoint.lock().expect("no panic while locked").take() {
            self.hosts.listening.lock().expect("no panic while locked").remove(&at);
        }
    }
}

impl Drop for LoopbackCarrier {
    fn drop(&mut self) {
        self.abort();
    }
}

/// What one side wrote, as the other reads it. When a reader is dropped, the other side's reading ends with an error,
/// as a broken connection would.
struct Half {
    messages: Outgoing,
    peer: Weak<()>,
    _alive: Arc<()>,
}

impl Stream for Half {
    type Item = Result<Inbound>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.messages).poll_next(cx);
        match next {
            Poll::Ready(None) if self.peer.strong_count() == 0 => {
                Poll::Ready(Some(Err(Error::new(ErrorKind::ConnectionLost, "the other side is gone"))))
            }
            other => {
                other.map(|message: Option<Envelope>| message.map(|envelope| Ok(Inbound::Envelope(envelope))))
            }
        }
    }
}
