#!/bin/bash
# Ends what start.sh has started in the directory given, jobs included.
set -uo pipefail
dir="$(cd "$1" && pwd)" || exit
export SLURM_CONF="$dir/slurm.conf"
for _ in $(seq 120); do
    scancel --user="$(id -un)" 2> /dev/null
    [ -z "$(squeue --noheader 2> /dev/null)" ] && break
    sleep 0.5
done
for file in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munged.pid; do
    pid="$(cat "$file" 2> /dev/null)" || continue
    kill "$pid" 2> /dev/null
    for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || continue 2
        sleep 0.1
    done
    kill -9 "$pid" 2> /dev/null
done
exit 0
