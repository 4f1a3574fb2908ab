//go:build integration

package controller_test

import (
	"bytes"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Clients keep the login that works, whatever somebody does to the master copy.
func TestAnEditOfTheMasterCopyIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	accounts, published := w.secret("db-accounts"), w.secret("db-credentials")
	for name, patch := range map[string]string{
		"the password is removed":  `{"data":{"application.password":null}}`,
		"the password is emptied":  `{"data":{"application.password":""}}`,
		"the name is another":      `{"stringData":{"application.username":"intruder"}}`,
		"the name is removed":      `{"data":{"application.username":null}}`,
		"both are, and the labels": `{"metadata":{"labels":null},"data":{"application.username":null,"application.password":""}}`,
	} {
		if _, err := w.kube.CoreV1().Secrets(w.namespace).Patch(t.Context(), "db-accounts", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually(name+": the master copy is as it was", func() (bool, string) {
			now, clients := w.secret("db-accounts"), w.secret("db-credentials")
			if len(clients.Data["password"]) == 0 {
				t.Fatalf("%s: an empty password is published", name)
			}
			for key, value := range accounts.Data {
				if !bytes.Equal(now.Data[key], value) {
					return false, "key " + key + " is another"
				}
			}
			return true, ""
		})
		w.waitReady("db")
		for key, value := range published.Data {
			if now := w.secret("db-credentials"); !bytes.Equal(now.Data[key], value) {
				t.Errorf("%s: key %s of the published Secret is another", name, key)
			}
		}
	}
}

// What was lost while nobody looked on is made anew, under a version that tells the agents, which saw nothing either.
func TestAPasswordThatIsMadeAnewUnseenLogsIn(t *testing.T) {
	w := newWorld(t)
	operator, _ := w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	old := string(w.secret("db-credentials").Data["password"])
	operator.stop()
	secrets := w.kube.CoreV1().Secrets(w.namespace)
	loss := []byte(`{"metadata":{"labels":null},"data":{"application.password":""}}`)
	if _, err := secrets.Patch(t.Context(), "db-accounts", types.MergePatchType, loss, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), "db-credentials", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	claim, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.start(unlimited)
	w.eventually("the published password logs in", func() (bool, string) {
		published, err := secrets.Get(t.Context(), "db-credentials", metav1.GetOptions{})
		return err == nil && w.sim.Login(claim.UID, "app", string(published.Data["password"])), "not yet"
	})
	if password := string(w.secret("db-credentials").Data["password"]); password == old {
		t.Error("the password is the lost one")
	}
	w.waitReady("db")
}
