//! What this silo owns, for its host: asked for one actor, or told as it changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Router;
use crate::error::{Error, Result};
use crate::explanation::Explanation;
use crate::id::{MAX_ACTOR_NAME_BYTES, check_actor, check_name};
use crate::ownership::{OwnershipWatch, Standing};

impl Router {
    /// Whether this silo serves what it owns.
    fn serves(&self) -> bool {
        self.engine.is_running() && !self.leaving.load(Ordering::Acquire) && self.membership.may_serve()
    }

    /// Whether this silo owns an actor and serves it.
    pub(crate) fn owns(&self, actor_type: &str, actor_id: &str) -> Result<bool> {
        check_actor(actor_type, actor_id)?;
        let is_owner = || self.view.load().owner(actor_type, actor_id) == Some(self.engine.local());
        Ok(self.serves() && is_owner())
    }

    /// Where an actor belongs by the current view.
    pub(crate) fn explain(&self, actor_type: &str, actor_id: &str) -> Result<Explanation> {
        check_actor(actor_type, actor_id)?;
        let view = self.view.load();
        let is_owner = view.owner(actor_type, actor_id) == Some(self.engine.local());
        let is_by_ring = self.placements.is_by_ring(actor_type);
        Ok(Explanation::of(&view, actor_type, actor_id, is_owner && self.serves(), is_by_ring))
    }

    /// Watches what this silo owns of the ring of a type.
    pub(crate) fn watch_ownership(&self, actor_type: Option<&str>) -> Result<OwnershipWatch> {
        if let Some(actor_type) = actor_type {
            check_name("actor_type", actor_type, MAX_ACTOR_NAME_BYTES)?;
        }
        let actor_type = match (actor_type, self.declared_types.as_deref()) {
            (None, Some([])) | (_, None) => actor_type.map(str::to_owned),
            (None, Some([only])) => Some(only.clone()),
            (None, Some(several)) => {
                let problem = format!("is required, for this silo serves {}", several.join(", "));
                return Err(Error::invalid("actor_type", "", &problem));
            }
            (Some(named), Some(types)) if types.iter().any(|known| known == named) => Some(named.to_owned()),
            (Some(named), Some(_)) => {
                return Err(Error::invalid("actor_type", named, "this silo does not serve that type"));
            }
        };
        Ok(self.watches.begin(actor_type, self.engine.local(), || self.standing()))
    }

    /// Something has changed on which depends what this silo owns.
    pub(super) fn look_at_ownership(&self) {
        self.watches.look(self.engine.local(), || self.standing());
    }

    fn standing(&self) -> Standing {
        Standing {
            // First: a loss after it is told later.
            losses: self.membership.lease_losses(),
            view: self.view.load_full(),
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
