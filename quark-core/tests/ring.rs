//! The hash ring against vectors made by an independent program, and by its properties.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use quark_core::{HashRing, SiloId, hash, hash_actor};
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
