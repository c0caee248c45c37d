//! The calls of sweep.c: every function of the header, with each argument in turn such as it must not be.

use std::fmt::Write as _;

use super::header::{Function, Parameter};

/// NULL is a value here, as the header says.
const OPTIONAL: &[(&str, &str)] = &[
    ("quark_config_new", "silo_id"),
    ("quark_config_set_listen", "endpoint"),
    ("quark_config_set_zone", "zone"),
    ("quark_config_set_loop", "event_loop"),
    ("quark_config_set_label", "value"),
    ("quark_config_set_batch_handler", "actor_type"),
    ("quark_config_set_ownership_callback", "actor_type"),
    ("quark_set_log_callback", "callback"),
    ("quark_ring_add", "added"),
    ("quark_ring_remove", "removed"),
    ("quark_ring_set_virtual_nodes", "found"),
    ("quark_silo_call_async", "call"),
    ("quark_client_call_async", "call"),
    ("quark_silo_health", "since_ms"),
    ("quark_silo_health", "reason"),
    ("quark_client_health", "since_ms"),
    ("quark_client_health", "reason"),
];

/// What can be stopped.
const CAN_STOP: [&str; 4] = ["silo", "client", "membership", "transport"];

/// What a stopped one still does: a membership tells of its last view, a silo owns nothing, a transport knows nobody any
/// more.
const AS_BEFORE: [&str; 5] = [
    "quark_membership_silos",
    "quark_membership_owner",
    "quark_membership_ring",
    "quark_silo_owns",
    "quark_transport_disconnect",
];

/// An argument in one call: what stands for it and what must come of it.
struct Variant {
    name: &'static str,
    value: String,
    wanted: &'static str,
}

/// `sweep_cases.h`. Fails with the names of functions for whose arguments nothing valid is known.
pub(crate) fn cases(functions: &[Function]) -> String {
    let unknown: Vec<String> = functions
        .iter()
        .flat_map(|function| function.parameters.iter().map(move |parameter| (function, parameter)))
        .filter(|(function, parameter)| valid(function, parameter).is_none())
        .map(|(function, parameter)| format!("{}: {} {}", function.name, parameter.kind, parameter.name))
        .collect();
    assert!(unknown.is_empty(), "the sweep has no valid argument for: {unknown:#?}");

    let mut text = String::new();
    for function in functions {
        writeln!(text, "static void sweep_{}(void) {{", function.name).expect("a string");
        text += &call(function, functions, "nothing", ("FINE", "valid"), |_| None);
        for (place, parameter) in function.parameters.iter().enumerate() {
            for variant in variants(function, parameter) {
                let what = (variant.wanted, variant.name);
                text += &call(function, functions, &parameter.name, what, |at| {
                    (at == place).then(|| variant.value.clone())
                });
            }
        }
        if function
            .parameters
            .iter()
            .any(|parameter| is_pointer(parameter) && !may_be_null(function, parameter))
        {
            text += &call(function, functions, "everything", ("REFUSED", "NULL"), |at| {
                is_pointer(&function.parameters[at]).then(|| "NULL".to_owned())
            });
        }
        text += "}\n\n";
    }
    for sweep in ["sweep", "forked"] {
        if sweep == "forked" {
            functions.iter().for_each(|function| text += &forked(function));
        }
        writeln!(text, "static void {sweep}(void) {{").expect("a string");
        for function in functions {
            writeln!(text, "    {sweep}_{}();", function.name).expect("a string");
        }
        text += "}\n\n";
    }
    text
}

/// The function with valid arguments, made before a fork and used in the child.
fn forked(function: &Function) -> String {
    let mut text = format!("static void forked_{}(void) {{\n", function.name);
    writeln!(text, "    begin(\"{}\", \"nothing\", \"in a forked child\");", function.name)
        .expect("a string");
    let (mut arguments, mut after) = (Vec::new(), String::new());
    for parameter in &function.parameters {
        let (kind, name) = (parameter.kind.as_str(), parameter.name.as_str());
        let value = valid(function, parameter).expect("known");
        if value.starts_with("&out_") {
            text += &output(kind, name);
        }
        let space = if kind.ends_with('*') { "" } else { " " };
        writeln!(text, "    {kind}{space}a_{name} = {value};").expect("a string");
        if value.starts_with("make_") {
            let object = if kind == "char *" { "string" } else { object(kind) };
            writeln!(after, "    quark_{object}_free(a_{name});").expect("a string");
        }
        arguments.push(format!("a_{name}"));
    }
    let call = format!("{}({})", function.name, arguments.join(", "));
    let child = match in_child(function) {
        Some(wanted) => format!("{call} == {wanted}"),
        None if function.returns == "void" => format!("({call}, true)"),
        None => format!("((void){call}, true)"),
    };
    writeln!(text, "    if (begin_child()) end_child({child});\n    wait_for_child();").expect("a string");
    text + &after + "}\n\n"
}

