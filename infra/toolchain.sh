# What the scripts of this folder need: a Rust toolchain, a C compiler, and cargo without its chatter. Sourced, not run.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
fail() { printf '%s\n' "$@" >&2; exit 1; }

# The oldest Rust that Cargo.toml admits; `at_least A B` is whether version A is B or newer.
wanted_rust() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

require_rust() {
  # rustup writes here, and a shell that was open before does not know.
  if ! command -v cargo > /dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"; fi
  local wanted found
  wanted=$(wanted_rust)
  command -v cargo > /dev/null && command -v rustc > /dev/null ||
    fail "Rust $wanted or newer is needed, and there is no cargo. Get it with rustup (https://rustup.rs), then run this again."
  found=$(rustc --version | cut -d ' ' -f 2)
  at_least "$found" "$wanted" ||
    fail "Rust $wanted or newer is needed; this is $found. Bring it up to date with 'rustup update stable', then run this again."
}

# How packages are brought, for those who must be told.
packages() { printf 'apt-get update && apt-get install -y --no-install-recommends %s' "$*"; }

# bring WHAT PACKAGE...: installs them where that may be done. Whether it helped is for the caller to see.
bring() {
  local what=$1 as_root=() log
  shift
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2> /dev/null || return 0
    as_root=(sudo -n)
  fi
  command -v apt-get > /dev/null || return 0
  say "Installing $what ..."
  log=$(mktemp)
  { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } > "$log" 2>&1 ||
    tail -n 20 "$log" >&2
  rm -f "$log"
}

# require WHAT TEST NEED PACKAGE...: where TEST fails, brings the packages; that is the end when it fails still.
require() {
  local what=$1 test=$2 need=$3
  shift 3
  if "$test"; then return; fi
  bring "$what" "$@"
  "$test" || fail "$need Install it, then run this again (as root):" "  $(packages "$@")"
}

# Some libraries hold C: a compiler, the C library's headers and make.
has_c() { command -v cc > /dev/null && command -v make > /dev/null && echo '#include <stdlib.h>' | cc -E -x c - > /dev/null 2>&1; }
require_c() { require "a C compiler" has_c "A C compiler and make are needed." build-essential; }

# Kafka's client speaks TLS by OpenSSL: the system's when it is here to build with, else one that is built along (a minute or two more).
if command -v pkg-config > /dev/null && pkg-config --exists 'openssl >= 3'; then export OPENSSL_NO_VENDOR=1; fi

# Whether this machine can run Kafka, and fetch it: Java 17 or newer, and Maven.
has_java() {
  local java=${JARI_JAVA:-java} found
  found=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${found:-0}" -ge 17 ] && { command -v mvn > /dev/null || [ -n "${JARI_KAFKA_JARS:-}" ]; }
}

# require_java NEEDED: where it may not be installed, that is the end when it is NEEDED (yes), and else Kafka stays off.
require_java() {
  local install=(default-jre-headless maven)
  if has_java; then return; fi
  bring "Java and Maven, for Kafka" "${install[@]}"
  if has_java; then return; fi
  [ "$1" = no ] || fail "Java 17 or newer and Maven are needed, for Kafka. Install them, then run this again (as root):" "  $(packages "${install[@]}")"
  say "Kafka stays off: it needs Java 17 or newer and Maven (${install[*]})."
}

# The long tests build what integrators run (Java's compiler, and Maven also where Kafka's jars were brought), hand the published contract to tools of
# the npm registry, walk through what analysts do, and show on a server what goes wrong in other models.
has_javac() { command -v javac > /dev/null && command -v mvn > /dev/null; }
has_node() {
  local found
  found=$(node --version 2> /dev/null | sed 's/^v\([0-9]*\).*/\1/')
  [ "${found:-0}" -ge 18 ] && command -v npm > /dev/null
}
has_python() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }
has_psql() { command -v psql > /dev/null; }
require_for_long_tests() {
  require "Java's compiler" has_javac "The long tests need a JDK of Java 17 or newer, and Maven." default-jdk-headless maven
  require "Node and npm" has_node "The long tests need Node 18 or newer and npm." nodejs npm
  require "Python" has_python "The long tests need Python 3.11 or newer with venv." python3 python3-venv
  require "psql" has_psql "The long tests need psql." postgresql-client
}

# build WHAT CARGO-ARGUMENTS...: runs cargo and tells how far it is; its own words only when it fails.
build() {
  local what=$1
  shift
  local log pid status=0 began=$SECONDS passed told=0
  log=$(mktemp)
  cargo "$@" > "$log" 2>&1 &
  pid=$!
  # A background process does not hear Ctrl-C: it is told.
  trap 'kill "$pid" 2> /dev/null; rm -f "$log"; exit 130' INT TERM
  # Ends with cargo; the first word comes only when there is something to wait for.
  while kill -0 "$pid" 2> /dev/null; do
    sleep 0.5
    passed=$((SECONDS - began))
    if ((passed < 2)); then continue; fi
    if ((told == 0)); then say "$what ..."; told=1; fi
    local so_far="$((passed / 60)) min $((passed % 60)) s, $(grep -Ec '^ *(Compiling|Checking) ' "$log" || true) crates so far"
    if [ -t 2 ]; then printf '\r  %s ' "$so_far" >&2; elif ((passed / 30 > told - 1)); then say "  $so_far"; told=$((passed / 30 + 1)); fi
  done
  if ((told > 0)) && [ -t 2 ]; then say ""; fi
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status != 0)); then grep -Ev '^ *(Compiling|Downloaded|Downloading|Checking|Updating|Locking|Blocking|Finished|Executable) ' "$log" >&2 || true; fi
  rm -f "$log"
  return "$status"
}

# The programs of benches/: one a file in src/bin, or as its manifest names them.
programs() {
  { ls benches/src/bin 2> /dev/null | sed 's/\.rs$//'; awk '/^\[\[bin\]\]/{ bin = 1 } bin && /^name *=/{ gsub(/.*= *"|"/, ""); print; bin = 0 }' benches/Cargo.toml; } | sort -u
}

# dispatch PREFIX [NAME [ARGUMENTS...]]: becomes the program PREFIX-NAME, or lists the names there are.
dispatch() {
  local prefix=$1 names
  shift
  if [ "$prefix" = "" ]; then names=$(programs | grep -v '^prove-' || true); else names=$(programs | sed -n "s/^$prefix//p"); fi
  case ${1:-} in
    "" | -h | --help)
      echo "usage: $(basename "$0") NAME [ARGUMENTS], where NAME is one of:"
      sed 's/^/  /' <<< "${names:-(none yet)}"
      return ;;
  esac
  local name=$1
  shift
  grep -qx -- "$name" <<< "$names" || fail "There is no '$name'. There are:" "$(sed 's/^/  /' <<< "$names")"
  require_rust
  require_c
  build "Building the server and $name (release)" build --release --locked -p jari -p jari-benches --bin jari --bin "$prefix$name"
  exec "target/release/$prefix$name" "$@"
}
