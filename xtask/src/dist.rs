//! `dist`: the library for C and C++ as one installs it, and a tarball of that.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::args::Args;
use crate::dist_wheel::dist;
use crate::install::{install, version};
use crate::process::{self, Failure, Result, cargo, root, step, target};
use crate::python::portable_flags;
use crate::static_library::LINK_LINE;

/// In MiB: what was measured when this was written (7.28, 16.12 and 7.23) and 15 % more. Whoever needs more raises it and
/// says what for.
const SHARED_LIMIT: f64 = 8.4;
const STATIC_LIMIT: f64 = 18.6;
const TARBALL_LIMIT: f64 = 8.4;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let (from, to) = (args.value("--from")?, args.value("--to")?);
    args.finish()?;
    match (from, to) {
        // What the tests do, with the libraries that they are built beside.
        (Some(from), Some(to)) => install(&here()?.join(from), &here()?.join(to)),
        (None, None) => release(),
        _ => Err(Failure::new("--from and --to are given together")),
    }
}

fn release() -> Result<()> {
    let built = step("libraries", build)?;
    let name = format!("quark-{}-{}", version()?, host()?);
    let tree = dist().join(&name);
    step(&name, || install(&built, &tree))?;
    let tarball = dist().join(format!("{name}.tar.gz"));
    step("tarball", || pack(&name, &tarball))?;
    let shared = tree.join(format!("lib/libquark.so.{}", version()?));
    let files =
        [(&shared, SHARED_LIMIT), (&tree.join("lib/libquark.a"), STATIC_LIMIT), (&tarball, TARBALL_LIMIT)];
    for (file, limit) in files {
        names_no_folder(file)?;
        let size = mib(file)?;
        println!("{}, {size:.2} MiB", shown(file));
        if size > limit {
            return Err(Failure::new(format!("too large, {limit:.2} MiB is the limit"))
                .hint("see the limits in xtask/src/dist.rs"));
        }
    }
    println!("runs with glibc {} or later", glibc(&shared)?);
    println!("what the static library needs: {LINK_LINE}");
    Ok(())
}

/// Builds both libraries and returns their folder.
fn build() -> Result<PathBuf> {
    let mut build = cargo(&["rustc", "--locked", "--profile", "dist", "--package", "quark-ffi", "--lib"]);
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", portable_flags());
    let output = process::run_quietly(build.args(["--", "--print", "native-static-libs"]))?;
    // Cargo says it again when there was nothing to build.
    let said = String::from_utf8_lossy(&output.stderr);
    let needed = needed(&said).ok_or_else(|| Failure::new(format!("rustc names no libraries:\n{said}")))?;
    if needed == LINK_LINE {
        Ok(target().join("dist"))
    } else {
        Err(Failure::new(format!("the static library needs {needed}"))
            .hint("LINK_LINE in xtask/src/static_library.rs"))
    }
}

/// The libraries that rustc names as needed.
fn needed(said: &str) -> Option<&str> {
    said.lines()
        .find_map(|line| line.split_once("native-static-libs:"))
        .map(|(_, libraries)| libraries.trim())
}

/// The platform that this rustc builds for.
fn host() -> Result<String> {
    let output = process::run_quietly(process::command("rustc").arg("-vV"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not name its host"))
}

/// Nobody's files, in an order that does not depend on the disk.
fn pack(name: &str, tarball: &Path) -> Result<()> {
    let mut tar = process::command("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"]);
    process::run_quietly(tar.arg(tarball).arg("--directory").arg(dist()).arg(name)).map(drop)
}

/// Where this was built is nobody's business.
fn names_no_folder(file: &Path) -> Result<()> {
    let content = fs::read(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    let root = root();
    let folder = root.as_os_str().as_encoded_bytes();
    if content.windows(folder.len()).any(|bytes| bytes == folder) {
        return Err(Failure::new(format!("{} names {}", shown(file), root.display())));
    }
    Ok(())
}

/// The newest version of glibc that a library asks for.
fn glibc(library: &Path) -> Result<String> {
    let output = process::run_quietly(process::command("objdump").arg("-T").arg(library))?;
    let said = String::from_utf8_lossy(&output.stdout);
    newest_glibc(&said).ok_or_else(|| Failure::new(format!("{} asks for no glibc", shown(library))))
}

fn newest_glibc(symbols: &str) -> Option<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let number = rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let parts: Vec<u32> = number.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some((parts, number))
    });
    versions.max().map(|(_, number)| number.to_owned())
}

fn here() -> Result<PathBuf> {
    env::current_dir().map_err(|e| Failure::new(e.to_string()))
}

fn mib(file: &Path) -> Result<f64> {
    let length = fs::metadata(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?.len();
    Ok(u32::try_from(length / 1024).map_or(f64::INFINITY, f64::from) / 1024.0)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::{needed, newest_glibc};

    #[test]
    fn the_libraries_are_found_in_what_rustc_says() {
        let said =
            "note: link against the following\n\nnote: native-static-libs: -lgcc_s -lc\n\n    Finished";
        assert_eq!(needed(said), Some("-lgcc_s -lc"));
        assert_eq!(needed("    Finished"), None);
    }

    #[test]
    fn the_newest_glibc_is_found_by_number() {
        let symbols = "(GLIBC_2.9) a\n(GLIBC_2.34) b\n(GLIBC_2.2.5) c\n(GLIBC_PRIVATE) d";
        assert_eq!(newest_glibc(symbols).as_deref(), Some("2.34"));
        assert_eq!(newest_glibc("(GCC_3.0)"), None);
    }
}