/// What a function says in a forked child; `None` where any answer will do. What is of nothing that was started, such as a
/// ring, works there.
fn in_child(function: &Function) -> Option<&'static str> {
    let of = |objects: &[&str]| {
        function
            .parameters
            .iter()
            .any(|parameter| is_object(parameter) && objects.contains(&object(&parameter.kind)))
    };
    let makes = ["silo", "client", "membership", "transport"]
        .iter()
        .any(|made| [format!("quark_{made}_start"), format!("quark_{made}_new")].contains(&function.name));
    match function.returns.as_str() {
        "quark_status_t" if function.name == "quark_error_code" => None,
        "quark_status_t" if of(&CAN_STOP) || of(&["request"]) || makes || function.name.contains("_log_") => {
            Some("QUARK_NOT_RUNNING")
        }
        "quark_status_t" => Some("QUARK_OK"),
        "bool" if of(&["silo", "client", "call"]) => Some("false"),
        "uint64_t" if of(&CAN_STOP) => Some("0"),
        "size_t" if of(&["loop"]) => Some("0"),
        _ => None,
    }
}

fn is_pointer(parameter: &Parameter) -> bool {
    parameter.kind.ends_with('*') || parameter.kind.ends_with("_fn")
}

fn is_object(parameter: &Parameter) -> bool {
    parameter.kind.ends_with("_t *") && parameter.kind.contains("quark_")
}

fn may_be_null(function: &Function, parameter: &Parameter) -> bool {
    OPTIONAL.contains(&(function.name.as_str(), parameter.name.as_str()))
        || ["error", "user_data", "finalizer"].contains(&parameter.name.as_str()) && !is_object(parameter)
        || function.name.ends_with("_free")
}

fn is_async(function: &Function) -> bool {
    function.name.ends_with("_call_async") || function.name.ends_with("_call_many")
}

/// What an argument must not be, and what must come of it.
fn variants(function: &Function, parameter: &Parameter) -> Vec<Variant> {
    let variant = |name, value: &str, wanted| Variant { name, value: value.to_owned(), wanted };
    // An asynchronous call tells of its message by its callback.
    let of_message = ["actor_type", "actor_id", "method_name", "payload"].contains(&parameter.name.as_str());
    let refused = if is_async(function) && of_message { "ENDS" } else { "REFUSED" };
    let any = if is_async(function) { "FINE" } else { "ANY" };
    let mut variants = Vec::new();
    let used_after_stop = !function.name.ends_with("_free");
    if is_object(parameter) && CAN_STOP.contains(&object(&parameter.kind)) && used_after_stop {
        // Stopping twice has no effect; all else is told, or is as it was.
        let is_fine = function.name.ends_with("_stop") || AS_BEFORE.contains(&function.name.as_str());
        let wanted = if is_fine { "FINE" } else { "STOPPED" };
        let value = format!("stopped_{}()", object(&parameter.kind));
        variants.push(Variant { name: "stopped", value, wanted });
    }
    if is_pointer(parameter) {
        variants.push(variant(
            "NULL",
            "NULL",
            if may_be_null(function, parameter) { "FINE" } else { refused },
        ));
    }
    match parameter.kind.as_str() {
        "const char *" => {
            variants.push(variant("invalid UTF-8", "\"a\\xff\"", refused));
            // Ids have limits; what else is too long is told by one of the ways of REFUSED, or it is fine.
            let id = of_message || parameter.name == "silo_id";
            let is_checked = function.name.contains("_call") && !function.name.ends_with("_callback")
                || function.name.ends_with("_notify")
                || ["quark_ring_add", "quark_transport_connect", "quark_config_new"]
                    .contains(&&*function.name);
            variants.push(variant("1 MiB", "long_text", if id && is_checked { refused } else { any }));
        }
        "quark_bytes_view_t" => {
            variants.push(variant("{NULL, 3}", "no_bytes", refused));
            variants.push(variant("{data, SIZE_MAX}", "endless", refused));
        }
        "int32_t" | "uint32_t" | "uint64_t" | "int64_t" | "size_t" | "quark_status_t" => {
            // An array of one element says nothing of these.
            let of_array = parameter.name == "count";
            for (name, value) in [
                ("0", "0"),
                ("-1", "-1"),
                ("INT32_MIN", "INT32_MIN"),
                ("INT32_MAX", "INT32_MAX"),
                ("UINT64_MAX", "UINT64_MAX"),
            ] {
                if of_array && ["0", "INT32_MAX"].contains(&name) {
                    continue;
                }
                let value = format!("({}){value}", parameter.kind);
                variants.push(Variant { name, value, wanted: number(function, parameter, name) });
            }
        }
        _ => {}
    }
    variants
}

