//! Rows 1, 2 and 4, and isolation: silos in network namespaces of their own, of which one is killed or stopped, or some
//! cannot reach others. The silos are processes; each is this program again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quark_core::{Request, Silo};

const LIMIT: Duration = Duration::from_secs(40);
const ID: &str = "QUARK_PARTITION_SILO";
const HUB: &str = "10.78.0.1";
const GOSSIP_PORT: u16 = 7946;
/// For how long the cut lasts: longer than a link, a row or a probe takes to be given up.
const CUT: Duration = Duration::from_secs(25);

fn ip(words: &str) {
    let said = Command::new("ip").args(words.split(' ')).output().expect("ip (iproute2) is installed");
    assert!(said.status.success(), "ip {words}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A namespace, gone when it is dropped.
struct Place {
    namespace: String,
    address: String,
}

impl Place {
    fn new(name: &str, address: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("quark-test-{}-{number}-{name}", std::process::id());
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {namespace} link set lo up"));
        Self { namespace, address: address.to_owned() }
    }

    fn join(&self, hub: &Self, port: usize) {
        let (hub, here, address) = (&hub.namespace, &self.namespace, &self.address);
        ip(&format!("-n {hub} link add port{port} type veth peer name eth0 netns {here}"));
        ip(&format!("-n {hub} link set port{port} master bridge0 up"));
        ip(&format!("-n {here} addr add {address}/24 dev eth0"));
        ip(&format!("-n {here} link set eth0 up"));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Stops hearing another place, or hears it again.
    fn deafen(&self, other: &Self, verb: &str) {
        let (here, there) = (&self.namespace, &other.address);
        ip(&format!("netns exec {here} iptables -w {verb} INPUT -s {there} -j DROP"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

/// A process, killed when it is dropped.
struct Process {
    child: Child,
    pipes: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Process {
    fn silo(id: &str, place: &Place, membership: &str) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = place.command(this.to_str().unwrap());
        command
            .args(["a_silo", "--exact", "--nocapture"])
            .env(ID, format!("{id} {} {membership}", place.address));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, pipes: Some(pipes) }
    }

    /// The namespace's program has become the silo, so the signal is for it.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|sent| sent.success()));
    }

    fn ask(&mut self, question: &str) -> String {
        let (stdin, stdout) = self.pipes.as_mut().unwrap();
        writeln!(stdin, "{question}").unwrap();
        for line in stdout.lines() {
            if let Some(answer) = line.unwrap().strip_prefix(">>> ") {
                return answer.to_owned();
            }
        }
        panic!("the silo ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One silo, told by its standard input what to do; only when this program is started for that.
#[test]
fn a_silo() {
    let Ok(what) = std::env::var(ID) else { return };
    let [id, address, membership] = what.split(' ').collect::<Vec<_>>()[..] else { panic!("{what}") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let name = id.to_owned();
        let running = Arc::new(AtomicUsize::new(0));
        let begun = running.clone();
        let silo = Silo::builder(id)
            .membership(membership.parse().unwrap())
            .listen(format!("{address}:0").parse().unwrap())
            .allow_plaintext(true)
            .handler(move |request: Request| {
                let (name, begun) = (name.clone(), begun.clone());
                async move {
                    if request.method_name() == "hang" {
                        begun.fetch_add(1, Ordering::SeqCst);
                        std::future::pending::<()>().await;
                    }
                    Ok(name)
                }
            })
            .start()
            .await
            .unwrap();
        let shown = |ended: quark_core::Result<bytes::Bytes>| match ended {
            Ok(by) => format!("ok {}", String::from_utf8_lossy(&by)),
            Err(error) => format!("{} {}", error.kind(), error.delivered()),
        };
        let owned = |owner: &str| {
            let owned =
                |actor: &String| silo.owner("T", actor).unwrap().is_some_and(|silo| silo.as_str() == owner);
            (0..1000).map(|i| i.to_string()).find(owned)
        };
        let call = |actor: String, method: &'static str| {
            let call = silo.call(("T", actor), method, "").timeout(Duration::from_secs(2));
            async move { shown(call.await) }
        };
        let mut hanging = None;
        for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            let answer = match words[..] {
                ["silos"] => {
                    silo.silos().iter().map(|info| info.silo_id.to_string()).collect::<Vec<_>>().join(",")
                }
                ["health"] => silo.health().as_str().to_owned(),
                ["life"] => silo
                    .silos()
                    .iter()
                    .find(|info| info.silo_id.as_str() == id)
                    .map_or(0, |info| info.incarnation)
                    .to_string(),
                ["actor", owner] => owned(owner).unwrap(),
                ["call", owner] => call(owned(owner).unwrap(), "").await,
                ["call-actor", actor] => call(actor.to_owned(), "").await,
                ["hang", owner] => {
                    let call = silo.call(("T", owned(owner).unwrap()), "hang", "").timeout(LIMIT);
                    hanging = Some(tokio::spawn(call.into_future()));
                    "begun".to_owned()
                }
                ["running"] => running.load(Ordering::SeqCst).to_string(),
                ["ended"] => {
                    let call = hanging.take().unwrap();
                    match tokio::time::timeout(Duration::from_secs(1), call).await {
                        Ok(ended) => shown(ended.unwrap()),
                        Err(_) => "not within a second".to_owned(),
                    }
                }
                _ => panic!("{line:?}"),
            };
            println!(">>> {answer}");
        }
    });
}

/// Whether a namespace can be made, and rules in it.
fn namespaces_work() -> bool {
    let name = format!("quark-test-can-{:?}", std::thread::current().id());
    let ip = |words: &[&str]| Command::new("ip").args(words).output().is_ok_and(|said| said.status.success());
    let works = ip(&["netns", "add", &name]) && ip(&["netns", "exec", &name, "iptables", "-L", "-n"]);
    ip(&["netns", "delete", &name]);
    works
}

/// Tells `cargo xtask test` of a test that left itself out; it knows which may.
fn left_out(what: &str) {
    eprintln!("NOT RUN: {what}");
    if let Some(file) = std::env::var_os("QUARK_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        writeln!(file.expect("the file of skips can be written"), "{what}").expect("and is");
    }
}

/// Three silos that see each other, a Redis, and the network between them.
struct Cluster {
    silos: [Process; 3],
    places: Vec<Place>,
    _redis: Process,
    _hub: Place,
}

const ALL: &str = "a,b,c";
const PLACES: [(&str, &str); 3] = [("a", "10.78.0.11"), ("b", "10.78.0.12"), ("c", "10.78.0.13")];

/// How the silos find each other.
#[derive(Clone, Copy, PartialEq)]
enum Meeting {
    Redis,
    Gossip,
}

impl Meeting {
    fn url(self, address: &str) -> String {
        let others = PLACES.iter().filter(|(_, other)| *other != address);
        let seeds: Vec<_> = others.map(|(_, other)| format!("seed={other}:{GOSSIP_PORT}")).collect();
        match self {
            Self::Redis => format!("redis://{HUB}"),
            Self::Gossip => format!("gossip://{address}:{GOSSIP_PORT}?{}", seeds.join("&")),
        }
    }
}

impl Cluster {
    /// Nothing where there are no network namespaces.
    fn start(test: &str, meeting: Meeting) -> Option<Self> {
        if !namespaces_work() {
            left_out(&format!("{test}: no network namespaces (they need root, iproute2 and iptables)"));
            return None;
        }
        let hub = Place::new("hub", HUB);
        ip(&format!("-n {} link add bridge0 type bridge", hub.namespace));
        ip(&format!("-n {} addr add {HUB}/24 dev bridge0", hub.namespace));
        ip(&format!("-n {} link set bridge0 up", hub.namespace));
        let server = std::env::var("QUARK_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let mut redis = hub.command(&server);
        redis.args(["--bind", HUB, "--protected-mode", "no", "--save", "", "--appendonly", "no"]);
        let redis = Process { child: redis.stdout(Stdio::null()).spawn().unwrap(), pipes: None };
        let places: Vec<_> = PLACES
            .into_iter()
            .enumerate()
            .map(|(port, (name, address))| {
                let place = Place::new(name, address);
                place.join(&hub, port);
                place
            })
            .collect();
        until("Redis answers", || {
            let ping = hub.command("bash").args(["-c", &format!("exec 3<>/dev/tcp/{HUB}/6379")]).output();
            ping.is_ok_and(|ping| ping.status.success())
        });
        let mut silos = [0, 1, 2].map(|number| {
            let place: &Place = &places[number];
            Process::silo(PLACES[number].0, place, &meeting.url(&place.address))
        });
        until("all see all", || silos.iter_mut().all(|silo| silo.ask("silos") == ALL));
        Some(Self { silos, places, _redis: redis, _hub: hub })
    }
}

#[test]
fn row_4_two_silos_that_are_cut_from_each_other_both_stay_and_are_unreachable_to_each_other_only() {
    let Some(mut cluster) = Cluster::start("row_4", Meeting::Redis) else { return };
    let Cluster { silos: [a, b, c], places, .. } = &mut cluster;
    assert_eq!((a.ask("call b").as_str(), b.ask("call a").as_str()), ("ok b", "ok a"));

    places[0].deafen(&places[1], "-A");
    places[1].deafen(&places[0], "-A");
    let cut = Instant::now();
    let mut last = (String::new(), String::new());
    while cut.elapsed() < CUT {
        for silo in [&mut *a, &mut *b, &mut *c] {
            assert_eq!(silo.ask("silos"), ALL, "nobody is evicted, {:?} after the cut", cut.elapsed());
        }
        last = (a.ask("call b"), b.ask("call a"));
        for other in ["call a", "call b"] {
            assert!(c.ask(other).starts_with("ok"), "the third reaches both");
        }
        assert_eq!((a.ask("call c").as_str(), b.ask("call c").as_str()), ("ok c", "ok c"));
    }
    assert_eq!((last.0.as_str(), last.1.as_str()), ("UNREACHABLE no", "UNREACHABLE no"));

    places[0].deafen(&places[1], "-D");
    places[1].deafen(&places[0], "-D");
    until("they reach each other again", || a.ask("call b") == "ok b" && b.ask("call a") == "ok a");
}

/// Row 1.
fn killed(meeting: Meeting, test: &str) {
    let Some(mut cluster) = Cluster::start(test, meeting) else { return };
    let [a, b, c] = &mut cluster.silos;
    let actor = a.ask("actor b");
    assert_eq!(a.ask("hang b"), "begun");
    until("b is at it", || b.ask("running") == "1");
    b.signal("KILL");
    assert_eq!(a.ask("ended"), "CONNECTION_LOST unknown");
    for silo in [a, c] {
        until("its actors answer elsewhere", || {
            let by = silo.ask(&format!("call-actor {actor}"));
            by == "ok a" || by == "ok c"
        });
    }
}

#[test]
fn row_1_calls_to_a_killed_silo_fail_at_once_and_its_actors_answer_elsewhere() {
    killed(Meeting::Redis, "row_1");
}

#[test]
fn row_1_the_same_by_gossip() {
    killed(Meeting::Gossip, "row_1_by_gossip");
}

/// Row 2. A process that is stopped still accepts connections: its kernel does.
fn stopped(meeting: Meeting, test: &str) {
    let Some(mut cluster) = Cluster::start(test, meeting) else { return };
    let [a, b, c] = &mut cluster.silos;
    assert_eq!((a.ask("call b").as_str(), c.ask("call b").as_str()), ("ok b", "ok b"));
    let (life, actor) = (b.ask("life"), b.ask("actor b"));
    b.signal("STOP");
    let stopped = Instant::now();
    until("the others evict it", || a.ask("silos") == "a,c" && c.ask("silos") == "a,c");
    println!("evicted {:?} after it was stopped", stopped.elapsed());
    b.signal("CONT");
    // Whoever was put out serves nothing before it leads another life.
    loop {
        let by = b.ask(&format!("call-actor {actor}"));
        if by == "ok b" {
            break;
        }
        assert!(by == "ISOLATED no" || by == "ok a" || by == "ok c" || by == "NO_SILO no", "{by}");
        assert!(stopped.elapsed() < 2 * LIMIT, "it does not serve again: {by}");
    }
    assert_ne!(b.ask("life"), life, "the life that was put out is over");
    until("it is back", || a.ask("silos") == ALL && b.ask("silos") == ALL && c.ask("silos") == ALL);
    until("all call all", || a.ask("call b") == "ok b" && b.ask("call c") == "ok c");
}

#[test]
fn row_2_a_stopped_silo_is_evicted_and_serves_only_in_another_life() {
    stopped(Meeting::Redis, "row_2");
}

#[test]
fn row_2_the_same_by_gossip() {
    stopped(Meeting::Gossip, "row_2_by_gossip");
}

fn cut_off(meeting: Meeting, test: &str) {
    let Some(mut cluster) = Cluster::start(test, meeting) else { return };
    let Cluster { silos: [a, b, c], places, _hub: hub, .. } = &mut cluster;
    assert_eq!([&mut *a, &mut *b, &mut *c].map(|silo| silo.ask("health")), ["healthy"; 3]);
    let actor = a.ask("actor a");
    let cut = |verb| {
        for other in [&places[1], &places[2], &*hub] {
            places[0].deafen(other, verb);
        }
    };
    cut("-A");
    until("it knows", || a.ask("health") == "isolated");
    assert_eq!(a.ask(&format!("call-actor {actor}")), "ISOLATED no");
    until("the others go on without it", || b.ask("silos") == "b,c" && c.ask("silos") == "b,c");
    assert_eq!((b.ask("health").as_str(), c.ask("call b").as_str()), ("healthy", "ok b"));
    cut("-D");
    until("it is back", || {
        a.ask("health") == "healthy" && [&mut *a, &mut *b, &mut *c].map(|s| s.ask("silos")) == [ALL; 3]
    });
    until("all call all", || a.ask("call a") == "ok a" && b.ask("call a") == "ok a");
}

#[test]
fn a_silo_that_is_cut_off_owns_nothing_says_so_and_comes_back_by_itself() {
    cut_off(Meeting::Redis, "a_silo_that_is_cut_off");
}

#[test]
fn a_silo_that_is_cut_off_does_the_same_by_gossip() {
    cut_off(Meeting::Gossip, "a_silo_that_is_cut_off_by_gossip");
}
