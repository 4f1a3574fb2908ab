package controller

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	kubefake "k8s.io/client-go/kubernetes/fake"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/consistency"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/engine/registry"
	"github.com/platform-io/database-operator/pkg/naming"
)

// inSecrets patches Secrets, for the client that sees no more than their metadata.
type inSecrets struct {
	refusing
	t    *testing.T
	kube kubernetes.Interface
}

func (s inSecrets) patch(_ context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions) (metav1.Object, error) {
	return s.kube.CoreV1().Secrets("ns").Patch(s.t.Context(), name, how, data, options)
}

// withSecrets is a Database, and a controller that can write Secrets, of which there are some.
func withSecrets(t *testing.T, have ...runtime.Object) (*dbv1.Database, *Controller) {
	t.Helper()
	kube := kubefake.NewClientset(have...)
	return &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns", UID: "db-uid"}, Spec: dbv1.DatabaseSpec{Engine: dbv1.PostgreSQL}},
		&Controller{
			clients: Clients{Kube: kube}, options: Options{Engines: registry.Engines()},
			consistency: consistency.NewStore(map[schema.GroupResource]consistency.Cache{}),
			kinds:       map[string]*kind{"Secret": {client: func(string) resourceClient { return inSecrets{nil, t, kube} }}},
		}
}

// The master copy says whose it is and what its database is, from when it is made.
func TestTheMasterCopySaysWhoseItIs(t *testing.T) {
	secret := func(name string, annotations map[string]string, data map[string][]byte) runtime.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Annotations: annotations}, Data: data}
	}
	persons := secret("db-credentials", nil, map[string][]byte{"username": []byte("alice"), "password": []byte("secret")})
	bare := func(annotations map[string]string) runtime.Object {
		return secret("db-accounts", annotations, map[string][]byte{engine.AccountsUsernameKey: []byte("alice"), engine.AccountsPasswordKey: []byte("secret")})
	}
	for name, c := range map[string]struct {
		have               []runtime.Object
		asked              string
		username, database string
	}{
		"nothing is named":                 {nil, "", "app", "app"},
		"the spec names the database":      {nil, "orders", "app", "orders"},
		"a person's Secret names the user": {[]runtime.Object{persons}, "", "alice", "alice"},
		"both":                             {[]runtime.Object{persons}, "orders", "alice", "orders"},
		"it lost all annotations":          {[]runtime.Object{bare(nil)}, "orders", "alice", "orders"},
		"it lost its labels":               {[]runtime.Object{bare(map[string]string{naming.AnnotationDatabaseName: "orders"})}, "", "alice", "orders"},
	} {
		db, controller := withSecrets(t, c.have...)
		kube := controller.clients.Kube
		if err := controller.createAccounts(t.Context(), db, engine.CreateAccounts{Username: "app", Database: c.asked}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		accounts, err := kube.CoreV1().Secrets("ns").Get(t.Context(), "db-accounts", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{accounts.Annotations[naming.AnnotationUsername], accounts.Annotations[naming.AnnotationDatabaseName], string(accounts.Data[engine.AccountsUsernameKey])}
		if diff := cmp.Diff([]string{c.username, c.database, c.username}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The published password is the last copy of one that somebody took from the master copy: it is put back there, and
// never published empty.
func TestAPasswordThatIsTakenFromTheMasterCopyIsPutBack(t *testing.T) {
	good := map[string][]byte{"username": []byte("app"), "password": []byte("good")}
	for name, c := range map[string]struct {
		accounts, published map[string][]byte
		want                string
	}{
		"its key is removed":           {map[string][]byte{}, good, "good"},
		"it is emptied":                {map[string][]byte{engine.AccountsPasswordKey: {}}, good, "good"},
		"both are empty":               {map[string][]byte{}, map[string][]byte{"username": []byte("app"), "password": {}}, ""},
		"a person chose another":       {map[string][]byte{engine.AccountsPasswordKey: []byte("chosen")}, good, "chosen"},
		"nothing was published before": {map[string][]byte{}, nil, ""},
		"the published name is lost":   {map[string][]byte{}, map[string][]byte{"password": []byte("good")}, "good"},
		"the published name is edited": {map[string][]byte{}, map[string][]byte{"username": []byte("postgres"), "password": []byte("good")}, "good"},
		"what is published is no text": {map[string][]byte{}, map[string][]byte{"username": []byte("app"), "password": {0xff}}, ""},
	} {
		c.accounts[engine.AccountsUsernameKey], c.accounts[engine.ReplicationPasswordKey] = []byte("app"), []byte("replicas")
		have := []runtime.Object{&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", Namespace: "ns", Annotations: map[string]string{naming.AnnotationUsername: "app"}}, Data: c.accounts,
		}}
		if c.published != nil {
			have = append(have, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: "ns", Labels: naming.SelectorLabels("db")}, Data: c.published})
		}
		accounts, published := publishTwice(t, have...)
		password := string(accounts.Data[engine.AccountsPasswordKey])
		if password == "" || c.want != "" && password != c.want || string(published.Data["password"]) != password {
			t.Errorf("%s: the master copy has %q, and published is %q", name, password, published.Data["password"])
		}
		if string(accounts.Data[engine.ReplicationPasswordKey]) != "replicas" {
			t.Errorf("%s: the password of replicas is %q", name, accounts.Data[engine.ReplicationPasswordKey])
		}
	}
}

// What the operator made is its own whatever labels it has lost, and what somebody else has is not its last copy.
func TestTheLastPasswordIsReadWhereItIsTheOperators(t *testing.T) {
	lost := func() *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", Namespace: "ns", Annotations: map[string]string{naming.AnnotationUsername: "app"}},
			Data:       map[string][]byte{engine.AccountsUsernameKey: []byte("app")},
		}
	}
	published := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: "ns", Annotations: map[string]string{naming.AnnotationDatabaseUID: "db-uid"}},
		Data:       map[string][]byte{"password": []byte("good")},
	}
	for manager, want := range map[string]string{naming.FieldManager: "good", "somebody": ""} {
		fields := &metav1.FieldsV1{}
		fields.SetRawBytes([]byte(`{"f:metadata":{"f:annotations":{"f:` + naming.AnnotationDatabaseUID + `":{}}}}`))
		published.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: fields}}
		accounts := lost()
		db, controller := withSecrets(t, accounts, published)
		mended, err := controller.mendAccounts(t.Context(), db, accounts)
		reason, _ := explain(err)
		if want == "" && reason != dbv1.ReasonResourceConflict || want != "" && (err != nil || string(mended.Data[engine.AccountsPasswordKey]) != want) {
			t.Errorf("made by %s: %v, %v", manager, mended, err)
		}
	}
}

