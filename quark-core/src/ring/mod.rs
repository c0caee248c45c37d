//! The consistent hash ring: which silo owns which key. Pure and immutable underneath.
//!
//! `hash(s)` is the first four bytes of MD5 of the UTF-8 of `s` as a little-endian number. A silo with V virtual nodes
//! stands at `hash("{SiloId}:{i}")` for i in 0..V; a key belongs to the silo at the smallest point at or after its
//! hash, wrapping around. Where two silos share a point it belongs to the bytewise smallest id, whoever came first.
//!
//! A lookup costs the MD5 of the key and O(1): the hash is uniform, so an index on its top bits finds the point within
//! a step or two. A change merges the new silo's points into a new snapshot; readers of the old one notice nothing. So a
//! view's ring is made out of that of the view before.

mod drained;
mod hash;
mod md5_lanes;
mod memo;
mod ranges;
mod snapshot;
mod successors;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use hash::{hash, hash_actor};
pub use ranges::{HashRange, HashRanges};
use snapshot::{Point, Snapshot};

use crate::error::{Error, Result};
use crate::id::{MAX_SILO_ID_BYTES, SiloId, check_name};

/// Most virtual nodes of one silo.
pub(crate) const MAX_VIRTUAL_NODES: u32 = 100_000;

/// A hash ring, usable alone. Cloning is cheap and gives a snapshot: later changes of one do not show in the other.
///
/// ```
/// let mut ring = quark_core::HashRing::new();
/// ring.add("silo-1", 150).unwrap();
/// assert_eq!(ring.owner("Counter:42"), Some("silo-1"));
/// ```
#[derive(Clone, Default)]
pub struct HashRing(Arc<Snapshot>);

impl HashRing {
    /// An empty ring.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A ring of these silos with their virtual nodes; the order does not matter. Later duplicates are ignored.
    #[must_use]
    pub fn of(silos: impl IntoIterator<Item = (SiloId, u32)>) -> Self {
        Self::new().with_exactly(silos)
    }

    /// A ring of exactly these silos, of which none drains, made out of this one: only the points of silos that are not in it are hashed, and
    /// where nothing differs the two share everything. Later duplicates are ignored.
    #[must_use]
    pub(crate) fn with_exactly(&self, silos: impl IntoIterator<Item = (SiloId, u32)>) -> Self {
        let mut silos: Vec<_> = silos.into_iter().collect();
        silos.sort_by(|(one, _), (other, _)| one.cmp(other));
        silos.dedup_by(|(later, _), (first, _)| later == first);
        if silos == self.0.silos && self.drains().is_none() {
            return self.clone();
        }
        Self(Arc::new(self.plain().of_silos(silos, points_of)))
    }

    /// Adds a silo with `virtual_nodes` points. Adding one that is there already changes nothing and says `false`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `silo_id` or `virtual_nodes` (1 to 100,000).
    pub fn add(&mut self, silo_id: &str, virtual_nodes: u32) -> Result<bool> {
        check_name("silo_id", silo_id, MAX_SILO_ID_BYTES)?;
        check_virtual_nodes(virtual_nodes)?;
        let Err(place) = self.0.place_of(silo_id) else { return Ok(false) };
        let ring = with_one_more(self.plain(), place, SiloId::new(silo_id)?, virtual_nodes);
        self.become_plain(ring);
        Ok(true)
    }

    /// Gives a silo `virtual_nodes` points in place of those that it has, and says whether it is there. One that drains goes on
    /// to, and gets nothing by it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `virtual_nodes` (1 to 100,000).
    pub fn set_virtual_nodes(&mut self, silo_id: &str, virtual_nodes: u32) -> Result<bool> {
        check_virtual_nodes(virtual_nodes)?;
        let Ok(place) = self.0.place_of(silo_id) else { return Ok(false) };
        let without = self.plain().without(place, &self.points_of(place));
        let id = self.0.silos[place].0.clone();
        self.become_plain(with_one_more(&without, place, id, virtual_nodes));
        Ok(true)
    }

    /// Removes a silo and says whether it was there.
    pub fn remove(&mut self, silo_id: &str) -> bool {
        let Ok(place) = self.0.place_of(silo_id) else { return false };
        self.become_plain(self.plain().without(place, &self.points_of(place)));
        true
    }

