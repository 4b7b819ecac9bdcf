//! What holds of whatever Azure, az or somebody wrote.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::cloud::Cloud;
use super::id::ClusterId;
use super::profile::{self, Profile};
use super::types::NamedKubeconfig;
use super::{challenge, discovery, metadata};
use crate::net::Answer;
use crate::tunnel::FarSide;

fn without_files() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "https?://[a-z.:/@]{0,12}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "name",
        "resourceManager",
        "authentication",
        "loginEndpoint",
        "audiences",
        "suffixes",
        "relayEndpointSuffix",
        "subscriptions",
        "id",
        "user",
        "isDefault",
        "authority",
        "relaySuffix",
    ]);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                let pairs = pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(pairs.collect())
            }),
        ]
    })
}

fn unauthorized(challenge: HeaderValue) -> Answer {
    Answer {
        status: StatusCode::UNAUTHORIZED,
        headers: HeaderMap::from_iter([(header::WWW_AUTHENTICATE, challenge)]),
        body: Bytes::new(),
    }
}

fn encoded(value: &str) -> NamedKubeconfig {
    NamedKubeconfig {
        value: value.into(),
    }
}

proptest! {
    #![proptest_config(without_files())]

    #[test]
    fn an_id_is_read_as_it_is_printed_in_any_case(
        [subscription, resource_group, name] in ["[a-zA-Z0-9._()-]{1,20}", "[a-zA-Z0-9._()-]{1,20}", "[a-zA-Z0-9._()-]{1,20}"],
    ) {
        let id = ClusterId { subscription, resource_group, name };
        let printed = id.to_string();
        for text in [printed.clone(), printed.to_uppercase(), printed.to_lowercase()] {
            // Dots alone would be a step in the path.
            let Ok(again) = text.parse::<ClusterId>() else {
                prop_assert!(printed.split('/').any(|part| part.chars().all(|c| c == '.')));
                continue;
            };
            prop_assert_eq!(&again, &id);
            prop_assert_eq!(again.hash(), id.hash());
        }
    }

    #[test]
    fn no_text_is_an_id_that_reaches_elsewhere(text in "[/a-zA-Z.%?#@: -]{0,80}") {
        if let Ok(id) = text.parse::<ClusterId>() {
            let path = id.to_string();
            prop_assert!(!path.contains(['?', '#', '%', ' ', '@', ':']), "{}", path);
        }
    }

    #[test]
    fn claims_are_found_among_all_else(
        claims in json(),
        before in "[ -~]{0,20}",
        is_quoted in any::<bool>(),
        is_for_urls in any::<bool>(),
    ) {
        let claims = json!({ "access_token": claims }).to_string();
        let code = if is_for_urls {
            BASE64_URL_SAFE_NO_PAD.encode(&claims)
        } else {
            BASE64_STANDARD.encode(&claims)
        };
        let words = before.replace('\\', "\\\\").replace('"', "\\\"");
        let value = if is_quoted { format!("\"{code}\"") } else { code };
        let challenge = format!("Bearer error_description=\"{words}\", claims={value}, error=\"insufficient_claims\"");
        let found = challenge::claims(&unauthorized(challenge.parse().expect("a value")));
        prop_assert_eq!(found, Some(claims));
    }

    #[test]
    fn no_challenge_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let answer = unauthorized(value);
            let _ = (challenge::claims(&answer), discovery::named(&answer.headers));
        }
    }

    #[test]
    fn a_relay_is_below_its_clouds_suffix(name in any::<String>(), label in "[a-z0-9-]{1,30}") {
        let cloud = Cloud::named("AzureCloud").expect("known");
        for name in [name, label] {
            if let Ok((host, port)) = cloud.relay(&name) {
                prop_assert_eq!(&host, &format!("{}.servicebus.windows.net", name.to_lowercase()));
                prop_assert!(cloud.is_relay(&host, port));
                let elsewhere = format!("{host}.evil");
                prop_assert!(!cloud.is_relay(&host, 80) && !cloud.is_relay(&elsewhere, port));
            } else {
                let host = format!("{name}.servicebus.windows.net");
                prop_assert!(!cloud.is_relay(&host, 443));
            }
        }
    }

    #[test]
    fn whatever_describes_a_cloud_it_is_reached_by_https(document in json(), text in any::<String>()) {
        let arm = Url::parse("https://arm.lab.example").expect("a URL");
        let document = document.to_string();
        let clouds = [
            Cloud::parse(&document),
            Cloud::parse(&text),
            metadata::read(document.as_bytes(), &arm),
            metadata::read(text.as_bytes(), &arm),
        ];
        for cloud in clouds.into_iter().flatten() {
            prop_assert_eq!(cloud.authority.scheme(), "https");
            prop_assert_eq!(cloud.resource_manager.scheme(), "https");
        }
    }

    #[test]
    fn an_option_is_read_as_python_writes_it(
        others in prop::collection::vec(("[a-z_]{1,8}", "[ -~é]{0,20}"), 0..4),
        value in "[!-~é]([ -~é]{0,20}[!-~é])?",
        newline in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut lines = vec!["[other]".to_owned(), "name = no".to_owned()];
        lines.extend([String::new(), "[cloud]".to_owned()]);
        let others = others.iter().filter(|(key, _)| key != "name");
        lines.extend(others.map(|(key, value)| format!("{key} = {value}")));
        lines.extend([format!("name = {value}"), String::new(), String::new()]);
        let text = lines.join(newline);
        prop_assert_eq!(profile::option(&text, "cloud", "name"), Some(value));
        prop_assert_eq!(profile::option(&text, "clouds", "name"), None);
    }

    #[test]
    fn no_profile_panics(document in json(), text in any::<String>()) {
        for text in [document.to_string(), text] {
            let _ = profile::option(&text, "cloud", "name");
            if let Ok(profile) = Profile::parse(&text) {
                let _ = (profile.default_subscription(), profile.account(Some("a"), None));
                let _ = profile.of_cloud("AzureCloud");
            }
        }
    }

    #[test]
    fn the_far_end_is_read_however_often_it_is_encoded(
        host in "[a-z]{1,10}",
        port in any::<u16>(),
        authority in prop::collection::vec(any::<u8>(), 0..60),
        is_json in any::<bool>(),
    ) {
        let server = format!("https://{host}:{port}");
        let data = BASE64_STANDARD.encode(&authority);
        let cluster = json!({ "server": server, "certificate-authority-data": data });
        let text = if is_json {
            json!({ "clusters": [{ "name": "c", "cluster": cluster }] }).to_string()
        } else {
            format!("clusters:\n- cluster:\n    server: {server}\n    certificate-authority-data: \"{data}\"\n")
        };
        let once = BASE64_STANDARD.encode(text);
        for value in [BASE64_STANDARD.encode(&once), once] {
            let far = encoded(&value).far_end();
            let far = far.map_err(TestCaseError::fail)?;
            prop_assert_eq!(&far.server, &server);
            prop_assert_eq!(far.certificate_authority.as_ref(), Some(&authority));
        }
    }

    #[test]
    fn no_kubeconfig_of_the_far_end_panics(text in any::<String>(), yaml in "[-a:{}\\[\\],&*!|>'\" \n]{0,60}") {
        for text in [text.clone(), format!("clusters: {yaml}"), yaml] {
            let _ = encoded(&text).far_end();
            let _ = encoded(&BASE64_STANDARD.encode(&text)).far_end();
            if let Ok(far) = FarSide::new(&text, None, None) {
                prop_assert!(HeaderValue::from_str(far.authority()).is_ok());
            }
        }
    }
}
