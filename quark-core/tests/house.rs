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
        ("redis::", "membership/redis"),
        ("chitchat::", "membership/gossip"),
    ];
    let borders = [("transport/", "crate::membership"), ("membership/", "crate::transport")];
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
