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
        "transport" => good.transport(value.parse()?),
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
async fn a_silo_does_not_start_with_a_limit_out_of_range() {
    for case in table()["limits"].as_array().unwrap() {
        let (limit, value) = (case["argument"].as_str().unwrap(), case["value"].as_u64().unwrap());
        let (short, long) = (u32::try_from(value).unwrap(), usize::try_from(value).unwrap());
        let described = described("cluster", "bad-limits").unwrap().configure(|config| {
            let transport = &mut config.transport;
            match limit {
                "max_metadata" => transport.max_metadata = short,
                "max_streams" => transport.max_streams = short,
                "connection_window" => transport.connection_window = short,
                "max_links_per_peer" => transport.max_links_per_peer = long,
                "max_connections" => transport.max_connections = long,
                "max_connections_per_address" => transport.max_connections_per_address = long,
                _ => panic!("a limit that this test does not know: {limit}"),
            }
        });
        let error = described.start().await.err().unwrap_or_else(|| panic!("{case} was accepted"));
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
        if case["argument"] != "method_name" {
            assert_eq!(silo.owns(actor.0, actor.1), Err(error.clone()));
            assert_eq!(silo.explain(actor.0, actor.1), Err(error));
        }
    }
}
