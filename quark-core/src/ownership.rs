//! What a silo gains and loses of the ring, told to its host. Pure: somebody else says when to look, and at what.
//!
//! A watch holds what its host was told and what was lost since, and no queue: a host that is slow hears of several
//! changes as one, and whatever it lost in between is among what it lost, also when it came back.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::id::{MAX_ACTOR_NAME_BYTES, SiloId, check_name};
use crate::membership::View;
use crate::ring::{HashRanges, HashRing};

/// What a silo lost and gained of a ring. First give up what is lost, then take what is gained: positions that were lost
/// and came back, perhaps after another silo had owned them, are in both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnershipChange {
    /// The version of the view at which it stands.
    pub view_version: u64,
    /// What it owned when the host heard last, and did not at some time since.
    pub lost: HashRanges,
    /// What it owns now and did not when the host heard last, or did not at some time since.
    pub gained: HashRanges,
    /// All that it owns now.
    pub owned: HashRanges,
}

/// How a silo stands at one time.
pub(crate) struct Standing {
    pub(crate) view: Arc<View>,
    /// Whether it serves what its view says that it owns.
    pub(crate) serves: bool,
    /// How often it had to stop serving so far.
    pub(crate) losses: u64,
    /// Whether it has stopped for good.
    pub(crate) is_over: bool,
}

/// Whose ring a host means, of a silo that declares these types; nothing is the ring of the types that nobody declares.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `actor_type`.
pub(crate) fn whose_ring(actor_type: Option<&str>, declared: Option<&[String]>) -> Result<Option<String>> {
    if let Some(actor_type) = actor_type {
        check_name("actor_type", actor_type, MAX_ACTOR_NAME_BYTES)?;
    }
    match (actor_type, declared) {
        (actor_type, None) => Ok(actor_type.map(str::to_owned)),
        (None, Some([])) => Ok(None),
        (None, Some([only])) => Ok(Some(only.clone())),
        (None, Some(several)) => {
            let problem = format!("is required, for this silo serves {}", several.join(", "));
            Err(Error::invalid("actor_type", "", &problem))
        }
        (Some(named), Some(types)) if types.iter().any(|known| known == named) => Ok(Some(named.to_owned())),
        (Some(named), Some(_)) => {
            Err(Error::invalid("actor_type", named, "this silo does not serve that type"))
        }
    }
}

/// Hears of what a silo gains and loses; see [`Caller::watch_ownership`](crate::Caller::watch_ownership).
pub struct OwnershipWatch(Arc<Watch>);

/// The watches of one silo.
#[derive(Default)]
pub(crate) struct Watches(Mutex<Vec<Weak<Watch>>>);

struct Watch {
    /// Whose ring; nothing is the ring of the types that nobody declares.
    actor_type: Option<String>,
    ledger: Mutex<Ledger>,
    news: Notify,
}

#[derive(Default)]
struct Ledger {
    view_version: u64,
    ring: HashRing,
    owned: HashRanges,
    /// What the host was told that it owns.
    told: HashRanges,
    /// Of what it was told, what was lost since.
    lost: HashRanges,
    losses: u64,
    is_over: bool,
    /// Whether the host has a change that it has not done with.
    is_in_hand: bool,
}

impl OwnershipWatch {
    /// The next change; nothing when the silo has stopped and the host was told that everything is lost. Giving up the
    /// wait loses no change. Asking for the next says that the host has done what the last one demands.
    pub async fn changed(&mut self) -> Option<OwnershipChange> {
        self.ready().await;
        self.take()
    }

    /// Waits until [`take`](Self::take) has something to give, or never will, and says that the last is done with. For one
    /// waiter at a time.
    pub async fn ready(&self) {
        self.0.ledger().is_in_hand = false;
        while !self.0.ledger().has_news() {
            self.0.news.notified().await;
        }
    }

    /// What has changed since it was asked last, if anything has.
    pub fn take(&self) -> Option<OwnershipChange> {
        self.0.ledger().take()
    }

    /// Whether the silo has stopped: after what [`take`](Self::take) gives now, nothing comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.ledger().is_over
    }
}

impl fmt::Debug for OwnershipWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnershipWatch").field("actor_type", &self.0.actor_type).finish_non_exhaustive()
    }
}

