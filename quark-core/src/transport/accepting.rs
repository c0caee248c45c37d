//! Streams that others open: who may, and what becomes of them.

use std::sync::Arc;

use tokio::sync::watch;

use super::carrier::{Accept, Accepted, Hello, Incoming};
use super::engine::{Engine, not_running};
use super::link::{Link, Outgoing, PeerKind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;

impl Accept for Engine {
    fn accept(&self, hello: Option<Hello>) -> Result<Box<dyn Accepted>> {
        if self.is_leaving() {
            return Err(Error::new(ErrorKind::Unreachable, format!("silo {} is leaving", self.local())));
        }
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
                (hello.silo_id, PeerKind::Announced)
            }
        };
        let link = self.new_link(peer, false, Some(kind));
        Ok(Box::new(Stream { engine: self.this().ok_or_else(not_running)?, link }))
    }

    fn hello(&self) -> Hello {
        self.hello()
    }

    fn serving(&self) -> watch::Receiver<bool> {
        self.watch_serving()
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
        if link.is_announced() && !link.peer().is_client() {
            engine.peer_named(link.peer()).adopt(&link, engine.local() < link.peer());
        }
        engine.spawn(engine.clone().read(link, incoming));
        outgoing
    }
}
