//! Which measurements of the table are made.

use super::goals::Place;
use super::table::{Group, Load, Subject};

pub(super) struct Selection {
    pub(super) quick: bool,
    /// One of these has to match; of each, every word has to.
    only: Option<Vec<Vec<String>>>,
    /// These subjects under these loads only.
    places: Option<Vec<Place>>,
}

impl Selection {
    /// `only` is `WORD,WORD+WORD`: what has the first word in the names of its subject and load, or both of the others. Names
    /// are taken without their commas.
    pub(super) fn new(quick: bool, only: Option<&str>) -> Self {
        let words = |all: &str| all.split('+').map(|word| word.trim().to_lowercase()).collect();
        Self { quick, only: only.map(|only| only.split(',').map(words).collect()), places: None }
    }

    pub(super) fn of_places(quick: bool, places: Vec<Place>) -> Self {
        Self { quick, only: None, places: Some(places) }
    }

    pub(super) fn is_partial(&self) -> bool {
        self.only.is_some() || self.places.is_some()
    }

    /// The subjects of a group that are measured under this load.
    pub(super) fn subjects(&self, group: &'static Group, load: &Load) -> Vec<&'static Subject> {
        let wanted = |subject: &&Subject| {
            // What is asked for by name is measured in a quick run too.
            let in_time = !self.quick || self.is_partial() || (load.quick && subject.quick);
            let names = format!("{}; {}", load.name, subject.name).to_lowercase().replace(',', "");
            let matches = |words: &Vec<String>| words.iter().all(|word| names.contains(word));
            let is_wanted = |places: &Vec<Place>| places.contains(&(subject.name, load.name));
            in_time
                && self.places.as_ref().is_none_or(is_wanted)
                && load.depth <= subject.deepest
                && self.only.as_ref().is_none_or(|only| only.iter().any(matches))
        };
        group.subjects.iter().filter(wanted).collect()
    }

    /// Prints what would be measured.
    pub(super) fn list(&self, groups: &'static [Group]) {
        let mut count = 0;
        for group in groups {
            println!("{}", group.title);
            for load in group.loads {
                for subject in self.subjects(group, load) {
                    println!("  {}; {}", load.name, subject.name);
                    count += 1;
                }
            }
        }
        println!("{count} measurements");
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::GROUPS;
    use super::Selection;

    fn chosen(quick: bool, only: Option<&str>) -> Vec<String> {
        let selection = Selection::new(quick, only);
        let all = GROUPS.iter().flat_map(|group| {
            let of_load = |load| selection.subjects(group, load).into_iter().map(move |one| (load, one));
            group.loads.iter().flat_map(of_load)
        });
        all.map(|(load, subject)| format!("{}: {}", load.name, subject.name)).collect()
    }

    #[test]
    fn one_pair_can_be_chosen() {
        let pair = chosen(false, Some("raw tonic one+depth 256,quark rust+depth 256"));
        let expected = [
            "raw tonic, one thread",
            "Quark, Rust",
            "Quark, Rust, TLS",
            "Quark, Rust, HTTP/3",
            "Quark, Rust, no future per request",
        ];
        assert_eq!(pair, expected.map(|name| format!("depth 256: {name}")));
        assert!(chosen(false, Some("no such thing")).is_empty());
    }

    #[test]
    fn a_quick_run_is_a_part_of_a_full_one() {
        let (quick, full) = (chosen(true, None), chosen(false, None));
        assert!(quick.len() < full.len() && quick.iter().all(|one| full.contains(one)));
    }

    #[test]
    fn no_two_measurements_have_the_same_names() {
        let mut all = chosen(false, None);
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
