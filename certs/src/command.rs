//! The command, `quark certs …`: words in, words out.

use std::path::PathBuf;

use quark_core::Identity;
use time::Duration;

use crate::Folder;

/// What it takes.
pub const HELP: &str = "\
Certificates for development. A folder (certs, unless --dir names another) holds an
authority and what it has issued.

  quark certs ca                make the authority: ca.pem (for every silo and client), ca.key (for nobody else)
  quark certs silo ID...        make <ID>.pem and <ID>.key for a silo
  quark certs client NAME...    the same for a client
  quark certs rotate            make a new authority; ca.pem holds it and the old one
  quark certs retire            drop the old ones from ca.pem

  --dir FOLDER       the folder (default certs)
  --cluster NAME     the cluster (default quark)
  --days N           for how long it is valid (default 90; an authority 3650)

Silos and clients look at their files again within a second of making a link, so a certificate is renewed by
making it again. To replace the authority: rotate, give the new ca.pem to all, make
all certificates again, then retire, and give ca.pem to all once more.
";

/// Why a command did nothing.
#[derive(Debug)]
pub enum Failure {
    /// It was not understood.
    Usage(String),
    /// It cannot be done.
    Failed(String),
}

/// Runs one command; returns what it has to say.
///
/// # Errors
/// What was not understood or cannot be done, and why.
pub fn run(arguments: &[String]) -> Result<String, Failure> {
    let Some(wanted) = Wanted::parse(arguments).map_err(Failure::Usage)? else { return Ok(HELP.to_owned()) };
    wanted.run().map_err(Failure::Failed)
}

/// What is to be done, and where.
struct Wanted {
    folder: Folder,
    days: Option<i64>,
    action: Action,
}

enum Action {
    Create,
    Rotate,
    Retire,
    Issue(Vec<Identity>),
}

impl Wanted {
    /// Nothing when only help is wanted.
    fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        let mut words = Vec::new();
        let (mut folder, mut cluster, mut days) = (PathBuf::from("certs"), "quark".to_owned(), None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--dir" => folder = value()?.into(),
                "--cluster" => cluster.clone_from(value()?),
                "--days" => days = Some(whole_days(value()?)?),
                "--help" | "-h" => return Ok(None),
                option if option.starts_with('-') => return Err(format!("{option}: unknown option")),
                word => words.push(word),
            }
        }
        let all = |make: &dyn Fn(&str) -> quark_core::Result<Identity>, names: &[&str]| {
            let identities = names.iter().map(|name| make(name)).collect::<quark_core::Result<_>>();
            identities.map(Action::Issue).map_err(|error| error.message().to_owned())
        };
        let action = match words[..] {
            [] => return Ok(None),
            ["ca"] => Action::Create,
            ["rotate"] => Action::Rotate,
            ["retire"] => Action::Retire,
            ["silo" | "client"] => return Err("needs the id of a silo, or a name for a client".to_owned()),
            ["silo", ref ids @ ..] => all(&|id| Identity::silo(&cluster, id), ids)?,
            ["client", ref names @ ..] => all(&|name| Identity::client(&cluster, name), names)?,
            [word, ..] => return Err(format!("{word}: must be ca, silo ID, client NAME, rotate or retire")),
        };
        Ok(Some(Self { folder: Folder::new(folder), days, action }))
    }

    fn run(self) -> Result<String, String> {
        let Self { folder, days, action } = self;
        let (authority_days, days) = (Duration::days(days.unwrap_or(3650)), days.unwrap_or(90));
        let trusted = folder.authority();
        let trusted = trusted.display();
        match action {
            Action::Create => folder.create(authority_days).map(|()| format!("{trusted} is made\n")),
            Action::Rotate => folder
                .rotate(authority_days)
                .map(|count| format!("{trusted} trusts {count} authorities; make the certificates again\n")),
            Action::Retire => folder
                .retire()
                .map(|count| format!("{trusted} trusts the newest authority only; {count} dropped\n")),
            Action::Issue(identities) => identities
                .iter()
                .map(|identity| {
                    let (certificate, key) = folder.issue(identity, Duration::days(days))?;
                    Ok(format!("{} and {}: {identity}, {days} days\n", certificate.display(), key.display()))
                })
                .collect(),
        }
    }
}

fn whole_days(text: &str) -> Result<i64, String> {
    let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
    days.ok_or_else(|| format!("--days={text}: must be 1 to 36,500"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(words: &str) -> String {
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        match run(&words) {
            Err(Failure::Usage(problem)) => problem,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (words, problem) in [
            ("silo", "needs the id"),
            ("sil a", "sil: must be ca"),
            ("ca --days 0", "--days=0: must be 1 to 36,500"),
            ("ca --dir", "--dir needs a value"),
            ("ca --force", "--force: unknown option"),
            ("silo client:1", "is that of a client"),
            ("silo a --cluster a:b", "cluster="),
        ] {
            assert!(usage(words).contains(problem), "{words}: {}", usage(words));
        }
    }

    #[test]
    fn no_silo_s_name_leads_out_of_the_folder_or_takes_the_authority() {
        let place = std::env::temp_dir().join(format!("quark-certs-{}", std::process::id()));
        let folder = Folder::new(&place);
        folder.create(Duration::days(1)).unwrap();
        assert!(folder.create(Duration::days(1)).unwrap_err().contains("exists"));
        for id in ["../a", "..", "a/b", "."] {
            let (certificate, key) =
                folder.issue(&Identity::silo("quark", id).unwrap(), Duration::days(1)).unwrap();
            assert_eq!([certificate.parent(), key.parent()], [Some(&*place); 2], "{id}");
        }
        assert!(folder.issue(&Identity::silo("quark", "ca").unwrap(), Duration::days(1)).is_err());
        std::fs::remove_dir_all(place).unwrap();
    }
}
