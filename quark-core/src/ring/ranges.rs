//! Parts of the circle as ranges of positions: what a silo owns, and what it gains or loses. Pure.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::{HashRing, hash_actor, part_of_circle};

/// The positions from `first` to `last`, both of them in it. A range that begins before the end of the circle and ends
/// after its beginning is two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The first position that is in it.
    pub first: u32,
    /// The last position that is in it.
    pub last: u32,
}

/// A part of the circle: ranges that are sorted and neither overlap nor touch, so that the same part is always the same
/// list. Cheap to clone.
///
/// ```
/// # let mut ring = quark_core::HashRing::new();
/// # ring.add("silo-1", 150).unwrap();
/// let ranges = ring.ranges("silo-1");
/// assert!(ranges.contains(quark_core::hash("Counter:42")) && ranges.contains_actor("Counter", "42"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct HashRanges(Option<Arc<[HashRange]>>);

impl HashRanges {
    /// No position.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every position.
    #[must_use]
    pub fn all() -> Self {
        Self::from_sorted(vec![HashRange { first: 0, last: u32::MAX }])
    }

    /// Of ranges that are sorted, do not overlap and do not touch.
    fn from_sorted(ranges: Vec<HashRange>) -> Self {
        Self((!ranges.is_empty()).then(|| ranges.into()))
    }

    /// The ranges, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[HashRange] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = HashRange> + DoubleEndedIterator + FusedIterator {
        self.as_slice().iter().copied()
    }

    /// How many ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether no position is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a position, see [`hash`](super::hash), is in it.
    #[must_use]
    pub fn contains(&self, position: u32) -> bool {
        let ranges = self.as_slice();
        let place = ranges.partition_point(|range| range.last < position);
        ranges.get(place).is_some_and(|range| range.first <= position)
    }

    /// Whether the actor `actor_id` of `actor_type` is in it.
    #[must_use]
    pub fn contains_actor(&self, actor_type: &str, actor_id: &str) -> bool {
        self.contains(hash_actor(actor_type, actor_id))
    }

    /// The part of the circle that is in it, 0 to 1; exact.
    #[must_use]
    pub fn share(&self) -> f64 {
        part_of_circle(self.iter().map(|range| u64::from(range.last - range.first) + 1).sum())
    }

    /// What is in this or in the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        self.iter().chain(other.iter()).collect()
    }

    /// What is in this and in the other too.
    #[must_use]
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.difference(&self.difference(other))
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return self.clone();
        }
        let mut left = Vec::new();
        let mut holes = other.iter().peekable();
        for mut range in self.iter() {
            // Holes that end before this range end before all later ones too.
            while holes.next_if(|hole| hole.last < range.first).is_some() {}
            let mut rest = Some(range);
            while let Some(hole) = holes.peek().filter(|hole| hole.first <= range.last) {
                if range.first < hole.first {
                    left.push(HashRange { first: range.first, last: hole.first - 1 });
                }
                if hole.last >= range.last {
                    rest = None;
                    break;
                }
                range.first = hole.last + 1;
                rest = Some(range);
                holes.next();
            }
            left.extend(rest);
        }
        Self::from_sorted(left)
    }
}

/// In any order, overlapping or not; one whose first is behind its last goes around the end of the circle.
impl FromIterator<HashRange> for HashRanges {
    fn from_iter<I: IntoIterator<Item = HashRange>>(ranges: I) -> Self {
        let mut sorted = Vec::new();
        for HashRange { first, last } in ranges {
            if first <= last {
                sorted.push(HashRange { first, last });
            } else {
                sorted.extend([HashRange { first: 0, last }, HashRange { first, last: u32::MAX }]);
            }
        }
        sorted.sort_unstable();
        let mut merged: Vec<HashRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self::from_sorted(merged)
    }
}

impl<'a> IntoIterator for &'a HashRanges {
    type Item = HashRange;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, HashRange>>;

    fn into_iter(self) -> Self::IntoIter {
        self.as_slice().iter().copied()
    }
}

impl fmt::Debug for HashRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|range| (range.first, range.last))).finish()
    }
}

impl HashRing {
    /// The positions that a silo owns; none when it is not on the ring. Costs the silo's points, however many there are
    /// of others; all points when a silo drains.
    #[must_use]
    pub fn ranges(&self, silo_id: &str) -> HashRanges {
        let Ok(place) = self.0.place_of(silo_id) else { return HashRanges::new() };
        let points = match self.0.drained {
            None => self.points_of(place),
            Some(_) => self.0.points.iter().filter(|point| point.silo as usize == place).copied().collect(),
        };
        // At a point that it shares with a smaller id it owns nothing.
        let own = points.iter().filter(|point| self.place_at(point.hash) == Some(place));
        own.map(|point| match self.0.hash_before(point.hash) {
            Some(before) => HashRange { first: before.wrapping_add(1), last: point.hash },
            None => HashRange { first: 0, last: u32::MAX },
        })
        .collect()
    }
}
