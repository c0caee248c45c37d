//! What a person sees: headings, bars, a line of progress. Colours and moving lines on a terminal only.

use std::io::{IsTerminal as _, Write as _};

/// The screen.
pub(crate) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.styled("1;36", text));
    }

    pub(crate) fn line(&self, text: &str) {
        println!("  {text}");
    }

    pub(crate) fn good(&self, text: &str) {
        println!("  {}", self.styled("32", text));
    }

    pub(crate) fn bad(&self, text: &str) {
        println!("  {}", self.styled("1;31", text));
    }

    /// Progress towards `of`; the line moves on a terminal and is printed once, at the end, elsewhere.
    pub(crate) fn progress(&self, what: &str, done: usize, of: usize) {
        if !self.terminal && done < of {
            return;
        }
        let (start, end) = if self.terminal { ("\r", "") } else { ("", "\n") };
        print!("{start}  {} {done:>5}/{of} {what}  {end}", bar(done, of, 40));
        if self.terminal && done >= of {
            println!();
        }
        let _ = std::io::stdout().flush();
    }

    /// One line of a chart.
    pub(crate) fn share(&self, name: &str, language: &str, part: usize, of: usize) {
        println!("  {name:<11} {language:<7} {part:>5}  {}", self.styled("33", bar(part, of, 50).trim_end()));
    }
}

fn bar(part: usize, of: usize, width: usize) -> String {
    let filled = (part * width).checked_div(of).unwrap_or(0).min(width);
    format!("{}{}", "█".repeat(filled), " ".repeat(width - filled))
}