// The write that puts a password back owns its key again, as the first one did: only the annotation tells agents
// that never saw the Secret in between that there is something to set.
func TestAPasswordThatIsPutBackHasAVersionOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		accounts := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", Namespace: "ns", Annotations: map[string]string{naming.AnnotationUsername: "app"}},
			Data:       map[string][]byte{engine.AccountsUsernameKey: []byte("intruder"), engine.AccountsPasswordKey: []byte("good")},
		}
		db, controller := withSecrets(t, accounts)
		named, err := controller.mendAccounts(t.Context(), db, accounts)
		if err != nil || named.Annotations[naming.AnnotationPasswordVersion] != "" {
			t.Fatalf("the name alone is put back: %v, %v", named, err)
		}
		delete(named.Data, engine.AccountsPasswordKey)
		if named, err = controller.clients.Kube.CoreV1().Secrets("ns").Update(t.Context(), named, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		mended, err := controller.mendAccounts(t.Context(), db, named)
		if err != nil {
			t.Fatal(err)
		}
		version := mended.Annotations[naming.AnnotationPasswordVersion]
		if version == "" || seen[version] || mended.Annotations[naming.AnnotationUsername] != "app" {
			t.Errorf("annotations %v; versions before: %v", mended.Annotations, seen)
		}
		seen[version] = true
	}
}

