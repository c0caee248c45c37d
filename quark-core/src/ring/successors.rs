//! Who would own a position after its owner. Pure.

use super::snapshot::Around;
use super::{HashRing, hash};
use crate::id::SiloId;

impl HashRing {
    /// The next owners of a key such as `"Counter:42"`: first the silo that owns it when its owner goes, then the one that owns
    /// it when that one goes too, and so on; at most `count`, and fewer when there are fewer silos. Silos that drain come
    /// last, but for those that keep this key.
    #[must_use]
    pub fn next_owners(&self, key: &str, count: usize) -> Vec<&SiloId> {
        self.next_owners_at(hash(key), count)
    }

    /// The next owners of a position, see [`hash`].
    #[must_use]
    pub fn next_owners_at(&self, position: u32, count: usize) -> Vec<&SiloId> {
        // The first is the owner.
        self.order_at(position).skip(1).take(count).collect()
    }

    /// All silos in the order in which they would own a position if those before them went; the owner first.
    pub(crate) fn order_at(&self, position: u32) -> Order<'_> {
        let plain = self.plain();
        let kept = self.drains();
        let may_own = |(silo, _): &(SiloId, u32)| {
            kept.and_then(|kept| kept.get(silo)).is_none_or(|kept| kept.contains(position))
        };
        Order {
            silos: &plain.silos,
            points: plain.points_from(position),
            left: plain.silos.iter().map(|silo| Some(may_own(silo))).collect(),
            count: plain.silos.len(),
            put_off: Vec::new(),
            put_off_given: 0,
        }
    }
}

/// See [`HashRing::order_at`].
pub(crate) struct Order<'a> {
    silos: &'a [(SiloId, u32)],
    points: Around<'a>,
    /// Of each silo that was not met yet, whether it may own the position as long as others are there.
    left: Vec<Option<bool>>,
    /// How many were not met yet.
    count: usize,
    /// Those that were met and may not: they come last.
    put_off: Vec<usize>,
    put_off_given: usize,
}

impl<'a> Iterator for Order<'a> {
    type Item = &'a SiloId;

    fn next(&mut self) -> Option<&'a SiloId> {
        while self.count > 0
            && let Some(point) = self.points.next()
        {
            let place = point.silo as usize;
            let Some(may_own) = self.left[place].take() else { continue };
            self.count -= 1;
            if may_own {
                return Some(&self.silos[place].0);
            }
            self.put_off.push(place);
        }
        self.put_off_given += 1;
        self.put_off.get(self.put_off_given - 1).map(|place| &self.silos[*place].0)
    }
}
