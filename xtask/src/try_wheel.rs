//! `try-wheel`: the wheel of `dist/` where nothing but it is installed, and no Rust can be found.

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::dist_wheel::dist;
use crate::process::{self, Failure, Result, step, target};
use crate::python::{Needs, Venv, wheels};
use crate::{readme, redis};

/// So many processes of each kind; the median is printed.
const STARTS: usize = 15;
/// So many modules are listed.
const OFFENDERS: usize = 12;

/// CPython unwinds threads of the wheel's then, which depends on how it was optimized: no test of a debug build sees that.
const END: &str = r#"
import time
from quark import blocking

def busy(request):
    begun.append(request)
    while True:
        time.sleep(0)

begun = []
silo = blocking.Silo("a", membership="memory://end", handler=busy)
silo.start()
for number in range(40):
    silo.notify("T", str(number), "")
while len(begun) < 4:
    time.sleep(0.001)
"#;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let inner = args.flag("--inner");
    let verbose = args.flag("--verbose");
    args.finish()?;
    if wheels(&dist()).is_empty() {
        return Err(Failure::new("there is no wheel in dist/").hint("`cargo xtask dist-wheel` makes it"));
    }
    if !inner {
        let words = ["try-wheel", "--inner"].into_iter().chain(verbose.then_some("--verbose"));
        return redis::run_self_beside(&Venv::ready(Needs::Nothing)?, &words.collect::<Vec<_>>());
    }
    let venv = Venv::fresh(target().join("try-wheel"))?;
    let path = path_without_rust(&venv)?;
    step("the wheel, alone", || install(&venv, &path))?;
    readme::run_python_examples(&venv, &path)?;
    if venv.program("quark").exists() {
        step("quark version", || {
            process::run(bare(&mut process::command(venv.program("quark")), &path).arg("version"))
        })?;
    }
    step("an end in the midst of work", || {
        let mut python = process::command(venv.python());
        process::run(bare(python.args(["-W", "ignore::ResourceWarning", "-c", END]), &path))
    })?;
    step("import time", || import_times(&venv, &path))?;
    if verbose { step("modules that take longest", || offenders(&venv, &path)) } else { Ok(()) }
}

fn install(venv: &Venv, path: &OsString) -> Result<()> {
    let mut pip = venv.pip();
    pip.args(["install", "--quiet", "--no-index", "--only-binary", ":all:", "--find-links"]).arg(dist());
    process::run(bare(&mut pip, path).arg("quark-cluster"))?;
    let mut python = process::command(venv.python());
    process::run(
        bare(&mut python, path).args(["-c", "import quark; print('  ', quark.__version__, quark.__file__)"]),
    )
}

/// Has a command see this PATH and nothing of the cargo that runs this.
fn bare<'a>(command: &'a mut Command, path: &OsString) -> &'a mut Command {
    command.env("PATH", path).env_remove("CARGO").env_remove("RUSTC")
}

/// The environment's programs, and the folders of the PATH without a Rust in them.
fn path_without_rust(venv: &Venv) -> Result<OsString> {
    let all = venv.path()?;
    let has_rust =
        |folder: &std::path::PathBuf| ["cargo", "rustc"].iter().any(|name| folder.join(name).exists());
    std::env::join_paths(std::env::split_paths(&all).filter(|folder| !has_rust(folder)))
        .map_err(|e| Failure::new(e.to_string()))
}

/// Prints how much longer a process takes that imports Quark than one that does nothing. It asserts nothing: how long it
/// takes is up to the machine.
fn import_times(venv: &Venv, path: &OsString) -> Result<()> {
    let (mut quark, mut asyncio) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        // One beside the other, so that a busy moment is in all of them.
        let nothing = start(venv, path, "pass")?;
        asyncio.push(start(venv, path, "import asyncio")?.saturating_sub(nothing));
        quark.push(start(venv, path, "import quark")?.saturating_sub(nothing));
    }
    let [quark, asyncio] = [median(quark), median(asyncio)].map(|time| time.as_secs_f64() * 1e3);
    println!(
        "   import quark {quark:.1} ms; import asyncio alone {asyncio:.1} ms (medians of {STARTS} processes)"
    );
    Ok(())
}

fn start(venv: &Venv, path: &OsString, code: &str) -> Result<Duration> {
    let mut python = process::command(venv.python());
    let begin = Instant::now();
    process::run(bare(&mut python, path).args(["-c", code]))?;
    Ok(begin.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn offenders(venv: &Venv, path: &OsString) -> Result<()> {
    let mut python = process::command(venv.python());
    bare(&mut python, path).args(["-X", "importtime", "-c", "import quark"]);
    let output = process::run_quietly(&mut python)?;
    let report = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<(u64, &str)> =
        report.lines().filter_map(|line| own_time(line).zip(Some(line))).collect();
    lines.sort_unstable_by(|a, b| b.cmp(a));
    println!("   self [us] | with what it imports | module");
    for (_, line) in lines.iter().take(OFFENDERS) {
        println!("   {}", line.trim_start_matches("import time:"));
    }
    Ok(())
}

/// The microseconds of a module itself, in a line of `-X importtime`.
fn own_time(line: &str) -> Option<u64> {
    line.strip_prefix("import time:")?.split('|').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_importtime_says_how_long_a_module_took() {
        assert_eq!(own_time("import time:       173 |        981 |   asyncio.events"), Some(173));
        assert_eq!(own_time("import time: self [us] | cumulative | imported package"), None);
    }

    #[test]
    fn one_slow_start_does_not_move_the_median() {
        assert_eq!(median([9, 1, 5000].map(Duration::from_millis).to_vec()), Duration::from_millis(9));
    }
}
