//! Who would own a key after its owner. Pure.

use super::{HashRing, hash};
use crate::id::SiloId;

impl HashRing {
    /// The next owners of a key such as `"Counter:42"`: first the silo that owns it when its owner goes, then the one that owns
    /// it when that one goes too, and so on; at most `count`, and fewer when there are fewer silos.
    #[must_use]
    pub fn next_owners(&self, key: &str, count: usize) -> Vec<&SiloId> {
        self.next_owners_at(hash(key), count)
    }

    /// The next owners of a position, see [`hash`].
    #[must_use]
    pub fn next_owners_at(&self, position: u32, count: usize) -> Vec<&SiloId> {
        let count = count.min(self.len().saturating_sub(1));
        let mut seen = vec![false; self.len()];
        let in_turn = self.0.points_from(position).map(|point| point.silo as usize);
        let each_once = in_turn.filter(|silo| !std::mem::replace(&mut seen[*silo], true));
        // The first is the owner.
        each_once.skip(1).take(count).map(|silo| &self.0.silos[silo].0).collect()
    }
}
