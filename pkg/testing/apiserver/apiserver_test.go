package apiserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/platform-io/database-operator/pkg/testing/cache"
)

// verdict is a test that only remembers how it ended.
type verdict struct {
	testing.TB
	skipped, failed string
}

func (v *verdict) Helper()                   {}
func (v *verdict) Skipf(f string, a ...any)  { v.skipped = fmt.Sprintf(f, a...); panic(v) }
func (v *verdict) Fatalf(f string, a ...any) { v.failed = fmt.Sprintf(f, a...); panic(v) }

func startWithout(t *testing.T, flag string) *verdict {
	t.Helper()
	t.Setenv(EnvKubeconfig, "")
	t.Setenv(cache.Env, t.TempDir())
	v := &verdict{}
	func() {
		defer func() { _ = recover() }()
		Start(v, flag)
	}()
	return v
}

func TestATestWithoutTheToolIsSkippedAndSaysWhy(t *testing.T) {
	t.Setenv(EnvRequire, "")
	if v := startWithout(t, "--a"); !strings.Contains(v.skipped, "the cluster tool is not built") || v.failed != "" {
		t.Errorf("skipped %q, failed %q", v.skipped, v.failed)
	}
}

func TestATestWithoutTheToolFailsWhenAnAPIServerIsRequired(t *testing.T) {
	t.Setenv(EnvRequire, "1")
	if v := startWithout(t, "--b"); !strings.Contains(v.failed, "the cluster tool is not built") || v.skipped != "" {
		t.Errorf("skipped %q, failed %q", v.skipped, v.failed)
	}
}
