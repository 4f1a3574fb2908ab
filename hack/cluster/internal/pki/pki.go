// Package pki makes the certificates and kubeconfigs of a cluster: one authority that signs the serving certificates and gives
// every component a client certificate of its own, so that the API server authorises each for what it is (RBAC and the node
// authoriser are on, as in production).
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is that of all certificates: a local cluster does not get old.
const validity = 365 * 24 * time.Hour

// Dir is a folder of certificates. Its methods make only what is missing, so that they can be called again and again.
type Dir string

// CA is the file of the authority's certificate.
func (d Dir) CA() string { return d.file("ca.crt") }

// CAKey is the file of the authority's key.
func (d Dir) CAKey() string { return d.file("ca.key") }

// ServiceAccountKey is the file of the key that signs service account tokens.
func (d Dir) ServiceAccountKey() string { return d.file("sa.key") }

// Cert is the file of the named certificate.
func (d Dir) Cert(name string) string { return d.file(name + ".crt") }

// Key is the file of the named certificate's key.
func (d Dir) Key(name string) string { return d.file(name + ".key") }

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// Identity is what a certificate certifies.
type Identity struct {
	// Name is the base name of the files.
	Name string
	// User and Groups are whom a client is to the API server.
	User   string
	Groups []string
	// Hosts are the names and addresses of a server. A certificate without is for clients only.
	Hosts []string
}

// Init makes the authority and the key of service accounts.
func (d Dir) Init() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("making the folder of certificates: %w", err)
	}
	if !exists(d.ServiceAccountKey()) {
		key, err := newKey()
		if err != nil {
			return err
		}
		if err := writeKey(d.ServiceAccountKey(), key); err != nil {
			return err
		}
	}
	if exists(d.CA()) {
		return nil
	}
	template, err := newTemplate(pkix.Name{CommonName: "database-operator local cluster"})
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	return d.sign("ca", template, nil)
}

// Issue makes a certificate signed by the authority.
func (d Dir) Issue(id Identity) error {
	if exists(d.Cert(id.Name)) {
		return nil
	}
	authority, err := tls.LoadX509KeyPair(d.CA(), d.CAKey())
	if err != nil {
		return fmt.Errorf("loading the certificate authority: %w", err)
	}
	template, err := newTemplate(pkix.Name{CommonName: id.User, Organization: id.Groups})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range id.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return d.sign(id.Name, template, &authority)
}

// sign writes the named certificate and its key; without an authority it signs itself. The certificate is written last and in one
// step: where it exists, all is there.
func (d Dir) sign(name string, template *x509.Certificate, authority *tls.Certificate) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("signing the certificate %s: %w", name, err)
	}
	if err := writeKey(d.Key(name), key); err != nil {
		return err
	}
	return writePEM(d.Cert(name), "CERTIFICATE", der)
}

// Client returns the TLS configuration of a client with the named certificate.
func (d Dir) Client(name string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(d.Cert(name), d.Key(name))
	if err != nil {
		return nil, fmt.Errorf("loading the certificate %s: %w", name, err)
	}
	ca, err := os.ReadFile(d.CA())
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the certificate authority's file holds no certificate: " + d.CA())
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	now := time.Now()
	// An hour back: tests step the clock of nodes.
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity)}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return key, nil
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	// SEC 1, which the service account signer of kube-apiserver wants.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return writeFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// writeFile writes a file that only the owner may read, in one step.
func writeFile(file string, data []byte) error {
	temp := file + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}
