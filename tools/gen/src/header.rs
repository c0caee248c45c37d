//! The C header, as cbindgen sees quark-ffi, by the settings in `quark-ffi/cbindgen.toml` and with no other touch.

use std::path::Path;

use crate::{Generated, Result};

/// Hand-written text that comes after the includes, inside the guard and before every declaration.
const PREAMBLE: &str = "header_preamble.h";

pub(crate) fn generate(root: &Path) -> Result<Generated> {
    show_warnings();
    let folder = root.join("quark-ffi");
    let settings = folder.join("cbindgen.toml");
    let mut config =
        cbindgen::Config::from_file(&settings).map_err(|e| format!("{}: {e}", settings.display()))?;
    if let Ok(preamble) = std::fs::read_to_string(folder.join(PREAMBLE)) {
        config.after_includes = Some(format!("\n{}", preamble.trim_end()));
    }
    let bindings = cbindgen::Builder::new()
        .with_crate(&folder)
        .with_config(config)
        .generate()
        .map_err(|e| format!("cbindgen: {e}"))?;
    let mut content = Vec::new();
    bindings.write(&mut content);
    let content = String::from_utf8(content).map_err(|e| format!("cbindgen: {e}"))?;
    Ok(Generated { path: "include/quark.h", content })
}

/// What cbindgen leaves out of the header, it tells the log only.
fn show_warnings() {
    struct Stderr;
    impl log::Log for Stderr {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            eprintln!("cbindgen: {}", record.args());
        }
        fn flush(&self) {}
    }
    // Fails only when there is a logger already.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(log::LevelFilter::Warn);
}
