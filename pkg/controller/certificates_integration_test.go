//go:build integration

package controller_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// certificate is what the agents have, if it fits together.
func (w *world) certificate(name string) (*corev1.Secret, error) {
	secret, err := w.kube.CoreV1().Secrets(w.namespace).Get(w.Context(), name+"-agent-tls", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name + "-0." + name + "-headless." + w.namespace + ".svc"})
	return secret, err
}

func TestTheAgentsHaveACertificateThatIsPutBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	first, err := w.certificate("db")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(w.secret("db-ca").Data["tls.key"], first.Data["tls.key"]) || len(first.Data) != 3 {
		t.Error("the authority's key is where the agents can read it")
	}
	secrets := w.kube.CoreV1().Secrets(w.namespace)
	if _, err := secrets.Patch(t.Context(), "db-agent-tls", types.MergePatchType, []byte(`{"stringData":{"tls.crt":"wrong"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the certificate is made anew, by the same authority", func() (bool, string) {
		now, err := w.certificate("db")
		return err == nil && bytes.Equal(now.Data["ca.crt"], first.Data["ca.crt"]), errorText(err)
	})
	if err := secrets.Delete(t.Context(), "db-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("a new authority is trusted beside the one that signed", func() (bool, string) {
		now, err := w.certificate("db")
		return err == nil && bytes.HasSuffix(now.Data["ca.crt"], first.Data["ca.crt"]) && len(now.Data["ca.crt"]) > len(first.Data["ca.crt"]), errorText(err)
	})
}

func TestAForeignAuthorityIsLeftAloneAndNamed(t *testing.T) {
	w := newWorld(t)
	before, err := w.kube.CoreV1().Secrets(w.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db-ca", Namespace: w.namespace}, StringData: map[string]string{"tls.crt": "mine"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.start(unlimited)
	w.create(w.basic("db"))
	db := w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonResourceConflict)
	if text := describe(db); !strings.Contains(text, "secrets db-ca belongs to somebody else") {
		t.Errorf("the condition does not name it: %s", text)
	}
	if after := w.secret("db-ca"); after.ResourceVersion != before.ResourceVersion {
		t.Error("the foreign Secret was touched")
	}
}

// The master copy of an earlier release gets the password of replicas, one that a person chose stays,
// and the rest of the Secret is not touched.
func TestTheReplicationPasswordIsAddedToAnExistingSecret(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	before := w.secret("db-accounts")
	for name, c := range map[string]struct{ patch, want string }{
		"lost":   {`{"metadata":{"annotations":{"db.platform.io/replication-version":null}},"data":{"replication.password":null}}`, ""},
		"edited": {`{"stringData":{"replication.password":"chosen by a person"}}`, "chosen by a person"},
	} {
		if _, err := w.kube.CoreV1().Secrets(w.namespace).Patch(t.Context(), "db-accounts", types.MergePatchType, []byte(c.patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the password of replicas, which was "+name+", is set", func() (bool, string) {
			now := w.secret("db-accounts")
			password := string(now.Data["replication.password"])
			dbi, err := w.databases.DatabaseV1().DatabaseInstances(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
			if err != nil || password == "" || c.want != "" && password != c.want {
				return false, errorText(err)
			}
			version := now.Annotations["db.platform.io/replication-version"]
			return version != "" && version != before.Annotations["db.platform.io/replication-version"] && len(dbi.Status.Accounts) == 2 &&
				dbi.Status.Accounts[1].PasswordVersion == version, "the agent has not set it yet"
		})
	}
	after := w.secret("db-accounts")
	if !bytes.Equal(before.Data["application.password"], after.Data["application.password"]) || before.UID != after.UID {
		t.Error("the application's password was touched")
	}
	w.waitReady("db")
}
