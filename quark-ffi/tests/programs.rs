//! C and C++ programs against the built library: compiled with warnings as errors, run plainly and under valgrind.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{check, left_out, library_folder, root};

#[path = "programs/compilers.rs"]
mod compilers;
#[path = "programs/header.rs"]
mod header;
#[path = "programs/sanitizers.rs"]
mod sanitizers;
#[path = "programs/sweep.rs"]
mod sweep;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Compiles a program for one language standard and gives its path.
fn compile(source: &Path, compiler: &str, standard: &str) -> PathBuf {
    link(&[source], compiler, standard, standard, &[])
}

/// Compiles the files of a program; `tag` tells it from others of the same first file.
fn link(sources: &[&Path], compiler: &str, standard: &str, tag: &str, flags: &[&str]) -> PathBuf {
    let (library, source) = (library_folder(), sources[0]);
    let name = source.file_stem().expect("a name").to_string_lossy();
    let program =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", tag.replace('+', "p")));
    let mut cc = Command::new(compiler);
    cc.args([&format!("-std={standard}"), "-g", "-O1"]).args(WARNINGS).args(flags);
    cc.arg("-I").arg(root().join("include")).arg("-I").arg(source.parent().expect("a folder"));
    cc.arg("-o").arg(&program).args(sources).arg("-L").arg(&library).args(["-lquark", "-pthread"]);
    cc.arg(format!("-Wl,-rpath,{}", library.display()));
    check(&mut cc, &format!("{compiler} {}", source.display()));
    program
}

fn run(program: &Path) {
    check(Command::new("timeout").arg("60").arg(program), "the program");
}

fn run_under_valgrind(program: &Path) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        let name = program.file_stem().expect("a name").to_string_lossy();
        return left_out(&format!("{name}: valgrind is not installed"));
    }
    let mut valgrind = Command::new("timeout");
    valgrind.args(["240", "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full"]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--fair-sched=yes"]);
    check(valgrind.arg(program), "the program under valgrind");
}

macro_rules! programs {
    ($($name:ident: $path:literal, $compiler:literal, $($standard:literal)+;)+) => {
        $(#[test] fn $name() {
            let source = root().join($path);
            let programs = [$($standard),+].map(|standard| (compile(&source, $compiler, standard), standard));
            programs.iter().for_each(|(program, _)| run(program));
            let (program, standard) = programs.last().expect("a standard");
            sanitizers::run(&source, $compiler, standard);
            run_under_valgrind(program);
        })+
    };
}

programs! {
    answers_in_c: "quark-ffi/tests/c/answers.c", "cc", "c11";
    batches_in_c: "quark-ffi/tests/c/batches.c", "cc", "c11";
    calls_in_c: "quark-ffi/tests/c/calls.c", "cc", "c11";
    credentials_in_c: "quark-ffi/tests/c/credentials.c", "cc", "c11";
    an_event_loop_of_the_programs_own: "quark-ffi/tests/c/event_loop.c", "cc", "c11";
    drops_in_every_order: "quark-ffi/tests/c/drops.c", "cc", "c11";
    errors_in_c: "quark-ffi/tests/c/errors.c", "cc", "c11";
    handlers_that_are_stuck_late_or_call: "quark-ffi/tests/c/handlers.c", "cc", "c11";
    placement_in_c: "quark-ffi/tests/c/placement.c", "cc", "c11";
    lifecycle_in_c: "quark-ffi/tests/c/lifecycle.c", "cc", "c11";
    ownership_in_c: "quark-ffi/tests/c/ownership.c", "cc", "c11";
    pressure_in_c: "quark-ffi/tests/c/pressure.c", "cc", "c11";
    stops_of_every_kind: "quark-ffi/tests/c/stops.c", "cc", "c11";
    the_parts_alone_in_c: "quark-ffi/tests/c/parts.c", "cc", "c11";
    exceptions_in_cpp: "quark-ffi/tests/cpp/exceptions.cpp", "c++", "c++20" "c++17";
    ownership_in_cpp: "quark-ffi/tests/cpp/ownership.cpp", "c++", "c++20" "c++17";
    placement_in_cpp: "quark-ffi/tests/cpp/placement.cpp", "c++", "c++20" "c++17";
    results_in_cpp: "quark-ffi/tests/cpp/results.cpp", "c++", "c++20" "c++17";
    the_c_example: "examples/c/echo.c", "cc", "c99";
    the_cpp_example: "examples/cpp/echo.cpp", "c++", "c++17";
}

#[test]
fn the_ring_in_c_gives_the_owners_of_the_vectors() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../testdata/ring.json")).expect("JSON");
    let mut table = String::from("static void cases(void) {\n");
    for case in vectors["cases"].as_array().expect("cases") {
        table.push_str("    begin();\n");
        for silo in case["silos"].as_array().expect("silos") {
            table.push_str(&format!("    add({}, {});\n", silo["id"], silo["virtual_nodes"]));
        }
        for lookup in case["lookups"].as_array().expect("lookups") {
            table.push_str(&format!(
                "    owns({}, {}u, {});\n",
                lookup["key"], lookup["hash"], lookup["owner"]
            ));
        }
    }
    table.push_str("}\n");
    run_with_table("ring.c", "ring_cases.h", table);
}

