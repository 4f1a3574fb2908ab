package app

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What `kubectl explain` says of the operator's flags must be true of them.
func TestFlagsThatAreExplainedExist(t *testing.T) {
	files, err := filepath.Glob("../../../manifests/crd/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	flags := NewCommand().Flags()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`\s--([a-z][a-z-]+)`).FindAllSubmatch(data, -1) {
			if flags.Lookup(string(match[1])) == nil {
				t.Errorf("%s names --%s, which the operator does not have", filepath.Base(file), match[1])
			}
		}
	}
}
