# shellcheck shell=bash
# Sourced by every script here: where things are, how to say something, how to take turns.
# Messages go to standard error, so that a script's output can be a value (a path).

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cache="${CORRAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/corral}"
jobs="${CORRAL_JOBS:-$(nproc)}"

# ccache is used when it is there; its folder lies beside the other caches, outside the tree.
export CCACHE_DIR="${CCACHE_DIR:-$cache/ccache}"
export CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-4G}"

say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# with_lock <name> <command...>: one process of this user at a time, others wait. A lock dies with its holder.
with_lock() {
  local lock="$cache/$1.lock"
  shift
  mkdir -p "$cache"
  (
    exec 9>"$lock"
    if ! flock -n 9; then
      note "another process holds ${lock}; waiting for it"
      flock 9
    fi
    "$@" 9>&-
  )
}

# configure <preset> <build folder>: only when there is something to do; ninja notices edited CMake files by itself.
configure() {
  if [ ! -f "$root/$2/build.ninja" ] || [ "$root/CMakePresets.json" -nt "$root/$2/build.ninja" ]; then
    say "Configuring $2 (preset $1)"
    (cd "$root" && cmake --preset "$1" >&2)
  fi
}

# build <preset> <build folder> [targets...]
build() {
  local preset="$1" folder="$2"
  shift 2
  configure "$preset" "$folder"
  say "Building $folder${*:+: $*} with $jobs jobs"
  local targets=()
  [ $# -eq 0 ] || targets=(--target "$@")
  (cd "$root" && cmake --build --preset "$preset" -j "$jobs" "${targets[@]}" >&2)
}
