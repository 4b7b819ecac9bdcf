//! The control endpoint, asked over the wire.

use arc_emulator::agent::Dialect;
use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use arc_emulator::tls::Authority;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, send};

/// Asks the control endpoint.
async fn control(emulator: &Emulator, method: Method, path: &str, body: &str) -> Answer {
    send_plain(method, &format!("{}{path}", emulator.control_url()), body).await
}

/// Asks without TLS, which the control endpoint does not have.
async fn send_plain(method: Method, url: &str, body: &str) -> Answer {
    let unused = Authority::new("unused")
        .unwrap()
        .client_config(&[])
        .unwrap();
    send(&unused, method, url, &[], body).await
}

async fn patch(emulator: &Emulator, body: Value) -> Answer {
    control(emulator, Method::PATCH, "/faults", &body.to_string()).await
}

/// Asserts that `answer` refuses a body, and that it says each of `words` about it.
#[track_caller]
fn assert_unreadable(answer: &Answer, words: &[&str]) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    for word in words {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

#[tokio::test]
async fn faults_are_read_replaced_and_merged_from_outside() {
    let emulator = Emulator::builder()
        .faults(FaultSet {
            rtt_ms: 1,
            ..FaultSet::default()
        })
        .start()
        .await
        .unwrap();
    let faults = control(&emulator, Method::GET, "/faults", "").await.json();
    assert_eq!(faults["rtt_ms"], 1);

    let wanted = json!({ "arm": { "status": 503 }, "agent_away": true });
    let faults = patch(&emulator, wanted).await.json();
    assert_eq!(
        (&faults["rtt_ms"], &faults["arm"]["status"]),
        (&json!(1), &json!(503))
    );
    assert!(emulator.faults().now().agent_away);

    let whole = json!({ "group_overage": true }).to_string();
    control(&emulator, Method::PUT, "/faults", &whole).await;
    let expected = FaultSet {
        group_overage: true,
        ..FaultSet::default()
    };
    assert_eq!(emulator.faults().now(), expected);

    for (method, body, name) in [
        (Method::PATCH, json!({ "arm": { "statuss": 1 } }), "statuss"),
        (Method::PUT, json!({ "no_such_fault": 1 }), "no_such_fault"),
    ] {
        let refused = control(&emulator, method, "/faults", &body.to_string()).await;
        assert_unreadable(&refused, &[name]);
    }
    assert_eq!(emulator.faults().now(), expected);
    emulator.stop().await;
}

#[tokio::test]
async fn tunnels_and_agents_are_controlled_from_outside() {
    let emulator = Emulator::builder().start().await.unwrap();
    for how in [
        json!("reset"),
        json!("blackhole"),
        json!({ "close": 1_001 }),
    ] {
        let body = json!({ "how": how }).to_string();
        let answer = control(&emulator, Method::POST, "/tunnels/drop", &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{body}");
    }
    let refused = control(&emulator, Method::POST, "/tunnels/drop", r#"{"how":"x"}"#).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let answer = control(&emulator, Method::POST, "/agent/restart", "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let seen = control(&emulator, Method::GET, "/seen", "").await.json();
    for part in ["entra", "arm", "relay", "agents", "aad_proxies"] {
        assert!(seen[part].is_object(), "{part}: {seen}");
    }
    assert!(seen["agents"]["edge-demo"].is_object(), "{seen}");
    emulator.stop().await;
}

#[tokio::test]
async fn the_control_endpoint_answers_nobody_without_its_token() {
    let emulator = Emulator::builder().start().await.unwrap();
    let url: url::Url = emulator.control_url().parse().unwrap();
    let url = format!("http://127.0.0.1:{}/faults", url.port().unwrap());
    let answer = send_plain(Method::GET, &url, "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = control(&emulator, Method::POST, "/faults", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    emulator.stop().await;
}

#[tokio::test]
async fn the_dialect_and_the_versions_of_http_are_switched_and_set_back() {
    let initial = FaultSet {
        dialect: Dialect::Bridge,
        no_h2: true,
        ..FaultSet::default()
    };
    let builder = Emulator::builder().faults(initial.clone());
    let emulator = builder.start().await.unwrap();
    let faults = control(&emulator, Method::GET, "/faults", "").await.json();
    assert_eq!(
        (&faults["dialect"], &faults["no_h2"], &faults["no_http1"]),
        (&json!("bridge"), &json!(true), &json!(false))
    );

    let switched = json!({ "dialect": "raw", "no_h2": false, "no_http1": true });
    let faults = patch(&emulator, switched).await.json();
    assert_eq!(faults["dialect"], "raw");
    let expected = FaultSet {
        no_http1: true,
        ..FaultSet::default()
    };
    assert_eq!(emulator.faults().now(), expected);

    let answer = control(&emulator, Method::DELETE, "/faults", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), json!(initial));
    assert_eq!(emulator.faults().now(), initial);

    // What is left out of the whole is as without its flag, whatever the start was.
    let answer = control(&emulator, Method::PUT, "/faults", "{}").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(emulator.faults().now(), FaultSet::default());
    emulator.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_with_what_is_allowed_and_changes_nothing() {
    let emulator = Emulator::builder().h2(false).start().await.unwrap();
    let before = emulator.faults().now();
    for (body, words) in [
        (
            json!({ "dialect": "morse" }),
            &["morse", "raw", "bridge"][..],
        ),
        (json!({ "dialect": true }), &["true"]),
        (json!({ "no_h2": "yes" }), &["yes", "boolean"]),
        (
            json!({ "no_http1": true }),
            &["no_h2", "no_http1", "HTTP/2, HTTP/1.1"],
        ),
        (
            json!({ "refuse_dials": 200 }),
            &["refuse_dials", "400 to 599"],
        ),
        (
            json!({ "arm": { "status": 99 } }),
            &["arm.status", "400 to 599"],
        ),
        (json!({ "seed": 2 }), &["seed", "dialect", "no_h2"]),
        (json!([{ "dialect": "raw" }]), &["sequence"]),
    ] {
        assert_unreadable(&patch(&emulator, body.clone()).await, words);
        assert_eq!(emulator.faults().now(), before, "{body}");
    }
    let both = json!({ "no_h2": true, "no_http1": true }).to_string();
    let answer = control(&emulator, Method::PUT, "/faults", &both).await;
    assert_unreadable(&answer, &["no_h2", "no_http1"]);
    assert_eq!(emulator.faults().now(), before);
    emulator.stop().await;
}

#[tokio::test]
async fn nobody_starts_an_emulator_that_offers_no_http() {
    let error = Emulator::builder().h2(false).http1(false).start().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no_h2 and no_http1"), "{error}");
}

#[tokio::test]
async fn the_seed_can_be_read_and_not_set() {
    let emulator = Emulator::builder().seed(11).start().await.unwrap();
    let answer = control(&emulator, Method::GET, "/seed", "").await;
    assert_eq!(answer.json(), json!({ "seed": 11 }));
    for method in [Method::PUT, Method::PATCH, Method::POST] {
        let answer = control(&emulator, method, "/seed", r#"{"seed":12}"#).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("from the start"), "{error}");
    }
    emulator.stop().await;
}
