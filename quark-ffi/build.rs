//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number is QUARK_ABI_VERSION; a test compares the two.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libquark.so.0");
    // Its threads run until the process ends, so its code must stay where it is after a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    link_soname();
}

/// Programs look for the library under its SONAME; beside the built one there is a link of that name, so that they can
/// be run from the build tree.
fn link_soname() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    // target/PROFILE/build/quark-ffi-HASH/out
    if let Some(profile) = out.ancestors().nth(3) {
        // It is there already after the first build.
        let _ = std::os::unix::fs::symlink("libquark.so", profile.join("libquark.so.0"));
    }
}