    /// The owner of a key such as `"Counter:42"`, or nothing when the ring is empty.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<&str> {
        self.owner_at(hash(key)).map(SiloId::as_str)
    }

    /// The owners of many keys, in their order.
    #[must_use]
    pub fn owners<K: AsRef<str>>(&self, keys: &[K]) -> Vec<Option<&str>> {
        let mut owners = Vec::with_capacity(keys.len());
        let id = |place: usize| self.0.silos[place].0.as_str();
        self.each_owner(keys, |place| owners.push(place.map(id)));
        owners
    }

    /// Gives the owners of many keys to `take`, in their order, each as its place in [`silos`](Self::silos). Cheaper for
    /// each than [`owner`](Self::owner).
    pub fn each_owner<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut take: impl FnMut(Option<usize>),
    ) {
        hash::hash_each(keys, |position| take(self.place_at(position)));
    }

    /// The owner of the actor `actor_id` of `actor_type`.
    #[must_use]
    pub fn owner_of_actor(&self, actor_type: &str, actor_id: &str) -> Option<&SiloId> {
        self.owner_at(hash_actor(actor_type, actor_id))
    }

    /// The owner of a position, see [`hash`].
    #[must_use]
    pub fn owner_at(&self, position: u32) -> Option<&SiloId> {
        self.place_at(position).map(|place| &self.0.silos[place].0)
    }

    /// The owner of a position, as its place in [`silos`](Self::silos).
    #[must_use]
    pub fn place_at(&self, position: u32) -> Option<usize> {
        self.0.place_at(position)
    }

    /// The silos, sorted bytewise by id.
    pub fn silos(&self) -> impl ExactSizeIterator<Item = &SiloId> {
        self.0.silos.iter().map(|(id, _)| id)
    }

    /// The part of all keys that each silo owns, in the order of [`silos`](Self::silos); together exactly 1.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        let mut owned = vec![0; self.len()];
        // Of the points in one place only the first owns anything.
        for (arc, point) in arcs(self.0.points.iter().map(|point| point.hash)).zip(&self.0.points) {
            owned[point.silo as usize] += arc;
        }
        owned.into_iter().map(part_of_circle).collect()
    }

    /// The part of all keys that goes from one owner to another when this ring becomes that one. An empty ring's keys
    /// have no owner.
    #[must_use]
    pub fn moves(&self, after: &Self) -> BTreeMap<(Option<SiloId>, Option<SiloId>), f64> {
        let mut places: Vec<u32> =
            [self, after].iter().flat_map(|ring| &ring.0.points).map(|p| p.hash).collect();
        places.sort_unstable();
        places.dedup();
        let mut moved = BTreeMap::new();
        // No point of either ring lies within such an arc, so all of it has one owner.
        for (arc, place) in arcs(places.iter().copied()).zip(&places) {
            let (from, to) = (self.owner_at(*place), after.owner_at(*place));
            if from != to {
                *moved.entry((from.cloned(), to.cloned())).or_default() += arc;
            }
        }
        moved.into_iter().map(|(pair, arcs)| (pair, part_of_circle(arcs))).collect()
    }

    /// The points of the silo at a place in [`silos`](Self::silos), sorted, as if nobody drained.
    fn points_of(&self, place: usize) -> Vec<Point> {
        let (id, virtual_nodes) = &self.0.silos[place];
        points_of(id, *virtual_nodes, u32::try_from(place).expect("fewer silos than points"))
    }

    /// How many virtual nodes a silo has, if it is there.
    #[must_use]
    pub fn virtual_nodes(&self, silo_id: &str) -> Option<u32> {
        Some(self.0.silos[self.0.place_of(silo_id).ok()?].1)
    }

    /// Whether the silo is on the ring.
    #[must_use]
    pub fn contains(&self, silo_id: &str) -> bool {
        self.virtual_nodes(silo_id).is_some()
    }

    /// Whether the two are one in memory.
    #[cfg(test)]
    pub(crate) fn shares_points_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many silos there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.silos.len()
    }

    /// Whether there is no silo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.silos.is_empty()
    }
}

impl PartialEq for HashRing {
    fn eq(&self, other: &Self) -> bool {
        // The points follow from the silos, and from who drains.
        Arc::ptr_eq(&self.0, &other.0) || self.0.silos == other.0.silos && self.drains() == other.drains()
    }
}

impl Eq for HashRing {}

impl fmt::Debug for HashRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.silos.iter().map(|(id, v)| (id, v))).finish()
    }
}

/// How many places lie behind each point up to the point before it, around the circle; points sorted.
fn arcs(points: impl DoubleEndedIterator<Item = u32> + Clone) -> impl Iterator<Item = u64> {
    let mut before = points.clone().next_back().map_or(0, |last| i64::from(last) - CIRCLE);
    points.map(move |point| {
        let point = i64::from(point);
        (point - std::mem::replace(&mut before, point)).unsigned_abs()
    })
}

/// How many places the circle has.
const CIRCLE: i64 = 1 << 32;

