//! What the settings are made of, and what they refuse.

use clap::Parser as _;

use super::*;

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-0000000000aa";

fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, Error> {
    let empty = tempfile::tempdir().expect("a folder");
    let mut variables: HashMap<_, _> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    variables
        .entry("AZURE_CONFIG_DIR".to_owned())
        .or_insert_with(|| empty.path().into());
    variables
        .entry("HOME".to_owned())
        .or_insert_with(|| "/home/ana".into());
    let cli =
        Cli::try_parse_from([&["arcproxy"], arguments].concat()).expect("arguments that parse");
    Settings::new(cli, &Environment(Arc::new(variables)))
}

fn minimal(more: &[&str]) -> Result<Settings, Error> {
    settings(
        &[
            &[
                "-n",
                "edge-42",
                "-g",
                "factories",
                "--subscription",
                SUBSCRIPTION,
            ],
            more,
        ]
        .concat(),
        &[],
    )
}

fn name(cloud: &Whereabouts) -> String {
    match cloud {
        Whereabouts::Known(cloud) => cloud.name.clone(),
        Whereabouts::ByResourceManager(arm) => arm.to_string(),
    }
}

#[test]
fn the_defaults_are_azs() {
    let settings = minimal(&[]).expect("complete");
    assert_eq!(settings.port, 47011);
    assert_eq!(settings.mode, Mode::Aad);
    assert_eq!(
        settings.target,
        Target::File("/home/ana/.kube/config".into())
    );
    assert_eq!(name(&settings.cloud), "AzureCloud");
}

#[test]
fn a_command_takes_any_port_and_no_file() {
    let run = minimal(&["--", "kubectl", "get", "pods"]).expect("complete");
    assert_eq!(run.port, 0);
    assert!(
        matches!(&run.target, Target::Command(program, words) if program == "kubectl" && words.len() == 2)
    );
}

#[test]
fn what_is_missing_is_named() {
    for (arguments, word) in [
        (&[][..], "no cluster"),
        (&["-n", "a"], "group"),
        (&["-g", "a"], "cluster"),
    ] {
        let error = settings(arguments, &[]).expect_err("incomplete");
        assert!(error.what().contains(word), "{error}");
    }
    let error = settings(&["-n", "a", "-g", "b"], &[]).expect_err("no subscription");
    assert_eq!(error.code(), Code::SubscriptionMissing);
}

#[test]
fn names_that_would_lead_elsewhere_are_refused() {
    let error = settings(
        &["-n", "a/../b", "-g", "g", "--subscription", SUBSCRIPTION],
        &[],
    )
    .expect_err("bad");
    assert!(error.what().contains("--name"), "{error}");
}

#[test]
fn a_subscription_that_is_no_id_is_a_name() {
    let settings =
        settings(&["-n", "a", "-g", "b", "--subscription", "Lab"], &[]).expect("complete");
    assert!(
        matches!(settings.clusters, Clusters::InSubscriptionNamed { subscription, .. } if subscription == "Lab")
    );
}

#[test]
fn kubeconfig_goes_where_kubectl_would_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (missing, there) = (folder.path().join("missing"), folder.path().join("there"));
    std::fs::write(&there, "").expect("a file");
    let list = std::env::join_paths([&missing, &there])
        .expect("paths")
        .into_string()
        .expect("text");
    let arguments = ["-n", "a", "-g", "b", "--subscription", SUBSCRIPTION];
    let found = settings(&arguments, &[("KUBECONFIG", &list)]).expect("complete");
    assert_eq!(found.target, Target::File(there));
}

#[test]
fn the_state_folder_is_where_xdg_has_it() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path().to_str().expect("text");
    let below = |home: &str| Some(PathBuf::from(format!("{home}/.local/state/arcproxy")));
    for (variables, folder) in [
        (&[("HOME", home)][..], below(home)),
        (&[("HOME", home), ("XDG_STATE_HOME", "")], below(home)),
        (&[("HOME", home), ("XDG_STATE_HOME", "a")], below(home)),
        (
            &[("HOME", home), ("XDG_STATE_HOME", "/a")],
            Some("/a/arcproxy".into()),
        ),
        (&[("XDG_STATE_HOME", "/a")], Some("/a/arcproxy".into())),
        (&[("HOME", "/nonexistent")], None),
        (&[], None),
    ] {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        let environment = Environment(Arc::new(variables.collect()));
        assert_eq!(state_folder(&environment), folder, "{:?}", environment.0);
    }
}

