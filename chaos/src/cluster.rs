//! A cluster under faults: six silos and three clients in namespaces of their own, and what is done to them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Result;
use crate::plan::Fault;
use crate::process::{Description, Process};
use crate::record::{Record, now};
use crate::redis::Redis;
use crate::rules::Interference;
use crate::security::Security;
use crate::site::{Meeting, Site};

/// The silos; more of a language than one, so that they speak with their like too.
pub(crate) const SILOS: [&str; 6] = ["rust-1", "c-1", "python-1", "rust-2", "c-2", "python-2"];
const CLIENTS: [&str; 3] = ["rust-client", "c-client", "python-client"];
/// Calls a second, each.
const SILO_RATE: u32 = 80;
const CLIENT_RATE: u32 = 160;

/// The programs of a run.
pub(crate) struct Programs {
    pub(crate) rust: String,
    pub(crate) c: String,
    pub(crate) python: [String; 2],
}

impl Programs {
    /// The program for an id, which begins with its language, and its first arguments.
    pub(crate) fn of(&self, id: &str) -> Vec<String> {
        match language(id) {
            "rust" => vec![self.rust.clone()],
            "c" => vec![self.c.clone()],
            _ => self.python.to_vec(),
        }
    }
}

/// The language that an id or a name begins with.
pub(crate) fn language(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

/// Processes are locked while something is done to them.
pub(crate) type Shared = Arc<Mutex<Process>>;
pub(crate) type Held = OwnedMutexGuard<Process>;

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) silos: Vec<Shared>,
    pub(crate) clients: Vec<Shared>,
    interference: RefCell<Interference>,
    /// What went wrong beside the delivery rules: processes that died, silos that did not come back.
    problems: RefCell<Vec<String>>,
    log: Record,
    folder: PathBuf,
    done: Cell<usize>,
    /// Last, so that it goes after the processes in it.
    site: Site,
}

impl Cluster {
    /// Starts everything.
    pub(crate) async fn start(
        meeting: Meeting,
        programs: &Programs,
        redis: &str,
        folder: &Path,
        transport: Option<&str>,
    ) -> Result<Self> {
        let security = Security::new(folder, transport)?;
        let site = Site::new(meeting, redis, SILOS.len(), CLIENTS.len())?;
        let process = |(number, id): (usize, &&str)| {
            let is_client = number >= SILOS.len();
            Arc::new(Mutex::new(Process::new(Description {
                id: (*id).to_owned(),
                is_client,
                program: programs.of(id),
                place: Some(site.place(number).clone()),
                url: site.url(number),
                cluster: "chaos".to_owned(),
                folder: Some(folder.to_owned()),
                security: security.of(id, is_client),
                rate: Some(if is_client { CLIENT_RATE } else { SILO_RATE }),
            })))
        };
        let mut silos: Vec<Shared> = SILOS.iter().chain(&CLIENTS).enumerate().map(process).collect();
        let clients = silos.split_off(SILOS.len());
        for process in silos.iter().chain(&clients) {
            process.lock().await.start().await?;
        }
        let log = folder.join("faults.log");
        Ok(Self {
            silos,
            clients,
            interference: RefCell::default(),
            problems: RefCell::default(),
            log: Record::open(log.to_str().ok_or("a path that is no UTF-8")?)?,
            folder: folder.to_owned(),
            done: Cell::new(0),
            site,
        })
    }

    /// Does one fault and undoes it. `held` are its silos.
    pub(crate) async fn suffer(self: Rc<Self>, fault: Fault, mut held: Vec<Held>) {
        let names: Vec<String> = held.iter().map(|silo| silo.name()).collect();
        let shown = format!("{fault} {}", names.join(" "));
        self.log.write(&format!("{} begins: {shown}", now()));
        println!("  {:>4}  {shown}", self.done.replace(self.done.get() + 1) + 1);
        if let Err(error) = self.revive(&mut held).await {
            self.problem(error.to_string());
        } else if let Err(error) = self.do_and_undo(fault, &mut held).await {
            self.problem(format!("{shown}: {error}"));
        }
        self.log.write(&format!("{} is over: {shown}", now()));
    }

