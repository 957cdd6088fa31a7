#!/usr/bin/env bash
# Makes the README's pictures and the recorded examples anew: runs the experiments and copies their charts.
#   scripts/images.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_of() {   # EXPERIMENT PROFILE [OPTION ...]: runs it and prints the run's folder
    "$python" -m workbench run "$1" --profile "$2" "${@:3}" --seed 1 --output "$work" --json |
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

record() {   # NAME RUN: keeps a run as an example
    rm -rf "data/examples/$1" "$2/logs"
    mv "$2" "data/examples/$1"
    echo "data/examples/$1"
}

mkdir -p data/examples
for experiment in log_formats write_latency stale_reads session_guarantees new_follower follower_crash failover split_brain trade_off accidental_failover simulator; do
    run=$(run_of "$experiment" ci)
    record "$experiment" "$run"
done
run=$(run_of simulator full --world real)   # takes five minutes
record simulator_real "$run"
run=$(run_of scale quick --world real --set size=3,5,7,9 --set idle_s=10)   # counts heartbeats: 20 instead of 4
record scale_real "$run"
run=$(run_of scale quick)   # its charts lay the recorded one over
record scale "$run"
