//! The carrier of a silo that speaks more than one network: it listens on all of them, and dials by the one on which it and
//! the other silo meet.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::carrier::{Accept, Address, Carrier, Hello, Incoming};
use super::grpc::{self, GrpcCarrier, Http3Carrier};
use super::link::Outgoing;
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::{ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;
use crate::transports::{Meeting, Transports};

/// How often a port is looked for that is free for both TCP and UDP.
const PORTS: u32 = 64;

/// The networks of one silo or client.
pub(crate) struct Networks {
    speaks: Transports,
    http2: Option<GrpcCarrier>,
    http3: Option<Http3Carrier>,
}

impl Networks {
    /// # Errors
    /// `INVALID_ARGUMENT` when the certificates cannot be used.
    pub(crate) fn new(local: &SiloId, config: &TransportConfig) -> Result<Self> {
        let (http2, http3) = grpc::carriers(local, config)?;
        Ok(Self { speaks: config.transport, http2, http3 })
    }

    fn all(&self) -> impl Iterator<Item = &dyn Carrier> {
        let http2 = self.http2.as_ref().map(|carrier| carrier as &dyn Carrier);
        let http3 = self.http3.as_ref().map(|carrier| carrier as &dyn Carrier);
        http2.into_iter().chain(http3)
    }

    /// The carrier on which this silo meets one that speaks these.
    fn towards(&self, silo: &SiloId, theirs: Transports) -> Result<&dyn Carrier> {
        let carrier = match self.speaks.meet(silo, theirs)? {
            Meeting::Http2 => self.http2.as_ref().map(|carrier| carrier as &dyn Carrier),
            Meeting::Http3 => self.http3.as_ref().map(|carrier| carrier as &dyn Carrier),
        };
        Ok(carrier.expect("there is one for each network that this silo speaks"))
    }

    /// Listens on all at one number.
    async fn listen_on_all(&self, at: &Endpoint, accept: &Arc<dyn Accept>) -> Result<Endpoint> {
        let mut at = at.clone();
        for carrier in self.all() {
            match carrier.listen(at, accept.clone()).await {
                Ok(bound) => at = bound,
                Err(error) => {
                    self.close().await;
                    return Err(error);
                }
            }
        }
        Ok(at)
    }
}

impl Carrier for Networks {
    fn dial(&self, to: Address, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>> {
        match self.towards(outgoing.peer(), to.speaks) {
            Ok(carrier) => carrier.dial(to, hello, outgoing),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>> {
        async move {
            for _ in 1..PORTS {
                match self.listen_on_all(&at, &accept).await {
                    // The system gave a port whose number is taken on the other network.
                    Err(error) if error.kind() == ErrorKind::AddressInUse && at.port() == 0 => {}
                    listening => return listening,
                }
            }
            self.listen_on_all(&at, &accept).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            for carrier in self.all() {
                carrier.close().await;
            }
        }
        .boxed()
    }

    fn abort(&self) {
        self.all().for_each(Carrier::abort);
    }
}

impl Prober for Networks {
    fn probe(&self, from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        match self.towards(&silo.silo_id, silo.transports) {
            Ok(carrier) => carrier.probe(from, silo, limit),
            // Whoever cannot look has seen nothing that speaks against the silo; others do look.
            Err(_) => std::future::ready(Probe::Answered).boxed(),
        }
    }
}
