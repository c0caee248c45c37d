//! An immutable picture of the cluster, with the rings that follow from it. Pure.
//!
//! A provider publishes a new view whenever something changed; everybody else only reads. What changed between two
//! views is computed from them, so that an event and the view can never disagree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    silos: BTreeMap<SiloId, Arc<SiloInfo>>,
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
        let silos: BTreeMap<_, _> = silos.into_iter().map(|info| (info.silo_id.clone(), info)).collect();
        let rings = Rings::of(silos.values().filter(|info| info.status == SiloStatus::Active).map(|i| &**i));
        Self { version, silos, rings }
    }

    /// The version; 0 is the empty view before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All silos, sorted by id, also those that are joining or shutting down.
    pub fn silos(&self) -> impl ExactSizeIterator<Item = &Arc<SiloInfo>> {
        self.silos.values()
    }

    /// One silo.
    #[must_use]
    pub fn silo(&self, id: &str) -> Option<&Arc<SiloInfo>> {
        self.silos.get(id)
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
        let mut events = Vec::new();
        for (id, old) in &before.silos {
            if !self.silos.contains_key(id) {
                events.push(MembershipEvent::Left(old.clone()));
            }
        }
        for (id, new) in &self.silos {
            match before.silos.get(id) {
                None => events.push(MembershipEvent::Joined(new.clone())),
                Some(old) if !old.same_but_heartbeat(new) => {
                    events.push(MembershipEvent::Updated(new.clone()));
                }
                Some(_) => {}
            }
        }
        events
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
    /// These silos, which serve a type; for `None` all types that nobody declares.
    fn of<'a>(actor_type: Option<&str>, silos: impl Iterator<Item = &'a SiloInfo> + Clone) -> Self {
        let mut ring = HashRing::of(silos.clone().map(|info| (info.silo_id.clone(), info.virtual_nodes)));
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
    fn of<'a>(silos: impl Iterator<Item = &'a SiloInfo> + Clone) -> Self {
        let general = Serving::of(None, silos.clone().filter(|info| info.actor_types.is_none()));
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
                let new = || Serving::of(Some(actor_type), serving);
                let ring = shared.entry(ids).or_insert_with(new).clone();
                (actor_type.clone(), ring)
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
