//! What goes into the repository: the tables of docs/SPEED.md and others, each kind between marks of its own, and charts.

use std::fs;

use crate::process::{Failure, Result, root};

const PAGE: &str = "docs/SPEED.md";

/// Puts `tables` between the marks of `part`.
pub(super) fn tables(part: &str, tables: &str) -> Result<()> {
    tables_of(PAGE, part, tables)
}

/// The same in another page.
pub(crate) fn tables_of(name: &str, part: &str, tables: &str) -> Result<()> {
    let page = read(name)?;
    let page = between(&page, part, tables)
        .ok_or_else(|| Failure::new(format!("{name} has no marks for {part}")))?;
    write(name, &page)
}

pub(super) fn chart(name: &str, svg: &str) -> Result<()> {
    write(&format!("docs/{name}.svg"), svg)
}

fn between(page: &str, part: &str, tables: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- measured: {part} -->\n"), format!("<!-- end: {part} -->"));
    let start = page.find(&begin)? + begin.len();
    let stop = start + page[start..].find(&end)?;
    Some(format!("{}\n{}\n{}", &page[..start], tables.trim(), &page[stop..]))
}

fn read(name: &str) -> Result<String> {
    fs::read_to_string(root().join(name)).map_err(|error| Failure::new(format!("{name}: {error}")))
}

fn write(name: &str, text: &str) -> Result<()> {
    fs::write(root().join(name), text).map_err(|error| Failure::new(format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- measured: x -->\nold\n<!-- end: x -->\nb\n";
        let once = between(page, "x", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- measured: x -->\n\nnew\n<!-- end: x -->\nb\n");
        assert_eq!(between(&once, "x", "new").unwrap(), once);
        assert!(between(page, "y", "").is_none());
    }
}
