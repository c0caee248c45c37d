//! Who comes after the owner of an actor: who would own it next, and where copies of it belong. Pure.

use std::collections::HashSet;

use super::View;
use crate::id::SiloId;
use crate::ring::hash_actor;

impl View {
    /// Who would own an actor if its owner went, then if that one went too, and so on: `most` silos at most, in the order
    /// of the ring, whatever their zones. Silos that drain come last, but for those that keep this actor.
    ///
    /// Where copies of an actor belong says [`successors`](Self::successors).
    #[must_use]
    pub fn next_owners(&self, actor_type: &str, actor_id: &str, most: usize) -> Vec<SiloId> {
        let next = self.ring(actor_type).next_owners_at(hash_actor(actor_type, actor_id), most);
        next.into_iter().cloned().collect()
    }

    /// The owner of an actor, then the silos after it on the ring, `most` at most, spread over zones: first one of each
    /// zone that is not among them yet (silos without a zone count as one), then the others; among both in the order of
    /// the ring. Of the silos that drain only the owner is among them. For copies of what the owner keeps.
    ///
    /// Who owns the actor when the owner goes is another matter, which zones have no part in:
    /// [`next_owners`](Self::next_owners).
    #[must_use]
    pub fn successors(&self, actor_type: &str, actor_id: &str, most: usize) -> Vec<SiloId> {
        let (ring, choices) = (self.ring(actor_type), self.choices(actor_type));
        let (mut zones, mut spread, mut others) = (HashSet::new(), Vec::new(), Vec::new());
        for (rank, id) in ring.order_at(hash_actor(actor_type, actor_id)).enumerate() {
            if spread.len() == most || (zones.len() == choices.zones() && spread.len() + others.len() >= most)
            {
                break;
            }
            let Some(info) = self.silo(id.as_str()) else { continue };
            if rank > 0 && info.is_draining() {
                continue;
            }
            if zones.insert(info.zone.as_deref()) {
                spread.push(id.clone());
            } else {
                others.push(id.clone());
            }
        }
        spread.extend(others);
        spread.truncate(most);
        spread
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::silo_info::SiloInfo;

    /// Silos by `id`, `id@zone`, or with a `!` when they drain and keep nothing.
    fn view(silos: &[&str]) -> View {
        let info = |text: &&str| {
            let (text, drains) = text.strip_suffix('!').map_or((*text, false), |text| (text, true));
            let (id, zone) = text.split_once('@').map_or((text, None), |(id, zone)| (id, Some(zone)));
            let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
            info.zone = zone.map(str::to_owned);
            info.drain = drains.then(Default::default);
            Arc::new(info)
        };
        View::new(1, silos.iter().map(info))
    }

    fn without(view: &View, gone: &[SiloId]) -> View {
        View::new(2, view.silos().filter(|info| !gone.contains(&info.silo_id)).cloned())
    }

    #[test]
    fn the_next_owners_are_those_who_own_it_when_the_ones_before_have_gone() {
        let view = view(&["a@x", "b@x", "c!", "d@y", "e", "f@x!"]);
        for actor in 0..200 {
            let id = actor.to_string();
            let owner = view.owner("T", &id).unwrap().clone();
            let mut gone = vec![owner];
            for next in view.next_owners("T", &id, 9) {
                assert_eq!(without(&view, &gone).owner("T", &id), Some(&next), "{actor}, {gone:?}");
                gone.push(next);
            }
            assert_eq!(gone.len(), 6);
            assert!(gone[4..].iter().all(|id| ["c", "f"].contains(&id.as_str())), "{gone:?}");
            assert_eq!(view.next_owners("T", &id, 2), gone[1..3]);
        }
        assert!(view.next_owners("T", "1", 0).is_empty());
        assert!(View::default().next_owners("T", "1", 9).is_empty());
    }

    #[test]
    fn successors_are_spread_over_zones_and_otherwise_in_the_order_of_the_ring() {
        let silos = ["a@x", "b@x", "c@x", "d@y", "e@y", "f@z", "g", "h", "i@w!"];
        let view = view(&silos);
        let zone = |id: &SiloId| view.silo(id.as_str()).unwrap().zone.clone();
        for actor in 0..200 {
            let id = actor.to_string();
            let all = view.successors("T", &id, 99);
            let mut ring = vec![view.owner("T", &id).unwrap().clone()];
            ring.extend(view.next_owners("T", &id, 99).into_iter().filter(|id| id.as_str() != "i"));
            assert_eq!((all.len(), &all[0]), (8, &ring[0]));
            let mut seen = HashSet::new();
            let (first, later): (Vec<_>, Vec<_>) = ring.into_iter().partition(|id| seen.insert(zone(id)));
            assert_eq!(all, [first, later].concat());
            assert_eq!(all[..4].iter().map(zone).collect::<HashSet<_>>().len(), 4);
            for most in 0..9 {
                assert_eq!(view.successors("T", &id, most), all[..most.min(8)]);
            }
        }
    }

    #[test]
    fn without_zones_the_successors_are_the_next_owners() {
        let view = view(&["a", "b", "c", "d"]);
        for actor in 0..50 {
            let id = actor.to_string();
            let [owner, next @ ..] = &view.successors("T", &id, 4)[..] else { panic!("nobody") };
            assert_eq!((Some(owner), next), (view.owner("T", &id), &view.next_owners("T", &id, 4)[..]));
        }
    }
}
