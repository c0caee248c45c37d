//! The static library as it is given to others: one object that defines the functions of the header and nothing else.
//!
//! What rustc makes also defines, for all of the program, the whole of zstd, ring's functions, `rust_eh_personality` and
//! everything of Rust's standard library. A program that has a zstd or another Rust library of its own could not be
//! linked with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::process::{self, Failure, Result};

/// What `rustc --print native-static-libs` says that a program needs beside the static library. `dist` compares.
pub(crate) const LINK_LINE: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

/// The functions that a header declares. Comments name some, too, and may name what is no more.
pub(crate) fn declared(header: &str) -> BTreeSet<String> {
    let code: String =
        header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let before_parentheses = code.match_indices('(').map(|(at, _)| &code[..at]);
    let names = before_parentheses.map(|text| text.rsplit(|c| !is_name(c)).next().unwrap_or_default());
    names.filter(|name| name.starts_with("quark_")).map(str::to_owned).collect()
}

/// Makes `library` of what rustc made; `functions` are what stays visible.
pub(crate) fn write(made: &Path, functions: &BTreeSet<String>, library: &Path) -> Result<()> {
    let object = library.with_extension("o");
    let names = library.with_extension("names");
    let lines: String = functions.iter().map(|name| format!("{name}\n")).collect();
    fs::write(&names, lines).map_err(|e| Failure::new(format!("{}: {e}", names.display())))?;

    // Only what the functions need, in one object. Groups would keep their names, by which the linker takes one of
    // several for all: another Rust library's for ours. Other linkers than GNU's cannot do both.
    let mut link = process::command(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    link.args(["-r", "-nostdlib", "-fuse-ld=bfd", "-Wl,--gc-sections", "-Wl,--force-group-allocation", "-o"])
        .arg(&object);
    link.args(functions.iter().map(|name| format!("-Wl,-u,{name}"))).arg(made);
    process::run_quietly(&mut link)?;

    // Names that nothing refers to any more are not only a waste: a weak one of a section that was left out has become
    // one that must be found. Bitcode is for the linker of rustc, others stumble over it.
    let mut hide = process::command("objcopy");
    hide.args(["--strip-unneeded", "--remove-section=.llvmbc", "--remove-section=.llvmcmd"]);
    hide.arg(format!("--keep-global-symbols={}", names.display())).arg(&object);
    process::run_quietly(&mut hide)?;

    let _ = fs::remove_file(library);
    process::run_quietly(process::command("ar").arg("rcsD").arg(library).arg(&object))?;
    for file in [&object, &names] {
        fs::remove_file(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::declared;

    #[test]
    fn functions_are_what_is_declared_and_not_what_comments_name() {
        let header = "/* quark_old(x) */\n#define QUARK_X(a) (a)\nint32_t quark_new(int a,\n    int b);\n\
            /** quark_other() */\nvoid *quark_free(void (*finalizer)(void *));";
        assert_eq!(declared(header).into_iter().collect::<Vec<_>>(), ["quark_free", "quark_new"]);
    }
}
