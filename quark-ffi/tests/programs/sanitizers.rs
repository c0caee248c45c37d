//! Programs compiled with the address and the undefined behaviour sanitizer, which also look for leaks at the end. The
//! library is the same as ever: what it allocates, frees and leaks is seen, what it reads and writes is not.

use std::path::Path;
use std::process::{Command, Output};

use super::{left_out, link, root};

const FLAGS: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// Runs a program under the sanitizers, which must find nothing.
pub(crate) fn run(source: &Path, compiler: &str, standard: &str) {
    let Some(output) = output(source, compiler, standard, &[]) else { return };
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} sanitized: {}\n{said}", source.display(), output.status);
}

fn output(source: &Path, compiler: &str, standard: &str, arguments: &[&str]) -> Option<Output> {
    if !is_there(compiler) {
        let name = source.file_stem().expect("a name").to_string_lossy();
        left_out(&format!("{name}: the sanitizers of {compiler} are not installed"));
        return None;
    }
    let program = link(&[source], compiler, standard, &format!("{standard}-sanitized"), &FLAGS);
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(arguments);
    command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
    Some(command.env("UBSAN_OPTIONS", "print_stacktrace=1").output().expect("it runs"))
}

/// Whether a program can be linked with the sanitizers.
fn is_there(compiler: &str) -> bool {
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
    command.arg(&program).args(FLAGS);
    let linked = command.output().is_ok_and(|output| output.status.success());
    let _ = std::fs::remove_file(program);
    linked
}

/// A sanitizer that saw nothing would let every program pass.
#[test]
fn the_sanitizers_see_what_a_program_does_wrong() {
    for (mistake, told) in [
        ("leak", "LeakSanitizer"),
        ("use after free", "heap-use-after-free"),
        ("free twice", "double-free"),
        ("overflow", "signed integer overflow"),
    ] {
        let source = root().join("quark-ffi/tests/c/mistakes.c");
        let Some(output) = output(&source, "cc", "c11", &[mistake]) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(told), "{mistake}: {}\n{said}", output.status);
    }
}