#[test]
fn the_cloud_is_the_flags_then_the_variables_then_azs() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file, text| std::fs::write(folder.path().join(file), text).expect("writes");
    let az = folder.path().to_str().expect("text");
    let cloud = |flag: &[&str], variables: &[(&str, &str)]| {
        let cluster = ["-n", "a", "-g", "b", "--subscription", SUBSCRIPTION];
        let variables = [&[("AZURE_CONFIG_DIR", az)], variables].concat();
        settings(&[&cluster, flag].concat(), &variables).map(|settings| name(&settings.cloud))
    };
    let flag = ["--cloud", "azurechinacloud"];
    let own = ("AZURE_CLOUD", "AzureUSGovernment");
    let azs = ("AZURE_CLOUD_NAME", "AzureChinaCloud");
    write("config", "[cloud]\nname = AzureUSGovernment\n");
    assert_eq!(cloud(&[], &[]).expect("az's"), "AzureUSGovernment");
    assert_eq!(cloud(&[], &[azs]).expect("az's"), "AzureChinaCloud");
    assert_eq!(cloud(&[], &[own, azs]).expect("own"), "AzureUSGovernment");
    assert_eq!(cloud(&flag, &[own]).expect("the flag"), "AzureChinaCloud");

    write("config", "[cloud]\nname = lab\n");
    let error = cloud(&[], &[]).expect_err("unknown");
    assert_eq!(error.code(), Code::CloudFile);
    assert!(error.what().contains("the cloud lab"), "{error}");
    write(
        "clouds.config",
        "[lab]\nendpoint_resource_manager = https://arm.lab.example\n",
    );
    assert_eq!(
        cloud(&[], &[]).expect("its own"),
        "https://arm.lab.example/"
    );
}

#[test]
fn an_address_must_be_safe_to_ask() {
    let cloud = |url| minimal(&["--cloud", url]).map(|settings| name(&settings.cloud));
    let arm = "https://arm.lab.example:8443/";
    assert_eq!(cloud(arm).expect("an address"), arm);
    for bad in [
        "http://arm.lab.example",
        "https://ana:x@arm.lab.example",
        "https://arm.lab.example?x",
        "ftp://arm.lab.example",
        "https://",
        "https://ana:x@arm.lab.example:99999",
    ] {
        let error = cloud(bad).expect_err(bad);
        assert_eq!(error.code(), Code::CloudFile, "{bad}");
        assert!(!error.to_string().contains("ana:x"), "{error}");
    }
}

#[test]
fn az_counts_its_subscriptions_by_cloud() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = |id: &str, cloud: &str| {
        format!(
            r#"{{"id": "{id}", "name": "Lab", "isDefault": true, "environmentName": "{cloud}"}}"#
        )
    };
    let (public, government) = (entry("1", "AzureCloud"), entry("2", "AzureUSGovernment"));
    let text = format!(r#"{{"subscriptions": [{public}, {government}]}}"#);
    std::fs::write(folder.path().join("azureProfile.json"), text).expect("writes");
    let az = folder.path().to_str().expect("text");
    for (cloud, subscription) in [("AzureCloud", "1"), ("AzureUSGovernment", "2")] {
        let arguments = ["-n", "a", "-g", "b", "--cloud", cloud];
        let found = settings(&arguments, &[("AZURE_CONFIG_DIR", az)]).expect("complete");
        assert_eq!(found.sign_in.subscription.as_deref(), Some(subscription));
    }
}

#[test]
fn no_secret_is_printed_with_the_rest() {
    let variables = [
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("SYSTEM_ACCESSTOKEN", "hunter3"),
    ];
    let arguments = [
        "-n",
        "a",
        "-g",
        "b",
        "--subscription",
        SUBSCRIPTION,
        "--token",
        "hunter4",
    ];
    let text = format!("{:?}", settings(&arguments, &variables).expect("complete"));
    assert!(text.contains("[redacted]"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn several_ids_are_taken_once_each() {
    let id = |name: &str| {
        format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/{name}"
        )
    };
    let (one, two) = (id("one"), id("two"));
    let given =
        settings(&["--ids", &one, &two, "--ids", &one.to_uppercase()], &[]).expect("complete");
    assert!(matches!(&given.clusters, Clusters::Ids(ids) if ids.len() == 2));
    let error =
        settings(&["--ids", &one, &two, "--kube-context", "x"], &[]).expect_err("contradiction");
    assert!(error.what().contains("--kube-context"));
}
