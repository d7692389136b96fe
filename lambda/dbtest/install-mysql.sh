#!/bin/sh
# Fetches a MySQL server for the tests from the mirror that this system is set up with: on Debian from its unstable
# distribution, the only one with MySQL, on Ubuntu from the system's own release.
# Usage: lambda/dbtest/install-mysql.sh
# Nothing is installed: the packages are unpacked, with all libraries that they need, into
# ${XDG_CACHE_HOME:-~/.cache}/esc-connector-lambda-go/mysql; a server that is there is left alone.
set -eu

root=${XDG_CACHE_HOME:-$HOME/.cache}/esc-connector-lambda-go
[ ! -x "$root/mysql/bin/mysqld" ] || exit 0

. /etc/os-release
mirror=$(apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
	awk -v release="$VERSION_CODENAME" '($1 == "Debian" || $1 == "Ubuntu") && $2 == release && $3 == "main" { print $4; exit }')
case $ID in
debian) source="$mirror sid main" keyring=/usr/share/keyrings/debian-archive-keyring.gpg package=mysql-server-core ;;
ubuntu) source="$mirror $VERSION_CODENAME main universe" keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg package=mysql-server-core-8.0 ;;
esac
if [ -z "$mirror" ]; then
	echo "MySQL: no mirror of Debian or Ubuntu is among apt's sources here, for $PRETTY_NAME; run apt-get update" >&2
	exit 1
fi

echo "MySQL: fetching $package"
mkdir -p "$root"
new=$(mktemp -d "$root/mysql.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/apt/state/lists/partial" "$new/apt/cache/archives/partial" "$new/server/bin" "$new/unpacked"
: >"$new/apt/status"
echo "deb [arch=amd64 signed-by=$keyring] $source" >"$new/apt/sources.list"
# A world of apt's own, in which nothing is installed yet: it finds all libraries, and changes nothing of this system's.
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$new/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null \
		-o Dir::Etc::preferencesparts=/dev/null -o Dir::State="$new/apt/state" -o Dir::State::status="$new/apt/status" \
		-o Dir::Cache="$new/apt/cache" -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root \
		-o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}
apt update
apt --yes --download-only install "$package" >/dev/null
for archive in "$new"/apt/cache/archives/*.deb; do
	dpkg-deb -x "$archive" "$new/unpacked"
done
for part in usr/sbin/mysqld usr/lib/mysql usr/lib/x86_64-linux-gnu usr/share/mysql; do
	mkdir -p "$new/server/${part%/*}"
	mv "$new/unpacked/$part" "$new/server/$part"
done
# Its own loader and libraries: this system's may be older.
cat >"$new/server/bin/mysqld" <<'END'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$root/usr/lib/x86_64-linux-gnu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/sbin/mysqld" "$@" \
	--lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"
END
chmod +x "$new/server/bin/mysqld"
"$new/server/bin/mysqld" --no-defaults --version
chmod -R go+rX "$new/server"
mv "$new/server" "$root/mysql"
