#!/usr/bin/env bash
# One backup of the manager, with its checksum. Arguments: directory, fleet, file of recipients (may be empty), and volumes. The last
# line of the output is the path of the backup. BACKUP_ROOT is where the manager's files lie, if not at /.
# Docker has to stand still for a copy of the swarm's state (docs.docker.com/engine/swarm/admin_guide, "Back up the swarm").
set -euo pipefail
umask 077
directory=$1 fleet=$2 recipients=$3
shift 3
root=${BACKUP_ROOT:-}
mkdir -p "$directory"
work=$(mktemp -d "$directory/.work-XXXXXX")
stopped=
cleanup() {
  [ -z "$stopped" ] || systemctl start docker.service
  rm -rf "$work"
}
trap cleanup EXIT
for volume; do
  [ -d "$root/var/lib/docker/volumes/$volume/_data" ] || { echo "there is no volume $volume on this manager: see backup_volumes" >&2; exit 1; }
done
[ -d "$root/var/lib/docker/swarm" ] || { echo "this manager is in no swarm: there is nothing to back up" >&2; exit 1; }

# What is backed up is in the archive, the directories above it are not: their modes are the system's.
parts=()
take() {
  mkdir -p "$work/root/${1%/*}"
  cp -a "$root/$1" "$work/root/$1"
  parts+=("$1")
}

stopped=yes
systemctl stop docker.socket docker.service
take var/lib/docker/swarm
for volume; do
  take "var/lib/docker/volumes/$volume"
done
systemctl start docker.service
stopped=

for part in etc/gpuswarm opt/gpuswarm/stack var/lib/gpuswarm/journal.jsonl var/lib/gpuswarm/journal.jsonl.1; do
  [ ! -e "$root/$part" ] || take "$part"
done
docker --version >"$work/root/docker-version"
name=$fleet-$(date --utc +%Y%m%dT%H%M%SZ).tar.gz
tar --create --gzip --numeric-owner --directory "$work/root" --file "$work/$name" docker-version "${parts[@]}"
if [ -s "$recipients" ]; then
  age --encrypt --recipients-file "$recipients" --output "$work/$name.age" "$work/$name"
  name=$name.age
fi
(cd "$work" && sha256sum "$name" >"$name.sha256")
# First the checksum, then what it is of: a backup without its checksum is one that was not finished.
mv "$work/$name.sha256" "$directory/"
mv "$work/$name" "$directory/"
echo "$directory/$name"
