#!/bin/sh
# A scenario in shards on this machine's cores, by GNU parallel, then merged. The numbers are those of
# one run, byte for byte. Stop it and start it again: what is done is kept.
#
#   sim/jobs/parallel.sh sim/scenarios/clinics.toml work/ 16
set -eu
scenario=$1 parts=$2 shards=$3
kakera=${KAKERA:-kakera}
seq 0 $((shards - 1)) |
    parallel --will-cite "$kakera sim run $scenario --threads 1 --parts $parts --shard {}/$shards"
exec "$kakera" sim merge "$scenario" "$parts"
