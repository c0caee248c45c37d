//! The hash ring against vectors made by an independent program, and by its properties.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use quark_core::{HashRange, HashRanges, HashRing, SiloId, hash, hash_actor};
use serde_json::Value;

fn ring_of(silos: &[(&str, u32)]) -> HashRing {
    let mut ring = HashRing::new();
    for (id, virtual_nodes) in silos {
        ring.add(id, *virtual_nodes).unwrap();
    }
    ring
}

#[test]
fn owners_are_those_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../../testdata/ring.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 11);
    for case in cases {
        let silos: Vec<_> = case["silos"].as_array().unwrap().iter().collect();
        let silos: Vec<_> = silos
            .iter()
            .map(|s| (s["id"].as_str().unwrap(), s["virtual_nodes"].as_u64().unwrap() as u32))
            .collect();
        let one_by_one = ring_of(&silos);
        let at_once = HashRing::of(silos.iter().rev().map(|(id, v)| (SiloId::new(id).unwrap(), *v)));
        assert_eq!(one_by_one, at_once);
        for lookup in case["lookups"].as_array().unwrap() {
            let key = lookup["key"].as_str().unwrap();
            assert_eq!(u64::from(hash(key)), lookup["hash"].as_u64().unwrap(), "{key}");
            for ring in [&one_by_one, &at_once] {
                assert_eq!(ring.owner(key), lookup["owner"].as_str(), "{} {key}", case["name"]);
            }
        }
    }
}

fn owners(ring: &HashRing, actors: usize) -> Vec<String> {
    (0..actors).map(|i| ring.owner(&format!("Counter:{i}")).unwrap().to_owned()).collect()
}

#[test]
fn a_thousand_actors_spread_over_three_silos() {
    let mut share = HashMap::<String, usize>::new();
    for owner in owners(&ring_of(&[("silo-1", 150), ("silo-2", 150), ("silo-3", 150)]), 1000) {
        *share.entry(owner).or_default() += 1;
    }
    assert!(share.len() == 3 && share.values().all(|n| *n > 200), "{share:?}");
}

#[test]
fn a_join_moves_about_its_share_and_only_to_itself() {
    for (before, joins, actors, fewest, most) in [(2, "silo-3", 100, 20, 50), (3, "silo-4", 1000, 200, 500)] {
        let ids: Vec<_> = (1..=before).map(|i| (format!("silo-{i}"), 150)).collect();
        let ids: Vec<_> = ids.iter().map(|(id, v)| (id.as_str(), *v)).collect();
        let mut ring = ring_of(&ids);
        let old = owners(&ring, actors);
        ring.add(joins, 150).unwrap();
        let new = owners(&ring, actors);
        let moved: Vec<_> = old.iter().zip(&new).filter(|(old, new)| old != new).collect();
        assert!((fewest..=most).contains(&moved.len()), "{} of {actors} moved", moved.len());
        assert!(moved.iter().all(|(_, new)| *new == joins));
    }
}

