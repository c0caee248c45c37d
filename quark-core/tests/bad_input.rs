//! Bad input, from the table that C and Python are tested with too.

use quark_core::{Endpoint, Result, Silo, SiloBuilder};
use serde_json::Value;

fn table() -> Value {
    serde_json::from_str(include_str!("../../testdata/bad_input.json")).unwrap()
}

fn described(argument: &str, value: &str) -> Result<SiloBuilder> {
    let silo = |id| Silo::builder(id).handler(|_| async { Ok("") });
    let good = silo("bad-input").membership("memory://bad-input".parse()?);
    Ok(match argument {
        "silo_id" => silo(value).membership("memory://bad-input".parse()?),
        "membership" => silo("bad-input").membership(value.parse()?),
        "listen" => good.listen(Endpoint::parse("listen", value)?),
        "cluster" => good.cluster(value),
        "placement" => good.placement("T", value.parse()?),
        _ => panic!("an argument that this test does not know: {argument}"),
    })
}

#[tokio::test]
async fn a_silo_does_not_start_with_it() {
    for case in table()["starts"].as_array().unwrap() {
        let (argument, value) = (case["argument"].as_str().unwrap(), case["value"].as_str().unwrap());
        let error = match described(argument, value) {
            Ok(builder) => builder.start().await.err().unwrap_or_else(|| panic!("{case} was accepted")),
            Err(error) => error,
        };
        assert_eq!(error.kind().code(), case["code"], "{case}: {error}");
        assert!(error.message().contains(case["contains"].as_str().unwrap()), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_call_cannot_be_made_with_it_and_nothing_is_lost() {
    let silo = described("cluster", "bad-input-calls").unwrap().start().await.unwrap();
    for case in table()["calls"].as_array().unwrap() {
        let with = |name| if case["argument"] == name { case["value"].as_str().unwrap() } else { "x" };
        let actor = (with("actor_type"), with("actor_id"));
        let error = silo.call(actor, with("method_name"), "").await.unwrap_err();
        assert_eq!(error.kind().code(), case["code"], "{case}: {error}");
        assert!(error.message().contains(case["contains"].as_str().unwrap()), "{case}: {error}");
        assert_eq!(silo.call(("T", "1"), "", "").await.unwrap(), "");
    }
}
