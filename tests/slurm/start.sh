#!/bin/bash
# Starts a Slurm of two nodes on this machine, all its files in the directory given; stop.sh ends it.
# Needs slurmctld, slurmd and munged; as any user, whose jobs alone it takes.
#   tests/slurm/start.sh DIR && SLURM_CONF=DIR/slurm.conf sinfo; tests/slurm/stop.sh DIR
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
dir="$(mkdir -p "$1" && cd "$1" && pwd)"
user="$(id -un)"
host="$(hostname -s)"
# The processes of a job meet on the first node, whose name must have an address; Slurm sorts them.
nodes=("$host" "${host}b")
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}
mkdir -p "$dir"/{munge,state} "$dir/spool${nodes[0]}" "$dir/spool${nodes[1]}"
# munged asks that others may enter the directory of its socket, and that the key is nobody else's.
chmod 755 "$dir"
chmod 755 "$dir/munge"
head -c 1024 /dev/urandom > "$dir/munge/key" && chmod 400 "$dir/munge/key"
cat > "$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A requeued job waits until its credential has run out, by default two minutes.
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=60
NodeName=${nodes[0]} NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=2
NodeName=${nodes[1]} NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=2
PartitionName=test Nodes=${nodes[0]},${nodes[1]} Default=YES MaxTime=30 State=UP
END
export SLURM_CONF="$dir/slurm.conf"
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge/seed"
slurmctld
for node in "${nodes[@]}"; do
    slurmd -N "$node"
done
for _ in $(seq 100); do
    [ "$(sinfo --noheader --states=idle --format=%D 2>> "$dir/sinfo.log")" = 2 ] && exit
    sleep 0.3
done
echo "the two nodes did not become idle; logs in $dir" >&2
exit 1
