//! The files that a container starts with.

use super::filesystem::{FileSystem, FsError};
use super::{ContainerSpec, PodRef, shell};

const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nID=debian\n";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

const INDEX: &str = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n";

const NGINX: &str = "worker_processes  auto;\n\nevents {\n    worker_connections  1024;\n}\n\nhttp {\n    server {\n        listen       80;\n        root         /usr/share/nginx/html;\n    }\n}\n";

/// Writes the files of `spec`'s image into `files`.
pub(super) fn populate(files: &FileSystem, pod: &PodRef, spec: &ContainerSpec) {
    // The file system is empty and large enough: nothing here can fail.
    let written = try_populate(files, pod, spec);
    debug_assert_eq!(written, Ok(()), "an image fits into an empty file system");
}

fn try_populate(files: &FileSystem, pod: &PodRef, spec: &ContainerSpec) -> Result<(), FsError> {
    for directory in [
        "/bin",
        "/dev",
        "/etc",
        "/home",
        "/opt",
        "/proc",
        "/root",
        "/sys",
        "/tmp",
        "/usr/bin",
        "/usr/local/bin",
        "/usr/share",
        "/var/log",
        "/var/tmp",
    ] {
        files.make_directory(directory, true)?;
    }
    files.set_mode("/tmp", 0o1777)?;
    files.set_mode("/root", 0o700)?;
    for name in shell::names() {
        let path = format!("/bin/{name}");
        files.create(&path, true)?;
        files.set_mode(&path, 0o755)?;
    }
    for device in ["null", "zero", "random", "urandom", "tty"] {
        files.create(&format!("/dev/{device}"), true)?;
    }
    let (name, namespace) = (&pod.name, &pod.namespace);
    for (path, text) in [
        ("/etc/hostname", format!("{name}\n")),
        (
            "/etc/hosts",
            format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n10.244.0.10\t{name}\n"),
        ),
        (
            "/etc/resolv.conf",
            format!(
                "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
            ),
        ),
        ("/etc/os-release", OS_RELEASE.to_owned()),
        ("/etc/passwd", PASSWD.to_owned()),
        ("/etc/group", "root:x:0:\nnogroup:x:65534:\n".to_owned()),
    ] {
        files.write(path, text.as_bytes())?;
    }
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    files.make_directory(account, true)?;
    for (file, text) in [
        ("namespace", namespace.as_str()),
        ("token", "emulated-service-account-token"),
        (
            "ca.crt",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        ),
    ] {
        files.write(&format!("{account}/{file}"), text.as_bytes())?;
    }
    if spec.image.contains("nginx") {
        files.make_directory("/etc/nginx", true)?;
        files.make_directory("/usr/share/nginx/html", true)?;
        files.write("/etc/nginx/nginx.conf", NGINX.as_bytes())?;
        files.write("/usr/share/nginx/html/index.html", INDEX.as_bytes())?;
    }
    Ok(())
}
