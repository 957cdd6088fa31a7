#!/usr/bin/env bash
# Makes the README's pictures and the recorded examples anew: runs the experiments and copies their charts.
#   scripts/images.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_of() {   # EXPERIMENT PROFILE: runs it and prints the run's folder
    "$python" -m workbench run "$1" --profile "$2" --seed 1 --output "$work" --json |
        "$python" -c 'import json, sys; print(json.load(sys.stdin)["run"])'
}

copy_chart() {   # EXPERIMENT CHART
    local run
    run=$(run_of "$1" quick)
    cp "$run/charts/$2.png" "docs/images/$1.png"
    echo "docs/images/$1.png"
}

copy_chart stale_reads rates
copy_chart write_latency percentiles
copy_chart log_formats unsafe
copy_chart failover timeline
copy_chart split_brain leaders
copy_chart session_guarantees violations

mkdir -p data/examples
for experiment in log_formats write_latency stale_reads session_guarantees new_follower follower_crash failover split_brain trade_off accidental_failover; do
    run=$(run_of "$experiment" ci)
    rm -rf "data/examples/$experiment" "$run/logs"
    mv "$run" "data/examples/$experiment"
    echo "data/examples/$experiment"
done
