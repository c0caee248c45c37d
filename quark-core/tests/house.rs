//! The rooms of the house: which module may know which dependency.

use std::path::Path;

/// The source files below a folder.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn types_of_dependencies_stay_in_their_rooms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40);
    let rooms = [
        ("tonic::", "transport/grpc"),
        ("prost::", "transport/grpc"),
        ("quinn::", "transport/grpc/http3"),
        ("h3::", "transport/grpc/http3"),
        ("h3_quinn::", "transport/grpc/http3"),
        ("redis::", "membership/redis"),
        ("chitchat::", "membership/gossip"),
        ("tokio_rustls::", "tls/"),
        ("webpki::", "tls/"),
    ];
    let borders = [("transport/", "crate::membership"), ("membership/", "crate::transport::")];
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (dependency, room) in rooms {
            let used = code.iter().any(|line| {
                line.match_indices(dependency).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                })
            });
            // `redis::RedisMembership` is the module, not the crate.
            let the_module = name == "membership/mod.rs" && matches!(dependency, "redis::");
            assert!(!used || name.starts_with(room) || the_module, "{name} uses {dependency}");
        }
        for (room, foreign) in borders {
            assert!(
                !name.starts_with(room) || !code.iter().any(|line| line.contains(foreign)),
                "{name} uses {foreign}"
            );
        }
    }
}

/// The functions of the tests, in Rust and in Python.
fn tests_in(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs" || extension == "py");
        if path.is_dir() {
            text += &tests_in(&path);
        } else if is_source {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn every_promise_of_security_md_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = ["quark-core/src", "quark-core/tests", "python-tests"];
    let tests: String = folders.iter().map(|folder| tests_in(&root.join(folder))).collect();
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let promises = text.split_once("## What the others cannot do").unwrap().1;
    let mut named = 0;
    for row in promises.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(last.contains('`'), "no test: {row}");
        for name in last.split('`').skip(1).step_by(2) {
            let (_, name) = name.split_once(": ").expect("file: name");
            assert!(
                tests.contains(&format!("fn {name}(")) || tests.contains(&format!("def {name}(")),
                "{name}"
            );
            named += 1;
        }
    }
    assert!(named > 20);
}
