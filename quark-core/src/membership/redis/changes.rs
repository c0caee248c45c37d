//! The record of changes: which silos changed between one version and the next, so that whoever knows the store as it was at
//! a version reads only what changed since. Pure.
//!
//! Each entry names the versions before and after it. Versions grow by chance numbers, so that entries form a chain only
//! if the store never lost one: where the chain is torn (the store was set back, or what changed it did not say so), all
//! rows are read.

use std::collections::BTreeSet;

use crate::id::SiloId;

/// How many changes are remembered, more or less.
pub(super) const REMEMBERED: i64 = 1_024;

/// What the version grows by at a change. Not by one: a replica that missed a change and became the primary must not reach
/// the same number by another one.
pub(super) fn growth() -> u32 {
    fastrand::u32(1..)
}

/// The first version that is still remembered at this one.
pub(super) fn oldest(version: i64) -> i64 {
    version.saturating_sub(REMEMBERED * i64::from(u32::MAX / 2))
}

/// A silo changed when the version did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    after: i64,
    before: i64,
    id: SiloId,
}

impl Entry {
    pub(super) fn new(before: i64, after: i64, id: &SiloId) -> Self {
        Self { after, before, id: id.clone() }
    }

    /// `before:after:id`; ids may have colons themselves.
    pub(super) fn to_text(&self) -> String {
        format!("{}:{}:{}", self.before, self.after, self.id)
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (before, rest) = text.split_once(':')?;
        let (after, id) = rest.split_once(':')?;
        Some(Self { before: before.parse().ok()?, after: after.parse().ok()?, id: SiloId::new(id).ok()? })
    }
}

/// Who changed between two versions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// As far as the entries reach; not less than the store's version was.
    pub(super) version: i64,
    pub(super) ids: BTreeSet<SiloId>,
}

impl Changes {
    /// What the entries say of the time from `since` up to `version`; nothing if they do not say all.
    pub(super) fn of(entries: impl IntoIterator<Item = Entry>, since: i64, version: i64) -> Option<Self> {
        let entries: BTreeSet<Entry> = entries.into_iter().collect();
        let (mut before, mut after, mut ids) = (since, since, BTreeSet::new());
        for entry in entries {
            if entry.before == after && entry.after > after {
                (before, after) = (entry.before, entry.after);
            } else if (entry.before, entry.after) != (before, after) {
                // It is of a time before, or belongs to another chain.
                continue;
            }
            ids.insert(entry.id);
        }
        // A version that is lower than the one known is one of another store, or of this one after it was emptied.
        let reaches = after == version || (after > since && after > version);
        reaches.then_some(Self { version: after, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(texts: &[&str]) -> Vec<Entry> {
        texts.iter().map(|text| Entry::from_text(text).unwrap()).collect()
    }

    /// `version a b …`, or nothing.
    fn changes(texts: &[&str], since: i64, version: i64) -> Option<String> {
        let changes = Changes::of(entries(texts), since, version)?;
        Some(changes.ids.iter().fold(changes.version.to_string(), |text, id| format!("{text} {id}")))
    }

    #[test]
    fn entries_are_texts_and_ids_may_have_colons() {
        let entry = Entry::new(-1, 7, &"a:b:c".parse().unwrap());
        assert_eq!(Entry::from_text(&entry.to_text()), Some(entry));
        for nonsense in ["", "1:2", "1:2:", "x:2:a", "1:y:a", "1"] {
            assert_eq!(Entry::from_text(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_chain_says_who_changed_since_and_goes_beyond_the_version_that_was_read() {
        let chain = ["1:5:a", "5:9:b", "5:9:c", "9:12:a"];
        assert_eq!(changes(&chain, 1, 12).unwrap(), "12 a b c");
        assert_eq!(changes(&chain, 5, 9).unwrap(), "12 a b c");
        assert_eq!(changes(&chain, 9, 12).unwrap(), "12 a");
        assert_eq!(changes(&chain, 12, 12).unwrap(), "12");
    }

    #[test]
    fn a_torn_chain_says_nothing() {
        assert_eq!(changes(&["1:5:a", "6:9:b"], 1, 9), None, "an entry is missing");
        assert_eq!(changes(&["1:5:a"], 1, 9), None, "the last one is missing");
        assert_eq!(changes(&["5:9:b"], 1, 9), None, "the first one is forgotten");
        assert_eq!(changes(&["3:4:b", "4:9:c"], 5, 9), None, "another history led here");
        assert_eq!(changes(&["5:5:b"], 5, 9), None, "no change");
        assert_eq!(changes(&[], 5, 3), None, "the store was emptied");
        assert_eq!(changes(&["1:3:a"], 5, 3), None, "the store was set back");
    }
}
