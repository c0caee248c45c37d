//! The words of the command line, taken one by one; what is left over is a mistake.

use crate::process::{Failure, Result};

pub(crate) struct Args {
    words: Vec<String>,
}

impl Args {
    pub(crate) fn from_env() -> Self {
        Self { words: std::env::args().skip(1).collect() }
    }

    /// The first word.
    pub(crate) fn command(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// Whether a flag is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// The word that follows `name`, if that was given.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(place) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        if place + 1 >= self.words.len() {
            return Err(Failure::new(format!("{name} needs a value")));
        }
        let value = self.words.remove(place + 1);
        self.words.remove(place);
        Ok(Some(value))
    }

    /// The number that follows `name`, if that was given.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let parse = |text: String| {
            text.parse().map_err(|_| Failure::new(format!("{name} is a number, not {text:?}")))
        };
        self.value(name)?.map(parse).transpose()
    }

    /// The next word that is no flag, if it is one of `choices`.
    pub(crate) fn one_of(&mut self, choices: &[&str]) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        choices.contains(&self.words[at].as_str()).then(|| self.words.remove(at))
    }

    /// The next word that is no flag.
    pub(crate) fn word(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(at))
    }

    /// All that is left, for somebody else to understand.
    pub(crate) fn rest(self) -> Vec<String> {
        self.words
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<()> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(Failure::new(format!("{word:?} is not understood"))
                .hint("`cargo xtask` shows what each command takes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args { words: line.split_whitespace().map(str::to_owned).collect() }
    }

    #[test]
    fn flags_and_words_come_in_any_order() {
        let mut args = args("test --inner python some_name");
        assert_eq!(args.command().as_deref(), Some("test"));
        assert_eq!(args.one_of(&["rust", "python"]).as_deref(), Some("python"));
        assert_eq!(args.word().as_deref(), Some("some_name"));
        assert!(args.flag("--inner") && !args.flag("--inner"));
        assert!(args.finish().is_ok());
    }

    #[test]
    fn a_word_that_is_not_asked_for_is_a_mistake() {
        let failure = args("--chekc").finish().unwrap_err();
        assert!(failure.to_string().contains("\"--chekc\" is not understood"));
    }
}
