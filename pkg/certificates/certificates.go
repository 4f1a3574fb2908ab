// Package certificates makes the certificates by which the agents of one Database know each other: an
// authority of its own for every Database, and one certificate for all of its instances, which both
// serve and ask. Nothing else trusts that authority. The clock is an input.
//
// What is renewed reaches the instances one after the other, and one that cannot be reached keeps what it
// has. At every moment each must know all others, so:
//
//   - An authority is renewed with the key that it has, long before it ends: who has the old certificate of
//     it and who has the new one know each other.
//   - Another authority comes, because the one before was lost, in three steps, with overlap between them:
//     it is trusted beside the one before; it signs; the one before is trusted no more.
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
	"slices"
	"time"
)

// Lifetimes.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	Life          = 365 * 24 * time.Hour
	// overlap is how long all instances may take to read what is new.
	overlap = 24 * time.Hour
	// skew is how far a clock may be behind.
	skew = time.Hour
)

// Pair is a certificate and its key, as PEM.
type Pair struct {
	Certificate, Key []byte
}

// Bundle is what an agent has: its certificate, and those of the authorities that it trusts.
type Bundle struct {
	Pair
	Authorities []byte
}

// NewAuthority makes a certificate that signs others.
func NewAuthority(name string, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	return certify(&x509.Certificate{Subject: pkix.Name{CommonName: name}}, key, now)
}

// certify makes the certificate of an authority that has this key. The template has its name.
func certify(template *x509.Certificate, key *ecdsa.PrivateKey, now time.Time) (Pair, error) {
	template.NotBefore, template.NotAfter = now.Add(-skew), now.Add(AuthorityLife)
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	return sign(template, template, key, key)
}

// RenewAuthority gives an authority that ends in less than two lives of a certificate a new one for the same
// key. The second result is false for one that is good for longer.
func RenewAuthority(authority Pair, now time.Time) (Pair, bool, error) {
	ca, key, err := parse(authority)
	if err != nil {
		return Pair{}, false, fmt.Errorf("read the authority: %w", err)
	}
	if ca.NotAfter.After(now.Add(2 * Life)) {
		return authority, false, nil
	}
	renewed, err := certify(&x509.Certificate{RawSubject: ca.RawSubject}, key, now)
	return renewed, err == nil, err
}

// Issue makes what agents have next, after what they have now, which is empty when that is of no use. The
// second result is when it is to be called again: at two thirds of the life of the certificate, or when the
// next step to another authority is due.
func Issue(authority Pair, live Bundle, name string, hosts []string, now time.Time) (Bundle, time.Time, error) {
	ca, signer, err := parse(authority)
	if err != nil {
		return Bundle{}, time.Time{}, fmt.Errorf("read the authority: %w", err)
	}
	before, leaf := live.signer(now)
	isOther := before != nil && !signer.PublicKey.Equal(before.PublicKey)
	next := Bundle{Pair: live.Pair, Authorities: authority.Certificate}
	if isOther {
		next.Authorities = slices.Concat(authority.Certificate, encode(before.Raw))
	}
	if isOther && !live.trusts(ca) && leaf.NotAfter.After(now.Add(2*overlap)) {
		return next, now.Add(overlap), nil
	}
	var renew time.Time
	if next.Pair, renew, err = issue(ca, signer, name, hosts, now); err != nil {
		return Bundle{}, time.Time{}, err
	}
	if isOther {
		renew = now.Add(overlap)
	}
	return next, renew, nil
}

// issue makes a certificate for hosts, for both ends of a connection. It does not outlive the authority.
func issue(ca *x509.Certificate, signer *ecdsa.PrivateKey, name string, hosts []string, now time.Time) (Pair, time.Time, error) {
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

// signer is the trusted authority that signed the certificate of a bundle, and that certificate; nil unless
// both are good now.
func (b Bundle) signer(now time.Time) (authority, leaf *x509.Certificate) {
	leaf, _, err := parse(b.Pair)
	if err != nil || now.After(leaf.NotAfter) {
		return nil, nil
	}
	for _, ca := range b.authorities() {
		if leaf.CheckSignatureFrom(ca) == nil && now.Before(ca.NotAfter) {
			return ca, leaf
		}
	}
	return nil, nil
}

// trusts is true when an agent with this bundle accepts what that authority signs.
func (b Bundle) trusts(authority *x509.Certificate) bool {
	return slices.ContainsFunc(b.authorities(), authority.Equal)
}

// authorities are the certificates that can be read.
func (b Bundle) authorities() []*x509.Certificate {
	var all []*x509.Certificate
	for block, rest := pem.Decode(b.Authorities); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, ca)
		}
	}
	return all
}

func encode(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
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
		Certificate: encode(der),
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
