//! Rings with silos that drain: each keeps what it says that it keeps and gets nothing more.
//!
//! From a position one goes on along the circle; the first silo that does not drain, or that keeps the position, owns it.
//! If there is none, the first silo does. All of that is worked out when a ring is made, into points like any other's, so
//! that a lookup costs the same.

use std::collections::BTreeMap;

use super::snapshot::{Point, Snapshot};
use super::{HashRanges, HashRing};
use crate::id::SiloId;

/// What a ring with draining silos was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drained {
    /// The ring as it would be if nobody drained.
    pub(super) plain: Snapshot,
    /// Silos that drain, with what they keep.
    pub(super) kept: BTreeMap<SiloId, HashRanges>,
}

impl HashRing {
    /// The same ring while these of its silos drain, who keep these parts and get nothing else as long as there are others;
    /// the other silos do not.
    #[must_use]
    pub fn draining(mut self, kept: impl IntoIterator<Item = (SiloId, HashRanges)>) -> Self {
        let plain = self.plain().clone();
        self.become_of(plain, kept.into_iter().collect());
        self
    }

    /// The silos that drain, sorted, with what they keep.
    pub fn kept(&self) -> impl Iterator<Item = (&SiloId, &HashRanges)> {
        self.drains().into_iter().flatten()
    }

    /// Becomes a ring of what it would be if nobody drained; those who drain go on to.
    pub(super) fn become_plain(&mut self, plain: Snapshot) {
        self.become_of(plain, self.drains().cloned().unwrap_or_default());
    }

    fn become_of(&mut self, plain: Snapshot, mut kept: BTreeMap<SiloId, HashRanges>) {
        kept.retain(|silo, _| plain.place_of(silo.as_str()).is_ok());
        if kept.is_empty() {
            self.0 = plain.into();
            return;
        }
        let mut drained = Snapshot::new(plain.silos.clone(), resolve(&plain, &kept));
        drained.drained = Some(Box::new(Drained { plain, kept }));
        self.0 = drained.into();
    }

    /// The ring as it would be if nobody drained.
    pub(super) fn plain(&self) -> &Snapshot {
        self.0.drained.as_ref().map_or(&*self.0, |drained| &drained.plain)
    }

    /// Who drains, with what it keeps, if anybody does.
    pub(super) fn drains(&self) -> Option<&BTreeMap<SiloId, HashRanges>> {
        self.0.drained.as_ref().map(|drained| &drained.kept)
    }
}

/// A silo that drains.
struct Keeper {
    silo: u32,
    /// Where its points are among all.
    points: Vec<usize>,
}

/// The points of a ring of which each owns up to the one before it.
fn resolve(plain: &Snapshot, kept: &BTreeMap<SiloId, HashRanges>) -> Vec<Point> {
    let points = &plain.points;
    let mut keeper_at: Vec<Option<usize>> = vec![None; plain.silos.len()];
    let mut keepers = Vec::with_capacity(kept.len());
    let mut ranges = Vec::new();
    for (silo, kept) in kept {
        let Ok(place) = plain.place_of(silo.as_str()) else { continue };
        keeper_at[place] = Some(keepers.len());
        ranges.extend(kept.iter().map(|range| (range.first, range.last, keepers.len())));
        keepers.push(Keeper {
            silo: u32::try_from(place).expect("fewer silos than points"),
            points: Vec::new(),
        });
    }
    ranges.sort_unstable();
    for (at, point) in points.iter().enumerate() {
        if let Some(keeper) = keeper_at[point.silo as usize] {
            keepers[keeper].points.push(at);
        }
    }
    let open = next_open(points, |silo| keeper_at[silo as usize].is_none());

    // Up to each of these places, from the one before it, all belongs to one.
    let ends = ranges.iter().flat_map(|(first, last, _)| [first.wrapping_sub(1), *last]);
    let mut ends: Vec<u32> = ends.chain(points.iter().map(|point| point.hash)).collect();
    ends.sort_unstable();
    ends.dedup();

    let (mut at, mut begun) = (0, ranges.iter().peekable());
    let mut active: Vec<(u32, usize)> = Vec::new();
    let mut resolved = Vec::with_capacity(ends.len());
    for end in ends {
        while points.get(at).is_some_and(|point| point.hash < end) {
            at += 1;
        }
        while let Some((_, last, keeper)) = begun.next_if(|(first, _, _)| *first <= end) {
            active.push((*last, *keeper));
        }
        active.retain(|(last, _)| *last >= end);
        // How far along the circle: beyond the last point it goes on with the first.
        let keeping = active.iter().map(|(_, keeper)| {
            let own = &keepers[*keeper].points;
            let next = own.get(own.partition_point(|own| *own < at));
            (next.copied().unwrap_or(own[0] + points.len()), keepers[*keeper].silo)
        });
        let open = open.as_ref().map(|open| {
            let next = open[at % points.len()] + if at == points.len() { points.len() } else { 0 };
            (next, points[next % points.len()].silo)
        });
        let silo = keeping.chain(open).min().map_or(points[at % points.len()].silo, |(_, silo)| silo);
        resolved.push(Point { hash: end, silo });
    }
    resolved
}

