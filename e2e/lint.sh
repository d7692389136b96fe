#!/usr/bin/env bash
# Usage: e2e/lint.sh
#
# Checks formatting, go.mod, and the code with go vet (a user's project for other desktops, too),
# staticcheck and golangci-lint, which it builds once into ${XDG_CACHE_HOME:-~/.cache}/esc-connector-lambda-go.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${XDG_CACHE_HOME:-$HOME/.cache}/esc-connector-lambda-go/bin
mkdir -p "$bin"

# tool NAME PACKAGE VERSION installs a linter, unless this version is there.
tool() {
	if [ "$(go version -m "$bin/$1" 2>/dev/null | awk '$1 == "mod" { print $3 }')" != "$3" ]; then
		echo "Building $1 $3" >&2
		GOBIN=$bin go install "$2@$3"
	fi
}
tool staticcheck honnef.co/go/tools/cmd/staticcheck v0.7.0
tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.9.0

unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
	echo "gofmt would change:" >&2
	echo "$unformatted" >&2
	exit 1
fi
for module in . e2e; do
	echo "Linting $module"
	(
		cd "$module"
		go mod tidy -diff
		go vet ./...
		"$bin/staticcheck" ./...
		"$bin/golangci-lint" run --allow-parallel-runners --config "$OLDPWD/e2e/.golangci.yaml" ./...
	)
done
for system in windows darwin; do
	echo "Vetting for $system"
	GOOS=$system go vet ./...
done