// A master copy without its labels is invisible, and nothing else in the way is a reason to leave it so.
func TestAWholeMasterCopyIsFoundWhateverBecameOfThePublishedSecret(t *testing.T) {
	for name, published := range map[string]map[string][]byte{
		"it lost its name": {"password": []byte("good")}, "it lost its password": {"username": []byte("alice")},
		"its name is one of the engine": {"username": []byte("postgres"), "password": []byte("good")},
	} {
		db, controller := withSecrets(t,
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", Namespace: "ns", Annotations: map[string]string{naming.AnnotationDatabaseUID: "db-uid", naming.AnnotationUsername: "alice"}},
				Data:       map[string][]byte{engine.AccountsUsernameKey: []byte("alice"), engine.AccountsPasswordKey: []byte("good")},
			},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: "ns"}, Data: published},
		)
		if err := controller.createAccounts(t.Context(), db, engine.CreateAccounts{Username: "app"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		accounts, err := controller.clients.Kube.CoreV1().Secrets("ns").Get(t.Context(), "db-accounts", metav1.GetOptions{})
		if err != nil || accounts.Labels[naming.LabelDatabase] != "db" || string(accounts.Data[engine.AccountsPasswordKey]) != "good" {
			t.Errorf("%s: labels %v, password %q, %v", name, accounts.Labels, accounts.Data[engine.AccountsPasswordKey], err)
		}
	}
}

// publishTwice is what the Secrets are after two syncs that publish.
func publishTwice(t *testing.T, have ...runtime.Object) (accounts, published *corev1.Secret) {
	t.Helper()
	db, controller := withSecrets(t, have...)
	secrets := controller.clients.Kube.CoreV1().Secrets("ns")
	for range 2 {
		if err := controller.publishCredentials(t.Context(), db, engine.PublishCredentials{Source: "source", Database: "app"}); err != nil {
			t.Fatal(err)
		}
	}
	accounts, err := secrets.Get(t.Context(), "db-accounts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if published, err = secrets.Get(t.Context(), "db-credentials", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	return accounts, published
}

// Clients are sent to the account that was made, whatever name somebody writes into the master copy.
func TestANameThatIsEditedInTheMasterCopyIsTakenBack(t *testing.T) {
	for name, edited := range map[string]string{"another": "intruder", "none": "", "one that the engine has for itself": "postgres"} {
		accounts, published := publishTwice(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", Namespace: "ns", Annotations: map[string]string{naming.AnnotationUsername: "alice"}},
			Data:       map[string][]byte{engine.AccountsUsernameKey: []byte(edited), engine.AccountsPasswordKey: []byte("good")},
		})
		got := []string{string(accounts.Data[engine.AccountsUsernameKey]), string(published.Data["username"]), string(published.Data["password"])}
		if diff := cmp.Diff([]string{"alice", "alice", "good"}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Whoever made the Secret of credentials and forgot a key need not delete it: with both keys, it is what is used.
func TestACredentialsSecretThatLacksAKeyIsWaitedFor(t *testing.T) {
	for name, data := range map[string]map[string][]byte{
		"no password": {"username": []byte("alice")}, "no username": {"password": []byte("secret")}, "neither": {"host": []byte("mine")},
		"an empty password": {"username": []byte("alice"), "password": {}},
	} {
		persons := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: "ns"}, Data: data}
		db, controller := withSecrets(t, persons)
		secrets := controller.clients.Kube.CoreV1().Secrets("ns")
		err := controller.createAccounts(t.Context(), db, engine.CreateAccounts{Username: "app"})
		reason, message := explain(err)
		if reason != dbv1.ReasonResourceConflict || !strings.Contains(message, "secrets db-credentials") || !strings.Contains(message, "give it both keys, username and password, and the account is made with them; or delete") {
			t.Errorf("%s: %s: %s", name, reason, message)
		}
		if _, err := secrets.Get(t.Context(), "db-accounts", metav1.GetOptions{}); err == nil {
			t.Fatalf("%s: an account was made all the same", name)
		}
		persons.Data = map[string][]byte{"username": []byte("alice"), "password": []byte("secret")}
		if _, err := secrets.Update(t.Context(), persons, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := controller.createAccounts(t.Context(), db, engine.CreateAccounts{Username: "app"}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		accounts, err := secrets.Get(t.Context(), "db-accounts", metav1.GetOptions{})
		if err != nil || string(accounts.Data[engine.AccountsUsernameKey]) != "alice" || string(accounts.Data[engine.AccountsPasswordKey]) != "secret" {
			t.Errorf("%s: %v, %v", name, accounts, err)
		}
	}
}
