//! Which silo handles an actor, by its type's policy. Pure: a view in, a silo id out.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::id::SiloId;
use crate::membership::View;

/// How actors of a type are placed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Placement {
    /// The owner on the ring: the same silo for all calls to an actor.
    #[default]
    ConsistentHash,
    /// Any silo that serves the type, anew for each call.
    Random,
    /// The caller's own silo if it serves the type, else the owner on the ring.
    PreferLocal,
    /// The silos that serve the type in turn; for types whose silos are all the same.
    StatelessWorker,
    /// A policy of the user's.
    Custom(Arc<dyn PlacementPolicy>),
}

/// A policy of the user's.
pub trait PlacementPolicy: Send + Sync {
    /// The silo for a call, one of those in `view.ring(actor_type)`; nothing when nobody serves the type. Called for
    /// each call, on the caller's thread; must not block.
    fn place(&self, actor_type: &str, actor_id: &str, view: &View, local: &SiloId) -> Option<SiloId>;
}

impl FromStr for Placement {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "consistent-hash" => Ok(Self::ConsistentHash),
            "random" => Ok(Self::Random),
            "prefer-local" => Ok(Self::PreferLocal),
            "stateless-worker" => Ok(Self::StatelessWorker),
            _ => Err(Error::invalid(
                "placement",
                name,
                "must be consistent-hash, random, prefer-local or stateless-worker",
            )),
        }
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConsistentHash => "consistent-hash",
            Self::Random => "random",
            Self::PreferLocal => "prefer-local",
            Self::StatelessWorker => "stateless-worker",
            Self::Custom(_) => "custom",
        })
    }
}

/// The policies of a silo, with what they remember.
pub(crate) struct Placements {
    by_type: HashMap<String, (Placement, AtomicUsize)>,
}

impl Placements {
    pub(crate) fn new(by_type: HashMap<String, Placement>) -> Self {
        let by_type = by_type.into_iter();
        Self { by_type: by_type.map(|(name, placement)| (name, (placement, AtomicUsize::new(0)))).collect() }
    }

    /// Whether the ring alone decides on this type.
    pub(crate) fn is_by_ring(&self, actor_type: &str) -> bool {
        matches!(self.by_type.get(actor_type), None | Some((Placement::ConsistentHash, _)))
    }

    /// The silo for one call.
    pub(crate) fn place(
        &self,
        actor_type: &str,
        actor_id: &str,
        view: &View,
        local: &SiloId,
    ) -> Option<SiloId> {
        let owner = || view.owner(actor_type, actor_id).cloned();
        let Some((placement, turn)) = self.by_type.get(actor_type) else { return owner() };
        let serving = view.ring(actor_type);
        let nth = |n: usize| serving.silos().nth(n % serving.len().max(1)).cloned();
        match placement {
            Placement::ConsistentHash => owner(),
            Placement::Random => nth(fastrand::usize(0..serving.len().max(1))),
            Placement::PreferLocal if serving.contains(local.as_str()) => Some(local.clone()),
            Placement::PreferLocal => owner(),
            Placement::StatelessWorker => nth(turn.fetch_add(1, Ordering::Relaxed)),
            Placement::Custom(policy) => policy.place(actor_type, actor_id, view, local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silo_info::SiloInfo;

    fn view(ids: &[&str]) -> View {
        let info = |id: &&str| Arc::new(SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap()));
        View::new(1, ids.iter().map(info))
    }

    fn places(placement: Placement, ids: &[&str], local: &str, calls: usize) -> Vec<String> {
        let placements = Placements::new(HashMap::from([("T".to_owned(), placement)]));
        let (view, local) = (view(ids), local.parse().unwrap());
        (0..calls).map(|_| placements.place("T", "1", &view, &local).unwrap().to_string()).collect()
    }

    #[test]
    fn stateless_workers_take_turns() {
        assert_eq!(places(Placement::StatelessWorker, &["a", "b", "c"], "a", 5), ["a", "b", "c", "a", "b"]);
    }

    #[test]
    fn prefer_local_stays_when_it_can() {
        assert_eq!(places(Placement::PreferLocal, &["a", "b"], "b", 2), ["b", "b"]);
        let elsewhere = places(Placement::PreferLocal, &["a", "b"], "client", 2);
        assert_eq!(elsewhere, places(Placement::ConsistentHash, &["a", "b"], "client", 2));
    }

    #[test]
    fn random_reaches_everybody() {
        let placed = places(Placement::Random, &["a", "b", "c"], "a", 200);
        assert!(["a", "b", "c"].iter().all(|id| placed.iter().any(|p| p == id)));
    }

    #[test]
    fn nobody_serves_nobody_is_placed() {
        for placement in [Placement::Random, Placement::StatelessWorker, Placement::PreferLocal] {
            let placements = Placements::new(HashMap::from([("T".to_owned(), placement)]));
            assert_eq!(placements.place("T", "1", &view(&[]), &"a".parse().unwrap()), None);
        }
    }
}
