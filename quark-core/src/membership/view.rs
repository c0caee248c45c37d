//! An immutable picture of the cluster, with the rings that follow from it. Pure.
//!
//! A provider publishes a new view whenever something changed; everybody else only reads. What changed between two
//! views is computed from them, so that an event and the view can never disagree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::id::SiloId;
use crate::ring::HashRing;
use crate::silo_info::{SiloInfo, SiloStatus};

/// Who is in the cluster, as this silo knows it.
#[derive(Debug, Default)]
pub struct View {
    version: u64,
    /// Sorted by id.
    silos: Vec<Arc<SiloInfo>>,
    rings: Rings,
}

/// What changed between two views.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MembershipEvent {
    /// A silo came in.
    Joined(Arc<SiloInfo>),
    /// A silo went out; what was last known of it.
    Left(Arc<SiloInfo>),
    /// A silo changed: another incarnation, endpoint, status, weight or set of actor types.
    Updated(Arc<SiloInfo>),
}

impl MembershipEvent {
    /// The silo it is about.
    #[must_use]
    pub fn silo(&self) -> &Arc<SiloInfo> {
        match self {
            Self::Joined(info) | Self::Left(info) | Self::Updated(info) => info,
        }
    }
}

impl View {
    /// A view of these silos. Versions grow by one with each view of one observer; they are not compared between silos.
    #[must_use]
    pub fn new(version: u64, silos: impl IntoIterator<Item = Arc<SiloInfo>>) -> Self {
        Self { version, ..Self::default().next(silos) }
    }

    /// The view that follows this one. The same as a new one of these silos; its rings are made out of the rings of this
    /// one, so that it costs little where little changed.
    #[must_use]
    pub(crate) fn next(&self, silos: impl IntoIterator<Item = Arc<SiloInfo>>) -> Self {
        let mut silos: Vec<_> = silos.into_iter().collect();
        silos.sort_by(|one, other| one.silo_id.cmp(&other.silo_id));
        silos.dedup_by(|later, first| later.silo_id == first.silo_id);
        let active = silos.iter().filter(|info| info.status == SiloStatus::Active).map(|info| &**info);
        let rings = self.rings.next(active);
        Self { version: self.version + 1, silos, rings }
    }

    /// The version; 0 is the empty view before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All silos, sorted by id, also those that are joining or shutting down.
    pub fn silos(&self) -> impl ExactSizeIterator<Item = &Arc<SiloInfo>> {
        self.silos.iter()
    }

    /// One silo.
    #[must_use]
    pub fn silo(&self, id: &str) -> Option<&Arc<SiloInfo>> {
        let place = self.silos.binary_search_by(|info| info.silo_id.as_str().cmp(id)).ok()?;
        Some(&self.silos[place])
    }

    /// The ring of an actor type: the active silos that serve it.
    #[must_use]
    pub fn ring(&self, actor_type: &str) -> &HashRing {
        self.rings.of_type(actor_type)
    }

    /// The silo that owns an actor, if anybody serves its type.
    #[must_use]
    pub fn owner(&self, actor_type: &str, actor_id: &str) -> Option<&SiloId> {
        self.ring(actor_type).owner_of_actor(actor_type, actor_id)
    }

    /// What changed from `before` to this view. A silo whose heartbeat alone differs did not change.
    #[must_use]
    pub fn events_since(&self, before: &View) -> Vec<MembershipEvent> {
        let (mut left, mut others) = (Vec::new(), Vec::new());
        let mut earlier = before.silos.iter().peekable();
        for new in &self.silos {
            while let Some(gone) = earlier.next_if(|old| old.silo_id < new.silo_id) {
                left.push(MembershipEvent::Left(gone.clone()));
            }
            match earlier.next_if(|old| old.silo_id == new.silo_id) {
                None => others.push(MembershipEvent::Joined(new.clone())),
                Some(old) if !Arc::ptr_eq(old, new) && !old.same_but_heartbeat(new) => {
                    others.push(MembershipEvent::Updated(new.clone()));
                }
                Some(_) => {}
            }
        }
        left.extend(earlier.map(|gone| MembershipEvent::Left(gone.clone())));
        left.extend(others);
        left
    }
}

/// The rings of a view: one for each actor type that some silo declares, and one for all other types.
#[derive(Debug, Default)]
struct Rings {
    /// Silos that serve everything; the ring of every type that nobody declares.
    general: HashRing,
    declared: HashMap<String, HashRing>,
}

