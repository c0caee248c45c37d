//! The course of the demo.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quark_core::{Client, MembershipUrl};

use crate::Result;
use crate::cluster::{Meeting, SiloProcess};
use crate::load::{COUNTERS, Load};
use crate::screen::Screen;

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(c_silo: &str, python: &str, python_silo: &str, url: Option<&str>) -> Result<()> {
    tokio::task::LocalSet::new().run_until(course(c_silo, python, python_silo, url)).await
}

async fn course(c_silo: &str, python: &str, python_silo: &str, url: Option<&str>) -> Result<()> {
    let began = Instant::now();
    let screen = Screen::new();
    let mut meeting = Meeting::new(url);
    if let Some(url) = url {
        let url: MembershipUrl = url.parse()?;
        screen.heading(&format!("1  Four silos in three languages, meeting on {url}"));
    } else {
        screen.heading("1  Four silos in three languages, meeting by gossip on loopback");
    }
    let this = std::env::current_exe()?;
    let rust = [this.to_str().ok_or("a path that is no UTF-8")?, "silo"];
    let py = [python, python_silo];
    let mut silos = Vec::new();
    for (id, language, program) in [
        ("silo-rust", "Rust", &rust[..]),
        ("silo-c", "C", &[c_silo][..]),
        ("silo-py-1", "Python", &py[..]),
        ("silo-py-2", "Python", &py[..]),
    ] {
        let silo = SiloProcess::start(id, language, program, &mut meeting)?;
        screen.line(&format!("{id:<11} {language:<7} pid {:<8} {}", silo.pid(), silo.endpoint));
        silos.push(silo);
    }
    let client =
        Client::builder().cluster(&meeting.cluster).membership(meeting.url().parse()?).start().await?;
    until("the client sees four silos", || client.silos().len() == silos.len()).await?;

    screen.heading(&format!("2  A client calls {COUNTERS} counters, wherever they live"));
    let (load, sessions) = Load::start(client.caller());
    until("every counter answers", || {
        let answered = load.answered_since(began, &all());
        screen.progress("counters answer", answered, COUNTERS);
        answered == COUNTERS
    })
    .await?;
    let languages: BTreeMap<_, _> = silos.iter().map(|silo| (silo.id.clone(), silo.language)).collect();
    shares(&screen, &load, &languages);
    let before_kill = load.by_silo();

    screen.heading("3  The C silo is killed with SIGKILL; the calls go on");
    let victim = before_kill.get("silo-c").cloned().unwrap_or_default();
    let killed_at = Instant::now();
    silos[1].kill()?;
    let away = watch_return(&screen, &load, &victim, killed_at).await?;
    screen.line(&format!(
        "away: shortest {}, median {}, longest {}",
        ms(away[0]),
        ms(away[away.len() / 2]),
        ms(away[away.len() - 1])
    ));
    let after_kill = load.by_silo();
    let mut went = BTreeMap::<&str, usize>::new();
    for (silo, counters) in &after_kill {
        went.insert(silo, counters.iter().filter(|counter| victim.contains(counter)).count());
    }
    screen.line("its counters went to:");
    for (silo, count) in went.iter().filter(|(_, count)| **count > 0) {
        screen.share(silo, languages.get(*silo).copied().unwrap_or_default(), *count, victim.len());
    }

    screen.heading("4  A new silo joins");
    let joining_at = Instant::now();
    let joined = SiloProcess::start("silo-new", "Python", &py, &mut meeting)?;
    let started = joining_at.elapsed();
    silos.push(joined);
    until("the client sees the new silo", || client.view().silo("silo-new").is_some()).await?;
    let ring_moves: Vec<usize> = all()
        .into_iter()
        .filter(|counter| {
            client
                .owner("Counter", &format!("counter-{counter}"))
                .is_ok_and(|owner| owner.is_some_and(|o| o.as_str() == "silo-new"))
        })
        .collect();
    until("its counters answer there", || {
        let seen = load.seen.borrow();
        ring_moves.iter().all(|counter| seen[*counter].silo == "silo-new")
    })
    .await?;
    screen.line(&format!(
        "started in {}, {} of {COUNTERS} counters moved to it, all answering there after {}",
        ms(started),
        ring_moves.len(),
        ms(joining_at.elapsed())
    ));
    let mut languages = languages;
    languages.insert("silo-new".to_owned(), "Python");
    shares(&screen, &load, &languages);

    load.stop();
    for session in sessions {
        session.await?;
    }
    client.stop(Duration::from_secs(2)).await;
    silos.iter_mut().for_each(SiloProcess::dismiss);
    drop(silos);
    summary(&screen, &load, victim.len(), &away, began)
}

fn all() -> Vec<usize> {
    (0..COUNTERS).collect()
}

fn shares(screen: &Screen, load: &Load, languages: &BTreeMap<String, &'static str>) {
    let by_silo = load.by_silo();
    let most = by_silo.values().map(Vec::len).max().unwrap_or(1);
    for (silo, counters) in &by_silo {
        screen.share(silo, languages.get(silo).copied().unwrap_or_default(), counters.len(), most);
    }
}

/// Waits until every counter of the killed silo has answered again; how long each was away, sorted.
async fn watch_return(
    screen: &Screen,
    load: &Rc<Load>,
    victim: &[usize],
    killed_at: Instant,
) -> Result<Vec<Duration>> {
    let mut away = BTreeMap::new();
    while away.len() < victim.len() {
        if killed_at.elapsed() > LIMIT {
            return Err(format!(
                "{} of its counters did not answer within {LIMIT:?}",
                victim.len() - away.len()
            )
            .into());
        }
        for counter in victim {
            let seen = &load.seen.borrow()[*counter];
            if let Some(at) = seen.at.filter(|at| *at > killed_at && seen.silo != "silo-c") {
                away.entry(*counter).or_insert(at - killed_at);
            }
        }
        screen.progress("of its counters answer elsewhere", away.len(), victim.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut away: Vec<_> = away.into_values().collect();
    away.sort();
    Ok(away)
}

fn summary(screen: &Screen, load: &Load, orphans: usize, away: &[Duration], began: Instant) -> Result<()> {
    let rules = load.rules.borrow();
    screen.heading("Summary");
    let seconds = began.elapsed().as_secs_f64();
    screen.line(&format!("{} calls in {seconds:.1} s, each ended once:", rules.calls()));
    screen.line(&format!("{:>9} replies", rules.replies));
    for (code, count) in &rules.errors {
        screen.line(&format!("{count:>9} {code}"));
    }
    screen.line(&format!(
        "{orphans} counters lost their silo to SIGKILL; the last was back after {}",
        ms(away.last().copied().unwrap_or_default())
    ));
    if rules.broken.is_empty() {
        screen.good("no delivery rule was broken");
        return Ok(());
    }
    for broken in rules.broken.iter().take(10) {
        screen.bad(broken);
    }
    Err(format!("{} delivery rules were broken", rules.broken.len()).into())
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > LIMIT {
            return Err(format!("not within {LIMIT:?}: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