impl Watches {
    /// Another watch, which begins with all that the silo owns.
    pub(crate) fn begin(
        &self,
        actor_type: Option<String>,
        local: &SiloId,
        standing: impl FnOnce() -> Standing,
    ) -> OwnershipWatch {
        let watch = Arc::new(Watch { actor_type, ledger: Mutex::default(), news: Notify::new() });
        let mut watches = self.lock();
        watch.look(local, &standing());
        watches.push(Arc::downgrade(&watch));
        OwnershipWatch(watch)
    }

    /// Something may have changed. `standing` is asked when no other look is under way, so that none goes back to an
    /// earlier one.
    pub(crate) fn look(&self, local: &SiloId, standing: impl FnOnce() -> Standing) {
        let mut watches = self.lock();
        if watches.is_empty() {
            return;
        }
        let standing = standing();
        watches.retain(|watch| {
            let watch = watch.upgrade();
            watch.inspect(|watch| watch.look(local, &standing)).is_some() && !standing.is_over
        });
    }

    /// Whether every host was told that all it had is lost, and has done with that.
    pub(crate) fn are_settled(&self) -> bool {
        self.lock().iter().filter_map(Weak::upgrade).all(|watch| watch.ledger().is_settled())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Watch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, local: &SiloId, standing: &Standing) {
        let ring = match &self.actor_type {
            Some(actor_type) => standing.view.ring(actor_type),
            None => standing.view.general_ring(),
        };
        let mut ledger = self.ledger();
        ledger.look(ring, local, standing);
        let has_news = ledger.has_news();
        drop(ledger);
        if has_news {
            self.news.notify_one();
        }
    }
}

impl Ledger {
    fn look(&mut self, ring: &HashRing, local: &SiloId, standing: &Standing) {
        self.view_version = standing.view.version();
        self.is_over |= standing.is_over;
        if self.losses != standing.losses {
            // Meanwhile others may have owned what was this silo's, whatever the view says by now.
            self.losses = standing.losses;
            self.own(HashRanges::new());
        }
        if !standing.serves {
            self.own(HashRanges::new());
        } else if self.owned.is_empty() || self.ring != *ring {
            self.ring = ring.clone();
            self.own(ring.ranges(local.as_str()));
        }
    }

    fn own(&mut self, owned: HashRanges) {
        let kept = self.told.difference(&self.lost).difference(&self.owned.difference(&owned));
        self.lost = self.told.difference(&kept);
        self.owned = owned;
    }

    fn has_news(&self) -> bool {
        self.is_over || !self.lost.is_empty() || self.owned != self.told
    }

    fn is_settled(&self) -> bool {
        self.told.is_empty() && !self.is_in_hand
    }

    fn take(&mut self) -> Option<OwnershipChange> {
        let lost = std::mem::take(&mut self.lost);
        let gained = self.owned.difference(&self.told.difference(&lost));
        self.told = self.owned.clone();
        let is_change = !lost.is_empty() || !gained.is_empty();
        // Who asks again has done with what came before.
        self.is_in_hand = is_change;
        let (view_version, owned) = (self.view_version, self.owned.clone());
        is_change.then_some(OwnershipChange { view_version, lost, gained, owned })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::silo_info::SiloInfo;

    fn view(version: u64, ids: &[&str]) -> Arc<View> {
        let info = |id: &&str| Arc::new(SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap()));
        Arc::new(View::new(version, ids.iter().map(info)))
    }

    fn serving(view: &Arc<View>, losses: u64) -> Standing {
        Standing { view: view.clone(), serves: true, losses, is_over: false }
    }

    fn me() -> SiloId {
        "me".parse().unwrap()
    }

    #[test]
    fn a_join_takes_what_the_newcomer_owns_and_its_leave_gives_it_back() {
        let (alone, both) = (view(1, &["me"]), view(2, &["me", "other"]));
        let watches = Watches::default();
        let watch = watches.begin(None, &me(), || serving(&alone, 0));
        let first = watch.take().unwrap();
        assert_eq!((&first.gained, &first.owned), (&HashRanges::all(), &HashRanges::all()));
        assert!(first.lost.is_empty() && watch.take().is_none());
        watches.look(&me(), || serving(&both, 0));
        let second = watch.take().unwrap();
        assert_eq!(second.lost, both.general_ring().ranges("other"));
        assert_eq!(second.owned, both.general_ring().ranges("me"));
        assert!(second.gained.is_empty() && second.view_version == 2);
        watches.look(&me(), || serving(&alone, 0));
        let third = watch.take().unwrap();
        assert_eq!((third.gained, third.lost), (second.lost, HashRanges::new()));
    }