/// Compiles and runs a program that includes a table generated from test data.
fn run_with_table(program: &str, table: &str, content: String) {
    run(&compile_with_table(program, table, content));
    sanitizers::run(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(program), "cc", "c11");
}

fn compile_with_table(program: &str, table: &str, content: String) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join(table), content).expect("a file");
    for file in [program, "check.h"] {
        std::fs::copy(root().join("quark-ffi/tests/c").join(file), folder.join(file)).expect("a copy");
    }
    compile(&folder.join(program), "cc", "c11")
}

#[test]
fn bad_input_in_c_is_refused_as_the_table_says() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../testdata/bad_input.json")).expect("JSON");
    // C has no \u007f; bytes in octal stand for themselves.
    let literal = |text: &serde_json::Value| {
        let Some(text) = text.as_str() else { return text.to_string() };
        format!("\"{}\"", text.bytes().map(|byte| format!("\\{byte:03o}")).collect::<String>())
    };
    let mut table = String::new();
    for (name, parameters, call) in [
        ("starts", "void", "start_with("),
        ("limits", "void", "limit_with("),
        ("calls", "quark_silo_t *silo", "call_with(silo, "),
    ] {
        table.push_str(&format!("static void {name}({parameters}) {{\n"));
        for case in cases[name].as_array().expect("cases") {
            let code = case["code"].as_str().expect("a code");
            let (argument, value) = (&case["argument"], literal(&case["value"]));
            table.push_str(&format!(
                "    {call}{argument}, {value}, QUARK_{code}, {});\n",
                literal(&case["contains"])
            ));
        }
        table.push_str("}\n");
    }
    run_with_table("bad_input.c", "bad_input_cases.h", table);
}

#[test]
fn envelopes_in_c_are_byte_for_byte_those_of_the_vectors() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../testdata/envelopes.json")).expect("JSON");
    let mut arrays = String::new();
    let mut cases = String::from("static const case_t cases[] = {\n");
    for (i, case) in vectors["cases"].as_array().expect("cases").iter().enumerate() {
        let fields = &case["fields"];
        let text = |name: &str| {
            let bytes = fields[name].as_str().unwrap_or_default().bytes();
            format!("\"{}\"", bytes.map(|byte| format!("\\{byte:03o}")).collect::<String>())
        };
        // An array of at least one byte, and how many of them count.
        let mut array = |name: &str, hex: &str| {
            let bytes =
                (0..hex.len()).step_by(2).map(|at| format!("0x{},", &hex[at..at + 2])).collect::<String>();
            arrays.push_str(&format!("static const uint8_t {name}_{i}[] = {{{bytes}0}};\n"));
            format!("{name}_{i}, {}", hex.len() / 2)
        };
        let payload = array("payload", fields["payload"].as_str().unwrap_or_default());
        let response = array("response", fields["response_payload"].as_str().unwrap_or_default());
        let bytes = array("bytes", case["bytes"].as_str().expect("hex"));
        let timestamp = match &fields["timestamp"] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => "0".to_owned(),
        };
        let is_error = fields["is_error"].as_bool().unwrap_or_default();
        cases.push_str(&format!(
            "    {{{}, {}, {}, {}, {}, {}, {}, {timestamp}LL, {is_error}, {payload}, {response}, {bytes}}},\n",
            case["name"],
            text("message_id"),
            text("actor_id"),
            text("actor_type"),
            text("method_name"),
            text("correlation_id"),
            text("error_message"),
        ));
    }
    run_with_table("envelope.c", "envelope_cases.h", format!("{arrays}{cases}}};\n"));
}

#[test]
fn a_forked_child_does_not_run_and_leaves_the_parent_alone() {
    let source = root().join("quark-ffi/tests/c/fork.c");
    run(&compile(&source, "cc", "c11"));
    sanitizers::run(&source, "cc", "c11");
}

#[test]
fn every_function_of_the_header_bears_what_it_must_refuse() {
    let functions =
        header::functions(&std::fs::read_to_string(root().join("include/quark.h")).expect("a header"));
    let mut found: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, support::declared(), "two ways of reading the header");
    let program = compile_with_table("sweep.c", "sweep_cases.h", sweep::cases(&functions));
    let said = check(Command::new("timeout").arg("120").arg(&program), "the program");
    assert_eq!(said, "", "the library never prints");
    sanitizers::run(&program.with_file_name("sweep.c"), "cc", "c11");
    run_under_valgrind(&program);
    // Row 25.
    check(Command::new("timeout").arg("120").arg(&program).arg("forked"), "in forked children");
    sanitizers::run_with(&program.with_file_name("sweep.c"), "cc", "c11", &["forked"]);
}
