//! What a ring is at one time: its points, and the index that finds them. Immutable; a change makes a new one, out of
//! long pieces of the old one that are copied as they are.

use std::iter::Chain;
use std::slice;

use super::drained::Drained;
use crate::id::SiloId;

/// A silo's point on the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) hash: u32,
    /// The silo's place among the silos.
    pub(super) silo: u32,
}

/// All points, once around the circle.
pub(super) type Around<'a> = Chain<slice::Iter<'a, Point>, slice::Iter<'a, Point>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Silos with their virtual nodes, sorted by id, so that comparing places compares ids.
    pub(super) silos: Vec<(SiloId, u32)>,
    /// All points, sorted by (hash, place): at a shared hash the smallest id comes first and wins.
    pub(super) points: Vec<Point>,
    /// For each value of the top bits of a hash, the first point whose top bits are not smaller.
    index: Vec<u32>,
    /// How far to shift a hash to get its top bits.
    shift: u32,
    /// What it was made of, when some of the silos drain.
    pub(super) drained: Option<Box<Drained>>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Snapshot {
    pub(super) fn new(silos: Vec<(SiloId, u32)>, points: Vec<Point>) -> Self {
        let shift = shift_for(points.len());
        let slots = 1usize << (32 - shift);
        let mut index = Vec::with_capacity(slots);
        for (place, point) in (0u32..).zip(&points) {
            // It is the first for its own slot and for those since the point before it.
            let slot = (point.hash >> shift) as usize;
            index.resize(index.len().max(slot + 1), place);
        }
        index.resize(slots, u32::try_from(points.len()).expect("fewer than 2^32 points"));
        Self { silos, points, index, shift, drained: None }
    }

    /// A silo's place among the silos, or the one that it would have.
    pub(super) fn place_of(&self, silo: &str) -> Result<usize, usize> {
        self.silos.binary_search_by(|(id, _)| id.as_str().cmp(silo))
    }

    /// The same with one more silo, whose sorted points these are.
    pub(super) fn with(&self, place: usize, silo: (SiloId, u32), new: &[Point]) -> Self {
        let place_u32 = u32::try_from(place).expect("fewer silos than points");
        let moved = |p: &Point| Point { silo: p.silo + u32::from(p.silo >= place_u32), ..*p };
        let mut points = Vec::with_capacity(self.points.len() + new.len());
        let mut copied = 0;
        for point in new {
            let to = self.first_not(copied, point.hash, |p| moved(p) < *point);
            points.extend(self.points[copied..to].iter().map(moved));
            points.push(*point);
            copied = to;
        }
        points.extend(self.points[copied..].iter().map(moved));
        let mut silos = self.silos.clone();
        silos.insert(place, silo);
        self.changed(silos, points, new.iter(), |first, count| first + count)
    }

    /// The same without the silo at a place, whose points these are.
    pub(super) fn without(&self, place: usize, old: &[Point]) -> Self {
        let place_u32 = u32::try_from(place).expect("fewer silos than points");
        let moved = |p: &Point| Point { silo: p.silo - u32::from(p.silo > place_u32), ..*p };
        let mut points = Vec::with_capacity(self.points.len() - old.len());
        let mut copied = 0;
        for point in old {
            let to = self.first_not(copied, point.hash, |p| p < point);
            points.extend(self.points[copied..to].iter().map(moved));
            copied = to + 1;
        }
        points.extend(self.points[copied..].iter().map(moved));
        let mut silos = self.silos.clone();
        silos.remove(place);
        self.changed(silos, points, old.iter(), |first, count| first - count)
    }

    /// One of exactly these silos, sorted by id. The points of those that stay are taken as they are; those of others come
    /// from `points_of`.
    pub(super) fn of_silos(
        &self,
        silos: Vec<(SiloId, u32)>,
        points_of: impl Fn(&SiloId, u32, u32) -> Vec<Point>,
    ) -> Self {
        let mut before = (0usize..).zip(&self.silos).peekable();
        // Where each silo of before stands now, if it stays.
        let mut places = vec![None; self.silos.len()];
        let mut new = Vec::new();
        for (place, silo) in (0u32..).zip(&silos) {
            while before.next_if(|(_, (id, _))| *id < silo.0).is_some() {}
            match before.next_if(|(_, known)| **known == *silo) {
                Some((known, _)) => places[known] = Some(place),
                None => new.extend(points_of(&silo.0, silo.1, place)),
            }
        }
        new.sort_unstable();
        // In order still: those who stay keep their order.
        let moved = |p: &Point| Some(Point { silo: places[p.silo as usize]?, ..*p });
        let mut kept = self.points.iter().filter_map(moved).peekable();
        let mut points = Vec::with_capacity(self.points.len() + new.len());
        for point in new {
            while let Some(earlier) = kept.next_if(|kept| *kept < point) {
                points.push(earlier);
            }
            points.push(point);
        }
        points.extend(kept);
        Self::new(silos, points)
    }

    /// A snapshot of these points, which differ from the old ones by `difference`. Its index is the old one, with as many
    /// points more or less before each slot, unless it needs more or fewer slots.
    fn changed<'a>(
        &self,
        silos: Vec<(SiloId, u32)>,
        points: Vec<Point>,
        difference: impl Iterator<Item = &'a Point>,
        by: impl Fn(u32, u32) -> u32,
    ) -> Self {
        if shift_for(points.len()) != self.shift {
            return Self::new(silos, points);
        }
        let mut index = Vec::with_capacity(self.index.len());
        let mut count = 0;
        for point in difference {
            let slot = (point.hash >> self.shift) as usize;
            index.extend(self.index[index.len()..=slot].iter().map(|first| by(*first, count)));
            count += 1;
        }
        index.extend(self.index[index.len()..].iter().map(|first| by(*first, count)));
        Self { silos, points, index, shift: self.shift, drained: None }
    }

    /// The first point from `from` on that is not earlier than something at `hash`.
    fn first_not(&self, from: usize, hash: u32, is_earlier: impl Fn(&Point) -> bool) -> usize {
        let from = from.max(self.first_in_slot(hash));
        from + self.points[from..].iter().take_while(|point| is_earlier(point)).count()
    }

    /// Where the points begin whose top bits are those of `hash`, or later ones.
    fn first_in_slot(&self, hash: u32) -> usize {
        self.index.get((hash >> self.shift) as usize).map_or(0, |first| *first as usize)
    }

    /// Whose a position is, as a place in `silos`.
    pub(super) fn place_at(&self, position: u32) -> Option<usize> {
        let from = self.first_in_slot(position);
        let point = match self.points[from..].first_chunk() {
            Some(next) => match earlier::<NEAR>(next, position) {
                NEAR => self.first_at(from + NEAR, position),
                earlier => &next[earlier],
            },
            None if self.points.is_empty() => return None,
            None => self.first_at(from, position),
        };
        Some(point.silo as usize)
    }

    /// The first point from `from` on that is not before a position, around the circle.
    #[cold]
    fn first_at(&self, from: usize, position: u32) -> &Point {
        self.points[from..].iter().find(|point| point.hash >= position).unwrap_or(&self.points[0])
    }

    /// All points in the order in which they would own a position if those before them went.
    pub(super) fn points_from(&self, position: u32) -> Around<'_> {
        let from = self.first_not(0, position, |p| p.hash < position);
        self.points[from..].iter().chain(&self.points[..from])
    }

    /// The nearest hash before this one, around the circle, at which a point stands; nothing when there is no other.
    pub(super) fn hash_before(&self, hash: u32) -> Option<u32> {
        let at = self.first_not(0, hash, |p| p.hash < hash);
        let before = at.checked_sub(1).map_or_else(|| self.points.last(), |place| self.points.get(place));
        before.map(|point| point.hash).filter(|before| *before != hash)
    }
}

