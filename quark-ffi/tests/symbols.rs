//! What the shared library shows to the programs that load it.

mod support;

use std::process::Command;

use support::{check, declared, defined, library_folder, root, same};

#[test]
fn the_shared_library_exports_the_functions_of_the_header_and_nothing_else() {
    let declared = declared();
    assert!(declared.len() > 100, "{declared:?}");
    same(&defined(&library_folder().join("libquark.so"), "-D"), &declared);
}

#[test]
fn the_shared_library_is_named_after_the_number_of_its_binary_interface_and_stays_loaded() {
    let header = std::fs::read_to_string(root().join("include/quark.h")).expect("the header");
    let abi = header.lines().find_map(|line| line.strip_prefix("#define QUARK_ABI_VERSION "));
    let library = library_folder().join("libquark.so");
    let dynamic = check(Command::new("readelf").arg("-dW").arg(library), "readelf");
    let entry = |tag: &str| dynamic.lines().find(|line| line.contains(tag)).unwrap_or_default();
    let name = format!("[libquark.so.{}]", abi.expect("the number"));
    assert!(entry("(SONAME)").ends_with(&name), "{name} is wanted: {}", entry("(SONAME)"));
    // Of DF_1_NODELETE.
    assert!(entry("(FLAGS_1)").contains("NODELETE"), "{}", entry("(FLAGS_1)"));
}
