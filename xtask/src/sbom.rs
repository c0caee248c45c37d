//! `sbom`: what the libraries and the wheel are made of, as CycloneDX: crates with version, licence, checksum and what they
//! need. From `cargo tree` and Cargo.lock, which are read without a library; the same sources give the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::args::Args;
use crate::dist_wheel::dist;
use crate::process::{self, Failure, Result, cargo, root, step};

/// Name and version.
type Id = (String, String);

#[derive(Default)]
struct Crates {
    licences: BTreeMap<Id, String>,
    needs: BTreeMap<Id, BTreeSet<Id>>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    args.finish()?;
    for product in ["quark-ffi", "quark-py"] {
        let file = dist().join(format!("{product}.cdx.json"));
        let count = step(&format!("{product}.cdx.json"), || {
            let tree = ["tree", "--locked", "--edges", "normal,build", "--prefix", "depth", "--no-dedupe"];
            let tree =
                process::run_quietly(cargo(&tree).args(["--format", "\t{p}\t{l}", "--package", product]))?;
            let crates = Crates::read(&String::from_utf8_lossy(&tree.stdout));
            let lock =
                fs::read_to_string(root().join("Cargo.lock")).map_err(|e| Failure::new(e.to_string()))?;
            let written = fs::create_dir_all(dist())
                .and_then(|()| fs::write(&file, crates.cyclone(product, &checksums(&lock))));
            written.map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
            Ok(crates.licences.len())
        })?;
        println!("{}: {count} crates", file.display());
    }
    Ok(())
}

impl Crates {
    /// Lines as `2<tab>name v1.0.0 (more)<tab>MIT`, each below the last one of a smaller depth.
    fn read(tree: &str) -> Self {
        let (mut crates, mut above) = (Self::default(), Vec::<Id>::new());
        for line in tree.lines() {
            let mut parts = line.split('\t');
            let (Some(depth), Some(package)) =
                (parts.next().and_then(|depth| depth.parse().ok()), parts.next())
            else {
                continue;
            };
            let mut words = package.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let id: Id = (name.to_owned(), version.trim_start_matches('v').to_owned());
            above.truncate(depth);
            if let Some(parent) = above.last() {
                crates.needs.entry(parent.clone()).or_default().insert(id.clone());
            }
            crates.licences.insert(id.clone(), parts.next().unwrap_or_default().to_owned());
            above.push(id);
        }
        crates
    }

    fn cyclone(&self, product: &str, checksums: &BTreeMap<Id, String>) -> String {
        let of_product = |(name, _): &&Id| name == product;
        let main = self.licences.keys().find(of_product).map(reference).unwrap_or_default();
        let component = |id: &Id, kind: &str| {
            let hash = checksums
                .get(id)
                .map_or(String::new(), |sum| format!(r#","hashes":[{{"alg":"SHA-256","content":"{sum}"}}]"#));
            // A slash is an older way to say OR.
            let licence = self.licences[id].replace('/', " OR ");
            format!(
                r#"{{"type":"{kind}","bom-ref":"{0}","name":"{1}","version":"{2}","purl":"{0}","licenses":[{{"expression":"{licence}"}}]{hash}}}"#,
                reference(id),
                id.0,
                id.1
            )
        };
        let subject =
            self.licences.keys().find(of_product).map(|id| component(id, "application")).unwrap_or_default();
        let others = self.licences.keys().filter(|id| reference(id) != main);
        let components: Vec<_> = others.map(|id| component(id, "library")).collect();
        let dependencies: Vec<_> = self
            .needs
            .iter()
            .map(|(id, needs)| {
                let needs: Vec<_> = needs.iter().map(|id| format!("\"{}\"", reference(id))).collect();
                format!(r#"{{"ref":"{}","dependsOn":[{}]}}"#, reference(id), needs.join(","))
            })
            .collect();
        format!(
            "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{{\"component\":{subject}}},\n\"components\":[\n{}\n],\n\"dependencies\":[\n{}\n]}}\n",
            components.join(",\n"),
            dependencies.join(",\n")
        )
    }
}

/// The name of a crate among all packages of the world.
fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// Checksums of Cargo.lock, whose blocks have a line for each of name, version and checksum.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| {
            Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_and_a_lock_become_components_with_licence_checksum_and_needs() {
        let tree = "0\tquark-ffi v0.1.0 (/x)\tMIT OR Apache-2.0\n1\ta v1.0.0\tMIT/Apache-2.0\n2\tb v2.0.0 (proc-macro)\tISC\n1\tb v2.0.0\tISC\n";
        let lock = "[[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"abc\"\n";
        let bom = Crates::read(tree).cyclone("quark-ffi", &checksums(lock));
        for part in [
            r#""metadata":{"component":{"type":"application","bom-ref":"pkg:cargo/quark-ffi@0.1.0""#,
            r#""name":"a","version":"1.0.0","purl":"pkg:cargo/a@1.0.0","licenses":[{"expression":"MIT OR Apache-2.0"}]}"#,
            r#""licenses":[{"expression":"ISC"}],"hashes":[{"alg":"SHA-256","content":"abc"}]}"#,
            r#"{"ref":"pkg:cargo/quark-ffi@0.1.0","dependsOn":["pkg:cargo/a@1.0.0","pkg:cargo/b@2.0.0"]}"#,
            r#"{"ref":"pkg:cargo/a@1.0.0","dependsOn":["pkg:cargo/b@2.0.0"]}"#,
        ] {
            assert!(bom.contains(part), "{part} is not in {bom}");
        }
        assert!(!bom.contains("/x"), "no path of this machine");
    }
}
