//! Parts of the circle that a draining silo keeps.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Hash ranges, first and last included, in order and apart from each other: one value for each set of places. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kept(Arc<Vec<(u32, u32)>>);

impl Kept {
    /// Of ranges in any order, which may overlap; a range whose last is before its first is none.
    pub(crate) fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut apart: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(before) if u64::from(first) <= u64::from(before.1) + 1 => before.1 = before.1.max(last),
                _ => apart.push((first, last)),
            }
        }
        Self(Arc::new(apart))
    }

    pub(crate) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, position: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= position);
        after > 0 && self.0[after - 1].1 >= position
    }

    /// What both keep.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            both.push((a.0.max(b.0), a.1.min(b.1)));
            // The one that ends first meets nothing more.
            if a.1 < b.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self::of(both)
    }

    /// Base64 of the ranges, each as two little-endian numbers of four bytes.
    pub(crate) fn to_text(&self) -> String {
        let numbers = self.0.iter().flat_map(|(first, last)| [*first, *last]);
        STANDARD.encode(numbers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
    }

    /// Reads that; `None` when it is no base64. A rest that is no range is left out.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Some(Self::of(bytes.chunks_exact(8).map(|pair| (number(pair), number(&pair[4..])))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_value_however_they_are_said() {
        let kept = Kept::of([(30, 40), (10, 19), (20, 25), (12, 13), (9, 8), (u32::MAX, u32::MAX)]);
        assert_eq!(kept.ranges(), [(10, 25), (30, 40), (u32::MAX, u32::MAX)]);
        assert_eq!(Kept::of([(0, u32::MAX), (5, 6), (u32::MAX, u32::MAX)]).ranges(), [(0, u32::MAX)]);
        for (place, is_in) in [(9, false), (10, true), (25, true), (26, false), (40, true), (u32::MAX, true)]
        {
            assert_eq!(kept.contains(place), is_in, "{place}");
        }
        assert_eq!(Kept::from_text(&kept.to_text()), Some(kept));
        assert!(Kept::default().is_empty() && !Kept::default().contains(0));
    }

    #[test]
    fn what_both_keep_is_in_both() {
        let both = |a: &[(u32, u32)], b: &[(u32, u32)]| {
            let (a, b) = (Kept::of(a.iter().copied()), Kept::of(b.iter().copied()));
            assert_eq!(a.and(&b), b.and(&a));
            a.and(&b).ranges().to_vec()
        };
        assert_eq!(both(&[(0, 10), (20, 30)], &[(5, 25), (30, 40)]), [(5, 10), (20, 25), (30, 30)]);
        assert_eq!(both(&[(0, 10)], &[(11, 12)]), []);
        assert_eq!(both(&[(0, u32::MAX)], &[(3, 4), (6, u32::MAX)]), [(3, 4), (6, u32::MAX)]);
    }

    #[test]
    fn texts_that_are_no_ranges_are_none() {
        assert_eq!(Kept::from_text("not base64!"), None);
        assert_eq!(Kept::from_text(""), Some(Kept::default()));
        assert_eq!(Kept::from_text("AAAA"), Some(Kept::default()), "less than a range");
        // (5, 4)
        assert_eq!(Kept::from_text("BQAAAAQAAAA="), Some(Kept::default()));
    }
}
