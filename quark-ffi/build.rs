//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number is QUARK_ABI_VERSION; a test compares the two.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libquark.so.0");
    // Its threads run until the process ends, so its code must stay where it is after a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