/// For each point the first from it on whose silo is open; those of the next round are counted on. `None` if there is none.
fn next_open(points: &[Point], is_open: impl Fn(u32) -> bool) -> Option<Vec<usize>> {
    let first = points.iter().position(|point| is_open(point.silo))?;
    let mut next = first + points.len();
    let mut found: Vec<usize> = (0..points.len())
        .rev()
        .map(|at| {
            if is_open(points[at].silo) {
                next = at;
            }
            next
        })
        .collect();
    found.reverse();
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ring::HashRange;

    /// The rule as it is said, one step after the other.
    fn owner_by_the_rule(ring: &HashRing, kept: &BTreeMap<SiloId, HashRanges>, position: u32) -> Option<u32> {
        let points = &ring.plain().points;
        let begin = points.partition_point(|point| point.hash < position);
        let along = || points[begin..].iter().chain(&points[..begin]);
        let may_own = |point: &&Point| {
            let silo = &ring.plain().silos[point.silo as usize].0;
            kept.get(silo).is_none_or(|kept| kept.contains(position))
        };
        along().find(may_own).or(along().next()).map(|point| point.silo)
    }

    fn places(ring: &HashRing, kept: &BTreeMap<SiloId, HashRanges>, more: &[u32]) -> Vec<u32> {
        let near = |place: u32| [place.wrapping_sub(1), place, place.wrapping_add(1)];
        let points = ring.plain().points.iter().map(|point| point.hash);
        let ends = kept.values().flat_map(|kept| kept.iter().flat_map(|range| [range.first, range.last]));
        points.chain(ends).flat_map(near).chain(more.iter().copied()).chain([0, u32::MAX]).collect()
    }

    fn kept() -> impl Strategy<Value = HashRanges> {
        prop::collection::vec((any::<u32>(), 0u32..1 << 30), 0..6).prop_map(|ranges| {
            ranges
                .into_iter()
                .map(|(first, size)| HashRange { first, last: first.saturating_add(size) })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_drained_ring_gives_the_owners_of_the_rule(
            silos in prop::collection::btree_map(0u8..9, (1u32..12, prop::option::of(kept())), 1..9),
            more in prop::collection::vec(any::<u32>(), 50),
        ) {
            let id = |silo: &u8| format!("silo-{silo}").parse::<SiloId>().unwrap();
            let plain = HashRing::of(silos.iter().map(|(silo, (nodes, _))| (id(silo), *nodes)));
            let kept: BTreeMap<_, _> =
                silos.iter().filter_map(|(silo, (_, kept))| Some((id(silo), kept.clone()?))).collect();
            let ring = plain.clone().draining(kept.clone());
            for place in places(&ring, &kept, &more) {
                let owner = ring.place_at(place).unwrap();
                prop_assert_eq!(Some(owner as u32), owner_by_the_rule(&ring, &kept, place), "{}", place);

                let order: Vec<_> = ring.order_at(place).collect();
                prop_assert_eq!(order.len(), ring.len());
                prop_assert_eq!(&order[1..], ring.next_owners_at(place, 9));
                let mut without = ring.clone();
                for id in order {
                    prop_assert_eq!(without.owner_at(place), Some(id), "{}", place);
                    without.remove(id.as_str());
                }
                prop_assert_eq!(without.owner_at(place), None);
            }
            let shares = ring.shares();
            prop_assert_eq!(shares.iter().sum::<f64>(), 1.0);
            for (silo, share) in ring.silos().zip(shares) {
                let owned = ring.ranges(silo.as_str());
                prop_assert_eq!(owned.share(), share);
                for place in places(&ring, &kept, &more) {
                    prop_assert_eq!(owned.contains(place), ring.owner_at(place) == Some(silo), "{} {}", silo, place);
                }
            }
            // However it came about.
            let mut late = HashRing::new().draining(kept.clone());
            prop_assert!(late.is_empty());
            late = HashRing::of([]).draining([]);
            for (silo, (nodes, _)) in silos.iter().rev() {
                late.add(id(silo).as_str(), *nodes).unwrap();
            }
            late.add("one more", 7).unwrap();
            late = late.draining(kept);
            late.remove("one more");
            for (silo, (nodes, _)) in &silos {
                prop_assert!(late.set_virtual_nodes(id(silo).as_str(), nodes + 3).unwrap());
                prop_assert!(late.set_virtual_nodes(id(silo).as_str(), *nodes).unwrap());
            }
            prop_assert_eq!(&late, &ring);
            prop_assert_eq!(&late.0, &ring.0);
        }
    }

    #[test]
    fn a_silo_that_keeps_all_that_it_owns_changes_nothing() {
        for ids in [&["a"][..], &["a", "b", "c"]] {
            let plain = HashRing::of(ids.iter().map(|id| (id.parse().unwrap(), 150)));
            for id in ids {
                let id: SiloId = id.parse().unwrap();
                let drained = plain.clone().draining([(id.clone(), plain.ranges(id.as_str()))]);
                assert!(plain.moves(&drained).is_empty());
                assert_ne!(plain, drained);
            }
        }
    }
}
