#!/bin/sh
#SBATCH --job-name=kakera-sim
#SBATCH --array=0-63
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --requeue
# One shard a task; the folder must be on a file system that all machines share. Afterwards:
#   kakera sim merge clinics.toml /shared/parts
exec kakera sim run clinics.toml --threads 1 --parts /shared/parts --shard auto
