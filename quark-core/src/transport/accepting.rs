//! Streams that others open: who may, and what becomes of them.

use std::sync::Arc;

use tokio::sync::watch;

use super::carrier::{Accept, Accepted, Hello, Incoming};
use super::engine::{Engine, not_running};
use super::link::{Link, Outgoing, PeerKind};
use super::origins::Origins;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::tls::Proof;

impl Accept for Engine {
    fn accept(&self, hello: Option<Hello>, proof: &Proof) -> Result<Box<dyn Accepted>> {
        if self.is_leaving() {
            return Err(Error::new(ErrorKind::Unreachable, format!("silo {} is leaving", self.local())));
        }
        let origins = Origins::of(proof, hello.as_ref())?;
        let (peer, kind) = match hello {
            None => (SiloId::plain(), PeerKind::Plain),
            Some(hello) => {
                self.check_cluster(&hello)?;
                if hello.silo_id == *self.local() {
                    return Err(Error::new(
                        ErrorKind::IdInUse,
                        format!("this silo has the id {} itself", self.local()),
                    ));
                }
                self.check_links(&hello.silo_id)?;
                (hello.silo_id, PeerKind::Announced)
            }
        };
        let link = self.new_link(peer, Some((kind, origins)));
        Ok(Box::new(Stream { engine: self.this().ok_or_else(not_running)?, link }))
    }

    fn hello(&self) -> Hello {
        self.hello()
    }

    fn serving(&self) -> watch::Receiver<bool> {
        self.watch_serving()
    }
}

impl Engine {
    /// # Errors
    /// `UNREACHABLE` when the peer has as many links as one may have.
    fn check_links(&self, peer: &SiloId) -> Result<()> {
        let limit = self.config().max_links_per_peer;
        if self.links_of(peer) < limit {
            return Ok(());
        }
        let message = format!("silo {peer} has {limit} links to silo {} already", self.local());
        Err(Error::new(ErrorKind::Unreachable, message))
    }
}

/// An accepted stream.
struct Stream {
    engine: Arc<Engine>,
    link: Arc<Link>,
}

impl Accepted for Stream {
    fn run(self: Box<Self>, incoming: Incoming) -> Outgoing {
        let Self { engine, link } = *self;
        let outgoing = Outgoing::new(link.clone());
        // The link counts before the peer is looked for, so that it is not given up meanwhile.
        let reading = engine.clone().read(link.clone(), incoming);
        if link.is_announced() && !link.peer().is_client() {
            engine.peer_named(link.peer()).adopt(&link, engine.local() < link.peer());
        }
        engine.spawn(reading);
        outgoing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use futures_util::StreamExt as _;

    use super::*;
    use crate::config::TransportConfig;
    use crate::transport::networks::Networks;

    async fn engine() -> (Arc<Engine>, Weak<dyn crate::transport::Receive>) {
        struct Nobody;
        impl crate::transport::Receive for Nobody {
            fn receive(&self, requests: &mut Vec<crate::request::Request>) {
                requests.clear();
            }
            fn link_lost(&self, _peer: &SiloId) {}
            fn resend(&self, _frames: Vec<crate::transport::Frame>) {}
        }
        let config = TransportConfig::default();
        let me: SiloId = "me".parse().unwrap();
        let carrier = Arc::new(Networks::new(&me, &config).unwrap());
        let engine = Engine::new(me, config, carrier);
        let nobody: Weak<dyn crate::transport::Receive> = Weak::<Nobody>::new();
        engine.start(nobody.clone(), None).await.unwrap();
        (engine, nobody)
    }

    fn hello(engine: &Engine, id: &str) -> Option<Hello> {
        Some(Hello { silo_id: id.parse().unwrap(), ..engine.hello() })
    }

    fn open(engine: &Engine, id: &str) -> (tokio::sync::oneshot::Sender<()>, Outgoing) {
        let (hang_up, hung_up) = tokio::sync::oneshot::channel();
        let incoming = futures_util::stream::once(hung_up).filter_map(|_| async { None }).boxed();
        (hang_up, engine.accept(hello(engine, id), &Proof::Plaintext).unwrap().run(incoming))
    }

    #[tokio::test]
    async fn one_silo_has_a_handful_of_links_and_no_more() {
        let (engine, _nobody) = engine().await;
        let held: Vec<_> = (0..8).map(|_| open(&engine, "peer")).collect();
        let error = engine.accept(hello(&engine, "peer"), &Proof::Plaintext).err().expect("one too many");
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert_eq!(error.message(), "silo peer has 8 links to silo me already");
        let _other = open(&engine, "other");
        drop(held);
        until(|| engine.links_of(&"peer".parse().unwrap()) == 0).await;
        open(&engine, "peer");
    }

    #[tokio::test]
    async fn ids_that_were_announced_once_are_forgotten_with_their_links() {
        let (engine, _nobody) = engine().await;
        for i in 0..100 {
            drop(open(&engine, &format!("stranger-{i}")));
        }
        until(|| engine.known_peers() == 0).await;
        // One whose endpoint is known stays.
        let info = crate::silo_info::SiloInfo::new("a".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        engine.peer_of(&info);
        drop(open(&engine, "a"));
        until(|| engine.links_of(&info.silo_id) == 0).await;
        assert_eq!(engine.known_peers(), 1);
    }

    async fn until(holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("in time");
    }
}
