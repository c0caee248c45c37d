//! Transports whose handler does what the method says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use quark_core::{Endpoint, Envelope, Error, Handler, Request, Result, SiloInfo, Transport, TransportConfig};

use crate::LIMIT;

/// What came in, and what is still held.
#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) received: Mutex<Vec<String>>,
    pub(crate) kept: Mutex<Vec<Request>>,
    /// Requests given up by their callers, of those that were watched.
    pub(crate) given_up: AtomicUsize,
}

impl Inside {
    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

struct Does(Arc<Inside>);

impl Handler for Does {
    fn handle(&self, mut request: Request) {
        self.0.received.lock().unwrap().push(request.correlation_id().to_owned());
        match request.method_name() {
            "keep" => self.0.kept.lock().unwrap().push(request),
            "watch" => {
                let inside = self.0.clone();
                tokio::spawn(async move {
                    request.abandoned().await;
                    assert!(request.is_abandoned());
                    inside.given_up.fetch_add(1, Ordering::SeqCst);
                    // Not dropped: that would be an answer, which may be there before the caller's own clock strikes.
                    inside.kept.lock().unwrap().push(request);
                });
            }
            "length" => drop(request.reply(request.payload().len().to_string())),
            _ => drop(request.reply(request.payload().clone())),
        }
    }
}

pub(crate) struct Host {
    pub(crate) transport: Arc<Transport>,
    pub(crate) inside: Arc<Inside>,
}

impl Host {
    pub(crate) async fn new(id: &str) -> Self {
        Self::with(id, |_| {}).await
    }

    pub(crate) async fn with(id: &str, change: impl FnOnce(&mut TransportConfig)) -> Self {
        let mut config = TransportConfig::default();
        change(&mut config);
        let (inside, listen) = (Arc::<Inside>::default(), "127.0.0.1:0".parse().unwrap());
        let handler = Arc::new(Does(inside.clone()));
        let transport = Transport::new(id.parse().unwrap(), Some(listen), config, handler).unwrap();
        transport.start().await.unwrap();
        Self { transport: Arc::new(transport), inside }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.transport.local_endpoint().unwrap()
    }

    /// This host as others find it at `endpoint`.
    pub(crate) fn info_at(&self, endpoint: &Endpoint) -> SiloInfo {
        SiloInfo::new(self.transport.local_silo_id().clone(), endpoint.clone())
    }

    pub(crate) async fn knows(&self, other: &Self) {
        self.transport.connect(&other.info_at(&other.endpoint())).await.unwrap();
    }

    pub(crate) async fn knows_at(&self, other: &Self, endpoint: &Endpoint) {
        self.transport.connect(&other.info_at(endpoint)).await.unwrap();
    }

    /// Sends a request to an actor of the other host.
    pub(crate) async fn ask(&self, to: &str, actor: &str, method: &str, payload: Vec<u8>) -> Result<Vec<u8>> {
        let envelope = Envelope::request("T", actor, method, payload);
        self.send(to, envelope, LIMIT).await
    }

    pub(crate) async fn send(
        &self,
        to: &str,
        envelope: Envelope,
        timeout: std::time::Duration,
    ) -> Result<Vec<u8>, Error> {
        self.transport.send(to, envelope, timeout).await?.into_result().map(|reply| reply.to_vec())
    }
}
