#!/usr/bin/env bash
# Writes all that is derived from the Go types of pkg/apis: deep copies, clientset, listers, informers,
# apply configurations, and the CRDs. The generators are pinned in go.mod and run by `go tool`.
#
# Usage: hack/update-codegen.sh            write
#        hack/update-codegen.sh --verify   write into a copy, and fail with the differences to what is here
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

generated=pkg/generated
crds=manifests/crd

verify() {
  copy=$(mktemp -d) # not local: the trap runs after this function
  trap 'rm -rf "$copy"' EXIT
  mkdir -p "$copy/manifests"
  cp go.mod go.sum "$copy"
  cp -r pkg hack "$copy"
  cp -r $crds "$copy/$crds"
  "$copy/hack/update-codegen.sh"
  local failed=0 path
  for path in pkg/apis $generated $crds; do
    diff -ru "$path" "$copy/$path" || failed=1
  done
  if ((failed)); then
    echo "Generated files are not those of the types: run \`make generate\`." >&2
    return 1
  fi
}

# The generators of apply configurations and of fakes need the types as OpenAPI, with all that they embed. That is some
# megabytes of Go, needed for a moment; the folder's name keeps it out of ./...
write_schema() {
  local models=$1/models
  go tool openapi-gen "${common[@]}" --output-dir "$models" --output-pkg "$module/$models" \
    --output-file zz_generated.openapi.go --report-filename /dev/null \
    "$api" k8s.io/api/core/v1 k8s.io/api/autoscaling/v1 k8s.io/apimachinery/pkg/apis/meta/v1 \
    k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/runtime \
    k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/version
  sed "s|MODELS|$module/$models|" hack/crdschema/models.go.txt >"$1/main.go"
  go run "./$1" >"$1/schema.json"
}

write() {
  module=$(go list -m)
  api=$module/pkg/apis/database/v1
  common=(--go-header-file hack/boilerplate.go.txt)
  scratch=hack/_codegen
  rm -rf $scratch
  mkdir $scratch
  trap 'rm -rf hack/_codegen' EXIT

  go tool deepcopy-gen "${common[@]}" --output-file zz_generated.deepcopy.go "$api"
  write_schema $scratch

  # Everything is made aside and then put in place, so that a failure leaves what was there.
  local out=$scratch/generated
  go tool applyconfiguration-gen "${common[@]}" --output-dir $out/applyconfiguration \
    --output-pkg "$module/$generated/applyconfiguration" --openapi-schema $scratch/schema.json "$api"
  go tool client-gen "${common[@]}" --clientset-name versioned --input-base '' --input "$api" \
    --output-dir $out/clientset --output-pkg "$module/$generated/clientset" \
    --apply-configuration-package "$module/$generated/applyconfiguration" --plural-exceptions ''
  go tool lister-gen "${common[@]}" --output-dir $out/listers --output-pkg "$module/$generated/listers" "$api"
  go tool informer-gen "${common[@]}" --output-dir $out/informers --output-pkg "$module/$generated/informers" \
    --versioned-clientset-package "$module/$generated/clientset/versioned" \
    --listers-package "$module/$generated/listers" "$api"
  go tool controller-gen crd:maxDescLen=2000,generateEmbeddedObjectMeta=false paths=./pkg/apis/database/v1 output:crd:dir=$scratch/crd
  go run ./hack/crdschema $scratch/crd

  rm -rf $generated $crds/db.platform.io_*.yaml
  mv $out $generated
  mv $scratch/crd/* $crds/
}

case "${1:-}" in
  "") write ;;
  --verify) verify ;;
  *) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '5,6p' >&2; exit 2 ;;
esac
