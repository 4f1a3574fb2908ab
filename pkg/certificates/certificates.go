// Package certificates makes the certificates by which the agents of one Database know each other: an
// authority of its own for every Database, and one certificate for all of its instances, which both
// serve and ask. Nothing else trusts that authority. The clock is an input.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Lifetimes.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	Life          = 365 * 24 * time.Hour
	// skew is how far a clock may be behind.
	skew = time.Hour
)

// Pair is a certificate and its key, as PEM.
type Pair struct {
	Certificate, Key []byte
}

// NewAuthority makes a certificate that signs others.
func NewAuthority(name string, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(AuthorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	return sign(template, template, key, key)
}

// Issue makes a certificate for hosts, for both ends of a connection. It does not outlive the
// authority. The second result is when it is to be renewed: at two thirds of its life.
func Issue(authority Pair, name string, hosts []string, now time.Time) (Pair, time.Time, error) {
	ca, signer, err := parse(authority)
	if err != nil {
		return Pair{}, time.Time{}, fmt.Errorf("read the authority: %w", err)
	}
	end := now.Add(Life)
	if ca.NotAfter.Before(end) {
		end = ca.NotAfter
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		DNSNames:  hosts,
		NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, time.Time{}, fmt.Errorf("make a key: %w", err)
	}
	pair, err := sign(template, ca, key, signer)
	return pair, now.Add(end.Sub(now) * 2 / 3), err
}

func sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (Pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode the key: %w", err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func parse(pair Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certBlock, _ := pem.Decode(pair.Certificate)
	keyBlock, _ := pem.Decode(pair.Key)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("it is not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		// Not its words: they may quote what they were given.
		return nil, nil, errors.New("key: it cannot be read")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("key: it is not that of the certificate")
	}
	return cert, key, nil
}
