//! One run: what is done to a cluster, and the rules by which it is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::server::{SharedStore, Snapshot};
use super::world::{Fortune, Network, Running, why};
use crate::endpoint::Endpoint;
use crate::id::SiloId;

/// How long faults are made, and how long none are afterwards.
const STORM: Duration = Duration::from_secs(300);
const CALM: Duration = Duration::from_secs(150);
/// How often it is looked whether the rules hold.
const STEP: Duration = Duration::from_millis(200);
/// For how long a silo must have run and been reachable, for it to be wrong to put it out: two probes that go unanswered
/// for two seconds each, one after the other, by several, take no longer.
const INNOCENCE: Duration = Duration::from_secs(12);
/// For how long it must have reached the store: its row may have been missing for long when it comes back.
const STORED: Duration = Duration::from_secs(45);
/// When a dead silo must be in no view any more, of those who had no trouble: its row expires after 30 s, which a heartbeat
/// may notice 10 s later, and may be missing for 15 s more.
const BURIED: Duration = Duration::from_secs(75);
/// How long a silo whose life is over may serve still when it reaches the store: a heartbeat and some.
const LAST_SERVICE: Duration = Duration::from_secs(15);

/// What a run came to.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) trace: Vec<String>,
    pub(super) broken: Vec<String>,
    pub(super) faults: usize,
    pub(super) put_out: usize,
    pub(super) living_put_out: usize,
    pub(super) dead_kept: usize,
    pub(super) other: usize,
}

impl Outcome {
    pub(super) fn add(&mut self, seed: u64, other: Self) {
        self.broken.extend(other.broken.into_iter().map(|rule| format!("seed {seed}: {rule}")));
        self.faults += other.faults;
        self.put_out += other.put_out;
        self.living_put_out += other.living_put_out;
        self.dead_kept += other.dead_kept;
        self.other += other.other;
    }
}

/// What undoes a fault.
#[derive(Debug)]
enum Undo {
    Continue(SiloId),
    Cut(SiloId, SiloId),
    CutFromStore(SiloId),
    StoreAway,
    Latency,
    Messages,
    Answers,
}

/// One process of a silo, and how it fared.
struct Member {
    running: Running,
    fortune: Fortune,
    incarnation: u64,
    over_since: Option<Instant>,
    /// That this life was put out is noted.
    is_noted: bool,
    /// Who could not reach it of late.
    unreached: BTreeMap<SiloId, Instant>,
}

impl Member {
    fn life(&self) -> (SiloId, u64) {
        (self.running.id.clone(), self.running.incarnation())
    }
}

struct Run {
    random: fastrand::Rng,
    began: Instant,
    store: SharedStore,
    network: Network,
    ids: Vec<SiloId>,
    members: BTreeMap<SiloId, Member>,
    /// Second processes of ids.
    doubles: Vec<Member>,
    client: Running,
    client_fortune: Fortune,
    dead: BTreeMap<(SiloId, u64), Instant>,
    snapshot: Option<Snapshot>,
    /// Who is about to start.
    starting: Option<SiloId>,
    /// The store lost nothing since.
    kept_since: Instant,
    undo: Vec<(Instant, Undo)>,
    next_port: u16,
    outcome: Outcome,
}

/// Runs a seed.
pub(super) fn simulate(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    fastrand::seed(seed);
    runtime.block_on(async move {
        let mut run = Run::begin(seed).await;
        run.storm().await;
        run.calm().await;
        run.outcome
    })
}

impl Run {
    async fn begin(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (store, network) = (SharedStore::default(), Network::default());
        store.seed(seed);
        let ids: Vec<SiloId> = ["a", "b", "c", "d", "e", "f"][..random.usize(3..=6)]
            .iter()
            .map(|id| id.parse().unwrap())
            .collect();
        let client: SiloId = "client:1".parse().unwrap();
        let nowhere = "nowhere:1".parse().unwrap();
        let client = Running::start(&store, &network, &client, &nowhere, time::Duration::ZERO).await.unwrap();
        let mut run = Self {
            random,
            began: Instant::now(),
            store,
            network,
            ids: ids.clone(),
            members: BTreeMap::new(),
            doubles: Vec::new(),
            client,
            client_fortune: Fortune::new(),
            dead: BTreeMap::new(),
            snapshot: None,
            starting: None,
            kept_since: Instant::now(),
            undo: Vec::new(),
            next_port: 1,
            outcome: Outcome::default(),
        };
        for id in ids {
            run.start(&id, None).await;
        }
        run
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        let at = self.began.elapsed().as_millis();
        self.outcome.trace.push(format!("{at} {what}"));
    }

