package elector

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// keys are the certificate of the agents and the authority that they trust, from a mounted folder. The
// kubelet replaces the files when they are renewed, so they are read for every handshake; there are few.
// When they cannot be read, or do not fit together yet, the last ones that did are used.
type keys struct {
	dir string

	mu   sync.Mutex
	last *pair
}

type pair struct {
	certificate tls.Certificate
	authority   *x509.CertPool
}

func (k *keys) load() (*pair, error) {
	read, err := readPair(k.dir)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.last = read
	case k.last == nil:
		return nil, fmt.Errorf("read the certificate of the agents: %w", err)
	}
	return k.last, nil
}

func readPair(dir string) (*pair, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("ca.crt has no certificate")
	}
	return &pair{certificate: certificate, authority: pool}, nil
}

// client is how a peer of that name is called.
func (k *keys) client(host string) (*tls.Config, error) {
	p, err := k.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: p.authority, Certificates: []tls.Certificate{p.certificate}}, nil
}

// server is how peers are answered: those that have a certificate of the same authority.
func (k *keys) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			p, err := k.load()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.certificate},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.authority,
			}, nil
		},
	}
}
