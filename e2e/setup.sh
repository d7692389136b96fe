#!/usr/bin/env bash
# Usage: e2e/setup.sh [demo|test]
#
# Sets up what the demo or the tests need on a Debian or Ubuntu machine with Go,
# and is quick when it is there already:
#   - from the distribution: PostgreSQL, MariaDB and their clients, Python (as root or by sudo);
#   - moto, which plays AWS: the one on PATH, else in a virtual environment;
#   - the Pulumi CLI and its Go language host: the ones on PATH, else built from their module;
#   - for the tests, PgBouncer, and PostgreSQL and MySQL servers that the distribution does not have;
#   - the stand-ins of this folder.
# Everything but the packages goes into ${XDG_CACHE_HOME:-~/.cache}/esc-connector-lambda-go.
set -euo pipefail
cd "$(dirname "$0")"
purpose=${1:-test}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/esc-connector-lambda-go
bin=$cache/bin
mkdir -p "$bin"

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
command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server-core)
command -v mariadb >/dev/null || missing+=(mariadb-client-core)
moto=$cache/moto/bin/moto_server
if ! command -v moto_server >/dev/null && [ ! -x "$moto" ]; then
	missing+=(python3-venv)
fi
if [ "$purpose" = test ]; then
	command -v npm >/dev/null || missing+=(npm)
	# MariaDB's password checks are a plugin, and come with the whole package.
	[ -e /usr/lib/mysql/plugin/simple_password_check.so ] || missing+=(mariadb-server)
	[ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
fi
[ ${#missing[@]} = 0 ] || install "${missing[@]}"

if ! command -v moto_server >/dev/null && [ ! -x "$moto" ]; then
	say "Installing moto 5.2.1 into $cache/moto"
	python3 -m venv "$cache/moto"
	"$cache/moto/bin/pip" install --quiet 'moto[server]==5.2.1'
fi

# build FOLDER PACKAGE... builds commands into the folder. go build does nothing when they are up to date; without the
# commit in them, they are so after one that does not change them.
build() {
	local folder=$1 package
	shift
	for package; do
		if [ ! -x "$folder/${package##*/}" ]; then
			say "Building ${package##*/}"
		fi
	done
	go build -buildvcs=false -o "$folder/" "$@"
}

pulumi=()
command -v pulumi-language-go >/dev/null || pulumi+=(./cmd/pulumi-language-go)
if ! command -v pulumi >/dev/null; then
	[ -x "$bin/pulumi" ] || say 'The Pulumi CLI has many parts: four to eight minutes, once'
	pulumi+=(github.com/pulumi/pulumi/pkg/v3/cmd/pulumi)
fi
[ ${#pulumi[@]} = 0 ] || build "$bin" "${pulumi[@]}"
# Not beside the CLI: it warns of providers that it finds on PATH.
mkdir -p "$cache/plugins"
[ -x "$cache/plugins/pulumi-resource-aws" ] || say 'The AWS SDK is large: a minute or two, once'
build "$cache/plugins" ./cmd/pulumi-resource-aws ./cmd/pulumi-resource-pulumiservice

if [ "$purpose" = test ]; then
	../lambda/dbtest/install-postgres.sh
	../lambda/dbtest/install-mysql.sh
fi