    async fn do_and_undo(&self, fault: Fault, held: &mut [Held]) -> Result<()> {
        let lasting = fault.lasting();
        match fault {
            Fault::Kill { .. } => {
                self.interference.borrow_mut().killed.insert(held[0].name());
                held[0].kill().await?;
                tokio::time::sleep(lasting).await;
                self.bring_back(&mut held[0]).await?;
            }
            Fault::Leave { .. } => {
                let left = held[0].leave().await;
                if left.is_err() {
                    self.interference.borrow_mut().killed.insert(held[0].name());
                }
                tokio::time::sleep(lasting).await;
                self.bring_back(&mut held[0]).await?;
                left?;
            }
            Fault::Stop { .. } => {
                let from = now();
                held[0].signal(libc::SIGSTOP)?;
                tokio::time::sleep(lasting).await;
                held[0].signal(libc::SIGCONT)?;
                let mut interference = self.interference.borrow_mut();
                interference.stopped.entry(held[0].name()).or_default().push((from, now()));
            }
            Fault::CutOff { .. } => {
                let _cut = self.site.cut_off(held[0].place())?;
                tokio::time::sleep(lasting).await;
            }
            Fault::CutPair { .. } => {
                let _cuts =
                    [held[0].place().deafen(held[1].place())?, held[1].place().deafen(held[0].place())?];
                tokio::time::sleep(lasting).await;
            }
            Fault::CutOneWay { .. } => {
                let _cut = held[1].place().deafen(held[0].place())?;
                tokio::time::sleep(lasting).await;
            }
            Fault::Slow { .. } => {
                let _slow = held[0].place().slow_down()?;
                tokio::time::sleep(lasting).await;
            }
            Fault::RedisRestart { .. } => {
                let mut redis = self.redis().lock().await;
                redis.kill().await?;
                tokio::time::sleep(lasting).await;
                redis.start_again()?;
            }
            Fault::RedisPause { .. } => {
                let redis = self.redis().lock().await;
                redis.signal(libc::SIGSTOP)?;
                tokio::time::sleep(lasting).await;
                redis.signal(libc::SIGCONT)?;
            }
        }
        Ok(())
    }

    fn redis(&self) -> &Mutex<Redis> {
        self.site.redis()
    }

    /// Starts a silo again. A start may fail while others are away; the silo tries until it works.
    async fn bring_back(&self, silo: &mut Process) -> Result<()> {
        silo.bring_back(|error| self.log.write(&format!("{} {error}", now()))).await
    }

    /// Starts again those that ended by themselves or did not come back from the fault before.
    async fn revive(&self, held: &mut [Held]) -> Result<()> {
        for silo in held {
            self.expect_alive(silo);
            if silo.pid().is_none() {
                self.bring_back(silo).await?;
            }
        }
        Ok(())
    }

    /// A process that ended by itself is a problem.
    fn expect_alive(&self, process: &mut Process) {
        if let Some(status) = process.ended() {
            self.problem(format!("{} ended by itself: {status}", process.name()));
            self.interference.borrow_mut().killed.insert(process.name());
        }
    }

    pub(crate) fn problem(&self, problem: String) {
        self.log.write(&format!("{} {problem}", now()));
        self.problems.borrow_mut().push(problem);
    }

    /// Ends all calls, then all processes; what was done to them and what went wrong.
    pub(crate) async fn end(&self) -> (Interference, Vec<String>) {
        let all = || self.silos.iter().chain(&self.clients);
        for process in all() {
            let mut process = process.lock().await;
            self.expect_alive(&mut process);
            if process.pid().is_none() {
                continue;
            }
            if let Err(error) = process.quiet().await {
                self.problem(error.to_string());
            }
        }
        for process in all() {
            if let Err(error) = process.lock().await.leave().await {
                self.problem(error.to_string());
            }
        }
        (self.interference.take(), self.problems.take())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