    async fn start(&mut self, id: &SiloId, at: Option<Endpoint>) {
        let endpoint = at.unwrap_or_else(|| self.fresh_endpoint());
        if let Some(member) = self.try_start(id, &endpoint).await {
            self.members.insert(id.clone(), member);
        }
    }

    fn fresh_endpoint(&mut self) -> Endpoint {
        self.next_port += 1;
        format!("10.0.0.1:{}", self.next_port).parse().unwrap()
    }

    async fn try_start(&mut self, id: &SiloId, endpoint: &Endpoint) -> Option<Member> {
        // Clocks differ by up to an hour.
        let skew = time::Duration::seconds(self.random.i64(-3_600..3_600));
        let (store, network) = (self.store.clone(), self.network.clone());
        let (name, endpoint) = (id.clone(), endpoint.clone());
        let at = endpoint.clone();
        let starting = tokio::spawn(async move { Running::start(&store, &network, &name, &at, skew).await });
        self.starting = Some(id.clone());
        // A store that was emptied counts anew, and whoever starts may be seen before it has.
        self.dead.retain(|(dead, _), _| dead != id);
        let started = self.step_until(starting).await;
        self.starting = None;
        match started {
            Ok(running) => {
                let incarnation = running.incarnation();
                self.note(format_args!("{id} starts at {endpoint} as {incarnation}"));
                let fortune = Fortune::new();
                Some(Member {
                    running,
                    fortune,
                    incarnation,
                    over_since: None,
                    is_noted: false,
                    unreached: BTreeMap::new(),
                })
            }
            Err(error) => {
                self.note(format_args!("{id} does not start at {endpoint}: {}", why(&error)));
                None
            }
        }
    }

    // ---- Faults --------------------------------------------------------------------------------------------------

    async fn storm(&mut self) {
        while self.began.elapsed() < STORM {
            for _ in 0..self.random.u32(1..40) {
                self.step().await;
            }
            self.outcome.faults += 1;
            self.fault().await;
        }
    }

    async fn calm(&mut self) {
        self.note("calm");
        let undo = std::mem::take(&mut self.undo);
        undo.into_iter().for_each(|(_, undo)| self.undo(undo));
        self.network.heal();
        self.doubles.clear();
        let until = Instant::now() + CALM;
        while Instant::now() < until {
            self.step().await;
        }
        self.judge_the_end();
    }

    /// A silo, whether it runs or not.
    fn someone(&mut self) -> SiloId {
        self.ids[self.random.usize(0..self.ids.len())].clone()
    }

    fn later(&mut self, most: u64, undo: Undo) {
        let after = Duration::from_millis(self.random.u64(0..most * 1_000));
        self.undo.push((Instant::now() + after, undo));
    }

    async fn fault(&mut self) {
        let (one, other) = (self.someone(), self.someone());
        let kind = self.random.u8(0..16);
        if self.members.len() < 2 {
            return self.revive(&one).await;
        }
        self.note(format_args!("fault {kind} of {one} and {other}"));
        match kind {
            0 | 1 => self.crash(&one),
            2 => self.leave(&one).await,
            3 | 4 => self.revive(&one).await,
            5 | 6 => self.stop(&one),
            7 => self.cut_pair(&one, &other),
            8 => {
                self.store.cut(&one, true);
                self.later(60, Undo::CutFromStore(one));
            }
            9 => self.cut_off(&one),
            10 => {
                self.store.set_away(true);
                self.later(60, Undo::StoreAway);
            }
            11 => {
                self.store.flush();
                // The replica is emptied, too.
                self.snapshot = None;
                self.kept_since = Instant::now();
            }
            12 => match self.snapshot.take() {
                Some(snapshot) => {
                    self.store.fail_over_to(snapshot);
                    self.kept_since = Instant::now();
                }
                None => self.snapshot = Some(self.store.snapshot()),
            },
            13 => {
                self.store.set_bad_messages(self.random.u32(0..=100));
                self.store.set_lost_answers(self.random.u32(0..30));
                self.later(60, Undo::Messages);
                self.later(60, Undo::Answers);
            }
            14 => {
                let forged = [format!("leave:{one}"), format!("join:{other}"), format!("suspect:1:{one}")];
                forged.iter().for_each(|message| self.store.publish(message));
                self.store.set_latency(Duration::from_millis(self.random.u64(0..2_500)));
                self.later(30, Undo::Latency);
            }
            _ => self.double(&one).await,
        }
    }

