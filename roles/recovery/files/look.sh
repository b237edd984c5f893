#!/bin/sh
# Looks at what is installed: look.sh DIRECTORY MARK RELEASE PACKAGE ... Prints a line for each thing that is so: environment (the Python
# environment is whole, which MARK says), collections (RELEASE is whole), current (it is the one in use), units, "installed PACKAGE",
# and what systemd says of the timer and the listener.
directory=$1 mark=$2 release=$3
shift 3
if [ -x "$directory/venv/bin/ansible-playbook" ] && [ -e "$mark" ]; then echo environment; fi
if [ -e "$release/.complete" ]; then echo collections; fi
if [ "$(readlink "$directory/collections/current")" = "$release" ]; then echo current; fi
if [ -e /etc/systemd/system/gpuswarm-events.service ]; then echo units; fi
# shellcheck disable=SC2016 # dpkg-query expands it
dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null
systemctl show --property=ActiveState,UnitFileState gpuswarm-recover.timer gpuswarm-events.service
exit 0
