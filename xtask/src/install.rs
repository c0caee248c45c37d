//! Laying out built libraries as they are installed: a folder that can be moved and that pkg-config and CMake understand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::process::{Failure, Result, root};
use crate::static_library::{self, LINK_LINE};

/// The templates, and where they go.
const TEMPLATES: [(&str, &str); 4] = [
    ("quark-ffi/quark.pc.in", "lib/pkgconfig/quark.pc"),
    ("quark-ffi/cmake/QuarkConfig.cmake.in", "lib/cmake/Quark/QuarkConfig.cmake"),
    ("quark-ffi/cmake/QuarkConfigVersion.cmake.in", "lib/cmake/Quark/QuarkConfigVersion.cmake"),
    ("quark-ffi/cmake/QuarkTargets.cmake.in", "lib/cmake/Quark/QuarkTargets.cmake"),
];

/// What is installed as it is.
const FILES: [(&str, &str); 11] = [
    ("include/quark.h", "include/quark.h"),
    ("include/quark.hpp", "include/quark.hpp"),
    ("docs/C.md", "share/doc/quark/C.md"),
    ("docs/MEMBERSHIP.md", "share/doc/quark/MEMBERSHIP.md"),
    ("docs/OWNERSHIP.md", "share/doc/quark/OWNERSHIP.md"),
    ("docs/REDIS.md", "share/doc/quark/REDIS.md"),
    ("examples/c/echo.c", "share/doc/quark/examples/c/echo.c"),
    ("examples/cpp/echo.cpp", "share/doc/quark/examples/cpp/echo.cpp"),
    ("examples/cmake/CMakeLists.txt", "share/doc/quark/examples/cmake/CMakeLists.txt"),
    ("examples/make/Makefile", "share/doc/quark/examples/make/Makefile"),
    ("LICENSE", "share/doc/quark/LICENSE"),
];

/// Makes the folder `tree` of the libraries in `built`.
pub(crate) fn install(built: &Path, tree: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(tree);
    for (from, to) in FILES {
        make_folder_of(&tree.join(to))?;
        copy(&root().join(from), &tree.join(to))?;
    }
    let version = version()?;
    let header = read(&root().join("include/quark.h"))?;
    let abi = abi(&header)?;
    for (from, to) in TEMPLATES {
        let text = filled(&read(&root().join(from))?, &version, abi)?;
        make_folder_of(&tree.join(to))?;
        fs::write(tree.join(to), text).map_err(|e| at(&tree.join(to), &e))?;
    }

    let lib = tree.join("lib");
    let library = format!("libquark.so.{version}");
    copy(&built.join("libquark.so"), &lib.join(&library))?;
    // Programs are linked with the second and look for the first.
    for (link, to) in [
        (format!("libquark.so.{abi}"), library.clone()),
        ("libquark.so".into(), format!("libquark.so.{abi}")),
    ] {
        symlink(&to, lib.join(&link)).map_err(|e| at(&lib.join(&link), &e))?;
    }
    static_library::write(
        &built.join("libquark.a"),
        &static_library::declared(&header),
        &lib.join("libquark.a"),
    )
}

/// The version of all crates.
pub(crate) fn version() -> Result<String> {
    let manifest = read(&root().join("Cargo.toml"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| Failure::new("Cargo.toml has no version"))
}

/// The number in the library's SONAME.
fn abi(header: &str) -> Result<u32> {
    let number = header.lines().find_map(|line| line.strip_prefix("#define QUARK_ABI_VERSION "));
    number
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| Failure::new("include/quark.h has no QUARK_ABI_VERSION"))
}

/// A template with its words filled in. One that is not known must not get through.
fn filled(template: &str, version: &str, abi: u32) -> Result<String> {
    let mut numbers = version.split('.');
    let manifest = read(&root().join("Cargo.toml"))?;
    let description =
        manifest.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'));
    let text = [
        ("@VERSION@", version),
        ("@MAJOR@", numbers.next().unwrap_or_default()),
        ("@MINOR@", numbers.next().unwrap_or_default()),
        ("@ABI@", &abi.to_string()),
        ("@DESCRIPTION@", description.unwrap_or_default()),
        ("@POINTER_BYTES@", &size_of::<usize>().to_string()),
        ("@LINK_LINE@", LINK_LINE),
        // Without the -l they could be targets of the project.
        ("@LINK_LIBRARIES@", &LINK_LINE.replace(' ', ";")),
    ]
    .iter()
    .fold(template.to_owned(), |text, (word, value)| text.replace(word, value));
    match text.split_once('@') {
        None => Ok(text),
        Some((_, rest)) => Err(Failure::new(format!(
            "a template has a word that is not known: @{}",
            rest.lines().next().unwrap_or_default()
        ))),
    }
}

fn make_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().expect("every file is in the tree");
    fs::create_dir_all(folder).map_err(|e| at(folder, &e))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| at(from, &e))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| at(path, &e))
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{abi, filled};

    #[test]
    fn a_template_is_filled_or_refused() {
        let text = filled("@MAJOR@.@MINOR@ of @VERSION@, @ABI@", "4.5.6", 7).unwrap();
        assert_eq!(text, "4.5 of 4.5.6, 7");
        let failure = filled("x\n@NOBODY@ knows\ny", "4.5.6", 7).unwrap_err().to_string();
        assert!(failure.contains("@NOBODY@ knows"), "{failure}");
    }

    #[test]
    fn the_number_of_the_binary_interface_is_read_from_the_header() {
        assert_eq!(abi("/* x */\n#define QUARK_ABI_VERSION 12\n").unwrap(), 12);
        assert!(abi("#define QUARK_ABI_VERSION\n").is_err());
    }
}
