//! A folder with an authority and what it has issued: `ca.pem`, `ca.key`, and `<name>.pem`, `<name>.key` for each silo and
//! client, where the name is the id as it stands in the certificate's URI.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quark_core::Identity;
use time::Duration;

use crate::{Authority, Issued};

const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The folder.
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at this path, which may not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file with the certificates of the authorities that are trusted.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    fn authority_key(&self) -> PathBuf {
        self.0.join("ca.key")
    }

    /// The files with the certificate of a silo or client, and its key.
    #[must_use]
    pub fn files(&self, identity: &Identity) -> (PathBuf, PathBuf) {
        let name = match identity {
            Identity::Silo { id, .. } => id.as_str(),
            Identity::Client { name, .. } => name.as_str(),
        };
        let name = utf8_percent_encode(name, NAME);
        (self.0.join(format!("{name}.pem")), self.0.join(format!("{name}.key")))
    }

    /// Makes the authority.
    ///
    /// # Errors
    /// When there is one already, or the files cannot be written.
    pub fn create(&self, valid: Duration) -> Result<(), String> {
        if self.authority_key().exists() {
            return Err(format!("{} exists; rotate replaces it", self.authority_key().display()));
        }
        fs::create_dir_all(&self.0).map_err(|error| about(&self.0, &error))?;
        let (_, issued) = Authority::new(valid)?;
        self.write((self.authority(), self.authority_key()), &issued)
    }

    /// Makes a new authority, which is trusted beside the ones before it: those who know only these trust what was issued until
    /// now. Returns how many are trusted then.
    ///
    /// # Errors
    /// When there is none, or the files cannot be written.
    pub fn rotate(&self, valid: Duration) -> Result<usize, String> {
        let old = read(&self.authority())?;
        let (_, mut issued) = Authority::new(valid)?;
        issued.certificate.push_str(&old);
        self.write((self.authority(), self.authority_key()), &issued)?;
        Ok(issued.certificate.matches(BEGIN).count())
    }

    /// Trusts the newest authority only from now on. Returns how many are trusted no longer.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn retire(&self) -> Result<usize, String> {
        let all = read(&self.authority())?;
        let newest = all.match_indices(BEGIN).nth(1).map_or(all.as_str(), |(end, _)| &all[..end]);
        replace(&self.authority(), newest, false)?;
        Ok(all.matches(BEGIN).count().saturating_sub(1))
    }

    /// Makes a certificate, in place of the one that was there.
    ///
    /// # Errors
    /// When there is no authority, or the files cannot be written.
    pub fn issue(&self, identity: &Identity, valid: Duration) -> Result<(PathBuf, PathBuf), String> {
        let (certificate, key) = self.files(identity);
        if certificate == self.authority() {
            return Err("ca: a silo or client of this name would take the authority's files".to_owned());
        }
        let authority = Authority::of_key(&read(&self.authority_key())?)
            .map_err(|problem| format!("{}: {problem}", self.authority_key().display()))?;
        self.write((certificate.clone(), key.clone()), &authority.issue(identity, valid)?)?;
        Ok((certificate, key))
    }

    fn write(&self, (certificate, key): (PathBuf, PathBuf), issued: &Issued) -> Result<(), String> {
        replace(&key, &issued.key, true)?;
        replace(&certificate, &issued.certificate, false)
    }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

fn about(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{}: not there; make an authority first", path.display()),
        _ => about(path, &error),
    })
}

/// Replaces a file at once: whoever reads it reads the old one or the new one.
fn replace(path: &Path, text: &str, is_secret: bool) -> Result<(), String> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if is_secret { 0o600 } else { 0o644 });
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        about(path, &error)
    })
}
