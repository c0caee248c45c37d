//! Programs compiled with the address and the undefined behaviour sanitizer, which also look for leaks at the end, and with
//! the thread sanitizer. The library is the same as ever: what it allocates, frees and leaks is seen, what it reads and
//! writes is not. Rust code itself can be sanitized by a nightly compiler only (`-Zsanitizer`).

use std::path::Path;
use std::process::{Command, Output};

use super::{left_out, link, root};

type Flags = [&'static str; 3];

const MEMORY: Flags =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
const THREADS: Flags = ["-fsanitize=thread", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// Runs a program under the sanitizers, which must find nothing.
pub(crate) fn run(source: &Path, compiler: &str, standard: &str) {
    run_with(source, compiler, standard, &[]);
}

/// The same of a program that is given arguments.
pub(crate) fn run_with(source: &Path, compiler: &str, standard: &str, arguments: &[&str]) {
    finds_nothing(source, output(source, compiler, standard, MEMORY, arguments));
}

fn finds_nothing(source: &Path, output: Option<Output>) {
    let Some(output) = output else { return };
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} sanitized: {}\n{said}", source.display(), output.status);
}

fn output(source: &Path, compiler: &str, standard: &str, flags: Flags, arguments: &[&str]) -> Option<Output> {
    let kind = flags[0].trim_start_matches("-fsanitize=");
    if !is_there(compiler, flags) {
        let name = source.file_stem().expect("a name").to_string_lossy();
        left_out(&format!("{name}: the sanitizers of {compiler} are not installed"));
        return None;
    }
    let program = link(
        &[source],
        compiler,
        standard,
        &format!("{standard}-{}-sanitized", kind.replace(',', "-")),
        &flags,
    );
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(arguments);
    command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
    let suppressions = root().join("quark-ffi/tests/c/threads.supp");
    command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    Some(command.env("UBSAN_OPTIONS", "print_stacktrace=1").output().expect("it runs"))
}

/// Whether a program can be linked with the sanitizers.
fn is_there(compiler: &str, flags: Flags) -> bool {
    let language = if compiler == "cc" { "c" } else { "c++" };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sanitizers-{}", std::process::id()));
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "echo 'int main(void) { return 0; }' | \"$@\"",
        "sh",
        compiler,
        "-x",
        language,
        "-",
        "-o",
    ]);
    command.arg(&program).args(flags);
    let linked = command.output().is_ok_and(|output| output.status.success());
    let _ = std::fs::remove_file(program);
    linked
}

/// What the threads of these programs share they lock themselves, so that each report would be one of theirs. Left out are
/// programs that lean on the library's own order, such as data written before a call and read in its callback, and with them
/// everything in C++, whose header hands its futures over like this: the sanitizer cannot see that this is an order.
#[test]
fn the_threads_of_programs_do_not_race() {
    for program in ["batches", "calls", "drops", "event_loop", "parts", "pressure"] {
        let source = root().join(format!("quark-ffi/tests/c/{program}.c"));
        finds_nothing(&source, output(&source, "cc", "c11", THREADS, &[]));
    }
}

/// A sanitizer that saw nothing would let every program pass.
#[test]
fn the_sanitizers_see_what_a_program_does_wrong() {
    for (flags, mistake, told) in [
        (MEMORY, "leak", "LeakSanitizer"),
        (MEMORY, "use after free", "heap-use-after-free"),
        (MEMORY, "free twice", "double-free"),
        (MEMORY, "overflow", "signed integer overflow"),
        (THREADS, "race of two threads", "data race"),
        (THREADS, "race with a callback", "data race"),
    ] {
        let source = root().join("quark-ffi/tests/c/mistakes.c");
        let Some(output) = output(&source, "cc", "c11", flags, &[mistake]) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(told), "{mistake}: {}\n{said}", output.status);
    }
}
