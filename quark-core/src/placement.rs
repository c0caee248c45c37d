//! Which silo handles an actor, by its type's policy. Pure: a view in, a silo id out.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::membership::View;

/// How actors of a type are placed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Placement {
    /// The owner on the ring: the same silo for all calls to an actor.
    #[default]
    ConsistentHash,
    /// Any silo that serves the type, anew for each call.
    Random,
    /// The caller's own silo if it serves the type, else the owner on the ring.
    PreferLocal,
    /// The silos that serve the type in turn, those of the caller's zone if there are any; for types whose silos are all the
    /// same.
    StatelessWorker,
    /// A policy of the user's.
    Custom(Arc<dyn PlacementPolicy>),
}

/// A policy of the user's.
pub trait PlacementPolicy: Send + Sync {
    /// The silo for a call, one of those in `view.ring(actor_type)`, of which there is at least one; `None` when the policy wants
    /// none of them, which ends the call with `NO_SILO`. Asked for each call, on the caller's thread. Must not block, nor make
    /// calls: these end with `REENTRANT`.
    ///
    /// # Errors
    /// Whatever the call is to end with; `INVALID_ARGUMENT` where the policy itself is at fault.
    fn place(
        &self,
        actor_type: &str,
        actor_id: &str,
        view: &Arc<View>,
        local: &SiloId,
    ) -> Result<Option<SiloId>>;

    /// Runs `ask`, which asks for a request once more: it had not been sent when its silo went. Called on the runtime's thread; for
    /// policies that must not run there.
    fn ask_again(&self, ask: Box<dyn FnOnce() + Send>) {
        ask();
    }
}

impl FromStr for Placement {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "consistent-hash" => Ok(Self::ConsistentHash),
            "random" => Ok(Self::Random),
            "prefer-local" => Ok(Self::PreferLocal),
            "stateless-worker" => Ok(Self::StatelessWorker),
            _ => Err(Error::invalid(
                "placement",
                name,
                "must be consistent-hash, random, prefer-local or stateless-worker",
            )),
        }
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConsistentHash => "consistent-hash",
            Self::Random => "random",
            Self::PreferLocal => "prefer-local",
            Self::StatelessWorker => "stateless-worker",
            Self::Custom(_) => "custom",
        })
    }
}

/// The policies of a silo, with what they remember.
pub(crate) struct Placements {
    by_type: HashMap<String, (Placement, AtomicUsize)>,
    /// The caller's.
    zone: Option<String>,
}

impl Placements {
    pub(crate) fn new(by_type: HashMap<String, Placement>, zone: Option<String>) -> Self {
        let by_type = by_type.into_iter();
        let by_type = by_type.map(|(name, placement)| (name, (placement, AtomicUsize::new(0)))).collect();
        Self { by_type, zone }
    }

    /// Whether the ring alone decides on this type.
    pub(crate) fn is_by_ring(&self, actor_type: &str) -> bool {
        matches!(self.by_type.get(actor_type), None | Some((Placement::ConsistentHash, _)))
    }

    /// The user's own policy for this type.
    pub(crate) fn policy(&self, actor_type: &str) -> Option<&Arc<dyn PlacementPolicy>> {
        match self.by_type.get(actor_type) {
            Some((Placement::Custom(policy), _)) => Some(policy),
            _ => None,
        }
    }

