//! A view, and the peers by which its silos are reached, each looked up when it is first needed.

use std::sync::{Arc, OnceLock};

use crate::membership::View;
use crate::transport::{Engine, Peer};

/// Where requests go by one view.
pub(super) struct Routes {
    pub(super) view: Arc<View>,
    /// Of each silo, in the view's order.
    peers: Box<[OnceLock<Arc<Peer>>]>,
}

impl Routes {
    pub(super) fn new(view: Arc<View>) -> Self {
        let peers = view.silos().map(|_| OnceLock::new()).collect();
        Self { view, peers }
    }

    /// The peer by which a silo of the view is reached.
    pub(super) fn to(&self, engine: &Engine, id: &str) -> Option<&Arc<Peer>> {
        let (place, info) = self.view.find(id)?;
        Some(self.peers[place].get_or_init(|| engine.peer_of(info)))
    }
}