fn any_silos() -> impl Strategy<Value = Vec<(String, u32)>> {
    proptest::collection::btree_map("[a-zé:]{1,8}", 1u32..60, 1..12)
        .prop_map(|silos| silos.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_join_order_gives_the_same_owners(silos in any_silos(), seed in any::<u64>()) {
        let mut shuffled = silos.clone();
        shuffled.sort_by_key(|(id, _)| hash(&format!("{seed}{id}")));
        let in_order = HashRing::of(silos.iter().map(|(id, v)| (SiloId::new(id).unwrap(), *v)));
        let mut one_by_one = HashRing::new();
        for (id, virtual_nodes) in &shuffled {
            one_by_one.add(id, *virtual_nodes).unwrap();
        }
        for i in 0..200u32 {
            let position = hash(&i.to_string());
            prop_assert_eq!(in_order.owner_at(position), one_by_one.owner_at(position));
        }
    }

    #[test]
    fn removing_and_adding_again_is_the_identity(silos in any_silos(), which in any::<prop::sample::Index>()) {
        let (id, virtual_nodes) = which.get(&silos).clone();
        let before = HashRing::of(silos.iter().map(|(id, v)| (SiloId::new(id).unwrap(), *v)));
        let mut ring = before.clone();
        prop_assert!(ring.remove(&id));
        prop_assert!(!ring.contains(&id));
        ring.add(&id, virtual_nodes).unwrap();
        for i in 0..200u32 {
            let position = hash(&i.to_string());
            prop_assert_eq!(before.owner_at(position), ring.owner_at(position));
        }
    }

    #[test]
    fn the_owner_is_the_silo_at_the_next_point(silos in any_silos(), position in any::<u32>()) {
        // The rule as it is written, without an index.
        let ring = HashRing::of(silos.iter().map(|(id, v)| (SiloId::new(id).unwrap(), *v)));
        let points: BTreeSet<(u32, &str)> = silos
            .iter()
            .flat_map(|(id, v)| (0..*v).map(move |i| (hash(&format!("{id}:{i}")), id.as_str())))
            .collect();
        let next = points.range((position, "")..).next().or_else(|| points.first()).unwrap();
        prop_assert_eq!(ring.owner_at(position).unwrap().as_str(), next.1);
    }

    #[test]
    fn an_actors_position_is_that_of_its_key(actor_type in "\\PC{1,20}", actor_id in "\\PC{1,20}") {
        prop_assert_eq!(hash_actor(&actor_type, &actor_id), hash(&format!("{actor_type}:{actor_id}")));
    }
}

/// Silos of which some share points: `silo-1` and `silo-4` and so on would not by themselves.
fn any_ring() -> impl Strategy<Value = HashRing> {
    prop::collection::btree_map(0u16..400, 1u32..60, 0..40).prop_map(|silos| {
        HashRing::of(silos.into_iter().map(|(i, v)| (SiloId::new(format!("silo-{i}")).unwrap(), v)))
    })
}

/// Positions at which something may change: the points themselves and their neighbours, and the ends of the circle.
fn edges(ring: &HashRing) -> Vec<u32> {
    let points = ring.silos().flat_map(|id| {
        let count = ring.virtual_nodes(id.as_str()).unwrap();
        (0..count).map(move |i| hash(&format!("{id}:{i}")))
    });
    let around = |p: u32| [p.wrapping_sub(1), p, p.wrapping_add(1)];
    points.flat_map(around).chain([0, 1, u32::MAX - 1, u32::MAX]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_silos_ranges_are_the_positions_that_it_owns(ring in any_ring(), more in prop::collection::vec(any::<u32>(), 50)) {
        let ranges: Vec<_> = ring.silos().map(|id| (id, ring.ranges(id.as_str()))).collect();
        for position in edges(&ring).into_iter().chain(more) {
            for (id, ranges) in &ranges {
                prop_assert_eq!(ranges.contains(position), ring.owner_at(position) == Some(id), "{} {}", id, position);
            }
        }
        for ((_, ranges), share) in ranges.iter().zip(ring.shares()) {
            prop_assert_eq!(ranges.share(), share);
            prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.last + 1 < b.first), "{:?}", ranges);
        }
        let together = ranges.iter().fold(HashRanges::new(), |all, (_, ranges)| all.union(ranges));
        prop_assert_eq!(together, if ring.is_empty() { HashRanges::new() } else { HashRanges::all() });
        prop_assert!(ring.ranges("nobody").is_empty());
    }

    #[test]
    fn union_and_difference_are_those_of_the_positions(
        a in prop::collection::vec((0u32..40, 0u32..40), 0..6),
        b in prop::collection::vec((0u32..40, 0u32..40), 0..6),
        at_the_end in any::<bool>(),
    ) {
        // Small, so that they overlap and touch; at one end of the circle or around it.
        let shift = |p: u32| if at_the_end { p.wrapping_sub(20) } else { p };
        let ranges = |pairs: &[(u32, u32)]| -> HashRanges {
            let range = |(x, y): &(u32, u32)| HashRange { first: shift(*x.min(y)), last: shift(*x.max(y)) };
            pairs.iter().map(range).collect()
        };
        let is_in = |pairs: &[(u32, u32)], p: u32| pairs.iter().any(|(x, y)| (x.min(y)..=x.max(y)).contains(&&p));
        let (first, second) = (ranges(&a), ranges(&b));
        for p in 0..40 {
            prop_assert_eq!(first.contains(shift(p)), is_in(&a, p));
            prop_assert_eq!(first.union(&second).contains(shift(p)), is_in(&a, p) || is_in(&b, p));
            prop_assert_eq!(first.difference(&second).contains(shift(p)), is_in(&a, p) && !is_in(&b, p));
        }
        // One list for one part of the circle.
        prop_assert_eq!(first.difference(&second).union(&second), first.union(&second));
        prop_assert_eq!(second.difference(&first).union(&first), second.union(&first));
    }

    #[test]
    fn the_next_owner_is_who_owns_a_key_when_those_before_it_are_gone(ring in any_ring(), position: u32) {
        let next: Vec<_> = ring.next_owners_at(position, 5).into_iter().cloned().collect();
        prop_assert_eq!(next.len(), ring.len().saturating_sub(1).min(5));
        let mut left = ring.clone();
        for id in next {
            let owner = left.owner_at(position).unwrap().clone();
            left.remove(owner.as_str());
            prop_assert_eq!(left.owner_at(position), Some(&id));
        }
    }
}

#[test]
fn of_two_silos_on_one_point_the_smaller_id_owns_what_lies_before_it_and_the_other_is_next() {
    // The first two ids of this kind that share a point.
    let mut points = HashMap::new();
    let (small, large, at) = (0u32..)
        .flat_map(|silo| (0..150).map(move |i| (format!("silo-{silo:04}"), i)))
        .find_map(|(id, i)| {
            let at = hash(&format!("{id}:{i}"));
            points.insert(at, id.clone()).filter(|other| *other != id).map(|other| (other, id, at))
        })
        .unwrap();
    let ring = ring_of(&[(&large, 150), (&small, 150)]);
    assert!(small < large);
    assert!(ring.ranges(&small).contains(at) && !ring.ranges(&large).contains(at));
    assert_eq!(ring.ranges(&small).share() + ring.ranges(&large).share(), 1.0);
    assert_eq!(ring.next_owners_at(at, 9), [&SiloId::new(&large).unwrap()]);
}

#[test]
fn one_silo_owns_everything_and_an_empty_ring_has_no_owners() {
    let mut ring = ring_of(&[("only", 1)]);
    assert_eq!(ring.ranges("only"), HashRanges::all());
    assert_eq!((ring.ranges("only").share(), ring.ranges("only").len()), (1.0, 1));
    assert!(ring.next_owners("Counter:42", 3).is_empty());
    ring.remove("only");
    assert!(ring.ranges("only").is_empty() && ring.next_owners("Counter:42", 3).is_empty());
}
