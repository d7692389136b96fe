#!/usr/bin/env bash
# Usage: e2e/setup.sh [demo|test]
#
# Sets up what the demo or the tests need on a Debian or Ubuntu machine with Go,
# and is quick when it is there already:
#   - from the distribution: PostgreSQL, MariaDB and their clients, Python (as root or by sudo);
#   - moto, which plays AWS: the one on PATH, else in a virtual environment;
#   - the Pulumi CLI and its Go language host: the ones on PATH, else built from their module;
#   - for the tests, PgBouncer, and PostgreSQL and MySQL servers that the distribution does not have;
#   - the stand-ins of this folder, and the demo.
# Everything but the packages goes into ${XDG_CACHE_HOME:-~/.cache}/esc-connector-lambda-go. While it compiles, it installs.
set -euo pipefail
cd "$(dirname "$0")"
purpose=${1:-test}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/esc-connector-lambda-go
bin=$cache/bin
mkdir -p "$bin" "$cache/built"

say() { printf '%s\n' "$*" >&2; }

# install NAME... installs the packages. Their servers must not run as services:
# policy-rc.d keeps them from starting now, and nobody asked for them at the next boot.
install() {
	local sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	say "Installing from the distribution: $*"
	$sudo mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.d/no-service.conf >/dev/null
	local policy=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
		$sudo chmod +x "$policy"
	fi
	local status=0
	{
		$sudo apt-get update -qq &&
			$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null
	} >"$cache/apt.log" 2>&1 || status=$?
	$sudo rm -f /etc/postgresql-common/createcluster.d/no-service.conf $policy
	if [ "$status" != 0 ]; then
		cat "$cache/apt.log" >&2
		exit "$status"
	fi
	if command -v systemctl >/dev/null; then
		case " $* " in *' mariadb-server '*) $sudo systemctl disable mariadb >/dev/null 2>&1 || true ;; esac
		case " $* " in *' pgbouncer '*) $sudo systemctl disable pgbouncer >/dev/null 2>&1 || true ;; esac
	fi
}

missing=()
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
command -v psql >/dev/null || missing+=(postgresql-client)
# The whole package: MariaDB's plugins for logins by a token and for password checks are not in mariadb-server-core.
[ -e /usr/lib/mysql/plugin/auth_pam.so ] || missing+=(mariadb-server)
command -v mariadb >/dev/null || missing+=(mariadb-client)
moto=$cache/moto/bin/moto_server
if ! command -v moto_server >/dev/null && [ ! -x "$moto" ]; then
	missing+=(python3-venv)
fi
if [ "$purpose" = test ]; then
	command -v npm >/dev/null || missing+=(npm)
	[ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
fi

# servers installs what Go does not compile.
servers() {
	[ ${#missing[@]} = 0 ] || install "${missing[@]}"
	if ! command -v moto_server >/dev/null && [ ! -x "$moto" ]; then
		say "Installing moto 5.2.1 into $cache/moto"
		python3 -m venv "$cache/moto"
		"$cache/moto/bin/pip" install --quiet 'moto[server]==5.2.1'
	fi
	if [ "$purpose" = test ]; then
		../lambda/dbtest/install-postgres.sh
		../lambda/dbtest/install-mysql.sh
	fi
}

# counted tells how far the go command is, go build -v with N packages, and copies what it says besides to standard error.
counted() {
	local all=$1 line status compiled=0 downloaded=0 told=$SECONDS began=$SECONDS left
	while :; do
		status=0
		IFS= read -r -t 15 line || status=$?
		case $status:$line in
		0:'go: downloading '*) downloaded=$((downloaded + 1)) ;;
		0:*[\ :]*) say "$line" ;;
		0:*) compiled=$((compiled + 1)) ;;
		*) [ $status -gt 128 ] || return 0 ;; # 15 seconds without a line, or the end
		esac
		[ $((SECONDS - told)) -ge 15 ] || continue
		told=$SECONDS
		left=
		if [ $compiled = 0 ]; then
			began=$SECONDS
			[ $downloaded = 0 ] || say "[1/2] Downloaded $downloaded modules. Then: compile them, the $purpose"
			continue
		fi
		[ $((compiled * 20)) -lt "$all" ] || left=", some $(((all - compiled) * (SECONDS - began) / compiled + 1)) s left"
		say "[1/2, $((compiled * 100 / all)) %] Compiled $compiled of $all packages$left. Then: the $purpose"
	done
}

commands=(./cmd/pulumi-resource-aws ./cmd/pulumi-resource-pulumiservice ./cmd/demo)
command -v pulumi-language-go >/dev/null || commands+=(./cmd/pulumi-language-go)
command -v pulumi >/dev/null || commands+=(github.com/pulumi/pulumi/pkg/v3/cmd/pulumi)

# Without the commit in them, commands are up to date after one that does not change them. The tag leaves out how Google's storage
# is reached from Google's machines alone (https://pkg.go.dev/cloud.google.com/go/storage#hdr-gRPC_API), which takes 30 s to compile.
flags=(-buildvcs=false -tags disable_grpc_modules -ldflags '-s -w')

# compile builds the commands, and says how far it is. go build does nothing when they are up to date.
compile() {
	local command
	for command in "${commands[@]}"; do
		[ -x "$cache/built/${command##*/}" ] && continue
		local all
		all=$(go list -deps "${flags[@]}" -f '{{if .Stale}}x{{end}}' "${commands[@]}" 2> >(counted 0) | grep -c x) || [ "$all" = 0 ]
		say "[1/2] Compiling $all packages of Go: the Pulumi CLI, and stand-ins for AWS and Pulumi Cloud. Then: the $purpose"
		# The compiler collects its garbage less often: a fifteenth less of the processor's time, for more memory.
		GOGC=400 go build -v "${flags[@]}" -o "$cache/built/" "${commands[@]}" 2>&1 | counted "$all"
		return
	done
	go build "${flags[@]}" -o "$cache/built/" "${commands[@]}"
}

[ ${#missing[@]} = 0 ] || [ "$(id -u)" = 0 ] || sudo -v
servers &
trap 'wait || true' EXIT
compile
trap - EXIT
wait $!

# The providers do not stand beside the CLI: it warns of those that it finds on PATH.
mkdir -p "$cache/plugins"
for command in "${commands[@]}"; do
	case $command in
	*/pulumi-resource-*) folder=$cache/plugins ;;
	*) folder=$bin ;;
	esac
	ln -f "$cache/built/${command##*/}" "$folder/${command##*/}"
done