    /// The silo for one call.
    ///
    /// # Errors
    /// `NO_SILO` when there is none; what the user's own policy says.
    pub(crate) fn place<'a>(
        &self,
        actor_type: &str,
        actor_id: &str,
        view: &'a Arc<View>,
        local: &'a SiloId,
    ) -> Result<Cow<'a, SiloId>> {
        let owner = || view.owner(actor_type, actor_id);
        let choices = || view.choices(actor_type);
        let chosen = match self.by_type.get(actor_type) {
            None => owner(),
            Some((placement, turn)) => match placement {
                Placement::ConsistentHash => owner(),
                Placement::Random => one_of(choices().all(), || fastrand::usize(..)),
                Placement::PreferLocal if choices().contains(local) => Some(local),
                Placement::PreferLocal => owner(),
                Placement::StatelessWorker => {
                    one_of(choices().near(self.zone.as_deref()), || turn.fetch_add(1, Ordering::Relaxed))
                }
                Placement::Custom(_) if view.ring(actor_type).is_empty() => None,
                Placement::Custom(policy) => {
                    return ask(&**policy, actor_type, actor_id, view, local).map(Cow::Owned);
                }
            },
        };
        let none = || no_silo(format!("no silo serves actor type {actor_type:?}"));
        chosen.map(Cow::Borrowed).ok_or_else(none)
    }
}

fn one_of(silos: &[SiloId], number: impl FnOnce() -> usize) -> Option<&SiloId> {
    (!silos.is_empty()).then(|| &silos[number() % silos.len()])
}

fn no_silo(message: String) -> Error {
    Error::new(ErrorKind::NoSilo, message)
}

