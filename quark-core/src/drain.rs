//! What a silo says of itself while it drains: which hash ranges it keeps, by actor type. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::ring::Kept;

/// A silo drains: it keeps the hash ranges that it owned when it began to, and gets nothing new. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Of the types that some silo declares.
    by_type: BTreeMap<String, Kept>,
    /// Of all other types.
    others: Kept,
}

impl Drain {
    /// Keeps these ranges of these types, and `others` of all others.
    pub(crate) fn keeping(by_type: BTreeMap<String, Kept>, others: Kept) -> Self {
        Self { by_type, others }
    }

    /// The types of which it keeps something else than of all others.
    pub(crate) fn types(&self) -> impl Iterator<Item = &String> {
        self.by_type.keys()
    }

    /// What it keeps of a type; for `None` of all that are not named.
    pub(crate) fn kept(&self, actor_type: Option<&str>) -> &Kept {
        actor_type.and_then(|actor_type| self.by_type.get(actor_type)).unwrap_or(&self.others)
    }

    /// What is left of it when it owns no more than this.
    pub(crate) fn and(&self, owned: &Self) -> Self {
        let types: BTreeSet<&String> = self.by_type.keys().chain(owned.by_type.keys()).collect();
        let both = |actor_type: Option<&str>| self.kept(actor_type).and(owned.kept(actor_type));
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
        let mut alike = BTreeMap::<&Kept, Vec<String>>::new();
        for (actor_type, kept) in &self.by_type {
            alike.entry(kept).or_default().push(actor_type.clone());
        }
        let others = (!self.others.is_empty()).then(|| (&self.others, Vec::new()));
        let parts = others.into_iter().chain(alike);
        parts.map(|(kept, types)| Part { types, ranges: kept.to_text() }).collect::<Vec<_>>()
    }

    /// Reads that. What is no array says nothing; parts that cannot be read are left out, and so is what was said before.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let mut drain = Self::default();
        let mut others = None;
        for part in json.as_array()? {
            let Some(kept) = part.get("ranges").and_then(Value::as_str).and_then(Kept::from_text) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Drain> {
        Drain::from_json(&serde_json::from_str(json).unwrap())
    }

    fn written(drain: &Drain) -> String {
        serde_json::to_string(&drain.to_json()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let [one, two] = [(1, 5), (7, 9)].map(|range| Kept::of([range]));
        let named = |names: &[(&str, &Kept)]| {
            names.iter().map(|(name, kept)| ((*name).to_owned(), Kept::clone(kept))).collect()
        };
        for drain in [
            Drain::default(),
            Drain::keeping(BTreeMap::new(), one.clone()),
            Drain::keeping(named(&[("A", &two), ("B", &two), ("C", &Kept::default())]), one.clone()),
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
        assert_eq!(read(twice).unwrap().kept(Some("T")).ranges(), [(1, 5)], "the first one counts");
    }

    #[test]
    fn what_is_left_is_looked_up_by_type_on_both_sides() {
        let [all, half, low] = [(0, u32::MAX), (0, 1 << 31), (0, 9)].map(|range| Kept::of([range]));
        let of_a = |kept: &Kept| BTreeMap::from([("A".to_owned(), kept.clone())]);
        let drain = Drain::keeping(of_a(&half), all.clone());
        let left = drain.and(&Drain::keeping(BTreeMap::from([("B".to_owned(), low.clone())]), all.clone()));
        assert_eq!((left.kept(Some("A")), left.kept(Some("B")), left.kept(None)), (&half, &low, &all));
    }
}
