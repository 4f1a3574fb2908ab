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
