//! Whoever sees the same silos agrees on who owns what, whatever came before; and only what must move moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::View;
use super::change::Change;
use crate::id::SiloId;
use crate::ring::HashRanges;
use crate::silo_info::{SiloInfo, SiloStatus};

/// A type that some silos declare, one that others do, and one that nobody does.
const TYPES: [&str; 3] = ["A", "B", "Other"];

#[derive(Clone, Debug)]
enum Step {
    /// A silo comes, which declares these of the types; none serves all.
    Join(u8, u32, Vec<usize>),
    Leave(u8),
    Drain(u8),
    Resume(u8),
    Weight(u8, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (silo, nodes) = (|| 0u8..7, || 1u32..40);
    let types = prop::option::of(prop::collection::vec(0usize..2, 1..3)).prop_map(Option::unwrap_or_default);
    let step = prop_oneof![
        4 => (silo(), nodes(), types).prop_map(|(silo, nodes, types)| Step::Join(silo, nodes, types)),
        2 => silo().prop_map(Step::Leave),
        3 => silo().prop_map(Step::Drain),
        1 => silo().prop_map(Step::Resume),
        1 => (silo(), nodes()).prop_map(|(silo, nodes)| Step::Weight(silo, nodes)),
    ];
    prop::collection::vec(step, 1..25)
}

fn id(silo: u8) -> SiloId {
    format!("silo-{silo}").parse().unwrap()
}

/// The silos as their rows say.
#[derive(Default)]
struct Cluster(BTreeMap<SiloId, SiloInfo>);

impl Cluster {
    fn view(&self) -> View {
        View::new(1, self.0.values().cloned().map(Arc::new))
    }

    /// What somebody sees who read the rows in another order, from their JSON.
    fn another_view(&self, turn: usize) -> View {
        let mut infos: Vec<_> = self.0.values().collect();
        let by = turn % infos.len().max(1);
        infos.rotate_left(by);
        infos.reverse();
        View::new(9, infos.into_iter().map(|info| Arc::new(SiloInfo::from_json(&info.to_json()).unwrap())))
    }

    /// Does it; says whether there was anything to do.
    fn take(&mut self, step: &Step) -> bool {
        let before = self.view();
        let mut change = |silo: &u8, change: Change| match self.0.get_mut(&id(*silo)) {
            Some(info) => {
                change.apply(info);
                true
            }
            None => false,
        };
        match step {
            Step::Join(silo, nodes, types) => {
                if self.0.contains_key(&id(*silo)) {
                    return false;
                }
                let mut info = SiloInfo::new(id(*silo), "127.0.0.1:1".parse().unwrap());
                info.virtual_nodes = *nodes;
                info.status = SiloStatus::Active;
                let types: Vec<_> = types.iter().map(|place| TYPES[*place].to_owned()).collect();
                info.actor_types = (!types.is_empty()).then_some(types);
                self.0.insert(id(*silo), info).is_none()
            }
            Step::Leave(silo) => self.0.remove(&id(*silo)).is_some(),
            Step::Drain(silo) => {
                let drains = before.silo(id(*silo).as_str()).is_some_and(|info| info.is_draining());
                !drains && change(silo, Change::Drain(Some(before.owned_by(&id(*silo)))))
            }
            Step::Resume(silo) => change(silo, Change::Drain(None)),
            Step::Weight(silo, nodes) => change(silo, Change::VirtualNodes(*nodes)),
        }
    }

    /// Silos that drain have heard of the change, and said what is left to them.
    fn hear(&mut self) {
        let view = self.view();
        for (id, info) in &mut self.0 {
            if let Some(drain) = &info.drain {
                info.drain = Some(drain.and(&view.owned_by(id)));
            }
        }
    }
}

fn owned(view: &View, silo: &SiloId, actor_type: &str) -> HashRanges {
    view.ring(actor_type).ranges(silo.as_str())
}

fn is_within(inner: &HashRanges, outer: &HashRanges) -> bool {
    inner.difference(outer).is_empty()
}

/// Who may give and who may get by a step; `None` is anybody.
fn may_move(step: &Step, from: Option<&SiloId>, to: Option<&SiloId>) -> bool {
    match step {
        Step::Join(silo, ..) | Step::Resume(silo) => to == Some(&id(*silo)),
        Step::Leave(silo) => from == Some(&id(*silo)),
        Step::Drain(_) => false,
        Step::Weight(silo, _) => [from, to].contains(&Some(&id(*silo))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn views_of_the_same_silos_agree_and_only_what_must_move_moves(steps in steps()) {
        let mut cluster = Cluster::default();
        for (turn, step) in steps.iter().enumerate() {
            let before = cluster.view();
            cluster.take(step);
            let after = cluster.view();
            for actor_type in TYPES {
                for ((from, to), _) in before.ring(actor_type).moves(after.ring(actor_type)) {
                    prop_assert!(may_move(step, from.as_ref(), to.as_ref()), "{step:?} moves {from:?} to {to:?}");
                }
            }
            cluster.hear();
            let heard = cluster.view();
            let other = cluster.another_view(turn);
            for actor_type in TYPES {
                let ring = heard.ring(actor_type);
                // What is left to the draining ones is what they have anyway.
                prop_assert!(after.ring(actor_type).moves(ring).is_empty(), "{step:?}, {actor_type}");
                prop_assert!(ring.moves(other.ring(actor_type)).is_empty(), "{step:?}, {actor_type}");
                for actor in 0..5 {
                    let actor = actor.to_string();
                    prop_assert_eq!(heard.owner(actor_type, &actor), other.owner(actor_type, &actor));
                    let next = |view: &View| view.next_owners(actor_type, &actor, 9);
                    prop_assert_eq!(next(&heard), next(&other));
                    let all = |view: &View| view.successors(actor_type, &actor, 9);
                    prop_assert_eq!(all(&heard), all(&other));
                }
                let somebody_is_open = heard.silos().any(|info| !info.is_draining() && ring.contains(info.silo_id.as_str()));
                for info in heard.silos().filter(|info| info.is_draining() && somebody_is_open) {
                    let was_there = before.silo(info.silo_id.as_str()).is_some();
                    let (had, has) = (owned(&before, &info.silo_id, actor_type), owned(&heard, &info.silo_id, actor_type));
                    prop_assert!(was_there && is_within(&has, &had), "{step:?}: {} grows", info.silo_id);
                }
            }
        }
    }
}
