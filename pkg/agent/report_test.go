package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	databasefake "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
	"github.com/platform-io/database-operator/pkg/naming"
)

// patch is what arrived at the API server.
type patch struct {
	at     time.Time
	uid    types.UID
	status dbv1.DatabaseInstanceStatus
}

// recorder is a reporter with a server that fails as long as it is told to.
func recorder(t *testing.T) (*reporter, func() []patch, *error) {
	t.Helper()
	client := databasefake.NewSimpleClientset()
	var patches []patch
	var failure error
	client.PrependReactor("patch", "databaseinstances", func(action clienttesting.Action) (bool, runtime.Object, error) {
		a := action.(clienttesting.PatchActionImpl)
		if a.GetSubresource() != "status" || a.GetPatchType() != types.ApplyPatchType || a.PatchOptions.FieldManager != naming.AgentFieldManager {
			t.Errorf("unexpected patch %+v", a)
		}
		var sent dbv1.DatabaseInstance
		if err := json.Unmarshal(a.GetPatch(), &sent); err != nil {
			t.Error(err)
		}
		patches = append(patches, patch{time.Now(), sent.UID, sent.Status})
		return true, &sent, failure
	})
	r := newReporter(client, "n", "db-0", NewMetrics())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r, func() []patch { synctest.Wait(); return patches }, &failure
}

func TestStatusIsWrittenOnceASecondAndOnlyWhenItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, patches, _ := recorder(t)
		for starts := range int64(30) {
			r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: starts})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		got := patches()
		if len(got) != 4 || got[3].status.EngineStarts != 29 || got[0].uid != "u" || got[0].status.ObservedAt == nil {
			t.Fatalf("got %+v", got)
		}
		for range 100 {
			r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 29})
			time.Sleep(time.Second)
		}
		if len(patches()) != 4 {
			t.Error("the same status was written again")
		}
		r.publish("v", dbv1.DatabaseInstanceStatus{EngineStarts: 29})
		time.Sleep(time.Second)
		if got := patches(); len(got) != 5 || got[4].uid != "v" {
			t.Error("a new object did not get the status")
		}
	})
}

func TestStatusThatCannotBeWrittenIsTriedAgainWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, patches, failure := recorder(t)
		*failure = errors.New("away")
		r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 1})
		time.Sleep(10 * time.Second)
		if got := patches(); len(got) != 4 {
			t.Errorf("%d tries in 10 s, want those at 0, 1, 3 and 7 s", len(got))
		}
		*failure = nil
		r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 2})
		time.Sleep(time.Minute)
		if got := patches(); len(got) != 5 || got[4].status.EngineStarts != 2 {
			t.Errorf("after it is back: %d writes", len(got))
		}
		*failure = apierrors.NewNotFound(dbv1.Resource("databaseinstances"), "db-0")
		r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 3})
		time.Sleep(time.Minute)
		if len(patches()) != 6 {
			t.Error("an object that is gone is written again and again")
		}
	})
}

func TestLastStatusIsFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, patches, _ := recorder(t)
		r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 1})
		time.Sleep(10 * time.Millisecond)
		r.publish("u", dbv1.DatabaseInstanceStatus{EngineStarts: 2})
		r.flush(t.Context(), time.Second)
		if got := patches(); len(got) != 2 || got[1].status.EngineStarts != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheOwnerOfATokenIsReadFromIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(payload string) {
		t.Helper()
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := tokenOwner(path, "before"); got != "before" {
		t.Errorf("without a file, the owner is %q", got)
	}
	// As the API server issues it: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
	write(`{"aud":["a"],"exp":1,"kubernetes.io":{"namespace":"n","pod":{"name":"db-0","uid":"p"},"serviceaccount":{"name":"db-agent","uid":"s"}}}`)
	if got := tokenOwner(path, "before"); got != "s" {
		t.Errorf("the owner is %q", got)
	}
	write(`{"sub":"someone"}`)
	if got := tokenOwner(path, "before"); got != "" {
		t.Errorf("the owner of a token without a ServiceAccount is %q", got)
	}
	if err := os.WriteFile(path, []byte("opaque"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tokenOwner(path, "before"); got != "before" {
		t.Errorf("the owner of a token of another kind is %q", got)
	}
}