    fn undo(&mut self, undo: Undo) {
        self.note(format_args!("undo {undo:?}"));
        match undo {
            Undo::Continue(id) => {
                let all = self.members.values().chain(&self.doubles);
                all.filter(|member| member.running.id == id)
                    .for_each(|member| member.running.process.set_stopped(false));
            }
            Undo::Cut(one, other) => self.network.cut(&one, &other, false),
            Undo::CutFromStore(id) => self.store.cut(&id, false),
            Undo::StoreAway => self.store.set_away(false),
            Undo::Latency => self.store.set_latency(Duration::from_millis(1)),
            Undo::Messages => self.store.set_bad_messages(0),
            Undo::Answers => self.store.set_lost_answers(0),
        }
    }

    fn crash(&mut self, id: &SiloId) {
        if let Some(member) = self.members.remove(id) {
            self.bury(&member);
            drop(member);
            // Those who had links to it notice, most of them.
            let others: Vec<_> = self.members.values().filter(|_| self.random.u8(0..10) < 7).collect();
            others.into_iter().for_each(|other| other.running.suspect(id));
        }
    }

    fn bury(&mut self, member: &Member) {
        self.dead.insert(member.life(), Instant::now());
    }

    async fn leave(&mut self, id: &SiloId) {
        if let Some(member) = self.members.remove(id) {
            self.bury(&member);
            member.running.process.set_stopped(false);
            let left = self.step_until(tokio::spawn(member.running.leave())).await;
            self.note(format_args!("{id} left: {}", left.is_ok()));
        }
    }

    async fn revive(&mut self, id: &SiloId) {
        if !self.members.contains_key(id) {
            self.start(id, None).await;
        }
    }

    fn stop(&mut self, id: &SiloId) {
        if let Some(member) = self.members.get(id) {
            member.running.process.set_stopped(true);
            let most = [2, 8, 70][self.random.usize(0..3)];
            self.later(most, Undo::Continue(id.clone()));
        }
    }

    fn cut_pair(&mut self, one: &SiloId, other: &SiloId) {
        self.network.cut(one, other, true);
        if self.random.bool() {
            self.network.cut(other, one, true);
        }
        let (one, other) = (one.clone(), other.clone());
        self.later(50, Undo::Cut(one.clone(), other.clone()));
        self.later(50, Undo::Cut(other, one));
    }

    fn cut_off(&mut self, id: &SiloId) {
        for other in self.ids.clone() {
            self.cut_pair(id, &other);
            self.network.cut(&other, id, true);
        }
        self.store.cut(id, true);
        self.later(60, Undo::CutFromStore(id.clone()));
    }

    /// Somebody starts the same id once more, or the second process ends.
    async fn double(&mut self, id: &SiloId) {
        if let Some(double) = self.doubles.pop() {
            self.bury(&double);
            return;
        }
        let endpoint = self.fresh_endpoint();
        if self.members.contains_key(id)
            && let Some(double) = self.try_start(id, &endpoint).await
        {
            self.doubles.push(double);
        }
    }

    // ---- Rules ---------------------------------------------------------------------------------------------------

    /// Goes on judging while something takes its time.
    async fn step_until<T>(&mut self, work: tokio::task::JoinHandle<T>) -> T {
        while !work.is_finished() {
            self.step().await;
        }
        work.await.expect("it does not panic")
    }

    async fn step(&mut self) {
        tokio::time::sleep(STEP).await;
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
        self.tell_fortunes(now);
        self.judge_the_living(now);
        self.judge_the_dead(now);
        self.judge_doubles(now);
    }

    fn tell_fortunes(&mut self, now: Instant) {
        let store_is_away = self.store.is_away() || self.store.is_slow();
        let doubled: Vec<_> = self.doubles.iter().map(|double| double.running.id.clone()).collect();
        let everybody = self.members.values().chain(&self.doubles);
        let silos: BTreeSet<_> = everybody.map(|member| member.running.id.clone()).collect();
        let (store, network) = (&self.store, &self.network);
        for member in self.members.values_mut().chain(&mut self.doubles) {
            let id = &member.running.id;
            if member.running.process.is_stopped() {
                member.fortune.ran_since = now;
            }
            if doubled.contains(id) || self.starting.as_ref() == Some(id) {
                member.fortune.alone_since = now;
            }
            if store_is_away || store.is_cut(id) {
                member.fortune.stored_since = now;
            }
            for other in silos.iter().filter(|other| *other != id && !network.connects(other, id)) {
                member.unreached.insert(other.clone(), now);
            }
            member.unreached.retain(|_, at| now < *at + INNOCENCE);
            if member.unreached.len() > 1 || (member.unreached.len() == 1 && silos.len() < 3) {
                member.fortune.reachable_since = now;
            }
        }
        if store_is_away {
            self.client_fortune.stored_since = now;
        }
    }

