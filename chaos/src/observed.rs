//! The program that is observed: a silo or a client that does nothing by itself and answers questions.
//!
//! Started as `quark-chaos observed silo|client ID LIFE MEMBERSHIP CLUSTER HOST`, it says `ready ENDPOINT`. Each line of
//! its standard input is a tag and a question; the answer is a line with the tag, the time at which it was found, in
//! milliseconds of the monotonic clock, and what was found. Answers come in any order. When the standard input is closed,
//! it leaves.
//!
//! ```text
//! silos                       SILO/INCARNATION …             who is active in its view
//! health                      healthy | degraded | isolated
//! owner TYPE ID               SILO | -                       who owns an actor by its view
//! call TYPE ID TIMEOUT_MS     ok SILO | CODE DELIVERED       who answered, or how the call failed
//! departures                  SILO@TIME …                    who went out of its view, and when, since it started
//! isolations                  TIME …                         when it found itself cut off, since it started
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{Caller, MembershipEvent, Request, SiloStatus};

use crate::Result;
use crate::node::{Node, Surroundings, commands, log_to_stderr};
use crate::record::now;

pub(crate) async fn run(words: &[&str]) -> Result<()> {
    let &[role, id, _life, url, cluster, host] = words else {
        return Err("usage: quark-chaos observed silo|client ID LIFE MEMBERSHIP CLUSTER HOST".into());
    };
    log_to_stderr()?;
    let around = Surroundings { url, cluster, host };
    let node = if role == "silo" {
        let name = id.to_owned();
        Node::silo(id, &around, move |_: Request| std::future::ready(Ok(name.clone()))).await?
    } else {
        Node::client(&around).await?
    };
    let memory = Arc::new(Memory::default());
    tokio::spawn(memory.clone().follow_views(node.caller().clone()));
    tokio::spawn(memory.clone().follow_health(node.caller().clone()));
    println!("ready {}", node.endpoint());

    let mut commands = commands();
    while let Some(line) = commands.recv().await {
        answer(&line, node.caller(), &memory)?;
    }
    node.stop().await;
    Ok(())
}

/// What happened since the start.
#[derive(Default)]
struct Memory {
    departures: Mutex<Vec<String>>,
    isolations: Mutex<Vec<String>>,
}

impl Memory {
    async fn follow_views(self: Arc<Self>, caller: Caller) {
        let mut views = caller.watch();
        let mut before = views.borrow_and_update().clone();
        while views.changed().await.is_ok() {
            let view = views.borrow_and_update().clone();
            for event in view.events_since(&before) {
                if let MembershipEvent::Left(silo) = event {
                    remember(&self.departures, format!("{}@{}", silo.silo_id, now()));
                }
            }
            before = view;
        }
    }

    async fn follow_health(self: Arc<Self>, caller: Caller) {
        let mut health = caller.watch_health();
        while health.changed().await.is_ok() {
            if health.borrow_and_update().is_isolated() {
                remember(&self.isolations, now().to_string());
            }
        }
    }
}

fn remember(list: &Mutex<Vec<String>>, what: String) {
    list.lock().expect("no panic while locked").push(what);
}

fn recall(list: &Mutex<Vec<String>>) -> String {
    list.lock().expect("no panic while locked").join(" ")
}

/// Answers at once, but for calls, which are answered when they have ended.
fn answer(line: &str, caller: &Caller, memory: &Memory) -> Result<()> {
    let (tag, question) = line.split_once(' ').unwrap_or((line, ""));
    let found = match question.split(' ').collect::<Vec<_>>()[..] {
        ["silos"] => silos(caller),
        ["health"] => caller.health().as_str().to_owned(),
        ["owner", actor_type, actor_id] => {
            caller.owner(actor_type, actor_id)?.map_or_else(|| "-".to_owned(), |silo| silo.to_string())
        }
        ["departures"] => recall(&memory.departures),
        ["isolations"] => recall(&memory.isolations),
        ["call", actor_type, actor_id, timeout] => {
            let timeout = Duration::from_millis(timeout.parse()?);
            let call = caller.call((actor_type, actor_id), "who", "").timeout(timeout);
            let tag = tag.to_owned();
            tokio::spawn(async move {
                let found = match call.await {
                    Ok(by) => format!("ok {}", String::from_utf8_lossy(&by)),
                    Err(error) => format!("{} {}", error.kind(), error.delivered()),
                };
                say(&tag, &found);
            });
            return Ok(());
        }
        _ => return Err(format!("not a question that is understood: {line:?}").into()),
    };
    say(tag, &found);
    Ok(())
}

fn silos(caller: &Caller) -> String {
    let active = caller.silos().into_iter().filter(|silo| silo.status == SiloStatus::Active);
    active.map(|silo| format!("{}/{}", silo.silo_id, silo.incarnation)).collect::<Vec<_>>().join(" ")
}

fn say(tag: &str, found: &str) {
    println!("{tag} {} {found}", now());
}
