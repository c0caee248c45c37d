//! Five silos and a client that are asked what they see, each in a namespace of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::detect::calls::Caller;
use crate::detect::talk::{Answer, Asked, Talk};
use crate::node::ACTOR_TYPE;
use crate::process::{Description, Process};
use crate::site::{Meeting, Site};

pub(crate) const SILOS: usize = 5;
/// The cluster's name, with which its keys in Redis begin.
pub(crate) const NAME: &str = "detect";
/// How many actors are called by those that call all.
const ACTORS: usize = 60;
/// How often something is looked at.
const STEP: Duration = Duration::from_millis(10);
/// The longest of the rhythms in which the membership does something: that of heartbeats.
const RHYTHM: Duration = Duration::from_secs(10);
/// How long a cluster may take to be whole before anything is done to it.
const CALM_LIMIT: Duration = Duration::from_secs(90);

/// A silo or the client.
pub(crate) struct Member {
    process: Process,
    talk: Option<Talk>,
}

impl Member {
    pub(crate) fn id(&self) -> &str {
        self.process.id()
    }

    /// The conversation with its present life.
    pub(crate) fn talk(&self) -> Result<&Talk> {
        self.talk.as_ref().ok_or_else(|| format!("{} does not run", self.id()).into())
    }

    pub(crate) fn ask(&self, question: &str) -> Result<Asked> {
        Ok(self.talk()?.ask(question.to_owned()))
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        self.process.signal(signal)
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.talk = None;
        self.process.kill().await
    }

    /// Tells it to leave; [`left`](Self::left) waits for that.
    pub(crate) fn tell_to_leave(&mut self) -> Result<()> {
        self.talk()?.leave();
        self.talk = None;
        Ok(())
    }

    pub(crate) async fn left(&mut self) -> Result<()> {
        self.process.leave().await
    }

    pub(crate) async fn bring_back(&mut self) -> Result<()> {
        let id = self.id().to_owned();
        self.process.bring_back(|error| println!("  {id} does not come back yet: {error}")).await?;
        self.talk = Some(Talk::new(self.process.take_pipes()?));
        Ok(())
    }
}

pub(crate) struct Cluster {
    /// The silos, and last the client.
    members: Vec<Member>,
    /// Last, so that it goes after the processes in it.
    pub(crate) site: Site,
}

impl Cluster {
    pub(crate) async fn start(meeting: Meeting, redis: &str, folder: &Path) -> Result<Self> {
        let site = Site::new(meeting, redis, SILOS, 1)?;
        let program = std::env::current_exe()?.to_str().ok_or("a path that is no UTF-8")?.to_owned();
        let mut members = Vec::new();
        for number in 0..=SILOS {
            let is_client = number == SILOS;
            let process = Process::new(Description {
                id: if is_client { "client".to_owned() } else { format!("silo-{}", number + 1) },
                is_client,
                program: vec![program.clone(), "observed".to_owned()],
                place: Some(site.place(number).clone()),
                url: site.url(number),
                cluster: NAME.to_owned(),
                folder: Some(folder.to_owned()),
                security: Vec::new(),
                rate: None,
            });
            let mut member = Member { process, talk: None };
            member.bring_back().await?;
            members.push(member);
        }
        Ok(Self { members, site })
    }

