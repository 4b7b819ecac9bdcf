//! The figures as pictures, for those who do not want to read a table.

mod axis;
mod curves;
mod ranges;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::report::Report;
use axis::Scale;
use ranges::{Line, Ranges, Section};

const RATIOS: Ranges = Ranges {
    title: "Through arcproxy, compared with direct TLS HTTP/2",
    subtitle: "proxied divided by direct, logarithmic; the floor is what the TLS of the path costs alone",
    scale: Scale::Logarithmic,
    sections: &[
        Section {
            head: "Time: less is better",
            rows: &[
                above(
                    "warm_p50_ratio",
                    "small request, median",
                    "floor3_p50_ratio",
                ),
                above(
                    "warm_p99_ratio",
                    "small request, slowest 1 %",
                    "floor3_p99_ratio",
                ),
            ],
        },
        Section {
            head: "A peer's time: above ours",
            rows: &[line("kubectl_proxy_p50_ratio", "kubectl proxy, median")],
        },
        Section {
            head: "Speed: more is better",
            rows: &[
                above(
                    "rps32_ratio",
                    "small requests, 32 at once",
                    "floor3_rps32_ratio",
                ),
                above("body_ratio", "large body down", "floor3_body_ratio"),
                above("upload_ratio", "large body up", "floor3_upload_ratio"),
            ],
        },
    ],
};

const ROUND_TRIPS: Ranges = Ranges {
    title: "Round trips over a long path",
    subtitle: "time divided by the path's 50 ms; less is better",
    scale: Scale::Linear,
    sections: &[Section {
        head: "",
        rows: &[
            line("warm_rtts", "small request"),
            line("small_during_bulk_rtts", "small request beside a body"),
            line("exec_rtts", "command in a pod"),
            line("cold_tunnel_rtts", "request without a tunnel"),
            line("restart_rtts", "start after an earlier run"),
            line("start_rtts", "first start"),
        ],
    }],
};

const fn line(key: &'static str, label: &'static str) -> Line {
    Line {
        key,
        label,
        floor: None,
    }
}

const fn above(key: &'static str, label: &'static str, floor: &'static str) -> Line {
    Line {
        key,
        label,
        floor: Some(floor),
    }
}

/// Draws every plot into `folder` and gives the files. One of which nothing was measured is
/// removed: it would be of another run.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let plots = [
        ("ratios.svg", RATIOS.draw(report)),
        ("round-trips.svg", ROUND_TRIPS.draw(report)),
        ("latency.svg", curves::draw(report)),
    ];
    let mut written = Vec::new();
    for (name, plot) in plots {
        let path = folder.join(name);
        match plot {
            Some(plot) => {
                fs::write(&path, plot)?;
                written.push(path);
            }
            None if path.exists() => fs::remove_file(&path)?,
            None => {}
        }
    }
    Ok(written)
}
