package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  names: {kind: Database}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the user wants.
            required: [engine]
            properties:
              engine: {type: string, maxLength: 10, description: The engine to run.}
              good: {type: string, maxLength: 2048, description: 'A good word. Default: none; at most 2,048 characters.'}
              mode: {type: string, enum: [One, Two], default: One, description: 'How it runs: One. Default: One.'}
              name: {type: string, description: Name}
              port: {type: integer, minimum: 1024, maximum: 65535, default: 5432, description: 'The port of clients. Default: by engine; up to 65535.'}
              wait: {type: string, maxLength: 44, pattern: '^([0-9]+(us|ms|s|m|h))+$', description: 'How long to wait. Required.'}
              size: {x-kubernetes-int-or-string: true, maxLength: 32, description: 'The size of volumes. Required.'}
`

const machineCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  names: {kind: DatabaseInstance}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the operator wants.
            required: [id]
            properties:
              id: {type: string, maxLength: 64, description: Identifies the request.}
          status:
            type: object
            description: What the instance is.
            properties:
              message: {type: string, maxLength: 1024, description: 'What is wrong. At most 1,024 characters.'}
              phase: {type: string, enum: [Running, Stopped], description: 'What it is doing: Running.'}
`

func TestEveryKindOfGapIsFound(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a_b.yaml"), []byte(crd), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "b_b.yaml"), []byte(machineCRD), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := check(folder)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`Database spec.engine: is required, and the description does not say "Required"`,
		`Database spec.engine: the description does not mention 10`,
		`Database spec.mode: the description does not mention Two`,
		`Database spec.name: the description is less than three words: "Name"`,
		`Database spec.port: the description does not mention 5432`,
		`Database spec.port: the description does not mention 1024`,
		`DatabaseInstance spec.id: the description does not mention 64`,
		`DatabaseInstance status.phase: the description does not mention Stopped`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheCRDsOfThisRepositoryAreDocumented(t *testing.T) {
	problems, err := check("../../../manifests/crd")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

func TestAFolderWithoutCRDsIsAnError(t *testing.T) {
	if _, err := check(t.TempDir()); err == nil {
		t.Error("no error")
	}
}
