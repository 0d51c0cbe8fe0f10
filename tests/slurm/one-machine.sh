#!/bin/sh
# A Slurm of one node on this machine, by Debian's packages, for tests. It needs root, and no file outside of DIR.
#   one-machine.sh check        names what is missing, and ends with 1 if anything is
#   one-machine.sh install      gets what is missing by apt-get
#   one-machine.sh start DIR    starts munged, slurmctld and slurmd, waits for the node, prints the path for SLURM_CONF
#   one-machine.sh stop DIR     takes all jobs out of its queue and ends the three
# Partitions: `main`; `closed`, which starts nothing; `members`, which only the account `members` may use. SLURM_TEST_PORT is the first of two
# ports (26817).
set -eu

missing() {
    for program in munged slurmctld slurmd sbatch squeue scancel scontrol; do
        command -v "$program" >/dev/null || echo "$program"
    done
    [ "$(id -u)" = 0 ] || echo 'the rights of root'
}

pids() { # of the daemons that were started in a folder
    for file in "$1/slurmd.pid" "$1/slurmctld.pid" "$1/munged.pid"; do
        if [ -s "$file" ]; then cat "$file"; fi
    done
}

start() {
    host=$(hostname -s)
    port=${SLURM_TEST_PORT:-26817}
    mkdir -p "$1/state" "$1/spool"
    head -c 1024 /dev/urandom >"$1/munge.key"
    chmod 600 "$1/munge.key"
    cat >"$1/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
# A requeued job waits until its credential is over.
AuthInfo=socket=$1/munge.socket,cred_expire=5
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
EnforcePartLimits=ALL
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=1000
PartitionName=main Nodes=$host Default=YES MaxTime=1-0
PartitionName=closed Nodes=$host State=DOWN
PartitionName=members Nodes=$host AllowAccounts=members
CONF
    # As root, and in a folder that others may not see, it warns.
    munged --force --key-file="$1/munge.key" --socket="$1/munge.socket" --pid-file="$1/munged.pid" \
        --log-file="$1/munged.log" --seed-file="$1/munge.seed" 2>"$1/munged.said"
    slurmctld -c -f "$1/slurm.conf"
    slurmd -f "$1/slurm.conf"
    for _ in $(seq 60); do
        if sinfo --noheader --partition=main --format=%T 2>/dev/null | grep -qx idle; then
            echo "$1/slurm.conf"
            return
        fi
        sleep 0.5
    done
    echo "the node does not come up; see the logs in $1" >&2
    stop "$1"
    return 1
}

stop() {
    scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 100); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] || break
        sleep 0.2
    done
    for pid in $(pids "$1"); do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $(pids "$1"); do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

case "${1:-}" in
check)
    missing=$(missing)
    [ -z "$missing" ] || { echo "missing: $missing" | tr '\n' ' ' && echo && exit 1; }
    ;;
install)
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
    ;;
start | stop)
    [ -n "${2:-}" ] || { echo "usage: $0 $1 DIR" >&2; exit 2; }
    mkdir -p "$2"
    folder=$(cd "$2" && pwd)
    export SLURM_CONF="$folder/slurm.conf"
    "$1" "$folder"
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
