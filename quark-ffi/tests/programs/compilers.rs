//! The headers for every compiler that is there and every standard that they promise.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{WARNINGS, check, left_out, link, root};

/// Whether a compiler is there; those that need not be are told of.
fn is_there(compiler: &str, test: &str) -> bool {
    let there = Command::new(compiler).arg("--version").output().is_ok();
    if !there {
        left_out(&format!("{test}: {compiler} is not installed"));
    }
    there
}

/// A file of the tests' own folder.
fn written(name: &str, content: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, content).expect("a file");
    file
}

fn compiles(compiler: &str, standard: &str, file: &Path) {
    let mut cc = Command::new(compiler);
    cc.arg(format!("-std={standard}")).args(WARNINGS).arg("-fsyntax-only");
    cc.arg("-I").arg(root().join("include")).arg(file);
    check(&mut cc, &format!("{compiler} -std={standard} {}", file.display()));
}

#[test]
fn the_headers_compile_by_every_standard() {
    // Twice, and what the macros become.
    let bytes =
        "quark_bytes_view_t three(void);\nquark_bytes_view_t three(void) { return QUARK_BYTES(\"abc\"); }\n";
    let c = written("headers.c", &format!("#include <quark.h>\n#include <quark.h>\n{bytes}"));
    let cpp = written("headers.cpp", &format!("#include <quark.hpp>\n#include <quark.hpp>\n{bytes}"));
    let plain = written("plain.cpp", &format!("#include <quark.h>\n{bytes}"));
    for (compiler, standards, files) in [
        ("gcc", ["c99", "c11", "c17"].as_slice(), [&c].as_slice()),
        ("clang", &["c99", "c11", "c17"], &[&c]),
        ("g++", &["c++17", "c++20"], &[&cpp, &plain]),
        ("clang++", &["c++17", "c++20"], &[&cpp, &plain]),
    ] {
        if is_there(compiler, "the headers") {
            for standard in standards {
                files.iter().for_each(|file| compiles(compiler, standard, file));
            }
        }
    }
}

#[test]
fn two_files_of_one_program_may_include_the_cpp_header() {
    let folder = root().join("quark-ffi/tests/cpp");
    for compiler in ["g++", "clang++"] {
        if is_there(compiler, "two files") {
            let files = [folder.join("exceptions.cpp"), folder.join("second.cpp")];
            let program =
                link(&[&files[0], &files[1]], compiler, "c++17", &format!("two-files-{compiler}"), &[]);
            super::run(&program);
        }
    }
}

#[test]
fn the_cpp_header_does_without_exceptions() {
    let results = root().join("quark-ffi/tests/cpp/results.cpp");
    for compiler in ["g++", "clang++"] {
        if is_there(compiler, "no exceptions") {
            let flags = ["-fno-exceptions", "-fno-rtti"];
            super::run(&link(&[&results], compiler, "c++17", &format!("bare-{compiler}"), &flags));
        }
    }
}
