//! What is measured, in which unit, and how good it is to be.

/// One measured quantity.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

/// What its median is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// More than the median of another quantity.
    MoreThan(&'static str),
    /// It is there to explain others.
    None,
}

use Goal::{AtLeast, AtMost, MoreThan};

/// Every quantity, in the order of the table.
pub(crate) const KEYS: &[Key] = &[
    key("warm_p50_ratio", "x", AtMost(2.2)),
    key("warm_p99_ratio", "x", AtMost(2.5)),
    key("kubectl_proxy_p50_ratio", "x", MoreThan("warm_p50_ratio")),
    key("rps32_ratio", "x", AtLeast(0.45)),
    key("cpu_us_per_request", "us", AtMost(30.0)),
    key("cpu_s_per_gib", "s", AtMost(1.8)),
    key("body_ratio", "x", AtLeast(0.5)),
    key("upload_ratio", "x", AtLeast(0.5)),
    key("rss_idle_mib", "MiB", AtMost(9.0)),
    key("rss_1000_watches_mib", "MiB", AtMost(12.0)),
    key("watch_kib", "KiB", AtMost(3.0)),
    key("exec_rtts", "RTT", AtMost(2.3)),
    key("warm_rtts", "RTT", AtMost(1.05)),
    key("cold_tunnel_rtts", "RTT", AtMost(5.1)),
    key("start_ms", "ms", AtMost(150.0)),
    key("start_rtts", "RTT", AtMost(9.2)),
    key("restart_rtts", "RTT", AtMost(7.2)),
    key("startup_cpu_ms", "ms", AtMost(40.0)),
    key("long_fat_mib_s", "MiB/s", AtLeast(100.0)),
    key("small_during_bulk_rtts", "RTT", AtMost(1.3)),
    key("binary_mib", "MiB", AtMost(9.0)),
    key("floor1_p50_ratio", "x", Goal::None),
    key("floor1_p99_ratio", "x", Goal::None),
    key("floor1_rps32_ratio", "x", Goal::None),
    key("floor1_body_ratio", "x", Goal::None),
    key("floor1_upload_ratio", "x", Goal::None),
    key("floor3_p50_ratio", "x", Goal::None),
    key("floor3_p99_ratio", "x", Goal::None),
    key("floor3_rps32_ratio", "x", Goal::None),
    key("floor3_body_ratio", "x", Goal::None),
    key("floor3_upload_ratio", "x", Goal::None),
    key("floor3_cpu_us_per_request", "us", Goal::None),
    key("floor3_cpu_s_per_gib", "s", Goal::None),
    key("floor3_upload_cpu_s_per_gib", "s", Goal::None),
    key("direct_p50_us", "us", Goal::None),
    key("proxied_p50_us", "us", Goal::None),
    key("direct_p99_us", "us", Goal::None),
    key("proxied_p99_us", "us", Goal::None),
    key("kubectl_proxy_p50_us", "us", Goal::None),
    key("direct_rps32", "1/s", Goal::None),
    key("proxied_rps32", "1/s", Goal::None),
    key("cpu_us_per_lone_request", "us", Goal::None),
    key("emulator_cpu_us_per_request", "us", Goal::None),
    key("client_cpu_us_per_request", "us", Goal::None),
    key("direct_body_mib_s", "MiB/s", Goal::None),
    key("proxied_body_mib_s", "MiB/s", Goal::None),
    key("direct_upload_mib_s", "MiB/s", Goal::None),
    key("proxied_upload_mib_s", "MiB/s", Goal::None),
    key("upload_cpu_s_per_gib", "s", Goal::None),
    key("emulator_cpu_s_per_gib", "s", Goal::None),
    key("emulator_upload_cpu_s_per_gib", "s", Goal::None),
    key("client_cpu_s_per_gib", "s", Goal::None),
    key("key_ms", "ms", Goal::None),
    key("keyless_startup_cpu_ms", "ms", Goal::None),
    key("restart_ms", "ms", Goal::None),
    key("tunnels_for_1000_watches", "", Goal::None),
];

const fn key(name: &'static str, unit: &'static str, goal: Goal) -> Key {
    Key { name, unit, goal }
}
