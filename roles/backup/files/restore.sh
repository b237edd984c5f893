#!/usr/bin/env bash
# Puts a backup on this manager. Arguments: the backup, its private key (empty: it is not encrypted), address to advertise.
# What was there of the swarm is kept beside it, until the next restore.
set -euo pipefail
umask 077
file=$1 identity=$2 address=$3
work=$(mktemp -d /var/tmp/gpuswarm-restore-XXXXXX)
trap 'rm -rf "$work"' EXIT
case $file in
  *.age) age --decrypt --identity "$identity" --output "$work/backup.tar.gz" "$file" ;;
  *) cp "$file" "$work/backup.tar.gz" ;;
esac
mkdir "$work/root"
tar --extract --gzip --numeric-owner --directory "$work/root" --file "$work/backup.tar.gz"
[ -d "$work/root/var/lib/docker/swarm" ] || { echo "$file holds no swarm: it is no backup of a manager" >&2; exit 1; }

systemctl stop docker.socket docker.service
rm -rf /var/lib/docker/swarm.before
[ ! -e /var/lib/docker/swarm ] || mv /var/lib/docker/swarm /var/lib/docker/swarm.before
rm -f "$work/root/docker-version"
cp -a "$work/root/." /
systemctl start docker.service
# The old members of the raft are gone; this one goes on alone with what they agreed on.
timeout 120 docker swarm init --force-new-cluster --advertise-addr "$address" >/dev/null
