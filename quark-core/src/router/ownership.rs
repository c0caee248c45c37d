//! What this silo owns, for its host: asked for one actor, or told as it changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Router;
use crate::error::Result;
use crate::explanation::Explanation;
use crate::id::check_actor;
use crate::ownership::{OwnershipWatch, Standing, whose_ring};

impl Router {
    /// Whether this silo serves what it owns.
    fn serves(&self) -> bool {
        self.engine.is_running() && !self.leaving.load(Ordering::Acquire) && self.membership.may_serve()
    }

    /// Whether this silo owns an actor and serves it.
    pub(crate) fn owns(&self, actor_type: &str, actor_id: &str) -> Result<bool> {
        check_actor(actor_type, actor_id)?;
        let is_owner = || self.routes.load().view.owner(actor_type, actor_id) == Some(self.engine.local());
        Ok(self.serves() && is_owner())
    }

    /// Where an actor belongs by the current view.
    pub(crate) fn explain(&self, actor_type: &str, actor_id: &str) -> Result<Explanation> {
        check_actor(actor_type, actor_id)?;
        let view = self.view();
        let is_owner = view.owner(actor_type, actor_id) == Some(self.engine.local());
        let is_by_ring = self.placements.is_by_ring(actor_type);
        Ok(Explanation::of(&view, actor_type, actor_id, is_owner && self.serves(), is_by_ring))
    }

    /// Watches what this silo owns of the ring of a type.
    pub(crate) fn watch_ownership(&self, actor_type: Option<&str>) -> Result<OwnershipWatch> {
        let actor_type = whose_ring(actor_type, self.declared_types.as_deref())?;
        Ok(self.watches.begin(actor_type, self.engine.local(), || self.standing()))
    }

    /// Something has changed on which depends what this silo owns.
    pub(super) fn look_at_ownership(&self) {
        self.watches.look(self.engine.local(), || self.standing());
    }

    /// Whether the host has been told that everything is lost, and has done with that.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.watches.are_settled()
    }

    fn standing(&self) -> Standing {
        Standing {
            // First: a loss after it is told later.
            losses: self.membership.lease_losses(),
            view: self.view(),
            serves: self.serves(),
            is_over: !self.engine.is_running(),
        }
    }

    /// Follows whether this silo may serve, until the membership ends.
    pub(crate) async fn follow_lease(self: Arc<Self>) {
        let mut lease = self.membership.watch_lease();
        while lease.changed().await.is_ok() {
            self.look_at_ownership();
        }
    }
}
