#!/usr/bin/env bash
# Generates all that is derived from the Go types of pkg/apis: deep copies, clientset, listers,
# informers, apply configurations and the CRDs. Generators are pinned by go.mod and run by `go tool`.
# Usage: hack/update-codegen.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

module=$(go list -m)
api=$module/pkg/apis/database/v1
generated=pkg/generated
common=(--go-header-file hack/boilerplate.go.txt)

go tool deepcopy-gen "${common[@]}" --output-file zz_generated.deepcopy.go "$api"

rm -rf "$generated"
go tool applyconfiguration-gen "${common[@]}" --output-dir $generated/applyconfiguration \
  --output-pkg "$module/$generated/applyconfiguration" "$api"
go tool client-gen "${common[@]}" --clientset-name versioned --input-base '' --input "$api" \
  --output-dir $generated/clientset --output-pkg "$module/$generated/clientset" \
  --apply-configuration-package "$module/$generated/applyconfiguration" --plural-exceptions ''
go tool lister-gen "${common[@]}" --output-dir $generated/listers --output-pkg "$module/$generated/listers" "$api"
go tool informer-gen "${common[@]}" --output-dir $generated/informers --output-pkg "$module/$generated/informers" \
  --versioned-clientset-package "$module/$generated/clientset/versioned" \
  --listers-package "$module/$generated/listers" "$api"

go tool controller-gen crd:maxDescLen=2000,generateEmbeddedObjectMeta=false paths=./pkg/apis/database/v1 output:crd:dir=manifests/crd
