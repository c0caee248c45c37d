//! An immutable picture of the cluster, with the rings that follow from it. Pure.
//!
//! A provider publishes a new view whenever something changed; everybody else only reads. What changed between two
//! views is computed from them, so that an event and the view can never disagree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::choices::Choices;
use crate::drain::Drain;
use crate::id::SiloId;
use crate::ring::{HashRanges, HashRing};
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
        self.find(id).map(|(_, info)| info)
    }

    /// One silo, and its place among all.
    pub(crate) fn find(&self, id: &str) -> Option<(usize, &Arc<SiloInfo>)> {
        let place = self.silos.binary_search_by(|info| info.silo_id.as_str().cmp(id)).ok()?;
        Some((place, &self.silos[place]))
    }

    /// The ring of an actor type: the active silos that serve it.
    #[must_use]
    pub fn ring(&self, actor_type: &str) -> &HashRing {
        &self.rings.of_type(actor_type).ring
    }

    /// What a silo owns, as it would keep it if it drained from now on.
    pub(crate) fn owned_by(&self, silo: &SiloId) -> Drain {
        let declared = self.rings.declared.iter();
        let serves = |serving: &Serving| serving.ring.contains(silo.as_str());
        // A silo that serves only what it declares owns nothing of other types, which goes without saying.
        let others = &self.rings.general;
        let by_type = declared.filter(|(_, serving)| serves(serving) || serves(others));
        let by_type =
            by_type.map(|(name, serving)| (name.clone(), serving.ring.ranges(silo.as_str()))).collect();
        Drain::keeping(by_type, others.ring.ranges(silo.as_str()))
    }

    /// Whom policies choose from that do not go by the ring of an actor type.
    pub(crate) fn choices(&self, actor_type: &str) -> &Choices {
        &self.rings.of_type(actor_type).choices
    }

    /// The ring of the actor types that no silo declares: the active silos that serve all types.
    #[must_use]
    pub fn general_ring(&self) -> &HashRing {
        &self.rings.general.ring
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
    general: Serving,
    declared: HashMap<String, Serving>,
}

/// Who serves a type.
#[derive(Clone, Debug, Default)]
struct Serving {
    ring: HashRing,
    choices: Arc<Choices>,
}

impl Serving {
    /// Of these silos, which serve a type from now on; for `None` all types that nobody declares.
    fn next<'a>(&self, actor_type: Option<&str>, silos: impl Iterator<Item = &'a SiloInfo> + Clone) -> Self {
        let weights = silos.clone().map(|info| (info.silo_id.clone(), info.virtual_nodes));
        let mut ring = self.ring.with_exactly(weights);
        if silos.clone().any(SiloInfo::is_draining) {
            let drains = silos.clone().filter_map(|info| Some((&info.silo_id, info.drain.as_ref()?)));
            ring = ring.draining(drains.map(|(id, drain)| (id.clone(), drain.kept(actor_type).clone())));
        }
        let by_id: HashMap<_, _> = silos.map(|info| (&info.silo_id, info)).collect();
        let choices = Choices::of(&ring, |id| by_id.get(id).copied());
        Self { ring, choices: Arc::new(choices) }
    }
}

impl Rings {
    /// The rings of these silos, made out of the ones before.
    fn next<'a>(&self, silos: impl Iterator<Item = &'a SiloInfo> + Clone) -> Self {
        let general = self.general.next(None, silos.clone().filter(|info| info.actor_types.is_none()));
        // What a draining silo keeps of a type it keeps when nobody declares it any more.
        let kept = silos.clone().filter_map(|info| info.drain.as_ref()).flat_map(Drain::types);
        let types = silos.clone().filter_map(|info| info.actor_types.as_ref()).flatten().chain(kept);
        let types: BTreeSet<&String> = types.collect();
        // Types that the same silos serve share one ring, if those that drain keep the same of both.
        let mut shared: HashMap<Vec<(&SiloId, Option<&HashRanges>)>, Serving> = HashMap::new();
        let declared = types
            .into_iter()
            .map(|actor_type| {
                let serving = silos.clone().filter(|info| info.serves(actor_type));
                let kept = |info: &'a SiloInfo| info.drain.as_ref().map(|drain| drain.kept(Some(actor_type)));
                let ids = serving.clone().map(|info| (&info.silo_id, kept(info))).collect();
                let next = || self.of_type(actor_type).next(Some(actor_type), serving);
                (actor_type.clone(), shared.entry(ids).or_insert_with(next).clone())
            })
            .collect();
        Self { general, declared }
    }

    fn of_type(&self, actor_type: &str) -> &Serving {
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
