#!/usr/bin/env bash
# Writes manifests/install.yaml, everything that a cluster needs in one file. Usage: hack/manifests.sh [--verify]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
{
  echo "# Everything that a cluster needs: kubectl apply --server-side -f install.yaml"
  echo "# Written by \`make manifests\` from the other files of this folder."
  go run ./hack/testrunner tool kustomize build manifests
} >"$rendered"
if [ "${1:-}" = --verify ]; then
  diff -u manifests/install.yaml "$rendered" || { echo "manifests/install.yaml is out of step; run: make manifests" >&2; exit 1; }
else
  cat "$rendered" >manifests/install.yaml
fi
