//! Which examples a Markdown text marks to be run.
//!
//! An HTML comment right before a fenced block marks it: `<!-- run: LANGUAGE name=NAME timeout=SECONDS -->`, where all but
//! the language may be left out. If the next comment of that kind is `<!-- output -->`, the block after it is what the
//! example prints; three dots in it stand for anything.

use crate::process::{Failure, Result};

/// A block that is marked to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) language: Language,
    pub(crate) name: String,
    /// Of the block's first line, for messages.
    pub(crate) line: usize,
    pub(crate) code: String,
    /// Seconds.
    pub(crate) timeout: u64,
    pub(crate) output: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Pytest,
    C,
    Cpp,
    Rust,
    Shell,
}

const DEFAULT_TIMEOUT: u64 = 60;

/// The marked examples of a text, in its order.
///
/// # Errors
/// Names the line of a mark that is not understood or has no block: a mark that is silently passed over would leave its
/// example unchecked.
pub(crate) fn examples(text: &str) -> Result<Vec<Example>> {
    let mut found: Vec<Example> = Vec::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let mut output_may_follow = false;
    while let Some((number, line)) = lines.next() {
        if let Some(fence) = fence(line) {
            // Not marked: it may show anything, also marks.
            block(&mut lines, fence, number)?;
            continue;
        }
        let Some(mark) = line.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else {
            continue;
        };
        let mark = mark.trim();
        if mark == "output" {
            let (_, output) = next_block(&mut lines, number)?;
            if !output_may_follow {
                return Err(problem(number, "an output without an example before it"));
            }
            found.last_mut().expect("an example came before").output = Some(output);
            output_may_follow = false;
        } else if let Some(words) = mark.strip_prefix("run:") {
            let mut example = marked(words, number, found.len() + 1)?;
            (example.line, example.code) = next_block(&mut lines, number)?;
            if found.iter().any(|other| other.name == example.name) {
                return Err(problem(number, &format!("the name {} is taken", example.name)));
            }
            found.push(example);
            output_may_follow = true;
        }
    }
    Ok(found)
}

fn marked(words: &str, number: usize, count: usize) -> Result<Example> {
    let mut words = words.split_whitespace();
    let language = match words.next() {
        Some("python") => Language::Python,
        Some("pytest") => Language::Pytest,
        Some("c") => Language::C,
        Some("cpp") => Language::Cpp,
        Some("rust") => Language::Rust,
        Some("sh") => Language::Shell,
        other => return Err(problem(number, &format!("cannot run {}", other.unwrap_or("nothing")))),
    };
    let mut example = Example {
        language,
        name: format!("example{count}"),
        line: number,
        code: String::new(),
        timeout: DEFAULT_TIMEOUT,
        output: None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("name", name)) if is_name(name) => name.clone_into(&mut example.name),
            Some(("timeout", seconds)) => {
                example.timeout =
                    seconds.parse().map_err(|_| problem(number, &format!("{word} is not in seconds")))?;
            }
            _ => return Err(problem(number, &format!("{word} is not understood"))),
        }
    }
    Ok(example)
}

/// Names become names of files and programs.
fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inner)
}

type Lines<'a> = dyn Iterator<Item = (usize, &'a str)> + 'a;

/// The block that a mark is about; only empty lines may come before it.
fn next_block<'a>(lines: &mut Lines<'a>, mark: usize) -> Result<(usize, String)> {
    for (number, line) in &mut *lines {
        if let Some(fence) = fence(line) {
            return block(lines, fence, number).map(|text| (number + 1, text));
        }
        if !line.trim().is_empty() {
            break;
        }
    }
    Err(problem(mark, "a mark without a fenced block after it"))
}

/// The text up to the closing fence, without the indentation of the opening one.
fn block<'a>(lines: &mut Lines<'a>, (indent, ticks): (usize, usize), opened: usize) -> Result<String> {
    let mut text = String::new();
    for (_, line) in lines {
        let bare = line.trim();
        if bare.len() >= ticks && bare.chars().all(|c| c == '`') {
            return Ok(text);
        }
        let spaces = line.len() - line.trim_start_matches(' ').len();
        text.push_str(&line[spaces.min(indent)..]);
        text.push('\n');
    }
    Err(problem(opened, "a fenced block without an end"))
}

/// The indentation and the number of backticks of an opening fence.
fn fence(line: &str) -> Option<(usize, usize)> {
    let bare = line.trim_start_matches(' ');
    let ticks = bare.len() - bare.trim_start_matches('`').len();
    (ticks >= 3).then_some((line.len() - bare.len(), ticks))
}

fn problem(line: usize, what: &str) -> Failure {
    Failure::new(format!("line {line}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Example {
        let mut all = examples(text).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn complaint(text: &str) -> String {
        examples(text).unwrap_err().to_string()
    }

    #[test]
    fn a_marked_block_is_found_with_its_output() {
        let example = only(
            "\
# Title
<!-- run: python name=greeter timeout=5 -->
```python
print('hello')
```

It prints

<!-- output -->
```text
hello
```
",
        );
        assert_eq!(
            example,
            Example {
                language: Language::Python,
                name: "greeter".to_owned(),
                line: 4,
                code: "print('hello')\n".to_owned(),
                timeout: 5,
                output: Some("hello\n".to_owned()),
            }
        );
    }

    #[test]
    fn blocks_without_a_mark_are_left_alone_even_if_they_show_one() {
        assert_eq!(examples("```md\n<!-- run: nonsense -->\n```\n<!-- a comment -->\n").unwrap(), []);
        assert_eq!(examples("````\n```\n<!-- run: nonsense -->\n```\n````\n").unwrap(), []);
    }

    #[test]
    fn blocks_in_lists_lose_their_indentation() {
        let example = only("1. first\n   <!-- run: sh -->\n   ```sh\n   if true\n     echo\n   fi\n   ```\n");
        assert_eq!(example.code, "if true\n  echo\nfi\n");
        assert_eq!((example.name.as_str(), example.timeout), ("example1", 60));
    }

    #[test]
    fn an_output_belongs_to_the_example_before_it() {
        let text =
            "<!-- run: sh -->\n```\na\n```\n<!-- run: rust -->\n```\nb\n```\n<!-- output -->\n```\nc\n```\n";
        let all = examples(text).unwrap();
        assert_eq!(all[0].output, None);
        assert_eq!(all[1].output.as_deref(), Some("c\n"));
    }

    #[test]
    fn a_mark_that_would_check_nothing_is_a_mistake() {
        assert!(complaint("<!-- run: ruby -->\n```\n```\n").contains("line 1: cannot run ruby"));
        assert!(complaint("x\n<!-- run: c -->\ntext\n").contains("line 2: a mark without a fenced block"));
        assert!(
            complaint("<!-- run: c -->\n```\nint x;\n").contains("line 2: a fenced block without an end")
        );
        assert!(complaint("<!-- run: c name=A/B -->\n```\n```\n").contains("name=A/B is not understood"));
        assert!(complaint("<!-- output -->\n```\n```\n").contains("line 1: an output without an example"));
        let twice = "<!-- run: c name=a -->\n```\n```\n<!-- run: c name=a -->\n```\n```\n";
        assert!(complaint(twice).contains("line 4: the name a is taken"));
    }
}