    #[test]
    fn what_was_lost_and_came_back_before_the_host_looked_is_in_both() {
        let (alone, both) = (view(1, &["me"]), view(2, &["me", "other"]));
        let watches = Watches::default();
        let watch = watches.begin(None, &me(), || serving(&alone, 0));
        watch.take().unwrap();
        watches.look(&me(), || serving(&both, 0));
        watches.look(&me(), || serving(&alone, 0));
        let change = watch.take().unwrap();
        let others = both.general_ring().ranges("other");
        assert_eq!((&change.lost, &change.gained, change.owned), (&others, &others, HashRanges::all()));
        // Out and in again, in another life, with nobody else in between: somebody may have been.
        watches.look(&me(), || serving(&alone, 1));
        let change = watch.take().unwrap();
        assert_eq!((change.lost, change.gained), (HashRanges::all(), HashRanges::all()));
    }

    #[test]
    fn what_came_and_went_before_the_host_looked_is_not_told() {
        let (alone, both) = (view(1, &["me"]), view(2, &["me", "other"]));
        let watches = Watches::default();
        let watch = watches.begin(None, &me(), || serving(&both, 0));
        watch.take().unwrap();
        watches.look(&me(), || serving(&alone, 0));
        watches.look(&me(), || serving(&both, 0));
        assert_eq!(watch.take(), None);
    }

    #[tokio::test]
    async fn whoever_cannot_serve_owns_nothing_and_the_end_comes_after_the_last_loss() {
        let alone = view(1, &["me"]);
        let watches = Watches::default();
        let mut watch = watches.begin(None, &me(), || serving(&alone, 0));
        assert!(watch.changed().await.is_some());
        watches.look(&me(), || Standing { serves: false, ..serving(&alone, 1) });
        assert_eq!(watch.changed().await.unwrap().lost, HashRanges::all());
        watches.look(&me(), || serving(&alone, 1));
        assert_eq!(watch.changed().await.unwrap().gained, HashRanges::all());
        watches.look(&me(), || Standing { serves: false, is_over: true, ..serving(&alone, 1) });
        assert_eq!(watch.changed().await.unwrap().lost, HashRanges::all());
        assert_eq!((watch.changed().await, watch.is_over()), (None, true));
    }

    proptest! {
        /// A host that looks seldom ends with what one ends with that looks each time, and hears of each loss.
        #[test]
        fn a_slow_host_hears_everything(steps in prop::collection::vec((0usize..4, any::<bool>(), any::<bool>(), any::<bool>()), 1..20)) {
            let views = [view(1, &["me"]), view(2, &["me", "a"]), view(3, &["me", "a", "b"]), view(4, &["b"])];
            let start = || serving(&views[0], 0);
            let watches = Watches::default();
            let (quick, slow) = (watches.begin(None, &me(), start), watches.begin(None, &me(), start));
            let (mut held_by_quick, mut held_by_slow) = (HashRanges::new(), HashRanges::new());
            let apply = |held: &mut HashRanges, change: &OwnershipChange| {
                // Nothing is lost that was not there, nothing gained that was.
                assert!(change.lost.difference(held).is_empty());
                *held = held.difference(&change.lost);
                assert_eq!(change.gained.difference(held), change.gained);
                *held = held.union(&change.gained);
                assert_eq!(*held, change.owned);
            };
            let mut lost_meanwhile = HashRanges::new();
            let mut losses = 0;
            for (which, serves, loses, slow_looks) in steps {
                losses += u64::from(loses);
                watches.look(&me(), || Standing { serves, ..serving(&views[which], losses) });
                if let Some(change) = quick.take() {
                    apply(&mut held_by_quick, &change);
                    lost_meanwhile = lost_meanwhile.union(&change.lost);
                }
                if slow_looks {
                    let before = held_by_slow.clone();
                    let change = slow.take();
                    let lost = change.as_ref().map_or(HashRanges::new(), |change| change.lost.clone());
                    // All that was lost of what it had.
                    let of_its_own = before.difference(&before.difference(&lost_meanwhile));
                    prop_assert_eq!(lost, of_its_own);
                    if let Some(change) = change {
                        apply(&mut held_by_slow, &change);
                    }
                    lost_meanwhile = HashRanges::new();
                    prop_assert_eq!(&held_by_slow, &held_by_quick);
                }
            }
        }
    }
}
