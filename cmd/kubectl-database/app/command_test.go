package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/platform-io/database-operator/cmd/kubectl-database/status"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbfake "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
)

// shell runs the plugin against objects.
type shell struct {
	*testing.T
	databases *dbfake.Clientset
	kube      *fake.Clientset
	dialError error
	// writesWait: what the operator carries out leaves a primary that waits for replicas.
	writesWait bool
}

func newShell(t *testing.T, names ...string) *shell {
	t.Helper()
	var objects []runtime.Object
	for _, name := range names {
		namespace, name, _ := strings.Cut(name, "/")
		objects = append(objects, &dbv1.Database{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       dbv1.DatabaseSpec{Engine: dbv1.PostgreSQL, Version: "15.4"},
		})
	}
	s := &shell{T: t, databases: dbfake.NewClientset(objects...), kube: fake.NewClientset()}
	s.kube.Resources = []*metav1.APIResourceList{{GroupVersion: dbv1.SchemeGroupVersion.String()}}
	return s
}

func (s *shell) run(args ...string) (out, errOut string, code int) {
	s.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	c := &cli{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	c.connect = func() (*clients, error) {
		if s.dialError != nil {
			return nil, s.dialError
		}
		return &clients{Reader: status.Reader{Kube: s.kube, Databases: s.databases}, namespace: "shop", server: "https://example:6443"}, nil
	}
	code = c.run(args)
	return stdout.String(), stderr.String(), code
}

// fails makes a verb on a resource of ours fail.
func (s *shell) fails(verb, resource string, err error) {
	s.databases.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

func (s *shell) expect(wantCode int, wantOut, wantErr string, args ...string) {
	s.Helper()
	out, errOut, code := s.run(args...)
	if code != wantCode || !strings.Contains(out, wantOut) || !strings.Contains(errOut, wantErr) {
		s.Errorf("%v: exit code %d, want %d\noutput %q, want %q in it\nerror %q, want %q in it", args, code, wantCode, out, wantOut, errOut, wantErr)
	}
	if code != exitOK && out != "" {
		s.Errorf("%v: a failure wrote to the output: %q", args, out)
	}
}

func TestStatusShowsOneOrListsAll(t *testing.T) {
	s := newShell(t, "shop/orders", "shop/payments", "staging/orders")
	s.expect(exitOK, "Database shop/orders", "", "status", "orders")
	s.expect(exitOK, "NAME ", "", "status")
	s.expect(exitOK, "NAMESPACE", "", "status", "-A")
	if out, _, _ := s.run("status"); strings.Contains(out, "staging") || strings.Count(out, "\n") != 3 {
		t.Errorf("not the Databases of the namespace alone:\n%s", out)
	}
	newShell(t).expect(exitOK, "", `There is no Database in namespace "shop"`, "status")
	newShell(t).expect(exitOK, "", "There is no Database in any namespace", "status", "-A")
}

func TestStatusWritesObjectsForPrograms(t *testing.T) {
	s := newShell(t, "shop/orders")
	for _, format := range []string{"json", "yaml"} {
		out, _, code := s.run("status", "orders", "-o", format)
		var report struct {
			Database dbv1.Database `json:"database"`
		}
		if err := yaml.Unmarshal([]byte(out), &report); err != nil || code != exitOK {
			t.Fatalf("%s: %v, exit code %d", format, err, code)
		}
		if report.Database.Name != "orders" || report.Database.Kind != "Database" {
			t.Errorf("%s: got %+v", format, report.Database.ObjectMeta)
		}
	}
	out, _, _ := s.run("status", "-o", "json")
	var list dbv1.DatabaseList
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Items) != 1 || list.Kind != "DatabaseList" {
		t.Errorf("the list is %s, %v", out, err)
	}
}

func TestAWrongCommandLineHasItsOwnExitCode(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.expect(exitUsage, "", "choose text, json or yaml", "status", "-o", "wide")
	s.expect(exitUsage, "", "--watch goes with text only", "status", "-w", "-o", "json")
	s.expect(exitUsage, "", "say its namespace with -n", "status", "-A", "orders")
	s.expect(exitUsage, "", "accepts at most 1 arg", "status", "a", "b")
	s.expect(exitUsage, "", "unknown flag", "status", "--nonsense")
	s.expect(exitUsage, "", "name of a Database is missing", "pause")
	s.expect(exitUsage, "", "unknown command", "nonsense")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	resource := dbv1.Resource("databases")
	s := newShell(t, "shop/orders", "shop/orders-old", "shop/quite-different", "staging/payments")
	s.expect(exitFailed, "", `there is no Database "ordres" in namespace "shop"; did you mean orders?`, "status", "ordres")
	s.expect(exitFailed, "", "did you mean orders-old or orders?", "status", "orders-odd")
	s.expect(exitFailed, "", "but there is one in staging: add -n staging", "status", "payments")
	s.expect(exitFailed, "", "lists those of all namespaces", "pause", "zzz")

	s.kube.Resources = nil
	s.expect(exitFailed, "", "db.platform.io/v1 is not installed there; install the operator with", "status", "zzz")

	s = newShell(t, "shop/orders")
	s.fails("list", "databases", apierrors.NewForbidden(resource, "", errors.New("no")))
	s.expect(exitFailed, "", "kubectl auth can-i --list -n shop", "status")

	s = newShell(t)
	s.fails("list", "databases", apierrors.NewUnauthorized("who are you"))
	s.expect(exitFailed, "", "does not know you", "status")

	s = newShell(t)
	s.fails("list", "databases", apierrors.NewGenericServerResponse(http.StatusNotFound, "list", schema.GroupResource{}, "", "", 0, true))
	s.kube.Resources = nil
	s.expect(exitFailed, "", "is not installed there", "status")

	s = newShell(t)
	s.dialError = errors.New("read the kubeconfig: no such file")
	s.expect(exitFailed, "", "no such file", "status")
}

func (s *shell) paused(name string) bool {
	s.Helper()
	db, err := s.databases.DatabaseV1().Databases("shop").Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return db.Spec.Lifecycle.Paused
}

func TestPauseAndResumeAreIdempotentAndSayWhatTheyDid(t *testing.T) {
	s := newShell(t, "shop/orders", "shop/payments")
	s.expect(exitOK, "databases.db.platform.io/orders paused: the operator changes nothing", "", "pause", "orders")
	if !s.paused("orders") || s.paused("payments") {
		t.Error("not just the one was paused")
	}
	s.expect(exitOK, "orders is paused already", "", "pause", "orders", "payments")
	s.expect(exitOK, "orders resumed\n", "", "resume", "orders")
	s.expect(exitOK, "orders is not paused\n", "", "resume", "orders")
	if s.paused("orders") || !s.paused("payments") {
		t.Error("not just the one was resumed")
	}
	patches := 0
	for _, action := range s.databases.Actions() {
		if action.GetVerb() == "patch" {
			patches++
		}
	}
	if patches != 3 {
		t.Errorf("%d writes for 3 changes", patches)
	}
}

func TestPauseGoesOnAfterADatabaseThatIsNotThere(t *testing.T) {
	s := newShell(t, "shop/orders")
	out, errOut, code := s.run("pause", "gone", "orders")
	if code != exitFailed || !strings.Contains(errOut, `no Database "gone"`) || !strings.Contains(out, "orders paused") || !s.paused("orders") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
}

func TestNamesAreCompleted(t *testing.T) {
	s := newShell(t, "shop/orders", "shop/payments", "staging/other")
	s.expect(exitOK, "orders\tPostgreSQL 15.4\npayments\tPostgreSQL 15.4\n:4\n", "", "__complete", "status", "")
	s.expect(exitOK, "payments\tPostgreSQL 15.4\n:4\n", "", "__complete", "pause", "orders", "")
	if out, _, _ := s.run("__complete", "status", "orders", ""); out != ":4\n" {
		t.Errorf("a second name is completed: %q", out)
	}
}

func TestVersionNeedsNoCluster(t *testing.T) {
	s := newShell(t)
	s.dialError = errors.New("no cluster")
	s.expect(exitOK, "kubectl-database v", "", "version")
}

func TestSimilarNames(t *testing.T) {
	for _, pair := range [][2]string{{"orders", "ordres"}, {"order", "orders"}, {"orders", "orders-prod"}, {"a", "b"}} {
		if !similar(pair[0], pair[1]) {
			t.Errorf("%v are not similar", pair)
		}
	}
	for _, pair := range [][2]string{{"orders", "payments"}, {"db", "warehouse"}} {
		if similar(pair[0], pair[1]) {
			t.Errorf("%v are similar", pair)
		}
	}
}
