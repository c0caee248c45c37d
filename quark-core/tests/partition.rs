//! Rows 2 and 4: silos in network namespaces of their own, of which one is stopped, or two cannot reach each other, while
//! all reach Redis. The silos are processes; each is this program again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quark_core::{Request, Silo};

const LIMIT: Duration = Duration::from_secs(40);
const ID: &str = "QUARK_PARTITION_SILO";
const HUB: &str = "10.78.0.1";
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
    fn silo(id: &str, place: &Place) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = place.command(this.to_str().unwrap());
        command.args(["a_silo", "--exact", "--nocapture"]).env(ID, format!("{id} {}", place.address));
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
    let (id, address) = what.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let name = id.to_owned();
        let silo = Silo::builder(id)
            .membership(format!("redis://{HUB}").parse().unwrap())
            .listen(format!("{address}:0").parse().unwrap())
            .configure(|config| config.allow_plaintext = true)
            .handler(move |_: Request| std::future::ready(Ok(name.clone())))
            .start()
            .await
            .unwrap();
        for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            let answer = match words[..] {
                ["silos"] => {
                    silo.silos().iter().map(|info| info.silo_id.to_string()).collect::<Vec<_>>().join(",")
                }
                ["health"] => silo.health().as_str().to_owned(),
                ["call", owner] => {
                    let owned = |actor: &String| {
                        silo.owner("T", actor).unwrap().is_some_and(|silo| silo.as_str() == owner)
                    };
                    let actor = (0..1000).map(|i| i.to_string()).find(owned).unwrap();
                    match silo.call(("T", actor), "", "").timeout(Duration::from_secs(2)).await {
                        Ok(by) => format!("ok {}", String::from_utf8_lossy(&by)),
                        Err(error) => format!("{} {}", error.kind(), error.delivered()),
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

impl Cluster {
    /// Nothing where there are no network namespaces.
    fn start(test: &str) -> Option<Self> {
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
        let places: Vec<_> = [("a", "10.78.0.11"), ("b", "10.78.0.12"), ("c", "10.78.0.13")]
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
        let mut silos = [0, 1, 2].map(|place| Process::silo(["a", "b", "c"][place], &places[place]));
        until("all see all", || silos.iter_mut().all(|silo| silo.ask("silos") == ALL));
        Some(Self { silos, places, _redis: redis, _hub: hub })
    }
}

#[test]
fn row_4_two_silos_that_are_cut_from_each_other_both_stay_and_are_unreachable_to_each_other_only() {
    let Some(mut cluster) = Cluster::start("row_4") else { return };
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

/// Row 2. A process that is stopped still accepts connections: its kernel does.
#[test]
fn row_2_a_stopped_silo_is_evicted_and_comes_back_when_it_goes_on() {
    let Some(mut cluster) = Cluster::start("row_2") else { return };
    let [a, b, c] = &mut cluster.silos;
    assert_eq!((a.ask("call b").as_str(), c.ask("call b").as_str()), ("ok b", "ok b"));
    b.signal("STOP");
    let stopped = Instant::now();
    until("the others evict it", || a.ask("silos") == "a,c" && c.ask("silos") == "a,c");
    println!("evicted {:?} after it was stopped", stopped.elapsed());
    b.signal("CONT");
    until("it is back", || a.ask("silos") == ALL && b.ask("silos") == ALL && c.ask("silos") == ALL);
    assert_eq!((a.ask("call b").as_str(), b.ask("call c").as_str()), ("ok b", "ok c"));
}

#[test]
fn a_silo_that_is_cut_off_owns_nothing_says_so_and_comes_back_by_itself() {
    let Some(mut cluster) = Cluster::start("a_silo_that_is_cut_off") else { return };
    let Cluster { silos: [a, b, c], places, _hub: hub, .. } = &mut cluster;
    assert_eq!([&mut *a, &mut *b, &mut *c].map(|silo| silo.ask("health")), ["healthy"; 3]);
    let cut = |verb| {
        for other in [&places[1], &places[2], &*hub] {
            places[0].deafen(other, verb);
        }
    };
    cut("-A");
    until("it knows", || a.ask("health") == "isolated");
    assert_eq!(a.ask("call a"), "ISOLATED no");
    until("the others go on without it", || b.ask("silos") == "b,c" && c.ask("silos") == "b,c");
    assert_eq!((b.ask("health").as_str(), c.ask("call b").as_str()), ("healthy", "ok b"));
    cut("-D");
    until("it is back", || {
        a.ask("health") == "healthy" && [&mut *a, &mut *b, &mut *c].map(|s| s.ask("silos")) == [ALL; 3]
    });
    assert_eq!((a.ask("call a").as_str(), b.ask("call a").as_str()), ("ok a", "ok a"));
}