/// So many points are looked at together, which are enough for nearly every position.
const NEAR: usize = 4;

/// How many of these points are before a position. There is no branch in it: one that depends on points that are still on
/// their way from memory would be guessed wrong every second time, and what comes after the lookup would wait for them.
fn earlier<const N: usize>(points: &[Point; N], position: u32) -> usize {
    points.iter().map(|point| usize::from(point.hash < position)).sum()
}

/// One slot of the index for each point or two: a lookup then looks at one or two points.
fn shift_for(points: usize) -> u32 {
    32 - points.max(2).ilog2().min(24)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::ring::HashRing;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn however_a_ring_came_about_it_is_the_same(changes in prop::collection::vec((0u8..12, 1u32..400), 0..40)) {
            let mut ring = HashRing::new();
            for (silo, virtual_nodes) in changes {
                let id = format!("silo-{silo}");
                if !ring.remove(&id) {
                    ring.add(&id, virtual_nodes).unwrap();
                }
                let afresh = HashRing::of(ring.0.silos.iter().cloned());
                prop_assert_eq!(&ring.0, &afresh.0);
            }
        }

        #[test]
        fn a_ring_made_out_of_another_is_the_one_made_afresh(
            before in prop::collection::btree_map(0u8..12, 1u32..3, 0..12),
            after in prop::collection::btree_map(0u8..12, 1u32..3, 0..12),
        ) {
            let silos = |chosen: &std::collections::BTreeMap<u8, u32>| {
                let silo = |(silo, weight): (&u8, &u32)| (format!("silo-{silo}").parse().unwrap(), weight * 100);
                chosen.iter().map(silo).collect::<Vec<_>>()
            };
            let made = HashRing::of(silos(&before)).with_exactly(silos(&after));
            prop_assert_eq!(&made.0, &HashRing::of(silos(&after)).0);
        }
    }
}