/// Which numbers nothing can be made of.
fn number(function: &Function, parameter: &Parameter, value: &str) -> &'static str {
    match (function.name.as_str(), parameter.name.as_str()) {
        (_, "field" | "max_level" | "count" | "threads") => "REFUSED",
        ("quark_config_set_virtual_nodes", _) => "ANY",
        (_, "virtual_nodes") if value != "0" => "REFUSED",
        _ if is_async(function) => "FINE",
        _ => "ANY",
    }
}

/// What the function takes over or changes for good.
fn wants_new(function: &Function) -> bool {
    let ends = ["_free", "_stop", "_reply", "_fail", "_cancel"];
    ends.iter().any(|end| function.name.ends_with(end))
        || ["quark_config_set_", "quark_envelope_set_"].iter().any(|set| function.name.starts_with(set))
        || ["quark_membership_start", "quark_transport_start"].contains(&function.name.as_str())
}

/// `silo_list` of `const quark_silo_list_t *`.
fn object(kind: &str) -> &str {
    let kind = kind.strip_prefix("const ").unwrap_or(kind);
    kind.trim_end_matches(" *").trim_end_matches(" **").trim_start_matches("quark_").trim_end_matches("_t")
}

/// Something valid for an argument; `None` where nothing is known.
fn valid(function: &Function, parameter: &Parameter) -> Option<String> {
    let setter = function.name.strip_prefix("quark_config_set_").unwrap_or_default();
    let value = match (parameter.kind.as_str(), parameter.name.as_str()) {
        (kind, name) if kind.ends_with(" **") || ["bool *", "int32_t *", "int64_t *"].contains(&kind) => {
            return Some(format!("&out_{name}"));
        }
        // The sweep has no loop of its own that would run what is due; event_loop.c has.
        ("const quark_loop_t *", "event_loop") if setter == "loop" => "NULL",
        ("const quark_message_t *", _) => {
            "(quark_message_t[]){{\"T\", \"1\", \"echo\", QUARK_BYTES(\"x\"), &token}}"
        }
        (kind, _) if is_object(parameter) => {
            let object = object(kind);
            let known = [
                "config",
                "silo",
                "client",
                "membership",
                "transport",
                "ring",
                "loop",
                "envelope",
                "request",
                "call",
                "bytes",
                "error",
                "silo_list",
                "silo_info",
                "hash_ranges",
                "ring_moves",
                "explanation",
            ];
            let how = if wants_new(function) { "make" } else { "lend" };
            return known.contains(&object).then(|| format!("{how}_{object}()"));
        }
        ("char *", "string") => "make_string()",
        ("const char *const *", "keys") => "(const char *const[]){\"T:1\"}",
        // The silo that is started with it has no handler, and so no type.
        ("const char *", "actor_type") if setter == "ownership_callback" => "NULL",
        ("const char *", name) => match name {
            "actor_type" => "\"T\"",
            "actor_id" => "\"1\"",
            "method_name" => "\"echo\"",
            // The lent transport must stay linked.
            "silo_id" if function.name.ends_with("_disconnect") => "\"another\"",
            "silo_id" | "target" => "quark_silo_id(lend_silo())",
            "endpoint" if setter.is_empty() => "quark_silo_endpoint(lend_silo())",
            "endpoint" => "\"127.0.0.1:0\"",
            "url" => "\"memory://sweep\"",
            "placement" => "\"random\"",
            "transport" => "\"http2\"",
            "authority" | "certificate" => "\"certificate.pem\"",
            "name" | "zone" | "key" | "value" | "text" | "message" => "\"x\"",
            _ => return None,
        },
        ("quark_bytes_view_t", "bytes") => "quark_bytes_view(lend_bytes())",
        ("quark_bytes_view_t", "payload" | "value") => "QUARK_BYTES(\"x\")",
        ("int32_t", "field") => match function.name.rsplit('_').next()? {
            "text" => "QUARK_ENVELOPE_ACTOR_ID",
            "number" => "QUARK_ENVELOPE_TIMESTAMP",
            "bytes" => "QUARK_ENVELOPE_PAYLOAD",
            _ => return None,
        },
        ("int32_t", "max_level") => "QUARK_LOG_INFO",
        ("quark_status_t", "status") => "QUARK_TIMEOUT",
        ("size_t", "index") => "0",
        ("size_t", "count") => "1",
        ("size_t", "at_most" | "most") => "10",
        ("int64_t", "value") => "1",
        ("uint32_t", "virtual_nodes") => "10",
        ("uint32_t", "threads") => "2",
        ("uint32_t", "position") => "1",
        ("uint32_t", "requests") | ("size_t", "requests" | "calls") => "100",
        ("uint32_t", "streams") | ("size_t", "links" | "connections") => "10",
        ("uint32_t", "bytes") => "1048576",
        ("size_t", "bytes") => "100000",
        ("uint64_t", "ttl_ms") => "20000",
        ("uint64_t", "heartbeat_ms") => "5000",
        ("uint64_t", "timeout_ms") => "30000",
        ("uint64_t", "drain_ms") => "100",
        ("bool", _) => "true",
        ("void *", "user_data") => "&token",
        ("quark_finalizer_fn", _) => "let_go",
        ("quark_request_fn", _) => "keep_or_echo",
        ("quark_request_batch_fn", _) => "keep_or_echo_all",
        ("quark_reply_fn", _) => "on_reply",
        ("quark_ending_batch_fn", _) => "on_endings",
        ("quark_membership_fn", _) => "on_event",
        ("quark_ownership_fn", _) => "on_ownership",
        ("quark_log_fn", _) => "on_log",
        ("quark_credentials_fn", _) => "give_credentials",
        ("quark_placement_fn", _) => "choose_the_first",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The codes that a function's comment names, or that of the function whose comment it refers to.
fn codes(function: &Function, functions: &[Function]) -> String {
    let comment = &function.comment;
    let referred = comment.split_once("As `").and_then(|(_, after)| after.split_once('`'));
    if let Some((name, _)) = referred
        && let Some(other) = functions.iter().find(|function| function.name == name)
    {
        return codes(other, functions);
    }
    let named = comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    named.filter_map(|word| word.strip_prefix("QUARK_")).collect::<Vec<_>>().join(" ")
}

/// One call with what is checked after it.
fn call(
    function: &Function,
    functions: &[Function],
    argument: &str,
    (wanted, variant): (&str, &str),
    instead: impl Fn(usize) -> Option<String>,
) -> String {
    let mut text = format!("    {{\n        begin(\"{}\", \"{argument}\", \"{variant}\");\n", function.name);
    let (mut after, mut arguments) = (String::new(), Vec::new());
    let mut message = "NULL";
    for (place, parameter) in function.parameters.iter().enumerate() {
        let (kind, name) = (parameter.kind.as_str(), parameter.name.as_str());
        let value = instead(place).unwrap_or_else(|| valid(function, parameter).expect("known"));
        let is_null = value == "NULL";
        if value.starts_with("&out_") {
            text += &output(kind, name);
            after += &check_output(kind, name);
            if name == "error" {
                message = "got == QUARK_OK ? NULL : quark_error_message(out_error)";
            }
        }
        if name == "finalizer" && !is_null {
            text += "        ++taken;\n";
        }
        let given = if value.starts_with("make_") && !function.name.ends_with("_free") {
            let object = object(kind);
            writeln!(text, "        quark_{object}_t *made = {value};").expect("a string");
            let is_consumed = function.name.ends_with("_reply") || function.name.ends_with("_fail");
            if let Some(setting) = function.name.strip_prefix("quark_config_set_") {
                let setting = setting.trim_end_matches("_ms");
                // Certificates are of one silo; the programs of all languages in python-tests/interop have some. The
                // sweep has no Redis to log in to.
                let is_any = argument != "nothing" || ["tls", "redis_credentials"].contains(&setting);
                let wanted = if wanted == "FINE" && is_any && name != "listen" { "ANY" } else { wanted };
                writeln!(after, "        start_with(made, {wanted}, \"{setting}\");").expect("a string");
            }
            if !is_consumed {
                writeln!(after, "        quark_{object}_free(made);").expect("a string");
            }
            "made".to_owned()
        } else {
            value
        };
        arguments.push(given);
    }
    // What the start would tell of a config: the id, and a setting that no config was given for.
    if function.name == "quark_config_new" {
        let wanted = if variant == "NULL" { "ANY" } else { wanted };
        writeln!(after, "        quark_config_set_membership(got, \"memory://sweep-new\");")
            .expect("a string");
        writeln!(after, "        start_with(got, {wanted}, \"silo_id\");").expect("a string");
    }
    if function.returns.ends_with("_t *") && function.returns.starts_with("quark_") {
        writeln!(after, "        quark_{}_free(got);", object(&function.returns)).expect("a string");
    }
    let arguments = arguments.join(", ");
    let called = format!("{}({arguments})", function.name);
    if function.returns == "void" {
        writeln!(text, "        {called};").expect("a string");
    } else {
        writeln!(text, "        {} got = {called};", function.returns).expect("a string");
        text += &check_returned(function, functions, argument, wanted, variant, message);
    }
    text + &after + "    }\n"
}

/// Where an output goes.
fn output(kind: &str, name: &str) -> String {
    let pointed = kind.strip_suffix('*').expect("a pointer").trim_end();
    let before = if pointed.ends_with('*') { format!("POISON({pointed})") } else { "0".to_owned() };
    let space = if pointed.ends_with('*') { "" } else { " " };
    format!("        {pointed}{space}out_{name} = {before};\n")
}

/// Outputs are written on success only, an error on failure only; and what was given is freed.
fn check_output(kind: &str, name: &str) -> String {
    let pointed = kind.strip_suffix('*').expect("a pointer").trim_end();
    if !pointed.ends_with('*') {
        return String::new();
    }
    let (status, free) = match (name, pointed) {
        ("error", _) => ("!=", "quark_error_free(out_error);".to_owned()),
        (_, "char *") => ("==", format!("quark_string_free(out_{name});")),
        (_, "const char *") => ("==", String::new()),
        _ => ("==", format!("quark_{}_free(out_{name});", object(pointed))),
    };
    format!(
        "        if ((got {status} QUARK_OK) != (out_{name} != POISON({pointed}))) complain(\"{name} is \", \
         got {status} QUARK_OK ? \"not written\" : \"written\");\n        \
         if (out_{name} != POISON({pointed})) {{ {free} }}\n"
    )
}

/// What a function must return.
fn check_returned(
    function: &Function,
    functions: &[Function],
    argument: &str,
    wanted: &str,
    variant: &str,
    message: &str,
) -> String {
    if function.returns == "quark_status_t" && function.name != "quark_error_code" {
        let codes = codes(function, functions);
        let at_once = if is_async(function) && wanted == "STOPPED" { "FINE" } else { wanted };
        let mut text = format!("        judge(got, {message}, {at_once}, NULL, \"{codes}\");\n");
        if is_async(function) {
            let codes = codes_of_calls(functions);
            writeln!(text, "        if (got == QUARK_OK) wait_for_ending({wanted}, \"{codes}\");")
                .expect("a string");
        }
        return text;
    }
    // A position or a number of a status that is one: 0.
    let is_valid = argument == "nothing" || variant == "0" && ["index", "status"].contains(&argument);
    // Any text has a position, and any position is somebody's.
    let hashes = ["quark_config_new", "quark_hash", "quark_hash_actor", "quark_hash_ranges_contain_actor"];
    let is_other = hashes.contains(&function.name.as_str()) && variant == "1 MiB" || argument == "position";
    let is_as_before = variant == "stopped" && !function.name.ends_with("_is_running");
    let is_served = function.name.ends_with("_serves") && variant == "1 MiB";
    let is_checked = !(is_valid || is_other || is_served || is_as_before);
    let neutral = match (function.returns.as_str(), function.name.as_str()) {
        (_, "quark_error_message") => "strcmp(got, \"\") == 0",
        (_, "quark_config_new") => "got != NULL",
        (_, "quark_silo_info_status" | "quark_loop_descriptor") => "got == -1",
        ("quark_bytes_view_t", _) => "got.len == 0",
        ("bool", _) => "!got",
        (returns, _) if returns.ends_with('*') => "got == NULL",
        _ => "got == 0",
    };
    if is_checked {
        format!("        if (!({neutral})) complain(\"not the neutral value\", \"\");\n")
    } else {
        "        (void)got;\n".to_owned()
    }
}

/// What an asynchronous call may end with: what a call may fail with.
fn codes_of_calls(functions: &[Function]) -> String {
    let call = functions.iter().find(|function| function.name == "quark_silo_call").expect("a call");
    assert!(call.comment.contains("Every code of the list"), "{}", call.comment);
    "TIMEOUT NO_SILO UNREACHABLE PAYLOAD_TOO_LARGE HANDLER_FAILED OVERLOADED".to_owned()
}