/// Exact, because the circle is a power of two and a float has more digits.
fn part_of_circle(places: u64) -> f64 {
    places as f64 / CIRCLE as f64
}

/// Checks a number of virtual nodes.
pub(crate) fn check_virtual_nodes(virtual_nodes: u32) -> Result<()> {
    if virtual_nodes == 0 || virtual_nodes > MAX_VIRTUAL_NODES {
        return Err(Error::invalid("virtual_nodes", virtual_nodes, "must be 1 to 100000"));
    }
    Ok(())
}

/// A ring with one more silo, at its place among the silos.
fn with_one_more(ring: &Snapshot, place: usize, id: SiloId, virtual_nodes: u32) -> Snapshot {
    let place_u32 = u32::try_from(place).expect("fewer silos than points");
    let points = points_of(&id, virtual_nodes, place_u32);
    ring.with(place, (id, virtual_nodes), &points)
}

/// A silo's points, sorted.
fn points_of(id: &SiloId, virtual_nodes: u32, silo: u32) -> Vec<Point> {
    let mut points = Vec::with_capacity(virtual_nodes as usize);
    let texts = (0..virtual_nodes).map(|i| format!("{id}:{i}"));
    hash::hash_each(texts, |hash| points.push(Point { hash, silo }));
    points.sort_unstable();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_twice_changes_nothing_and_remove_says_whether_it_was_there() {
        let mut ring = HashRing::new();
        assert!(ring.owner("x").is_none());
        assert!(ring.add("a", 150).unwrap());
        assert!(!ring.add("a", 10).unwrap());
        assert_eq!(ring.virtual_nodes("a"), Some(150));
        assert!(ring.set_virtual_nodes("a", 10).unwrap() && !ring.set_virtual_nodes("b", 10).unwrap());
        assert_eq!((ring.virtual_nodes("a"), ring.len()), (Some(10), 1));
        assert!(ring.remove("a") && !ring.remove("a"));
        assert!(ring.is_empty() && ring.owner("x").is_none());
    }

    #[test]
    fn a_snapshot_does_not_see_later_changes() {
        let mut ring = HashRing::new();
        ring.add("a", 150).unwrap();
        let before = ring.clone();
        ring.remove("a");
        assert_eq!(before.owner("k"), Some("a"));
    }

    #[test]
    fn bad_arguments_are_named() {
        let mut ring = HashRing::new();
        assert!(ring.add("", 150).unwrap_err().message().starts_with("silo_id=\"\""));
        assert!(ring.add("a", 0).unwrap_err().message().starts_with("virtual_nodes=0"));
        assert!(ring.add("a", 100_001).is_err() && ring.is_empty());
        let refused = ring.set_virtual_nodes("a", 0).unwrap_err();
        assert!(refused.message().starts_with("virtual_nodes=0"));
    }

    #[test]
    fn shares_are_what_a_look_at_many_places_says() {
        let mut ring = HashRing::new();
        assert!(ring.shares().is_empty());
        ring.add("alone", 1).unwrap();
        assert_eq!(ring.shares(), [1.0]);
        ring.add("b", 150).unwrap();
        ring.add("c", 300).unwrap();
        let shares = ring.shares();
        assert_eq!(shares.iter().sum::<f64>(), 1.0);
        let places = 1_000_000_u32;
        let mut seen = vec![0; ring.len()];
        for place in 0..places {
            let owner = ring.owner_at(place * 4294).unwrap();
            seen[ring.silos().position(|silo| silo == owner).unwrap()] += 1;
        }
        for (share, seen) in shares.iter().zip(seen) {
            let looked = f64::from(seen) / f64::from(places);
            assert!((share - looked).abs() < 1e-3, "{share} {looked}");
        }
    }

    #[test]
    fn what_moves_is_what_a_newcomer_owns_and_comes_from_the_others() {
        let mut before = HashRing::new();
        let mut after = HashRing::new();
        after.add("a", 150).unwrap();
        let a = Some(SiloId::new("a").unwrap());
        assert_eq!(before.moves(&after), BTreeMap::from([((None, a.clone()), 1.0)]));
        assert!(before.moves(&before).is_empty() && after.moves(&after).is_empty());
        before.add("a", 150).unwrap();
        before.add("b", 150).unwrap();
        after = before.clone();
        after.add("new", 150).unwrap();
        let moves = before.moves(&after);
        assert_eq!(moves.len(), 2);
        assert!(moves.keys().all(|(_, to)| to.as_ref().is_some_and(|to| to.as_str() == "new")));
        assert_eq!(moves.values().sum::<f64>(), after.shares()[2]);
        assert_eq!(moves[&(a, Some(SiloId::new("new").unwrap()))], before.shares()[0] - after.shares()[0]);
    }
}
