package pki

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

func TestCertificatesAreValidFor(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "pki"))
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	server := Identity{Name: "server", User: "kube-apiserver", Hosts: []string{"127.0.0.1", "kubernetes.default"}}
	if err := d.Issue(server); err != nil {
		t.Fatal(err)
	}
	if err := d.Issue(Admin); err != nil {
		t.Fatal(err)
	}
	config, err := d.Client("server")
	if err != nil {
		t.Fatal(err)
	}
	leaf := config.Certificates[0].Leaf
	for _, host := range []string{"127.0.0.1", "kubernetes.default"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: config.RootCAs, DNSName: host}); err != nil {
			t.Error(err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: config.RootCAs, DNSName: "example.com"}); err == nil {
		t.Error("valid for any name")
	}
	client := parse(t, d.Cert(Admin.Name))
	if client.Subject.CommonName != "admin" || client.Subject.Organization[0] != "system:masters" {
		t.Errorf("subject %s", client.Subject)
	}
	serverAuth := x509.VerifyOptions{Roots: config.RootCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := client.Verify(serverAuth); err == nil {
		t.Error("a client's certificate serves")
	}
}

// What is there stays: running programs hold it.
func TestNothingIsMadeTwice(t *testing.T) {
	d := Dir(t.TempDir())
	var before []byte
	for i := range 2 {
		if err := d.Init(); err != nil {
			t.Fatal(err)
		}
		if err := d.Issue(Admin); err != nil {
			t.Fatal(err)
		}
		data := append(read(t, d.CA()), read(t, d.Cert(Admin.Name))...)
		data = append(data, read(t, d.ServiceAccountKey())...)
		if i == 0 {
			before = data
		} else if string(before) != string(data) {
			t.Error("changed")
		}
	}
}

func TestKubeconfig(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := d.WriteKubeconfig(file, "https://127.0.0.1:1", Admin); err != nil {
		t.Fatal(err)
	}
	var got kubeconfig
	if err := json.Unmarshal(read(t, file), &got); err != nil {
		t.Fatal(err)
	}
	if got.CurrentContext != got.Contexts[0].Name || got.Contexts[0].Context.User != got.Users[0].Name {
		t.Errorf("contexts %+v", got)
	}
	if got.Clusters[0].Cluster.Server != "https://127.0.0.1:1" || string(got.Clusters[0].Cluster.CA) != string(read(t, d.CA())) {
		t.Errorf("cluster %+v", got.Clusters[0])
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v, %v", info.Mode(), err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(read(t, file))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
