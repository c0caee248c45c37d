//! Projects outside of this repository that use Quark as it is installed, from where it was installed and from where it
//! was moved to.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use support::{check, declared, defined, left_out, library_folder, root, same};

/// What the example projects build: with the shared library and with the static one.
const PROGRAMS: [(&str, bool); 4] =
    [("echo_c", true), ("echo_c_static", false), ("echo_cpp", true), ("echo_cpp_static", false)];

/// A folder outside of the repository, away when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("quark-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder.canonicalize().expect("it is there"))
    }

    /// What is installed, copied to here.
    fn install(&self) -> PathBuf {
        let tree = self.0.join("installed");
        check(Command::new("cp").arg("-a").arg(installed()).arg(&tree), "cp");
        tree
    }

    /// Moves what is installed, with a space in its new name.
    fn moved(&self, tree: &Path) -> PathBuf {
        let elsewhere = self.0.join("else where");
        std::fs::rename(tree, &elsewhere).expect("a move");
        elsewhere
    }

    /// Copies an example project, and the programs that it is about.
    fn project(&self, name: &str) -> PathBuf {
        for folder in [name, "c", "cpp"] {
            let from = root().join("examples").join(folder);
            check(Command::new("cp").arg("-r").arg(from).arg(&self.0), "cp");
        }
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Installs the library that was built beside the tests, once for all of them, and moves it, so that a path that was
/// taken down leads nowhere.
fn installed() -> &'static Path {
    static TREE: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (first, tree) = (folder.join("first-installed"), folder.join("installed"));
        let mut dist = Command::new(env!("CARGO"));
        dist.current_dir(root()).args(["run", "--quiet", "--locked", "--package", "xtask", "--", "dist"]);
        dist.arg("--from").arg(library_folder()).arg("--to").arg(&first);
        check(&mut dist, "cargo xtask dist");
        let _ = std::fs::remove_dir_all(&tree);
        std::fs::rename(first, &tree).expect("a move");
        tree
    });
    &TREE
}

/// A command as others would run it: cargo has its children look for libraries where it built them, and its make is not
/// theirs.
fn outside(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in ["LD_LIBRARY_PATH", "MAKEFLAGS", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"] {
        command.env_remove(name);
    }
    command
}

/// Whether the programs that a test needs are there; it is left out where one is not.
fn has(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    missing.inspect(|program| left_out(&format!("{test}: {program} is not installed"))).is_none()
}

/// Runs what a project built, having looked at which library it loads.
fn run_programs(folder: &Path, tree: &Path) {
    for (name, shared) in PROGRAMS {
        let program = folder.join(name);
        let loaded = check(outside("ldd").arg(&program), "ldd");
        let of_quark: Vec<_> = loaded.lines().filter(|line| line.contains("libquark")).collect();
        assert_eq!(of_quark.len(), usize::from(shared), "{name}: {loaded}");
        // pkg-config says where it is by where its file is, with dots in it.
        let is_ours =
            |line: &&str| line.contains("libquark.so.0 => ") && line.contains(&tree.display().to_string());
        assert!(of_quark.iter().all(is_ours), "{name}: {loaded}");
        assert_eq!(check(outside("timeout").arg("60").arg(&program), name), "hello\n");
    }
}

#[test]
fn a_makefile_with_pkg_config_builds_with_what_is_installed_also_after_it_was_moved() {
    if !has("a_makefile_with_pkg_config", &["make", "pkg-config"]) {
        return;
    }
    let folder = Folder::new("make");
    let project = folder.project("make");
    let build = |tree: &Path| {
        let path = format!("PKG_CONFIG_PATH={}", tree.join("lib/pkgconfig").display());
        check(outside("make").arg("-C").arg(&project).args(["--always-make", &path]), "make");
        run_programs(&project, tree);
    };
    let tree = folder.install();
    build(&tree);
    build(&folder.moved(&tree));
}

