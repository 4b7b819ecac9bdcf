//! What holds of whatever names a proxy, answers, or presents a certificate.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::issuer::issuer;
use super::retry::retry_after;
use super::web_proxy::WebProxies;
use crate::secret::Secret;

fn without_files() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn read(address: &str, list: &str) -> Option<WebProxies> {
    let list = |name: &str| (name == "no_proxy").then(|| list.to_owned());
    WebProxies::read(Some(&Secret::from(address)), list).ok()
}

proptest! {
    #![proptest_config(without_files())]

    #[test]
    fn credentials_reach_the_proxy_and_nobody_else(
        user in "\\PC{1,12}",
        password in "\\PC{0,12}",
        host in "[a-z]{1,10}\\.example",
        port in 1..u16::MAX,
    ) {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let address = format!("http://{}:{}@{host}:{port}", encode(&user), encode(&password));
        let proxies = read(&address, "").expect("a proxy");
        let proxy = proxies.to("arm.example", 443).expect("it goes through it");
        prop_assert_eq!(proxy.to_string(), format!("http://{host}:{port} (from --proxy)"));
        let sent = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let authorization = proxy.authorization.as_ref().map(|value| value.expose().to_owned());
        prop_assert_eq!(authorization, Some(format!("Basic {sent}")));
    }

    #[test]
    fn a_host_that_is_named_goes_without(
        hosts in prop::collection::vec("[a-z]{1,8}(\\.[a-z]{1,8}){1,3}", 1..5),
        separator in prop::sample::select(vec![",", ", ", " ", "\n"]),
        port in prop::option::of(1..u16::MAX),
    ) {
        let suffix = port.map_or_else(String::new, |port| format!(":{port}"));
        let list: Vec<_> = hosts.iter().map(|host| format!("{host}{suffix}")).collect();
        let proxies = read("http://proxy.example", &list.join(separator)).expect("a proxy");
        for host in &hosts {
            let asked = port.unwrap_or(443);
            prop_assert!(proxies.to(host, asked).is_none());
            prop_assert!(proxies.to(&host.to_uppercase(), asked).is_none());
            let below = format!("sub.{host}");
            prop_assert!(proxies.to(&below, asked).is_none());
            if port.is_some() {
                let is_other = proxies.to(host, asked.wrapping_add(1)).is_some();
                prop_assert!(is_other, "{host} on another port");
            }
        }
        prop_assert!(proxies.to("9.example", 443).is_some());
    }

    #[test]
    fn no_address_and_no_list_panics(address in any::<String>(), list in any::<String>(), host in any::<String>()) {
        for address in [address.as_str(), "proxy.example"] {
            if let Some(proxies) = read(address, &list) {
                let _ = proxies.to(&host, 443).map(ToString::to_string);
                prop_assert!(proxies.to("127.0.0.1", 443).is_none());
            }
        }
    }

    #[test]
    fn a_wait_is_read_and_nothing_panics(seconds in any::<u64>(), text in "[ -~]{0,40}") {
        let asked = |text: &str| {
            let value = HeaderValue::from_str(text).expect("a value");
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]))
        };
        prop_assert_eq!(asked(&seconds.to_string()), Some(Duration::from_secs(seconds)));
        let _ = asked(&text);
    }

    #[test]
    fn no_certificate_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(name) = issuer(&bytes) {
            prop_assert!(!name.contains(char::is_control));
        }
    }
}

proptest! {
    // Each has a certificate made.
    #![proptest_config(ProptestConfig { cases: 32, ..without_files() })]

    #[test]
    fn an_issuer_is_named_and_rules_no_terminal(
        name in "\\PC{1,30}[\u{1b}\u{9b}\n]?",
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name.clone());
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let shown = issuer(made.der()).expect("it has an issuer");
        let plain: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        prop_assert!(shown.contains(&format!("CN={plain}")), "{:?} {:?}", name, shown);
        // One that is damaged has another name, or none.
        let mut der = made.der().to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        if let Some(shown) = issuer(&der) {
            prop_assert!(!shown.contains(char::is_control));
        }
    }
}
