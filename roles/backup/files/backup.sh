#!/usr/bin/env bash
# One backup of the manager, with its checksum. Arguments: directory, fleet, file of recipients (may be empty), and
# volumes. The last line of the output is the path of the backup.
# Docker has to stand still for a copy of the swarm's state (docs.docker.com/engine/swarm/admin_guide, "Back up the swarm").
set -euo pipefail
umask 077
directory=$1 fleet=$2 recipients=$3
shift 3
mkdir -p "$directory"
work=$(mktemp -d "$directory/.work-XXXXXX")
stopped=
cleanup() {
  [ -z "$stopped" ] || systemctl start docker.service
  rm -rf "$work"
}
trap cleanup EXIT
for volume; do
  [ -d "/var/lib/docker/volumes/$volume/_data" ] || { echo "there is no volume $volume on this manager: see backup_volumes" >&2; exit 1; }
done
[ -d /var/lib/docker/swarm ] || { echo "this manager is in no swarm: there is nothing to back up" >&2; exit 1; }
mkdir -p "$work/root/var/lib/docker/volumes" "$work/root/var/lib/gpuswarm" "$work/root/etc" "$work/root/opt/gpuswarm"

stopped=yes
systemctl stop docker.socket docker.service
cp -a /var/lib/docker/swarm "$work/root/var/lib/docker/"
for volume; do
  cp -a "/var/lib/docker/volumes/$volume" "$work/root/var/lib/docker/volumes/"
done
systemctl start docker.service
stopped=

[ ! -d /etc/gpuswarm ] || cp -a /etc/gpuswarm "$work/root/etc/"
[ ! -d /opt/gpuswarm/stack ] || cp -a /opt/gpuswarm/stack "$work/root/opt/gpuswarm/"
cp -a /var/lib/gpuswarm/journal.jsonl* "$work/root/var/lib/gpuswarm/" 2>/dev/null || true
docker --version >"$work/root/docker-version"
name=$fleet-$(date --utc +%Y%m%dT%H%M%SZ).tar.gz
tar --create --gzip --numeric-owner --directory "$work/root" --file "$work/$name" .
if [ -s "$recipients" ]; then
  age --encrypt --recipients-file "$recipients" --output "$work/$name.age" "$work/$name"
  name=$name.age
fi
(cd "$work" && sha256sum "$name" >"$name.sha256")
# First the checksum, then what it is of: a backup without its checksum is one that was not finished.
mv "$work/$name.sha256" "$directory/"
mv "$work/$name" "$directory/"
echo "$directory/$name"