    pub(crate) fn silo(&mut self, number: usize) -> &mut Member {
        &mut self.members[number]
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Everybody but one.
    pub(crate) fn others(&self, silo: usize) -> impl Iterator<Item = &Member> {
        self.members.iter().enumerate().filter(move |(number, _)| *number != silo).map(|(_, member)| member)
    }

    /// The silo and everybody else, the store too, do not hear each other until what is returned is dropped.
    pub(crate) fn cut_off(&self, silo: usize) -> Result<crate::network::Undo> {
        self.site.cut_off(self.site.place(silo))
    }

    /// What everybody answers to a question.
    pub(crate) async fn ask_all(&self, question: &str) -> Result<Vec<Answer>> {
        let asked: Vec<Asked> =
            self.members.iter().map(|member| member.ask(question)).collect::<Result<_>>()?;
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.answer().await?);
        }
        Ok(answers)
    }

    /// Waits until everybody sees all silos, in the same lives; since when, unless it takes too long.
    pub(crate) async fn whole(&self, limit: Duration) -> Result<Option<u64>> {
        until(limit, async || {
            let answers = self.ask_all("silos").await?;
            Ok(is_whole(&answers).then(|| answers.iter().map(|answer| answer.at).max().unwrap_or_default()))
        })
        .await
    }

    /// As before anything is done to it.
    pub(crate) async fn calm(&self) -> Result<()> {
        let whole = self.whole(CALM_LIMIT).await?;
        whole.map(drop).ok_or_else(|| format!("not all silos saw each other within {CALM_LIMIT:?}").into())
    }

    /// Actors that a silo owns.
    pub(crate) async fn actors_of(&self, silo: usize, count: usize) -> Result<Vec<String>> {
        let (owner, client) = (self.members[silo].id(), &self.members[SILOS]);
        let mut actors = Vec::new();
        for number in 0..1_000 {
            let actor = format!("a{number}");
            if client.ask(&format!("owner {ACTOR_TYPE} {actor}"))?.answer().await?.found == owner {
                actors.push(actor);
            }
            if actors.len() == count {
                return Ok(actors);
            }
        }
        Err(format!("{owner} owns hardly anything").into())
    }

    /// Who went out of whose view since then, as `observer: silo@time`.
    pub(crate) async fn departures(&self, since: u64) -> Result<Vec<Departure>> {
        let answers = self.ask_all("departures").await?;
        let of_all = self.members.iter().zip(&answers).flat_map(|(member, answer)| {
            answer.found.split_whitespace().map(|word| Departure::read(member.id(), word))
        });
        let mut departures: Vec<Departure> = of_all.collect::<Result<_>>()?;
        departures.retain(|departure| departure.at >= since);
        Ok(departures)
    }

    /// Fails when a process ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.process.ended() {
                return Err(format!("{} ended by itself: {status}", member.id()).into());
            }
        }
        Ok(())
    }
}

/// Does something with one silo after another, each time with a whole cluster and at any moment of its rhythms; ends with
/// the first that fails.
pub(crate) async fn with_each<T>(
    cluster: &mut Cluster,
    mut what: impl AsyncFnMut(&mut Cluster, usize) -> Result<T>,
) -> (Vec<T>, Result<()>) {
    let mut done = Vec::new();
    for silo in 0..SILOS {
        let one = async {
            cluster.calm().await?;
            tokio::time::sleep(RHYTHM.mul_f64(fastrand::f64())).await;
            what(cluster, silo).await
        };
        match one.await {
            Ok(one) => done.push(one),
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// These, each calling all actors in an order of its own.
pub(crate) fn callers_of_all<'a>(members: impl IntoIterator<Item = &'a Member>) -> Result<Vec<Caller>> {
    let caller = |member: &Member| {
        let mut actors: Vec<String> = (0..ACTORS).map(|number| format!("a{number}")).collect();
        fastrand::shuffle(&mut actors);
        Ok(Caller { talk: member.talk()?.clone(), actors })
    };
    members.into_iter().map(caller).collect()
}

/// A silo went out of somebody's view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) observer: String,
    pub(crate) silo: String,
    pub(crate) at: u64,
}

impl Departure {
    /// `word` is `SILO@TIME`.
    fn read(observer: &str, word: &str) -> Result<Self> {
        let (silo, at) = word.rsplit_once('@').ok_or_else(|| format!("no departure: {word:?}"))?;
        Ok(Self { observer: observer.to_owned(), silo: silo.to_owned(), at: at.parse()? })
    }
}

/// All see the same lives of all silos.
fn is_whole(answers: &[Answer]) -> bool {
    let complete = |answer: &Answer| answer.found.split_whitespace().count() == SILOS;
    answers.iter().all(|answer| complete(answer) && answer.found == answers[0].found)
}

/// Looks until something is found; nothing when that takes too long.
pub(crate) async fn until<T>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        tokio::time::sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_whole_when_all_see_all_in_the_same_lives() {
        let see = |views: [&str; 2]| is_whole(&views.map(|found| Answer { at: 0, found: found.to_owned() }));
        assert!(see(["a/1 b/1 c/1 d/1 e/1"; 2]));
        assert!(!see(["a/1 b/1 c/1 d/1"; 2]));
        assert!(!see(["a/1 b/1 c/1 d/1 e/1", "a/1 b/1 c/1 d/1 e/2"]));
        assert!(!see(["a/1 b/1 c/1 d/1 e/1", ""]));
    }

    #[test]
    fn a_departure_has_its_silo_and_its_time() {
        let read = Departure::read("client", "silo-3@1234").unwrap();
        let expected = Departure { observer: "client".to_owned(), silo: "silo-3".to_owned(), at: 1234 };
        assert_eq!(read, expected);
        assert!(Departure::read("client", "silo-3").is_err());
        assert!(Departure::read("client", "silo-3@soon").is_err());
    }
}
