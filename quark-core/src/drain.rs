//! What a silo says of itself while it drains: which hash ranges it keeps, by actor type. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::ring::{HashRange, HashRanges};

/// A silo drains: it keeps the hash ranges that it owned when it began to, and gets nothing new. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Of the types that some silo declares.
    by_type: BTreeMap<String, HashRanges>,
    /// Of all other types.
    others: HashRanges,
}

impl Drain {
    /// Keeps these ranges of these types, and `others` of all others.
    pub(crate) fn keeping(by_type: BTreeMap<String, HashRanges>, others: HashRanges) -> Self {
        Self { by_type, others }
    }

    /// The types of which it keeps something else than of all others.
    pub(crate) fn types(&self) -> impl Iterator<Item = &String> {
        self.by_type.keys()
    }

    /// What it keeps of a type; for `None` of all that are not named.
    pub(crate) fn kept(&self, actor_type: Option<&str>) -> &HashRanges {
        actor_type.and_then(|actor_type| self.by_type.get(actor_type)).unwrap_or(&self.others)
    }

    /// What is left of it when it owns no more than this.
    pub(crate) fn and(&self, owned: &Self) -> Self {
        let types: BTreeSet<&String> = self.by_type.keys().chain(owned.by_type.keys()).collect();
        let both = |actor_type: Option<&str>| self.kept(actor_type).intersection(owned.kept(actor_type));
        let by_type = types.into_iter().map(|name| (name.clone(), both(Some(name)))).collect();
        Self { by_type, others: both(None) }
    }

    /// The member of the row: an array of `{"types": […], "ranges": base64}`; without `types`, of all that are not named.
    pub(crate) fn to_json(&self) -> impl Serialize + use<> {
        #[derive(Serialize)]
        struct Part {
            #[serde(skip_serializing_if = "Vec::is_empty")]
            types: Vec<String>,
            ranges: String,
        }
        // Types of which it keeps the same are told together.
        let mut alike = BTreeMap::<String, Vec<String>>::new();
        for (actor_type, kept) in &self.by_type {
            alike.entry(text_of(kept)).or_default().push(actor_type.clone());
        }
        let others = (!self.others.is_empty()).then(|| (text_of(&self.others), Vec::new()));
        let parts = others.into_iter().chain(alike);
        parts.map(|(ranges, types)| Part { types, ranges }).collect::<Vec<_>>()
    }

    /// Reads that. What is no array says nothing; parts that cannot be read are left out, and so is what was said before.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let mut drain = Self::default();
        let mut others = None;
        for part in json.as_array()? {
            let Some(kept) = part.get("ranges").and_then(Value::as_str).and_then(ranges_of) else {
                continue;
            };
            match part.get("types") {
                None => drop(others.get_or_insert(kept)),
                Some(types) => {
                    for name in types.as_array().into_iter().flatten().filter_map(Value::as_str) {
                        drain.by_type.entry(name.to_owned()).or_insert_with(|| kept.clone());
                    }
                }
            }
        }
        drain.others = others.unwrap_or_default();
        Some(drain)
    }
}

/// Base64 of ranges, each as two little-endian numbers of four bytes.
fn text_of(ranges: &HashRanges) -> String {
    let numbers = ranges.iter().flat_map(|range| [range.first, range.last]);
    STANDARD.encode(numbers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
}

/// Reads that; `None` when it is no base64. A rest that is no range is left out, and so are ranges that end before they begin.
fn ranges_of(text: &str) -> Option<HashRanges> {
    let bytes = STANDARD.decode(text).ok()?;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let ranges =
        bytes.chunks_exact(8).map(|pair| HashRange { first: number(pair), last: number(&pair[4..]) });
    Some(ranges.filter(|range| range.first <= range.last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges<const N: usize>(ranges: [(u32, u32); N]) -> HashRanges {
        ranges.into_iter().map(|(first, last)| HashRange { first, last }).collect()
    }

    fn read(json: &str) -> Option<Drain> {
        Drain::from_json(&serde_json::from_str(json).unwrap())
    }

    fn written(drain: &Drain) -> String {
        serde_json::to_string(&drain.to_json()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let [one, two] = [(1, 5), (7, 9)].map(|range| ranges([range]));
        let named = |names: &[(&str, &HashRanges)]| {
            names.iter().map(|(name, kept)| ((*name).to_owned(), HashRanges::clone(kept))).collect()
        };
        for drain in [
            Drain::default(),
            Drain::keeping(BTreeMap::new(), one.clone()),
            Drain::keeping(named(&[("A", &two), ("B", &two), ("C", &HashRanges::default())]), one.clone()),
        ] {
            assert_eq!(read(&written(&drain)), Some(drain));
        }
        let drain = Drain::keeping(named(&[("A", &two), ("B", &two)]), one);
        assert_eq!(
            written(&drain),
            r#"[{"ranges":"AQAAAAUAAAA="},{"types":["A","B"],"ranges":"BwAAAAkAAAA="}]"#
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for json in ["true", "{}", "7", "\"AAAA\""] {
            assert_eq!(read(json), None, "{json}");
        }
        for json in ["[]", "[7, null, []]", r#"[{"ranges": 7}, {"ranges": "~"}, {"types": 7, "ranges": ""}]"#]
        {
            assert_eq!(read(json), Some(Drain::default()), "{json}");
        }
        let twice = r#"[{"ranges":"AQAAAAUAAAA="},{"ranges":"BwAAAAkAAAA="}]"#;
        assert_eq!(read(twice).unwrap().kept(Some("T")), &ranges([(1, 5)]), "the first one counts");
    }

    #[test]
    fn what_is_left_is_looked_up_by_type_on_both_sides() {
        let [all, half, low] = [(0, u32::MAX), (0, 1 << 31), (0, 9)].map(|range| ranges([range]));
        let of_a = |kept: &HashRanges| BTreeMap::from([("A".to_owned(), kept.clone())]);
        let drain = Drain::keeping(of_a(&half), all.clone());
        let left = drain.and(&Drain::keeping(BTreeMap::from([("B".to_owned(), low.clone())]), all.clone()));
        assert_eq!((left.kept(Some("A")), left.kept(Some("B")), left.kept(None)), (&half, &low, &all));
    }

    #[test]
    fn texts_that_are_no_ranges_are_none() {
        let kept = ranges([(30, 40), (10, 19), (20, 25), (u32::MAX, u32::MAX)]);
        assert_eq!(ranges_of(&text_of(&kept)), Some(kept));
        assert_eq!(ranges_of("not base64!"), None);
        assert_eq!(ranges_of(""), Some(HashRanges::new()));
        assert_eq!(ranges_of("AAAA"), Some(HashRanges::new()), "less than a range");
        assert_eq!(ranges_of("BQAAAAQAAAA="), Some(HashRanges::new()), "from 5 to 4");
    }

    #[test]
    fn what_both_keep_is_in_both() {
        let both = |a: &HashRanges, b: &HashRanges| {
            assert_eq!(a.intersection(b), b.intersection(a));
            a.intersection(b)
        };
        let (few, more) = (ranges([(0, 10), (20, 30)]), ranges([(5, 25), (30, 40)]));
        assert_eq!(both(&few, &more), ranges([(5, 10), (20, 25), (30, 30)]));
        assert_eq!(both(&ranges([(0, 10)]), &ranges([(11, 12)])), ranges([]));
        let apart = ranges([(3, 4), (6, u32::MAX)]);
        assert_eq!(both(&HashRanges::all(), &apart), apart);
    }
}
