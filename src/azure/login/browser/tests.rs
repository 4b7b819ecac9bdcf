use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn request(host: &str, port: u16, line: &str) -> String {
    let mut tcp = TcpStream::connect((host, port)).await.expect("connects");
    let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn only_the_answer_with_the_right_state_counts() {
    let redirect = Redirect::bind().await.expect("listens");
    let port = redirect.port();
    let waiting = tokio::spawn(async move { redirect.returned("right").await });
    for (line, status) in [
        ("GET /favicon.ico", "404"),
        ("GET /other?code=c&state=right", "404"),
        ("POST /?code=c&state=right", "405"),
        ("HEAD /?code=c&state=right", "405"),
        ("GET /", "400"),
        ("GET /?code=c", "400"),
        ("GET /?code=c&state=wrong", "400"),
        ("GET /?error=access_denied&state=wrong", "400"),
        ("GET /?state=right", "400"),
    ] {
        let answer = request("127.0.0.1", port, line).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(!waiting.is_finished(), "{line}");
    }
    let last =
        tokio::spawn(
            async move { request("127.0.0.1", port, "GET /?code=c%20d&state=right").await },
        );
    let returned = waiting.await.expect("returns");
    assert_eq!(returned.code().expect("a code").expose(), "c d");
    let refused = TcpStream::connect(("127.0.0.1", port)).await;
    assert!(refused.is_err(), "nothing listens any more");
    returned.show(Page::success(Some("ana@contoso.com"))).await;
    let page = last.await.expect("answers");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(page.contains("<b>ana@contoso.com</b>"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
        "connection: close",
    ] {
        assert!(page.contains(header), "{header} is not in {page}");
    }
}

#[tokio::test]
async fn both_loopbacks_are_listened_on() {
    let redirect = Redirect::bind().await.expect("listens");
    let port = redirect.port();
    assert_eq!(redirect.uri(), format!("http://localhost:{port}"));
    let waiting = tokio::spawn(async move { redirect.returned("right").await });
    if tokio::net::TcpListener::bind(("::1", 0)).await.is_err() {
        // A machine without IPv6.
        return;
    }
    let line = "GET /?error=access_denied&error_description=AADSTS65004%3A+no&state=right";
    let last = tokio::spawn(async move { request("::1", port, line).await });
    let returned = waiting.await.expect("returns");
    let refused = returned.code().expect_err("an error");
    let expected = Refusal {
        error: "access_denied".to_owned(),
        description: "AADSTS65004: no".to_owned(),
        subcode: String::new(),
    };
    assert_eq!(*refused, expected);
    let error = Error::new(
        Code::SignInRefused,
        "the sign-in was cancelled in the browser",
    );
    returned.show(Page::failure(&error)).await;
    let page = last.await.expect("answers");
    assert!(
        page.contains("The sign-in was cancelled in the browser."),
        "{page}"
    );
}

#[test]
fn only_who_cancels_has_cancelled() {
    let cloud = crate::azure::cloud::Cloud::named("AzureCloud").expect("known");
    let trust = crate::net::Trust::system([]).expect("a trust store");
    let clock = crate::clock::Clock::system();
    let https = crate::net::Https::new(crate::net::Net::new(trust), clock.clone());
    let gear = Gear {
        settings: &super::super::SignInSettings::default(),
        cloud: &cloud,
        https: &https.expect("a client"),
        clock: &clock,
        teller: &Teller::new(|_| {}),
    };
    let desk = Desk::new(&gear).expect("a desk");
    let told = |description: &str, subcode: &str| {
        let refusal = Refusal {
            error: "access_denied".to_owned(),
            description: description.to_owned(),
            subcode: subcode.to_owned(),
        };
        let error = refused(&desk, &refusal);
        (error.what().contains("cancelled"), error.hint().to_owned())
    };
    for (description, subcode) in [
        ("AADSTS65004: User declined to consent.", ""),
        ("the user canceled the authentication", "cancel"),
        ("", ""),
    ] {
        assert!(told(description, subcode).0, "{description}");
    }
    let (cancelled, hint) = told("AADSTS53003: Access has been blocked.", "");
    assert!(!cancelled && hint.contains("which policy"), "{hint}");
    let (cancelled, hint) = told("AADSTS90094: An administrator has to consent.", "");
    assert!(!cancelled && hint.contains("another account"), "{hint}");
}

#[test]
fn an_attempt_proves_itself_as_rfc_7636_has_it() {
    let attempt = Attempt {
        verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
        ..Attempt::new()
    };
    assert_eq!(
        attempt.challenge(),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
    let (one, other) = (Attempt::new(), Attempt::new());
    assert!((43..=128).contains(&one.verifier.expose().len()));
    assert_ne!(one.state, other.state);
    assert_ne!(one.nonce, one.state);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_without_end() {
    let cloud = crate::azure::cloud::Cloud::named("AzureCloud").expect("known");
    let trust = crate::net::Trust::system([]).expect("a trust store");
    let clock = crate::clock::Clock::system();
    let https = crate::net::Https::new(crate::net::Net::new(trust), clock.clone());
    let told = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let tell = told.clone();
    let gear = Gear {
        settings: &super::super::SignInSettings {
            auth: Auth::Browser,
            // Nothing is opened: the command that is found first opens it.
            environment: crate::settings::Environment::of([("BROWSER", "true")]),
            ..Default::default()
        },
        cloud: &cloud,
        https: &https.expect("a client"),
        clock: &clock,
        teller: &Teller::new(move |prompt| {
            if let Prompt::Browser { url } = prompt {
                (*url).clone_into(&mut tell.lock().expect("whole"));
            }
        }),
    };
    let Ok(browser) = make(&gear).await else {
        panic!("it is made when it is chosen");
    };
    let began = tokio::time::Instant::now();
    let ended = browser
        .bearer("https://management.azure.com/.default")
        .await;
    assert_eq!(began.elapsed().as_secs(), 5 * 60);
    let error = ended.expect_err("nobody came");
    assert!(error.what().contains("within 5 minutes"), "{error}");
    let again = browser
        .bearer("https://management.azure.com/.default")
        .await;
    assert_eq!(again.expect_err("nobody is asked again so soon"), error);
    assert_eq!(began.elapsed().as_secs(), 5 * 60);

    let url = Url::parse(&told.lock().expect("whole")).expect("a URL");
    assert_eq!(url.path(), "/organizations/oauth2/v2.0/authorize");
    let query: std::collections::HashMap<_, _> = url.query_pairs().collect();
    for (name, value) in [
        ("client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
        ("response_type", "code"),
        ("response_mode", "query"),
        (
            "scope",
            "https://management.azure.com/.default offline_access openid profile",
        ),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
    ] {
        assert_eq!(query[name], value, "{name}");
    }
    assert!(query["redirect_uri"].starts_with("http://localhost:"));
    assert_ne!(query["nonce"], query["state"]);
}
