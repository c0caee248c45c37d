//! How a transport ends: after what came in has been answered, or at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use crate::transport::link::Link;

impl Engine {
    /// Asks the peers to send nothing new, answers what came in, waits for what was sent; until `deadline` at most.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.leaving.store(true, Ordering::Release);
        self.set_serving(false);
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while Instant::now() < deadline {
            let links = self.links_now();
            // Each time: requests that are passed on to new owners make new links.
            links.iter().for_each(Link::ask_to_be_quiet);
            let quiet = links.iter().all(|link| link.is_quiet() && link.is_idle());
            if quiet && self.calls.len() == 0 {
                return;
            }
            look.tick().await;
        }
    }

    fn links_now(&self) -> Vec<Arc<Link>> {
        self.links.lock().expect("no panic while locked").clone()
    }

    /// Ends everything: calls that still wait end with `NOT_RUNNING`.
    pub(crate) async fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        for link in self.links_now() {
            link.finish();
        }
        // Lets the last answers leave; a peer that does not read them is not waited for.
        let flushed = async {
            while self.links_now().iter().any(|link| !link.is_idle()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.carrier.close().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), flushed).await;
        self.abort();
    }

    /// Ends everything without waiting for anything.
    pub(crate) fn abort(&self) {
        self.stopped.store(true, Ordering::Release);
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic while locked"));
        drop(tasks);
        self.carrier.abort();
        for link in self.links_now() {
            self.close_link(&link, None);
        }
        let peers = std::mem::take(&mut *self.peers.write().expect("no panic while locked"));
        // In an order of its own, so that a simulated run can be repeated.
        let mut peers: Vec<_> = peers.into_values().collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        for peer in peers {
            peer.retire();
            peer.outbox.drain();
        }
        self.calls.stop();
    }
}