#[test]
fn a_cmake_project_builds_with_what_is_installed_also_after_it_was_moved() {
    if !has("a_cmake_project", &["cmake"]) {
        return;
    }
    let folder = Folder::new("cmake");
    let project = folder.project("cmake");
    // A target of the project must not be taken for the system's library of the same name.
    let own = "\nadd_library(util INTERFACE)\ntarget_link_libraries(util INTERFACE not_there)\n";
    let lists = project.join("CMakeLists.txt");
    let text = std::fs::read_to_string(&lists).expect("the project");
    std::fs::write(lists, text + own).expect("a file");
    let build = |tree: &Path, build: &str| {
        let build = folder.0.join(build);
        let prefix = format!("-DCMAKE_PREFIX_PATH={}", tree.display());
        check(outside("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(prefix), "cmake");
        check(outside("cmake").arg("--build").arg(&build), "cmake --build");
        run_programs(&build, tree);
    };
    let tree = folder.install();
    build(&tree, "first");
    build(&folder.moved(&tree), "second");
}

#[test]
fn cmake_finds_the_versions_that_will_do_and_no_others() {
    if !has("cmake_finds_the_versions", &["cmake"]) {
        return;
    }
    let folder = Folder::new("versions");
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", folder.install().display());
    let project =
        "cmake_minimum_required(VERSION 3.15)\nproject(versions LANGUAGES NONE)\nfind_package(Quark ";
    let version = env!("CARGO_PKG_VERSION");
    let (major_minor, _) = version.rsplit_once('.').expect("three numbers");
    for (wanted, found) in [
        (version, true),
        (major_minor, true),
        ("", true),
        (&format!("{version} EXACT"), true),
        (&format!("{major_minor}.99"), false),
        (&format!("{major_minor}.99 EXACT"), false),
        ("0.0.1", false),
        ("9", false),
        ("COMPONENTS nothing", false),
    ] {
        std::fs::write(folder.0.join("CMakeLists.txt"), format!("{project}{wanted} REQUIRED)\n"))
            .expect("a file");
        let _ = std::fs::remove_dir_all(folder.0.join("build"));
        let mut cmake = outside("cmake");
        let output =
            cmake.arg("-S").arg(&folder.0).arg("-B").arg(folder.0.join("build")).arg(&prefix).output();
        let output = output.expect("cmake runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), found, "{wanted:?}: {said}");
    }
}

#[test]
fn the_static_library_defines_the_functions_of_the_header_and_nothing_else() {
    let folder = Folder::new("symbols");
    same(&defined(&folder.install().join("lib/libquark.a"), "-g"), &declared());
}

#[test]
fn the_static_library_gets_along_with_another_in_rust_and_with_a_zstd_of_the_program() {
    let folder = Folder::new("neighbours");
    let tree = folder.install();
    let neighbour = folder.0.join("neighbour.rs");
    let code = "#[unsafe(no_mangle)] pub extern \"C\" fn neighbour_catches() -> i32 {\n\
        std::panic::set_hook(Box::new(|_| ()));\n\
        i32::from(std::panic::catch_unwind(|| panic!(\"caught\")).is_err())\n}\n";
    std::fs::write(&neighbour, code).expect("a file");
    let mut rustc = outside("rustc");
    rustc.current_dir(&folder.0).args(["--edition", "2024", "--crate-type", "staticlib"]).arg(&neighbour);
    check(&mut rustc, "rustc");
    let libraries = std::fs::read_to_string(tree.join("lib/pkgconfig/quark.pc")).expect("quark.pc");
    let libraries =
        libraries.lines().find_map(|line| line.strip_prefix("Libs.private: ")).expect("libraries");
    for (name, order) in
        [("first", ["libquark.a", "libneighbour.a"]), ("last", ["libneighbour.a", "libquark.a"])]
    {
        let archive =
            |file| if file == "libquark.a" { tree.join("lib").join(file) } else { folder.0.join(file) };
        let mut cc = outside("cc");
        cc.arg("-I").arg(tree.join("include")).arg("-o").arg(folder.0.join(name));
        cc.arg(root().join("quark-ffi/tests/c/neighbours.c")).args(order.map(archive));
        check(cc.args(libraries.split(' ')), "cc");
        assert_eq!(check(outside("timeout").arg("60").arg(folder.0.join(name)), name), "hello\n");
    }
}
