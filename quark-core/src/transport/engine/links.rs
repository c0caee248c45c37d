//! The links that are there, and what ends with one.

use std::sync::Arc;

use super::{Engine, connection_lost, is_final};
use crate::error::Error;
use crate::id::SiloId;
use crate::telemetry::LINK;
use crate::transport::link::Link;
use crate::transport::peer::Peer;

impl Engine {
    pub(crate) fn add_link(&self, link: &Arc<Link>) {
        self.links.lock().expect("no panic while locked").push(link.clone());
    }

    #[cfg(test)]
    pub(crate) fn known_peers(&self) -> usize {
        self.peers.read().expect("no panic while locked").len()
    }

    /// How many links there are to this silo, whoever dialled them.
    pub(crate) fn links_of(&self, peer: &SiloId) -> usize {
        let links = self.links.lock().expect("no panic while locked");
        links.iter().filter(|link| link.peer() == peer).count()
    }

    pub(crate) fn close_link(&self, link: &Arc<Link>, error: Option<Error>) {
        self.links.lock().expect("no panic while locked").retain(|other| !Arc::ptr_eq(other, link));
        if let Some(error) = &error {
            tracing::debug!(target: LINK, silo = %link.peer(), %error, "link broke");
        }
        if let Some((outbox, sent)) = link.close() {
            let error = match error {
                // The peer turned us away before it looked at any request.
                Some(error) if link.kind().is_none() && is_final(&error) => error,
                _ => connection_lost(link.peer()),
            };
            self.lose(&outbox, &sent, &error);
        }
        if let Some(peer) = self.peer(link.peer().as_str()) {
            peer.link_closed(link);
            self.give_up_stranger(&peer);
        }
    }

    /// A peer that is known only by the links that it opened is forgotten with the last of them; else whoever announces a new
    /// id each time would have us remember all of them.
    fn give_up_stranger(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers.write().expect("no panic while locked");
        // Within the lock: whoever accepts a link counts it before it looks for the peer.
        let is_known = peers.get(&peer.id).is_some_and(|known| Arc::ptr_eq(known, peer));
        if !is_known || peer.has_endpoint() || self.links_of(&peer.id) > 0 {
            return;
        }
        peers.remove(&peer.id);
        drop(peers);
        self.forget(peer);
    }
}
