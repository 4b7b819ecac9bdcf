//! What bad input gets: a clear error, a hint, the documented exit code, and nothing lost.

use std::os::unix::fs::PermissionsExt as _;

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};

use crate::harness::{Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

/// The last JSON event.
fn error_event(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azure_does_not_know_is_named() {
    let world = World::new().await;
    let ran = world.run(&["-n", "edge-none", "-g", "demo"]).await;
    ran.failed(
        4,
        &[
            "cluster edge-none was not found in resource group demo",
            "ResourceNotFound",
            "az connectedk8s list -g demo",
        ],
    );
    let ran = world.run(&["-n", "edge-demo", "-g", "none"]).await;
    ran.failed(
        4,
        &["resource group none was not found", "ResourceGroupNotFound"],
    );
    let missing = "00000000-0000-0000-0000-00000000dead";
    let ran = world
        .run(&[&DEMO[..], &["--subscription", missing]].concat())
        .await;
    ran.failed(4, &[missing, "SubscriptionNotFound"]);
    let ran = world
        .run(&[&DEMO[..], &["--subscription", "No Such Name"]].concat())
        .await;
    ran.failed(4, &["no subscription called \"No Such Name\""]);
    assert!(
        !world.kubeconfig().exists(),
        "nothing is written for a cluster that cannot be reached"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_names_the_role() {
    let world = World::new().await;
    let ran = world.run(&["-n", "edge-forbidden", "-g", "demo"]).await;
    ran.failed(
        4,
        &[
            "AuthorizationFailed",
            "Azure Arc Enabled Kubernetes Cluster User Role",
            "az role assignment create",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_is_told_from_one_without_cluster_connect() {
    let world = World::new().await;
    let ran = world.run(&["-n", "edge-offline", "-g", "demo"]).await;
    ran.failed(
        5,
        &[
            "edge-offline is Offline",
            "last heard of at",
            "kubectl get pods -n azure-arc",
        ],
    );
    let ran = world.run(&["-n", "edge-disabled", "-g", "demo"]).await;
    ran.failed(
        5,
        &[
            "no agent of edge-disabled listens at the relay",
            "There are no listeners connected for the endpoint.",
            "TrackingId:",
            "az connectedk8s enable-features --features cluster-connect -n edge-disabled -g demo",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_relay_does_not_know_is_no_absent_agent() {
    let world = World::new().await;
    let ran = world.run(&["-n", "edge-nowhere", "-g", "demo"]).await;
    let words = [
        "does not know the connection",
        "Endpoint does not exist.",
        "tracking id above",
    ];
    ran.failed(5, &words);
    let ran = world.run(&["-n", "edge-private", "-g", "demo"]).await;
    ran.failed(
        5,
        &["warning: edge-private is enabled for Azure Private Link"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_of_entra_is_not_blamed_on_the_secret() {
    let fault = ServiceFault {
        status: Some(503),
        retry_after_seconds: Some(0),
        ..ServiceFault::default()
    };
    let faults = FaultSet {
        entra: fault,
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let ran = world
        .run(&DEMO)
        .await
        .failed(3, &["AADSTS90033", "then try again"]);
    assert!(
        !ran.stderr.contains("check AZURE_TENANT_ID"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_configured_in_part_is_told() {
    let world = World::new().await;
    let mut nobody = world.arcproxy(&DEMO);
    let ran = Ran::of(
        nobody
            .env_remove("AZURE_CLIENT_SECRET")
            .env("PATH", world.home()),
    )
    .await;
    ran.failed(
        3,
        &[
            "no sign-in method is configured",
            "service-principal: neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set",
            "azure-cli: az is not on the PATH",
            "so nobody can answer",
            "az login",
        ],
    );

    let mut half = world.arcproxy(&DEMO);
    let ran = Ran::of(half.env_remove("AZURE_CLIENT_ID")).await;
    ran.failed(
        3,
        &["AZURE_CLIENT_SECRET is set, but AZURE_CLIENT_ID is not"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_known_refusal_of_many_groups_is_explained() {
    let faults = FaultSet {
        group_overage: true,
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let ran = world.run(&DEMO).await;
    ran.failed(
        4,
        &[
            "more than 200 groups",
            "Overage claim",
            "service principal",
            "--token-file",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_service_account_is_kubectls_to_tell() {
    let world = World::new().await;
    let ran = world
        .run(
            &[
                &DEMO[..],
                &["--token", "e30.e30.e30", "--", "kubectl", "get", "pods"],
            ]
            .concat(),
        )
        .await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr
            .contains("edge-demo does not know the service-account token"),
        "{}",
        ran.stderr
    );
    let direct = Ran::of(
        world
            .direct(&[
                "get",
                "pods",
                "--kubeconfig",
                "/dev/null",
                "--token",
                "e30.e30.e30",
            ])
            .args([
                "--server",
                &world.emulator.apiserver().unwrap().url(),
                "--insecure-skip-tls-verify",
            ]),
    )
    .await;
    let last = |text: &str| text.trim().lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(&ran.stderr), last(&direct.stderr));
    assert!(
        last(&ran.stderr).contains("You must be logged in to the server"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_before_anything_is_sent() {
    let world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = world.run(&[&DEMO[..], &["--port", &port]].concat()).await;
    let ran = ran.failed(5, &[&format!("port {port} is taken"), "--port 0"]);
    assert!(!ran.stderr.contains("Signed in"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_cannot_be_edited_stays_as_it_is() {
    let world = World::new().await;
    let file = world.path("config");
    let name = file.to_str().unwrap();
    for (text, words) in [
        ("clusters: [\n", &["not YAML", "line"][..]),
        ("- a\n- b\n", &["not a kubeconfig"]),
        ("clusters: 3\n", &["not a kubeconfig"]),
        ("a: 1\n---\nb: 2\n", &["several YAML documents"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = world.run(&[&DEMO[..], &["-f", name]].concat()).await;
        let ran = ran.failed(6, words);
        assert!(
            ran.stderr.contains(name) && ran.stderr.contains("--file"),
            "{}",
            ran.stderr
        );
        assert!(
            !ran.stderr.contains("Signed in"),
            "told before anything is sent"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    let folder = world.home().to_str().unwrap();
    let ran = world.run(&[&DEMO[..], &["-f", folder]].concat()).await;
    ran.failed(6, &["is a directory"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_locked_or_read_only_is_told() {
    let world = World::new().await;
    let file = world.path("config");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "apiVersion: v1\n").unwrap();
    let lock = world.path("config.lock");
    std::fs::write(&lock, "").unwrap();
    let ran = world.run(&[&DEMO[..], &["-f", name]].concat()).await;
    ran.failed(6, &["config.lock exists", "remove the lock file"]);
    assert!(lock.exists(), "somebody else's lock stays");
    std::fs::remove_file(&lock).unwrap();

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
    let ran = world.run(&[&DEMO[..], &["-f", name]].concat()).await;
    ran.failed(6, &["is read-only"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "apiVersion: v1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_not_trusted() {
    let world = World::new().await;
    let ran = world.run(&["-n", "edge-badcert", "-g", "demo"]).await;
    ran.failed(
        5,
        &[
            "certificate that edge-badcert presents does not verify",
            "invalid peer certificate",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_be_reached_is_named() {
    let world = World::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let suffix = format!("nowhere.localhost:{port}");
    let file = world.cloud_with(|cloud| cloud["relaySuffix"] = suffix.into());
    let mut command = world.arcproxy(&DEMO);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &file)).await;
    ran.failed(
        5,
        &[
            "cannot reach the relay",
            &format!("azgnrelay-local-l1.nowhere.localhost:{port}"),
            "port 443 with WebSockets",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_name_does_not_resolve_is_named() {
    let world = World::new().await;
    let file = world.cloud_with(|cloud| cloud["relaySuffix"] = "relay.invalid".into());
    let mut command = world.arcproxy(&[&DEMO[..], &["-o", "json"]].concat());
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &file)).await;
    let ran = ran.failed(
        5,
        &[
            "cannot reach the relay",
            "cannot resolve azgnrelay-local-l1.relay.invalid",
            "check the name and this machine's DNS",
        ],
    );
    assert_eq!(error_event(&ran)["code"], "relay-unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_says_nothing_is_given_up() {
    // Silent before TLS; the kernel completes the connection, and nobody takes it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let before_tls = async {
        let world = World::new().await;
        let suffix = format!("silent.localhost:{port}");
        let file = world.cloud_with(|cloud| cloud["relaySuffix"] = suffix.into());
        let mut command = world.arcproxy(&[&DEMO[..], &["-o", "json"]].concat());
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &file)).await;
        let host = format!("azgnrelay-local-l1.silent.localhost:{port}");
        let ran = ran.failed(
            5,
            &[
                "cannot reach the relay",
                &format!("{host} did not answer in time for the TLS handshake"),
                "port 443 with WebSockets",
            ],
        );
        assert_eq!(error_event(&ran)["code"], "relay-unreachable");
    };
    // Silent once it has taken the dial.
    let after_upgrade = async {
        let faults = FaultSet {
            black_hole_dials: true,
            ..FaultSet::default()
        };
        let world = World::with(Emulator::builder().faults(faults)).await;
        let ran = world.run(&[&DEMO[..], &["-o", "json"]].concat()).await;
        let ran = ran.failed(
            5,
            &[
                "edge-demo did not answer in time for the TLS handshake inside the tunnel",
                "kubectl rollout restart -n azure-arc deployment/clusterconnect-agent",
            ],
        );
        assert_eq!(error_event(&ran)["code"], "tunnel");
    };
    // Both take the client's own deadline, so side by side.
    tokio::join!(before_tls, after_upgrade);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_arm_is_waited_for_and_then_told() {
    let fault = ServiceFault {
        status: Some(429),
        retry_after_seconds: Some(0),
        times: Some(2),
        ..ServiceFault::default()
    };
    let world = World::with(Emulator::builder().faults(FaultSet {
        arm: fault,
        ..FaultSet::default()
    }))
    .await;
    world.run(&[&DEMO[..], &["--", "true"]].concat()).await.ok();
    let fault = ServiceFault {
        status: Some(503),
        retry_after_seconds: Some(600),
        ..ServiceFault::default()
    };
    world.emulator.faults().update(|now| now.arm = fault);
    let ran = world.run(&[&DEMO[..], &["--", "true"]].concat()).await;
    ran.failed(4, &["edge-demo", "wait 600 seconds"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_usage() {
    let world = World::new().await;
    for (arguments, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["-n", "a", "-g", "b", "--port", "99999"], "99999"),
        (&["-n", "a", "-g", "b", "-o", "table"], "table"),
    ] {
        let ran = world.run(arguments).await;
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    world
        .run(&[])
        .await
        .failed(2, &["no cluster is named", "--ids"]);
    world
        .run(&["--ids", "edge-demo"])
        .await
        .failed(2, &["is not the ARM id of a connected cluster"]);
    let ran = world
        .run(&[&DEMO[..], &["--cloud", "AzureMars"]].concat())
        .await;
    ran.failed(
        2,
        &[
            "AzureMars is neither the name of a cloud nor a file",
            "AzureUSGovernment",
        ],
    );
    let ran = world
        .run(&[&DEMO[..], &["--ca-file", "/nonexistent.pem"]].concat())
        .await;
    ran.failed(2, &["cannot read CA bundle /nonexistent.pem"]);
    let ran = world
        .run(&[&DEMO[..], &["--token-file", "/nonexistent"]].concat())
        .await;
    ran.failed(2, &["cannot read the token file /nonexistent"]);
    let ran = world
        .run(&[&DEMO[..], &["-f", "x", "--", "true"]].concat())
        .await;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("cannot be used together with"),
        "{}",
        ran.stderr
    );
    let ran = world
        .run(&[&DEMO[..], &["-f", "-", "-o", "json"]].concat())
        .await;
    ran.failed(2, &["both want stdout"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_exist_is_127() {
    let world = World::new().await;
    let ran = world
        .run(&[&DEMO[..], &["--", "no-such-program"]].concat())
        .await;
    ran.failed(127, &["cannot run no-such-program"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_json_events_too() {
    let world = World::new().await;
    let ran = world
        .run(&["-n", "edge-none", "-g", "demo", "-o", "json"])
        .await;
    let ran = ran.failed(4, &[]);
    let last = error_event(&ran);
    assert_eq!(
        (&last["event"], &last["code"], &last["exitCode"]),
        (&"error".into(), &"cluster-not-found".into(), &4.into())
    );
}
