//! Why an actor is where it is. Pure: a view in, an explanation out.

use std::sync::Arc;

use crate::membership::View;
use crate::ring::hash_actor;
use crate::silo_info::SiloInfo;

/// How many of those who would own an actor after its owner are named.
const NEXT_OWNERS: usize = 3;

/// Where an actor belongs by one view, and where it would go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The actor's position on the ring.
    pub position: u32,
    /// The version of the view that all of this is by.
    pub view_version: u64,
    /// The silo that owns the actor, if anybody serves its type: with its endpoint, its zone and its virtual nodes.
    pub owner: Option<Arc<SiloInfo>>,
    /// Who owns it when the owner goes, who when that one goes too, and so on: three at most.
    pub next_owners: Vec<Arc<SiloInfo>>,
    /// How many silos serve its type.
    pub serving: usize,
    /// Whether the asked silo is the owner and serves.
    pub is_owned_here: bool,
    /// Whether calls from here go to the owner: the type is placed by the ring alone.
    pub is_placed_by_ring: bool,
}

impl Explanation {
    pub(crate) fn of(
        view: &View,
        actor_type: &str,
        actor_id: &str,
        is_owned_here: bool,
        is_placed_by_ring: bool,
    ) -> Self {
        let position = hash_actor(actor_type, actor_id);
        let ring = view.ring(actor_type);
        let info = |id: &crate::id::SiloId| view.silo(id.as_str()).cloned();
        Self {
            position,
            view_version: view.version(),
            owner: ring.owner_at(position).and_then(info),
            next_owners: ring.next_owners_at(position, NEXT_OWNERS).into_iter().filter_map(info).collect(),
            serving: ring.len(),
            is_owned_here,
            is_placed_by_ring,
        }
    }
}
