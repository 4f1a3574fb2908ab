//go:build integration

package main

import (
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

func (f *fixture) tokenFile() string { return filepath.Join(f.dir, "token") }

// makeServiceAccount makes the agent's account, and returns its UID.
func (f *fixture) makeServiceAccount() string {
	f.t.Helper()
	account, err := f.kube.CoreV1().ServiceAccounts(f.namespace).Create(f.t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: naming.Agent(databaseName)}}, metav1.CreateOptions{})
	f.must(err)
	return string(account.UID)
}

// renewToken plays the kubelet.
func (f *fixture) renewToken() {
	f.t.Helper()
	request, err := f.kube.CoreV1().ServiceAccounts(f.namespace).CreateToken(f.t.Context(), naming.Agent(databaseName), &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	f.must(err)
	f.must(os.WriteFile(f.tokenFile()+".new", []byte(request.Status.Token), 0o600))
	f.chown(f.tokenFile() + ".new")
	f.must(os.Rename(f.tokenFile()+".new", f.tokenFile()))
}

// An agent whose ServiceAccount was deleted and put back can say no more, and goes on with the next
// token, without a restart.
func TestAnAgentGoesOnWithARenewedToken(t *testing.T) {
	f := newFixture(t)
	status := f.provision(baseConfig())
	accounts := f.kube.CoreV1().ServiceAccounts(f.namespace)
	account, err := accounts.Get(t.Context(), naming.Agent(databaseName), metav1.GetOptions{})
	f.must(err)
	if status.ServiceAccountUID != string(account.UID) {
		t.Fatalf("the agent says that its token is of %q, want %q", status.ServiceAccountUID, account.UID)
	}
	f.must(accounts.Delete(t.Context(), account.Name, metav1.DeleteOptions{}))
	next := f.makeServiceAccount()
	if said := f.instance().Status.ServiceAccountUID; said != string(account.UID) {
		t.Errorf("the agent says that its token is of %q, before there is another token", said)
	}
	f.renewToken()
	pid := f.postmaster()
	status = f.await("a report with the next token", func(s *dbv1.DatabaseInstanceStatus) bool { return s.ServiceAccountUID == next })
	if !status.Ready || status.EngineStarts != 1 || f.postmaster() != pid {
		t.Errorf("the database did not go on as before: %+v", status)
	}
	f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		spec.Operation = &dbv1.InstanceOperation{ID: "x", Kind: "Dance"}
	})
	f.await("word of an operation", func(s *dbv1.DatabaseInstanceStatus) bool { return s.Operation != nil && s.Operation.ID == "x" })
}
