#!/usr/bin/env bash
# Shows every anomaly, on the server that PGHOST, PGUSER, PGDATABASE and their like name. Takes about two minutes; fails if one does not happen.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

# in the order of docs/model/concurrency.md
for anomaly in lost-update write-skew deadlock hot-row half-an-order double-retry false-refusal; do
  ./"$anomaly.sh"
  echo
done
echo "All of them happened."
