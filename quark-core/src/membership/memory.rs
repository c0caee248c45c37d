//! `memory://name`: silos of one process that name the same see each other at once. For tests and for programs that
//! run several silos in one process.
//!
//! No I/O: whoever joins or leaves publishes the new view to everybody, under the lock of its room, so that all see the
//! same changes in the same order. With a lag, each hears of them a little later, as it is with real providers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;

use super::change::Change;
use super::{MembershipConfig, Provider, Role, ViewPublisher, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::Prober;
use crate::silo_info::SiloInfo;

/// Rooms stay, because incarnations must grow over the lives of their silos.
static ROOMS: LazyLock<Mutex<Rooms>> = LazyLock::new(Mutex::default);

/// A room for each cluster and name.
type Rooms = HashMap<(String, String), Arc<Mutex<Room>>>;

#[derive(Default)]
struct Room {
    silos: BTreeMap<SiloId, Arc<SiloInfo>>,
    /// The highest incarnation that each id ever had.
    incarnations: BTreeMap<SiloId, u64>,
    audience: BTreeMap<Seat, Listener>,
    next_seat: Seat,
}

type Seat = u64;

type Silos = Vec<Arc<SiloInfo>>;

/// Who hears of changes: at once, or from a task that is late.
enum Listener {
    Now(ViewPublisher),
    Later(mpsc::UnboundedSender<Silos>),
}

impl Listener {
    fn new(views: ViewPublisher, lag: Duration) -> Self {
        if lag.is_zero() {
            return Self::Now(views);
        }
        let (sender, mut receiver) = mpsc::unbounded_channel::<Silos>();
        // Ends when the listener leaves.
        tokio::spawn(async move {
            while let Some(silos) = receiver.recv().await {
                tokio::time::sleep(lag.mul_f64(fastrand::f64())).await;
                views.publish(silos);
            }
        });
        Self::Later(sender)
    }

    fn hear(&self, silos: Silos) {
        match self {
            Self::Now(views) => drop(views.publish(silos)),
            Self::Later(task) => drop(task.send(silos)),
        }
    }
}

impl Room {
    fn enter(
        &mut self,
        role: Role,
        views: ViewPublisher,
        lag: Duration,
    ) -> Result<(Seat, Option<Arc<SiloInfo>>)> {
        let silo = match role {
            Role::Member(info) => Some(self.admit(info)?),
            Role::Observer(_) => None,
        };
        let seat = self.next_seat;
        self.next_seat += 1;
        // Whoever comes sees everybody from the start; the others hear of it.
        views.publish(self.silos.values().cloned());
        self.publish();
        self.audience.insert(seat, Listener::new(views, lag));
        Ok((seat, silo))
    }

    fn admit(&mut self, mut info: SiloInfo) -> Result<Arc<SiloInfo>> {
        if let Some(other) = self.silos.get(&info.silo_id) {
            return Err(Error::new(
                ErrorKind::IdInUse,
                format!("silo {:?} lives at {}", info.silo_id, other.endpoint),
            ));
        }
        let highest = self.incarnations.entry(info.silo_id.clone()).or_default();
        *highest += 1;
        info.incarnation = *highest;
        let info = Arc::new(info);
        self.silos.insert(info.silo_id.clone(), info.clone());
        Ok(info)
    }

    fn publish(&self) {
        for listener in self.audience.values() {
            listener.hear(self.silos.values().cloned().collect());
        }
    }
}

/// Membership within this process.
pub(super) struct MemoryMembership {
    room: Arc<Mutex<Room>>,
    lag: Duration,
    place: Mutex<Option<Place>>,
}

/// Where somebody sits, and the silo it brought.
struct Place {
    seat: Seat,
    silo: Option<SiloId>,
}

impl MemoryMembership {
    pub(super) fn new(name: &str, lag: Duration, config: &MembershipConfig) -> Self {
        let mut rooms = ROOMS.lock().expect("no panic while locked");
        let room = rooms.entry((config.cluster.clone(), name.to_owned())).or_default().clone();
        Self { room, lag, place: Mutex::new(None) }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().expect("no panic while locked")
    }

    fn leave(&self) {
        let Some(place) = self.place.lock().expect("no panic while locked").take() else { return };
        let mut room = self.room();
        room.audience.remove(&place.seat);
        if let Some(silo) = place.silo {
            room.silos.remove(&silo);
            room.publish();
        }
    }
}

/// Lets those run first who were woken by a new view, so that on a runtime of one thread all others have seen it when a
/// start or a stop returns: tests rely on that.
async fn let_others_see() {
    tokio::task::yield_now().await;
}

impl Provider for MemoryMembership {
    fn start(&self, role: Role, views: ViewPublisher, _: Arc<dyn Prober>) -> Work<'_, u64> {
        Box::pin(async move {
            let (seat, silo) = self.room().enter(role, views, self.lag)?;
            let incarnation = silo.as_ref().map_or(0, |info| info.incarnation);
            let silo = silo.map(|info| info.silo_id.clone());
            *self.place.lock().expect("no panic while locked") = Some(Place { seat, silo });
            let_others_see().await;
            Ok(incarnation)
        })
    }

    fn announce(&self, change: Change) -> Work<'_> {
        Box::pin(async move {
            let place = self.place.lock().expect("no panic while locked");
            if let Some(silo) = place.as_ref().and_then(|place| place.silo.as_ref()) {
                let mut room = self.room();
                if let Some(info) = room.silos.get_mut(silo) {
                    change.apply(Arc::make_mut(info));
                }
                room.publish();
            }
            Ok(())
        })
    }

    fn stop(&self) -> Work<'_> {
        Box::pin(async move {
            self.leave();
            let_others_see().await;
            Ok(())
        })
    }

    fn suspect(&self, _: &SiloInfo) {}
}

impl Drop for MemoryMembership {
    fn drop(&mut self) {
        self.leave();
    }
}