impl Rings {
    /// The rings of these silos, made out of the ones before.
    fn next<'a>(&self, silos: impl Iterator<Item = &'a SiloInfo> + Clone) -> Self {
        let ring_of = |before: &HashRing, serving: &mut dyn Iterator<Item = &SiloInfo>| {
            before.with_exactly(serving.map(|info| (info.silo_id.clone(), info.virtual_nodes)))
        };
        let general = ring_of(&self.general, &mut silos.clone().filter(|info| info.actor_types.is_none()));
        let types: BTreeSet<&String> =
            silos.clone().filter_map(|info| info.actor_types.as_ref()).flatten().collect();
        // Types that the same silos serve share one ring.
        let mut shared: HashMap<Vec<&SiloId>, HashRing> = HashMap::new();
        let declared = types
            .into_iter()
            .map(|actor_type| {
                let serving = silos.clone().filter(|info| info.serves(actor_type));
                let ids = serving.clone().map(|info| &info.silo_id).collect();
                let before = self.of_type(actor_type);
                let ring = shared.entry(ids).or_insert_with(|| ring_of(before, &mut serving.into_iter()));
                let ring = ring.clone();
                (actor_type.clone(), ring)
            })
            .collect();
        Self { general, declared }
    }

    fn of_type(&self, actor_type: &str) -> &HashRing {
        self.declared.get(actor_type).unwrap_or(&self.general)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silo(id: &str, types: Option<&[&str]>) -> Arc<SiloInfo> {
        let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        info.actor_types = types.map(|types| types.iter().map(|t| (*t).to_owned()).collect());
        Arc::new(info)
    }

    #[test]
    fn the_ring_of_a_type_holds_the_silos_that_serve_it() {
        let view =
            View::new(1, [silo("all", None), silo("c", Some(&["Counter"])), silo("g", Some(&["Greeter"]))]);
        let ids = |actor_type| view.ring(actor_type).silos().map(SiloId::as_str).collect::<Vec<_>>();
        assert_eq!(ids("Counter"), ["all", "c"]);
        assert_eq!(ids("Greeter"), ["all", "g"]);
        assert_eq!(ids("Other"), ["all"]);
    }

    #[test]
    fn a_view_that_follows_is_the_one_made_afresh_and_shares_the_rings_that_stay() {
        let first = View::new(1, [silo("all", None), silo("c", Some(&["Counter"]))]);
        let silos = [silo("all", None), silo("c", Some(&["Counter"])), silo("g", Some(&["Greeter"]))];
        let (second, afresh) = (first.next(silos.clone()), View::new(2, silos));
        assert_eq!(second.version(), 2);
        for actor_type in ["Counter", "Greeter", "Other"] {
            assert_eq!(second.ring(actor_type), afresh.ring(actor_type), "{actor_type}");
        }
        assert!(second.ring("Other").shares_points_with(first.ring("Other")));
        assert!(second.ring("Counter").shares_points_with(first.ring("Counter")));
    }

    #[test]
    fn a_silo_that_shuts_down_is_in_the_view_but_owns_nothing() {
        let mut leaving = SiloInfo::clone(&silo("b", None));
        leaving.status = SiloStatus::ShuttingDown;
        let view = View::new(1, [silo("a", None), Arc::new(leaving)]);
        assert_eq!(view.silos().len(), 2);
        assert!((0..100).all(|i| view.owner("T", &i.to_string()).unwrap().as_str() == "a"));
    }

    #[test]
    fn events_are_the_difference_of_two_views() {
        let before = View::new(1, [silo("a", None), silo("b", None), silo("c", None)]);
        let mut heartbeat = SiloInfo::clone(&silo("a", None));
        heartbeat.last_heartbeat += time::Duration::seconds(1);
        let after = View::new(2, [Arc::new(heartbeat), silo("b", Some(&["T"])), silo("d", None)]);
        let events: Vec<_> = after.events_since(&before);
        assert!(
            matches!(&events[..], [
            MembershipEvent::Left(c), MembershipEvent::Updated(b), MembershipEvent::Joined(d)
        ] if c.silo_id.as_str() == "c" && b.silo_id.as_str() == "b" && d.silo_id.as_str() == "d"),
            "{events:?}"
        );
    }
}