thread_local! {
    /// A policy of the user's is being asked on this thread.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Asks a policy of the user's, and checks what it says.
fn ask(
    policy: &dyn PlacementPolicy,
    actor_type: &str,
    actor_id: &str,
    view: &Arc<View>,
    local: &SiloId,
) -> Result<SiloId> {
    /// Also when the policy panics.
    struct Asked(bool);
    impl Drop for Asked {
        fn drop(&mut self) {
            ASKING.set(self.0);
        }
    }
    let asked = Asked(ASKING.replace(true));
    let chosen = policy.place(actor_type, actor_id, view, local);
    drop(asked);
    match chosen? {
        Some(chosen) if view.ring(actor_type).contains(chosen.as_str()) => Ok(chosen),
        Some(chosen) => {
            let problem = match view.silo(chosen.as_str()) {
                None => "is not in the view",
                Some(info) if info.serves(actor_type) => "is not active",
                Some(_) => "does not serve that type",
            };
            let version = view.version();
            Err(no_silo(format!(
                "the placement of {actor_type:?} chose {:?}, which {problem} (view {version})",
                chosen.as_str()
            )))
        }
        None => Err(no_silo(format!("the placement of {actor_type:?} chose no silo for {actor_id:?}"))),
    }
}

/// Calls may not be made by a policy: it is asked in the midst of one, and may have been asked on a thread that has the answer
/// to give.
///
/// # Errors
/// `REENTRANT`.
pub(crate) fn check_not_asking() -> Result<()> {
    if ASKING.get() {
        return Err(Error::new(ErrorKind::Reentrant, "a placement policy cannot make calls"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silo_info::SiloInfo;

    /// Silos by `id`, or `id@zone`.
    fn view(silos: &[&str]) -> Arc<View> {
        let info = |text: &&str| {
            let (id, zone) = text.split_once('@').map_or((*text, None), |(id, zone)| (id, Some(zone)));
            let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
            info.zone = zone.map(str::to_owned);
            Arc::new(info)
        };
        Arc::new(View::new(1, silos.iter().map(info)))
    }

    fn placements(placement: Placement, zone: Option<&str>) -> Placements {
        Placements::new(HashMap::from([("T".to_owned(), placement)]), zone.map(str::to_owned))
    }

    fn places(placement: Placement, silos: &[&str], local: &str, calls: usize) -> Vec<String> {
        let (view, local) = (view(silos), local.parse().unwrap());
        let placements = placements(placement, None);
        (0..calls).map(|_| placements.place("T", "1", &view, &local).unwrap().to_string()).collect()
    }

    #[test]
    fn stateless_workers_take_turns() {
        assert_eq!(places(Placement::StatelessWorker, &["a", "b", "c"], "a", 5), ["a", "b", "c", "a", "b"]);
    }

    #[test]
    fn stateless_workers_of_the_callers_zone_come_first() {
        let silos = ["a@x", "b@y", "c@x", "d"];
        let local = "client:1".parse().unwrap();
        let turns = |zone| {
            let (placements, view) = (placements(Placement::StatelessWorker, zone), view(&silos));
            let place = |_| placements.place("T", "1", &view, &local).unwrap().to_string();
            (0..4).map(place).collect::<Vec<_>>()
        };
        assert_eq!(turns(Some("x")), ["a", "c", "a", "c"]);
        assert_eq!(turns(Some("y")), ["b", "b", "b", "b"]);
        assert_eq!(turns(Some("z")), ["a", "b", "c", "d"], "nobody is there");
        assert_eq!(turns(None), ["a", "b", "c", "d"]);
    }

    #[test]
    fn prefer_local_stays_when_it_can() {
        assert_eq!(places(Placement::PreferLocal, &["a", "b"], "b", 2), ["b", "b"]);
        let elsewhere = places(Placement::PreferLocal, &["a", "b"], "client", 2);
        assert_eq!(elsewhere, places(Placement::ConsistentHash, &["a", "b"], "client", 2));
    }

    #[test]
    fn random_reaches_everybody() {
        let placed = places(Placement::Random, &["a", "b", "c"], "a", 200);
        assert!(["a", "b", "c"].iter().all(|id| placed.iter().any(|p| p == id)));
    }

    struct Fixed(Result<Option<SiloId>>);

    impl PlacementPolicy for Fixed {
        fn place(&self, _: &str, _: &str, _: &Arc<View>, _: &SiloId) -> Result<Option<SiloId>> {
            assert_eq!(check_not_asking().unwrap_err().kind(), ErrorKind::Reentrant);
            self.0.clone()
        }
    }

    fn fixed(answer: Result<Option<SiloId>>) -> Placement {
        Placement::Custom(Arc::new(Fixed(answer)))
    }

    #[test]
    fn nobody_serves_nobody_is_placed() {
        let own = fixed(Ok(Some("a".parse().unwrap())));
        for placement in [Placement::Random, Placement::StatelessWorker, Placement::PreferLocal, own] {
            let (placements, view, local) = (placements(placement, None), view(&[]), "a".parse().unwrap());
            let placed = placements.place("T", "1", &view, &local);
            assert_eq!(placed.unwrap_err().to_string(), "NO_SILO: no silo serves actor type \"T\"");
        }
    }

    #[test]
    fn what_a_policy_of_ones_own_says_is_checked() {
        let mut leaving = SiloInfo::new("c".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        leaving.status = crate::SiloStatus::ShuttingDown;
        let mut other = SiloInfo::clone(&leaving);
        other.silo_id = "d".parse().unwrap();
        other.actor_types = Some(vec!["Other".to_owned()]);
        let silos = view(&["a", "b"])
            .silos()
            .cloned()
            .chain([Arc::new(leaving), Arc::new(other)])
            .collect::<Vec<_>>();
        let view = Arc::new(View::new(7, silos));
        let local = "a".parse().unwrap();
        let place = |answer| placements(fixed(answer), None).place("T", "1", &view, &local);
        let silo = |id: &str| Ok(Some(id.parse().unwrap()));
        assert_eq!(place(silo("b")).unwrap().as_str(), "b");
        let refused = |answer| place(answer).unwrap_err().to_string();
        let chose = |what: &str| format!("NO_SILO: the placement of \"T\" chose {what}");
        assert_eq!(refused(silo("x")), chose("\"x\", which is not in the view (view 7)"));
        assert_eq!(refused(silo("c")), chose("\"c\", which is not active (view 7)"));
        assert_eq!(refused(silo("d")), chose("\"d\", which does not serve that type (view 7)"));
        assert_eq!(refused(Ok(None)), chose("no silo for \"1\""));
        let own = Error::invalid("placement", "T", "is wrong");
        assert_eq!(place(Err(own.clone())).unwrap_err(), own);
        assert!(check_not_asking().is_ok());
    }
}