    fn judge_the_living(&mut self, now: Instant) {
        let mut notes = Vec::new();
        for member in self.members.values_mut().chain(&mut self.doubles) {
            let (id, fortune) = (member.running.id.clone(), member.fortune);
            let is_over = self.store.lives(&id) > member.running.incarnation();
            let rejoined = member.running.incarnation() != member.incarnation;
            if (is_over || rejoined) && !member.is_noted {
                self.outcome.put_out += 1;
                let innocent = now >= fortune.ran_since + INNOCENCE
                    && now > fortune.reachable_since
                    && now >= fortune.stored_since + STORED
                    // With two processes of an id, one is put out rightly.
                    && now >= fortune.alone_since + STORED;
                notes.push((innocent, format!("{id}/{} is put out", member.incarnation)));
            }
            // A store that lost the count does not put it in again; only another life does.
            member.is_noted = is_over || (member.is_noted && !rejoined);
            member.incarnation = member.running.incarnation();
            member.over_since = match is_over {
                true => Some(
                    member
                        .over_since
                        .unwrap_or(now)
                        .max(self.kept_since)
                        .max(fortune.stored_since)
                        .max(fortune.ran_since),
                ),
                false => None,
            };
            if member.over_since.is_some_and(|since| now >= since + LAST_SERVICE) && member.running.serves() {
                notes.push((true, format!("{id}/{} serves though it is over", member.incarnation)));
                member.over_since = Some(now);
            }
        }
        for (is_broken, what) in notes {
            if is_broken && what.ends_with("put out") {
                self.outcome.living_put_out += 1;
            } else if is_broken {
                self.outcome.other += 1;
            }
            self.report(is_broken, &what);
        }
    }

    fn report(&mut self, is_broken: bool, what: &str) {
        self.note(what);
        if is_broken {
            let at = self.began.elapsed().as_millis();
            self.outcome.broken.push(format!("{at} {what}"));
        }
    }

    fn judge_the_dead(&mut self, now: Instant) {
        // A store that was emptied counts anew: somebody else may lead a life of the same number.
        let living: Vec<_> = self.members.values().chain(&self.doubles).map(Member::life).collect();
        self.dead.retain(|life, _| !living.contains(life));
        let buried: Vec<_> = self
            .dead
            .iter()
            .filter(|(_, at)| now >= **at + BURIED)
            .map(|(life, at)| (life.clone(), *at))
            .collect();
        for (life, died) in buried {
            let had_no_trouble = |fortune: &Fortune| {
                [fortune.ran_since, fortune.stored_since, fortune.reachable_since]
                    .iter()
                    .all(|since| *since <= died.max(now - BURIED))
            };
            let all = self.members.values().map(|member| (&member.running, &member.fortune));
            let keeps: Vec<_> = all
                .chain([(&self.client, &self.client_fortune)])
                .filter(|(running, fortune)| had_no_trouble(fortune) && running.sees().contains(&life))
                .map(|(running, _)| running.id.to_string())
                .collect();
            if !keeps.is_empty() {
                self.outcome.dead_kept += 1;
                self.report(true, &format!("{} keep {}/{}, which is dead", keeps.join(","), life.0, life.1));
                self.dead.remove(&life);
            }
        }
    }

    fn judge_doubles(&mut self, now: Instant) {
        let serves = |member: &Member| {
            let steady = member.fortune.ran_since.max(member.fortune.stored_since).max(self.kept_since);
            member.running.serves() && now >= steady + LAST_SERVICE
        };
        let both =
            |double: &&Member| serves(double) && self.members.get(&double.running.id).is_some_and(serves);
        if let Some(double) = self.doubles.iter().find(both) {
            let id = double.running.id.clone();
            let (one, other) = (self.members[&id].running.incarnation(), double.running.incarnation());
            let lives = self.store.lives(&id);
            let what =
                format!("{id} serves in two processes, as {one} and {other}; {lives} lives are counted");
            self.outcome.other += 1;
            self.report(true, &what);
            self.doubles.clear();
        }
    }

    /// In the end all see those who live, and all of them serve.
    fn judge_the_end(&mut self) {
        let lives: Vec<_> =
            self.members.values().map(|m| (m.running.id.clone(), m.running.incarnation())).collect();
        let mut wrong = Vec::new();
        for running in self.members.values().map(|member| &member.running).chain([&self.client]) {
            if running.sees() != lives {
                wrong.push(format!("{} sees {:?} in the end, not {lives:?}", running.id, running.sees()));
            }
            if !running.serves() {
                wrong.push(format!("{} does not serve in the end", running.id));
            }
        }
        for what in wrong {
            self.outcome.other += 1;
            self.report(true, &what);
        }
    }
}
