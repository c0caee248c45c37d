//! What quark.h declares, read from the header itself, so that a test of all functions cannot forget one.

/// One function of the header.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Its type as C writes it, `const char *` for example.
    pub(crate) returns: String,
    pub(crate) parameters: Vec<Parameter>,
    /// Its comment.
    pub(crate) comment: String,
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// Every function that the header declares.
pub(crate) fn functions(header: &str) -> Vec<Function> {
    let (_, mut rest) = header.split_once("extern \"C\" {").expect("declarations");
    let mut functions = Vec::new();
    while let Some((_, after)) = rest.split_once("/**") {
        let (comment, after) = after.split_once("*/").expect("the end of a comment");
        let (declaration, after) = after.split_once(';').expect("the end of a declaration");
        functions.push(function(declaration, comment));
        rest = after;
    }
    functions
}

fn function(declaration: &str, comment: &str) -> Function {
    let (head, parameters) = declaration.split_once('(').expect("parameters");
    let parameters = parameters.trim_end().strip_suffix(')').expect("their end");
    let Parameter { kind: returns, name } = parameter(head);
    let parameters = match parameters.trim() {
        "void" => Vec::new(),
        list => list.split(',').map(parameter).collect(),
    };
    Function { name, returns, parameters, comment: comment.to_owned() }
}

/// A type and the name after it.
fn parameter(text: &str) -> Parameter {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let name_at = text.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').expect("a type") + 1;
    Parameter { kind: text[..name_at].trim_end().to_owned(), name: text[name_at..].to_owned() }
}
