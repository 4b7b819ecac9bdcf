# shellcheck shell=bash
# Sourced by the runners: sets ARCPROXY and ARC_EMULATOR to the binaries to test, and builds those
# that the caller did not name.
if [[ -z "${ARCPROXY:-}" || -z "${ARC_EMULATOR:-}" ]]; then
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  target=${CARGO_TARGET_DIR:-$root/target}
  cargo build --quiet --manifest-path "$root/Cargo.toml" --workspace --bins
  ARCPROXY=${ARCPROXY:-$target/debug/arcproxy}
  ARC_EMULATOR=${ARC_EMULATOR:-$target/debug/arc-emulator}
fi
export ARCPROXY ARC_EMULATOR
