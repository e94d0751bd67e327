#!/bin/sh
# A newcomer's first minute: a topology stands up, packets prove it, and all of it is removed again.
# It runs in a network namespace and under a root directory of its own, so this machine's network is not touched.
set -eu
cd "$(dirname "$0")"

if [ -z "${NETMODEL_DEMO:-}" ]; then
    test "$(id -u)" = 0 || { echo "error: make demo needs root: it makes namespaces" >&2; exit 1; }
    root=$(mktemp -d /var/tmp/netmodel-demo.XXXXXX)
    trap 'rm -rf "$root"' EXIT
    NETMODEL_DEMO=1 NETMODEL_ROOT="$root" NETMODEL_HOST="$root/engine.sock" unshare --net sh ./demo.sh
    exit
fi

trap 'netmodel down quickstart >/dev/null 2>&1 || true; netmodel engine stop >/dev/null 2>&1 || true' EXIT
ip link set lo up

show() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

show netmodel up quickstart.yaml
show netmodel ps
show netmodel check quickstart.yaml
show netmodel matrix quickstart
show netmodel exec quickstart-web-1 sh -c 'hostname; id -u; cat /proc/self/uid_map; ip -br addr'
show curl -s -o /dev/null -w 'HTTP %{http_code} in %{time_total} s\n' http://127.0.0.1:8080/
show netmodel down quickstart
printf '\nAll of it is gone again. Next: docs/tutorial.md\n'
